//! The database: how it is reached, installed and opened.

use std::{
    fmt,
    num::NonZeroU32,
    pin::Pin,
    str::FromStr as _,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::runtime::Handle;

use super::{
    Finding,
    doctor::{self, Doctor},
    request::{Request, Signer, Verb, fresh_blocks},
    script::{self, Rows, Table},
};
use crate::{
    audit::{AttemptId, Ledger, Outcome},
    clock::SharedClock,
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
        f.debug_struct("PostgresOptions")
            .field("connections", &self.connections)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
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

    /// Keeps nothing on a connection from one transaction to the next: for a pooler in transaction mode, such as PgBouncer,
    /// which gives each transaction whatever connection is free. The installation needs a connection of its own, past it.
    pub fn with_pooler(mut self) -> Self {
        // PgBouncer refuses a connection that asks for this one.
        self.connect = self.connect.extra_float_digits(None).statement_cache_capacity(0);
        self.pooled = true;
        self
    }
}

/// All clinics' data in one PostgreSQL database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PostgresDb(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: PgPool,
    /// How many connections may have died at once.
    pub(super) connections: NonZeroU32,
    pooled: bool,
    pub(super) signer: Signer,
    pub(super) clock: SharedClock,
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
    pub async fn open(
        options: &PostgresOptions,
        schema: Schema,
        keyring: &Keyring,
        clock: SharedClock,
    ) -> Result<Self, DbError> {
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
        let mut tx = pool.begin_with(Verb::Read.begins(options.pooled)).await?;
        let sealed = doctor::sealed(&mut tx, &tables).await?;
        let forget = forget(&schema, &mut tx).await?;
        tx.rollback().await?;
        let people = sealed.iter().filter_map(Sealed::people).collect();
        let PostgresOptions { connections, pooled, .. } = *options;
        let db = Self(Arc::new(Inner { pool, connections, pooled, signer, clock, sealed, people, forget, schema }));
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
    /// own the tables.
    ///
    /// # Errors
    ///
    /// [`DbError::Migrations`], [`DbError::Role`], or [`DbError::Database`] with what PostgreSQL says.
    pub async fn install(
        owner: &PostgresOptions,
        role: &str,
        schema: Schema,
        keyring: &Keyring,
    ) -> Result<(), DbError> {
        let (ground, guards) = (script::ground(role)?, script::guards(&schema, role)?);
        let mut conn = PgConnection::connect_with(&owner.connect).await?;
        conn.execute(AssertSqlSafe(format!("begin; {ground} commit"))).await?;
        schema.migrations.run(&mut conn).await.map_err(DbError::Migrations)?;
        conn.execute(AssertSqlSafe(format!("begin; {guards} commit"))).await?;
        let [inner, outer] = Signer::of(keyring).blocks();
        let [proof_inner, proof_outer] = fresh_blocks();
        // The key that the functions prove with stays: transactions are under way.
        sqlx::query(
            "insert into ward.keys (enter_inner, enter_outer, proof_inner, proof_outer) values ($1, $2, $3, $4)
             on conflict (one) do update set enter_inner = excluded.enter_inner, enter_outer = excluded.enter_outer",
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
        let made = sqlx::query_scalar("select ward.settle()").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Closes the connections, once no transaction uses them.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// Begins a transaction in a clinic.
    pub(super) async fn enter(&self, request: &Request<'_>) -> Result<Transaction<'static, Postgres>, TxError> {
        let mut tx = self.begin(request.verb).await?;
        self.enter_in(&mut tx, request).await?;
        Ok(tx)
    }

    pub(super) async fn enter_in(&self, conn: &mut PgConnection, request: &Request<'_>) -> Result<(), TxError> {
        let (text, signature) = self.0.signer.sign(request, self.0.clock.now())?;
        let entered = sqlx::query("select ward.enter($1, $2)").bind(text).bind(signature).execute(conn).await;
        entered.map(|_| ()).map_err(|error| refused(error, request.tenant))
    }

    pub(super) async fn begin(&self, verb: Verb) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let (pool, begins) = (self.0.pool.clone(), verb.begins(self.0.pooled));
        // A connection that has died is found out here, before anything was asked.
        self.again(move || {
            let pool = pool.clone();
            ToItsEnd(Some(Box::pin(async move { pool.begin_with(begins).await })))
        })
        .await
    }

    /// Does what changes nothing until a connection lives; each that has died is found out once.
    pub(super) async fn again<T, F: Future<Output = Result<T, sqlx::Error>>>(
        &self,
        mut work: impl FnMut() -> F,
    ) -> Result<T, sqlx::Error> {
        let mut tries = self.0.connections.get();
        loop {
            match work().await {
                Err(error) if tries > 0 && died(&error) => tries -= 1,
                done => return done,
            }
        }
    }
}

/// Comes to its end, whether it is waited for or not. A connection on which a `BEGIN` is under way would go back to the pool as if
/// none were: the next transaction on it would be this one, which may be one that only reads, and until then it would stand open.
struct ToItsEnd<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.0.as_mut().expect("it is not asked again after its end");
        let output = ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// Whether the connection is what failed: it broke, or the server or a pooler ended it.
fn died(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

/// What the functions of the database say in their own codes.
pub(super) fn refused(error: sqlx::Error, tenant: &TenantId) -> TxError {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("WD002") => DbError::OtherKey.into(),
        Some("WD003") => DbError::Clock.into(),
        Some("WD004") => DbError::Missing(tenant.clone()).into(),
        Some("WD007") => TxError::Erased,
        _ => DbError::Database(error).into(),
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
