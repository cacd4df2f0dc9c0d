//! The database: how it is reached, installed and opened.

use std::{fmt, num::NonZeroU32, str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Finding,
    doctor::{self, Doctor},
    request::{Request, Signer, Verb, fresh_blocks},
    script::{self, Rows, Table},
    session::{Mode, Session, bytes, literal},
};
use crate::{
    audit::{AttemptId, Ledger, Outcome},
    db::{
        DbError, Schema, TxError,
        clinics::{PeopleTable, quoted},
    },
    field::{ColumnInfo, check_columns},
    id::TenantId,
    keys::Keyring,
};

/// How long a request waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the servers reach the database.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_ward::db::{DbError, PostgresOptions};
///
/// let options = PostgresOptions::new("postgres://clinic@db.clinic.example/clinic?sslmode=verify-full")?
///     .with_connections(NonZeroU32::new(32).expect("not zero"))
///     .with_pooler(); // PgBouncer in transaction mode stands before it
/// assert!(matches!(PostgresOptions::new("mysql://db"), Err(DbError::Url)));
/// # let _ = options;
/// # Ok::<_, DbError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    connect: PgConnectOptions,
    connections: NonZeroU32,
    pooled: bool,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// The database with this URL, `postgres://…`, and 16 connections. What the URL leaves open, such as the port or `sslmode`,
    /// is taken from the variables that `psql` looks at and from `~/.pgpass`: say all of it in the URL.
    ///
    /// # Errors
    ///
    /// [`DbError::Url`] if it is none.
    pub fn new(url: &str) -> Result<Self, DbError> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(DbError::Url);
        }
        let connect = PgConnectOptions::from_str(url).map_err(|_| DbError::Url)?.application_name("tower-ward");
        Ok(Self { connect, connections: const { NonZeroU32::new(16).expect("not zero") }, pooled: false })
    }

    /// The most connections that this process opens. A request holds one while its transaction lasts.
    pub const fn with_connections(mut self, most: NonZeroU32) -> Self {
        self.connections = most;
        self
    }

    /// For a pooler in transaction mode, such as PgBouncer, which gives each transaction whatever connection is free: nothing is
    /// kept on a connection from one transaction to the next, the application's prepared statements included. The installation
    /// needs a connection of its own, past the pooler.
    pub fn with_pooler(mut self) -> Self {
        // PgBouncer refuses a connection that asks for the first of these.
        self.connect = self.connect.extra_float_digits(None).statement_cache_capacity(0);
        self.pooled = true;
        self
    }
}

/// All clinics' data in one PostgreSQL database (14 or later), kept apart by its row-level security. Cheap to clone.
///
/// # Decision rule
///
/// 1. The tables, their policies and the library's functions belong to one role; the servers log in as another, which owns
///    nothing, may make nothing, and is held by the policies. [`install`](Self::install) makes it so, as the owner.
/// 2. [`open`](Self::open) refuses a database in which any of that is otherwise, with every [`Finding`] by its name.
/// 3. A transaction begins in a session that is as if it were new, and enters the clinic of the door that was opened: with a
///    request that is signed under a key of the keyring's, for this transaction alone. What the policies read is set by the function
///    that checked it, and signed again under a key that the servers never have.
/// 4. Every row has its clinic. What reads sees the clinic's rows; what changes, those of the door's person, or of nobody
///    through a clinic's door, or of tables that are declared as shared. Others are not there for it: an update without its
///    `where` leaves them as they are, and an insert of one is an error.
/// 5. Nobody changes a row's clinic, person or key; a reference to a row is a reference within the clinic.
/// 6. Each row with a sealed column that changes is noted by a trigger of the owner's, as it was. The ledger gets what the
///    transaction made of it.
/// 7. A transaction that changes something is committed by the library alone, once its records are durable: any other
///    commit fails at a constraint that is checked last.
/// 8. Whether a commit whose answer was lost took effect is asked of the database, which waits for it or makes it
///    impossible.
///
/// # Deployment caveat
///
/// The application's own migrations name `tenant text not null default ward.tenant()` as a column of every table, and
/// `(tenant, id)` as its key, with `id` a `uuid`. Statements need not name the clinic. The ledger and the stores have roles of
/// their own, or databases: a role that could read them would read all clinics'. Backups of the data leave out the one row of
/// `ward.keys` (`pg_dump --exclude-table-data=ward.keys`), which the installation writes anew. sqlx's `begin` on the connection
/// of a transaction fails at its commit; say `savepoint` instead.
///
/// # Example
///
/// ```no_run
/// use tower_ward::{
///     access::SubjectGrant,
///     db::{Change, DbError, Finding, FindingKind, PostgresDb, PostgresOptions, PostgresReadTx, PostgresTx, Schema, TxError},
///     field::Encrypted, id::RowId, keys::Keyring,
/// };
///
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::permissions! { pub WriteNotes = "notes.write" changes Clinical; }
/// tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
///
/// static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("tests/it/rls/migrations");
/// const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS])
///     .with_people(&[("notes", "patient"), ("patients", "id"), ("patient_words", "patient")])
///     .with_clinics(&["staff"])
///     .with_shared(&["counters"])
///     .with_global(&["codes"]);
///
/// /// Once, and after each change of the schema, by whoever owns the tables.
/// async fn install(keyring: &Keyring) -> Result<(), DbError> {
///     let owner = PostgresOptions::new("postgres://ward_owner@db.clinic.example/clinic?sslmode=verify-full")?;
///     PostgresDb::install(&owner, "ward_app", SCHEMA, keyring).await
/// }
///
/// /// By every server that starts. A table without a policy, for one, is refused by its name.
/// async fn open(keyring: &Keyring) -> Result<PostgresDb, DbError> {
///     let app = PostgresOptions::new("postgres://ward_app@db.clinic.example/clinic?sslmode=verify-full")?;
///     let opened = PostgresDb::open(&app, SCHEMA, keyring).await;
///     if let Err(DbError::Unguarded(findings)) = &opened {
///         let open: Vec<&Finding> = findings.iter().filter(|finding| finding.kind() == FindingKind::RlsOff).collect();
///         eprintln!("{} tables are open to everybody", open.len());
///     }
///     opened
/// }
///
/// async fn write(db: &PostgresDb, chart: &SubjectGrant<WriteNotes>, row: RowId, text: &String) -> Result<i64, TxError> {
///     let mut tx: PostgresTx = db.change(chart, Change::create("notes", row)).await?;
///     let sealed = Encrypted::<NoteText>::seal(text, chart, row).expect("the request goes on");
///     sqlx::query("insert into notes (id, patient, text) values ($1, $2, $3)") // the clinic is the one that was entered
///         .bind(row).bind(chart.subject()).bind(sealed).execute(tx.conn()).await?;
///     tx.commit().await?;
///     let mut tx: PostgresReadTx = db.read(chart).await?;
///     Ok(sqlx::query_scalar("select count(*) from notes").fetch_one(tx.conn()).await?) // of this clinic
/// }
/// ```
///
/// # Security
///
/// The attacker runs SQL of his choice as the servers' role, inside a transaction of one clinic, as often as he likes, on sessions
/// that other clinics have before and after him. Promised: he sees and changes no row of another clinic, makes and keeps no
/// relation, commits no change of a sealed column that the ledger does not have, and leaves nothing in a session by which he
/// gets any of that later. Not promised: that he cannot be in the way (he may hold locks and end other sessions of the role);
/// that he learns nothing of how much there is (the planner's estimates, the size of tables and the texts of others' statements
/// are the role's to see); that a change of columns which are not sealed is told in the ledger beyond the attempt and its outcome. Against whoever is the owner or a superuser, what is left
/// are the clinics' keys.
#[derive(Debug, Clone)]
pub struct PostgresDb(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: PgPool,
    pub(super) signer: Signer,
    pub(super) pooled: bool,
    /// The tables with sealed columns.
    pub(super) sealed: Vec<Sealed>,
    /// Those of people.
    pub(super) people: Arc<[PeopleTable]>,
    /// How the blind indexes of one person are removed.
    pub(super) forget: Vec<String>,
    schema: Schema,
}

/// A table with sealed columns.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) table: &'static str,
    /// The column that says whose a row is, if it is a person's.
    pub(super) person: Option<&'static str>,
    /// The column of the primary key beside the clinic's: the row's identifier.
    pub(super) key: String,
    pub(super) columns: Vec<&'static ColumnInfo>,
}

impl Sealed {
    fn people(&self) -> Option<PeopleTable> {
        let Self { table, person, key, columns } = self;
        Some(PeopleTable { table, person: (*person)?, key: key.clone(), columns: columns.clone() })
    }
}

impl PostgresDb {
    /// Opens the database as the servers' own role, and refuses one that would not keep the clinics apart.
    ///
    /// # Errors
    ///
    /// [`DbError::Unguarded`] with every [`Finding`]; [`DbError::OtherKey`] if it was installed with another keyring;
    /// [`DbError::Database`] if it cannot be reached.
    pub async fn open(options: &PostgresOptions, schema: Schema, keyring: &Keyring) -> Result<Self, DbError> {
        check_columns(schema.columns)?;
        let tables = Table::all(&schema)?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.get())
            .acquire_timeout(PATIENCE)
            // Each transaction begins with a statement that finds out.
            .test_before_acquire(false)
            .connect_with(options.connect.clone())
            .await?;
        let signer = Signer::of(keyring);
        // In a transaction, as all that is asked: a pooler gives the two halves of a question outside of one to two sessions.
        let mut session = Session::begin(&pool, options.pooled, Mode::Read).await?;
        let sealed = doctor::sealed(session.conn(), &tables).await?;
        let forget = forget(&schema, session.conn()).await?;
        session.rollback().await;
        let people = sealed.iter().filter_map(Sealed::people).collect();
        let db = Self(Arc::new(Inner { pool, signer, pooled: options.pooled, sealed, people, forget, schema }));
        let findings = db.examine().await?;
        if findings.is_empty() { Ok(db) } else { Err(DbError::Unguarded(findings)) }
    }

    /// Looks for whatever would let one clinic see another: settings, privileges, policies, functions, views, and two clinics
    /// that are none, of which each must see only itself. To be run at any time; [`open`](Self::open) refuses if there is any.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn examine(&self) -> Result<Vec<Finding>, DbError> {
        Doctor::new(self, &self.0.schema)?.examine().await
    }

    /// Installs the database, or brings it up to date: the library's functions, the application's migrations, what sets the
    /// clinics apart in every table, the servers' role's privileges, and the keyring's key. To be run by the role that is to
    /// own the tables. A database that another keyring was installed in is left as it is.
    ///
    /// # Errors
    ///
    /// [`DbError::OtherKey`], [`DbError::Migrations`], [`DbError::Role`], or [`DbError::Database`] with what PostgreSQL says.
    pub async fn install(
        owner: &PostgresOptions,
        role: &str,
        schema: Schema,
        keyring: &Keyring,
    ) -> Result<(), DbError> {
        let (ground, guards) = (script::ground(role)?, script::guards(&schema, role)?);
        let mut conn = PgConnection::connect_with(&owner.connect).await?;
        let [inner, outer] = Signer::of(keyring).blocks();
        // Its servers would be shut out, and the clinics of two keyrings stand in one table.
        if sqlx::query_scalar("select to_regclass('ward.keys') is not null").fetch_one(&mut conn).await? {
            let others =
                "select exists (select 1 from ward.keys where (enter_inner, enter_outer) is distinct from ($1, $2))";
            let others = sqlx::query_scalar(others).bind(inner.as_slice()).bind(outer.as_slice());
            if others.fetch_one(&mut conn).await? {
                return Err(DbError::OtherKey);
            }
        }
        conn.execute(AssertSqlSafe(format!("begin; {ground} commit"))).await?;
        schema.migrations.run(&mut conn).await.map_err(DbError::Migrations)?;
        conn.execute(AssertSqlSafe(format!("begin; {guards} commit"))).await?;
        let [proof_inner, proof_outer] = fresh_blocks();
        // One that is there stays: transactions are under way. Somebody else's, who installed meanwhile, is found by `open`.
        sqlx::query(
            "insert into ward.keys (enter_inner, enter_outer, proof_inner, proof_outer) values ($1, $2, $3, $4)
             on conflict (one) do nothing",
        )
        .bind(inner.as_slice())
        .bind(outer.as_slice())
        .bind(proof_inner.as_slice())
        .bind(proof_outer.as_slice())
        .execute(&mut conn)
        .await?;
        conn.close().await?;
        Ok(())
    }

    /// What [`install`](Self::install) runs around the application's migrations, to be read or to be run by other means:
    /// before them, and after. The keyring's key is in neither.
    ///
    /// # Errors
    ///
    /// [`DbError::Role`] and others if a name would need quotes or is declared twice.
    pub fn scripts(schema: &Schema, role: &str) -> Result<(String, String), DbError> {
        Ok((script::ground(role)?, script::guards(schema, role)?))
    }

    /// Makes a clinic known. It does nothing if it is.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn create(&self, tenant: &TenantId) -> Result<(), DbError> {
        let tx = self.enter(&Request::new(tenant, Verb::Found)).await.map_err(begun)?;
        Ok(tx.commit().await?)
    }

    /// Tells the ledger what became of the attempts that a crash left open, by looking each up in the database. To be called
    /// once at start, before the first request. A transaction that another process, or what is left of this one, is about to
    /// commit is waited for; one that has not come so far can commit no more.
    ///
    /// # Errors
    ///
    /// [`DbError`] if the database or the ledger cannot be reached: do not serve then.
    pub async fn settle(&self, ledger: &Ledger) -> Result<usize, DbError> {
        let open = ledger.unsettled();
        for attempt in &open {
            // A change of data is always some clinic's.
            let Some(tenant) = attempt.tenant() else { continue };
            let outcome = match self.made(tenant, attempt.attempt()).await {
                Ok(true) => Outcome::Committed,
                Ok(false) => Outcome::RolledBack,
                // The clinic is not of this database: nobody can tell any more, and the others must start.
                Err(DbError::Missing(_)) => Outcome::Unknown,
                Err(error) => return Err(error),
            };
            ledger.settle(attempt.attempt(), outcome).await.map_err(|_| DbError::Ledger)?;
        }
        Ok(open.len())
    }

    /// Whether a change was made. It cannot be made after the answer that it was not.
    pub(super) async fn made(&self, tenant: &TenantId, attempt: AttemptId) -> Result<bool, DbError> {
        let request = Request { attempt: Some(attempt), ..Request::new(tenant, Verb::Settle) };
        let mut tx = self.enter(&request).await.map_err(begun)?;
        let rows = tx.say("select ward.settle()").await?;
        let made = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        tx.commit().await?;
        Ok(made)
    }

    /// Closes the connections, once no transaction uses them.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// Begins a transaction in a clinic.
    pub(super) async fn enter(&self, request: &Request<'_>) -> Result<Session, TxError> {
        let mut tries = 0;
        loop {
            let session = self.begin(request.verb).await?;
            match self.enter_in(session, request).await {
                // Somebody left something in that session. It is closed, and another one is as good.
                Err(Entering::Session) if tries < 3 => tries += 1,
                entered => return entered.map_err(TxError::from),
            }
        }
    }

    pub(super) async fn begin(&self, verb: Verb) -> Result<Session, sqlx::Error> {
        let mode = if verb == Verb::Read { Mode::Read } else { Mode::Write };
        Session::begin(&self.0.pool, self.0.pooled, mode).await
    }

    /// Enters a clinic in a transaction that was begun. One that does not enter is closed with its session.
    pub(super) async fn enter_in(&self, mut session: Session, request: &Request<'_>) -> Result<Session, Entering> {
        let (text, signature) = self.0.signer.sign(request, session.name())?;
        let text = format!("select ward.enter({}, {})", literal(&text), bytes(&signature));
        match session.say(&text).await {
            Ok(_) => Ok(session),
            Err(error) => {
                session.close();
                let code = error.as_database_error().and_then(|error| error.code());
                Err(match code.as_deref() {
                    Some("WD002") => DbError::OtherKey.into(),
                    Some("WD004") => DbError::Missing(request.tenant.clone()).into(),
                    Some("WD006") => Entering::Session,
                    Some("WD007") => Entering::Refused(TxError::Erased),
                    _ => DbError::Database(error).into(),
                })
            }
        }
    }
}

/// A transaction did not enter its clinic.
#[derive(Debug)]
pub(super) enum Entering {
    /// For what was left in its session.
    Session,
    Refused(TxError),
}

impl From<TxError> for Entering {
    fn from(error: TxError) -> Self {
        Self::Refused(error)
    }
}

impl From<DbError> for Entering {
    fn from(error: DbError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Entering> for TxError {
    fn from(error: Entering) -> Self {
        match error {
            Entering::Session => DbError::Session.into(),
            Entering::Refused(error) => error,
        }
    }
}

fn begun(error: TxError) -> DbError {
    match error {
        TxError::Db(error) => error,
        error => DbError::Database(sqlx::Error::Protocol(error.to_string())),
    }
}

/// The statements that remove one person's blind indexes.
async fn forget(schema: &Schema, conn: &mut PgConnection) -> Result<Vec<String>, DbError> {
    if let (true, Some(column)) = (schema.indexes.is_empty(), schema.sealed().find(|column| column.is_indexed())) {
        return Err(DbError::NoIndex { table: column.table(), column: column.name() });
    }
    let mut statements = Vec::with_capacity(schema.indexes.len());
    for &(table, column) in schema.indexes {
        let fault = DbError::Index { table, column };
        let whose = schema.people.iter().find(|(people, _)| *people == table);
        let nullable: Option<bool> = sqlx::query_scalar(
            "select not attnotnull from pg_attribute where attrelid = to_regclass('public.' || $1) and attname = $2",
        )
        .bind(table)
        .bind(column)
        .fetch_optional(&mut *conn)
        .await?;
        let (Some((_, whose)), Some(nullable)) = (whose, nullable) else { return Err(fault) };
        let (name, column, whose) = (quoted(table), quoted(column), quoted(whose));
        statements.push(if !schema.sealed().any(|sealed| sealed.table() == table) {
            format!("delete from public.{name} where {whose} = $1")
        } else if nullable {
            format!("update public.{name} set {column} = null where {whose} = $1")
        } else {
            return Err(fault);
        });
    }
    Ok(statements)
}

impl Table {
    pub(super) const fn person(&self) -> Option<&'static str> {
        match self.rows {
            Rows::People(column) => Some(column),
            _ => None,
        }
    }
}
