//! A ledger in PostgreSQL: as the home that many nodes write, or as a sink.

mod conn;
mod home;
mod prune;
mod scan;
mod sink;

use std::{fmt, str::FromStr as _, sync::Arc, time::Duration};

use conn::{Conn, PATIENCE};
pub use scan::verify_postgres;
pub use sink::PostgresSink;
use sqlx::{AssertSqlSafe, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{Ledger, LedgerError, LedgerOptions, Records, Sinks, open::Read, tree, writer::Writer};
use crate::{
    audit::record::{Dropped, Hash, Record, Stream},
    clock::SharedClock,
    codec::{SQL_NAME, is_sql_name},
    entropy,
};

const SCHEMA: &str = include_str!("schema.sql");

/// Rows of one answer.
const ROWS: i64 = 2_048;
/// How long the first reading of a whole ledger may take for each answer.
const READING: Duration = Duration::from_secs(60);

/// Where in a PostgreSQL database a ledger is: as whom to log in, and in which schema its tables are.
///
/// The tables belong to another role than the one that the servers log in as, which may look and add and nothing else. Run
/// [`schema`](Self::schema) once as the owner.
///
/// ```
/// use tower_ward::audit::{LedgerError, PostgresLedger};
///
/// let place = PostgresLedger::new("postgres://ward_writer@db.clinic.example/ward?sslmode=verify-full")?;
/// let script = place.schema("ward_writer")?; // for `psql`, as the owner
/// assert!(script.contains("ward_ledger.records") && script.contains("to ward_writer;"));
/// // A name that would need quotes is refused, and so is another kind of database.
/// assert!(matches!(place.schema("x; drop table y"), Err(LedgerError::Setting { setting: "role", .. })));
/// assert!(PostgresLedger::new("mysql://db").is_err());
/// # Ok::<_, LedgerError>(())
/// ```
///
/// # Security
///
/// Whoever owns the tables, and every superuser, can change them: the chain, the tree and the checkpoints tell, as they do
/// for files. A server that may change what it wrote is refused when the ledger is opened. Ask for `sslmode=verify-full`
/// unless the server is reached through a socket.
#[derive(Clone)]
pub struct PostgresLedger {
    options: PgConnectOptions,
    schema: String,
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLedger").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PostgresLedger {
    /// A ledger in the schema `ward_ledger` of the database with this URL, `postgres://…`. What it leaves open, such as the
    /// port or `sslmode`, is taken from the variables that `psql` looks at (`PGPORT`, `PGSSLMODE`, …) and from `~/.pgpass`: say
    /// all of it in the URL.
    ///
    /// # Errors
    ///
    /// If the URL is none of a PostgreSQL database. It may hold a password, so the error does not say more.
    pub fn new(url: &str) -> Result<Self, LedgerError> {
        let wrong = || LedgerError::Setting { setting: "url", expected: "postgres://USER@HOST/DATABASE" };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(wrong());
        }
        // Statements are traced at a level that shows what is bound to nobody.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
        Ok(Self { options: options.application_name("tower-ward ledger"), schema: "ward_ledger".to_owned() })
    }

    /// In another schema: 1 to 63 of `a-z 0-9 _`, a letter first.
    ///
    /// # Errors
    ///
    /// If it is spelled otherwise.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, LedgerError> {
        identifier("schema", schema)?;
        self.schema = schema.to_owned();
        Ok(self)
    }

    /// The SQL that makes the tables, with the right to look and to add for the role that the servers log in as.
    ///
    /// # Errors
    ///
    /// If the role's name is not 1 to 63 of `a-z 0-9 _`, a letter first.
    pub fn schema(&self, role: &str) -> Result<String, LedgerError> {
        identifier("role", role)?;
        Ok(SCHEMA.replace("{schema}", &self.schema).replace("{role}", role))
    }

    /// A statement of our own with the schema's name in it, which has been checked.
    fn statement(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{schema}", &self.schema))
    }

    /// Up to some two thousand records from this index on and before another.
    fn records_from(&self, conn: &mut Conn, from: u64, until: i64) -> Result<Vec<Row>, sqlx::Error> {
        conn.run(READING, async |conn| self.rows(conn, from, until).await)
    }

    async fn rows(&self, conn: &mut PgConnection, from: u64, until: i64) -> Result<Vec<Row>, sqlx::Error> {
        let statement = self.statement(
            "select idx, stream, seq, hash, record from {schema}.records where idx >= $1 and idx < $2 order by idx limit $3",
        );
        let rows: Vec<Columns> =
            sqlx::query_as(statement).bind(home::signed(from)).bind(until).bind(ROWS).fetch_all(conn).await?;
        Ok(rows.into_iter().map(Row::of).collect())
    }

    /// Refuses a place where what was written can be changed by whoever wrote it, or where an answer means little.
    fn examine(&self, conn: &mut Conn) -> Result<(), LedgerError> {
        let statement = self.statement(
            "select current_setting('fsync') = 'on',
                    not (select rolsuper from pg_roles where rolname = current_user),
                    not pg_has_role(current_user, (select nspowner from pg_namespace where nspname = '{schema}'), 'member'),
                    not exists (
                        select 1 from unnest(array['batches', 'records', 'retention']) as name, unnest(array['insert', 'update', 'delete', 'truncate', 'trigger']) as verb
                        where has_table_privilege('{schema}.' || name, verb)),
                    not exists (
                        select 1 from unnest(array['batches', 'records', 'retention']) as name
                        where has_any_column_privilege('{schema}.' || name, 'insert, update')),
                    3 = (select count(*) from pg_trigger
                        where tgname in ('keep', 'keep_row') and tgenabled in ('O', 'A')
                          and tgrelid in ('{schema}.batches'::regclass, '{schema}.records'::regclass))",
        );
        let (fsync, user, owner, verbs, columns, triggers): (bool, bool, bool, bool, bool, bool) = conn
            .run(PATIENCE, async |conn| sqlx::query_as(statement).fetch_one(conn).await)
            .map_err(|source| LedgerError::Database { doing: "look at the ledger's tables", source: source.into() })?;
        for (good, what) in [
            (fsync, "`fsync` is off: turn it on, or an answer means nothing"),
            (user, "the role is a superuser: log in as one that may look and add and nothing else"),
            (owner, "the role owns the tables: log in as another one"),
            (
                verbs && columns,
                "the role may change what was written, or write past `append`: revoke insert, update, delete, truncate and trigger",
            ),
            (
                triggers,
                "the triggers named `keep` and `keep_row` are missing or disabled: run the schema's script in a new schema, or have its owner enable them",
            ),
        ] {
            if !good {
                return Err(LedgerError::Unguarded { what });
            }
        }
        Ok(())
    }
}

/// As the server sends it.
type Columns = (i64, String, i64, Vec<u8>, Option<Vec<u8>>);

/// A row of the table of records.
struct Row {
    index: u64,
    stream: String,
    sequence: u64,
    hash: Hash,
    /// The record's canonical bytes, or those of what is left of it.
    bytes: Vec<u8>,
}

impl Row {
    fn of((index, stream, sequence, hash, record): Columns) -> Self {
        let (index, sequence) = (index.unsigned_abs(), sequence.unsigned_abs());
        let hash = hash.try_into().unwrap_or([0; 32]);
        let bytes = record.unwrap_or_else(|| {
            // No name of a clinic in a place where only names of clinics can stand is no clinic's: that is found by who reads.
            let named = Stream::named(&stream).unwrap_or(Stream::Platform);
            Dropped { index, stream: named, sequence, hash }.to_bytes()
        });
        Self { index, stream, sequence, hash, bytes }
    }

    /// Whether the columns beside the record say what the record says.
    fn is_itself(&self) -> bool {
        let (index, stream, sequence, hash) = match (Record::from_bytes(&self.bytes), Dropped::from_bytes(&self.bytes))
        {
            (Ok(record), _) => (record.index, record.stream, record.sequence, tree::leaf(&self.bytes)),
            (_, Ok(left)) => (left.index, left.stream, left.sequence, left.hash),
            _ => return false,
        };
        (index, stream.as_str(), sequence, hash) == (self.index, &self.stream, self.sequence, self.hash)
    }
}

fn identifier(setting: &'static str, name: &str) -> Result<(), LedgerError> {
    if is_sql_name(name) { Ok(()) } else { Err(LedgerError::Setting { setting, expected: SQL_NAME }) }
}

/// The lock that a living node holds.
fn lock_key(node: Uuid) -> i64 {
    let mut key = [0; 8];
    key.copy_from_slice(&node.as_bytes()[..8]);
    i64::from_be_bytes(key)
}

impl Ledger {
    /// Opens the ledger in a PostgreSQL database, which many nodes may write at a time, and starts this node's writer.
    ///
    /// Reads and checks every record that is there. A batch is acknowledged when its transaction is committed; one whose
    /// answer was lost is looked for before it is sent again. What another living node has begun and not ended is not
    /// among the [unsettled](Ledger::unsettled).
    ///
    /// # Errors
    ///
    /// As [`open_with`](Ledger::open_with); and if the database cannot be reached, or the role that logs in may change
    /// what was written.
    pub async fn open_postgres(
        place: &PostgresLedger,
        sinks: Sinks,
        options: LedgerOptions,
        clock: SharedClock,
    ) -> Result<Self, LedgerError> {
        let place = place.clone();
        // Connections here live on runtimes of their own, which must not be made or dropped inside another.
        let opened = tokio::task::spawn_blocking(move || {
            let (ledger, writer) = prepare(place, sinks, options, clock)?;
            ledger.start(writer)?;
            Ok(ledger)
        });
        opened.await.unwrap_or_else(|error| Err(LedgerError::Database { doing: "open", source: error.into() }))
    }
}

fn prepare(
    place: PostgresLedger,
    sinks: Sinks,
    options: LedgerOptions,
    clock: SharedClock,
) -> Result<(Ledger, Writer), LedgerError> {
    options.check()?;
    let database =
        |doing: &'static str| move |source: sqlx::Error| LedgerError::Database { doing, source: source.into() };
    let node = Uuid::from_bytes(entropy::array());
    let runtime = |source: std::io::Error| LedgerError::Database { doing: "start a runtime", source: source.into() };
    let mut conn = Conn::new(place.options.clone(), Some(lock_key(node))).map_err(runtime)?;
    place.examine(&mut conn)?;
    let archive: Arc<dyn Records> = Arc::new(scan::Rows::open(&place).map_err(runtime)?);
    let mut read = Read::all(archive, sinks, None, &options)?;
    let begun = std::mem::take(&mut read.unsettled);
    for (attempt, change) in begun {
        let by = place.living(&mut conn, change.record.index).map_err(database("ask which nodes live"))?;
        if !by {
            read.unsettled.insert(attempt, change);
        }
    }
    let home = home::Table::new(conn, place, node);
    read.into_ledger(Box::new(home), None, options, clock)
}

impl PostgresLedger {
    /// Whether the node that wrote this record lives.
    fn living(&self, conn: &mut Conn, index: u64) -> Result<bool, sqlx::Error> {
        let statement =
            self.statement("select node from {schema}.batches where first <= $1 order by first desc limit 1");
        let node: Option<Uuid> = conn.run(PATIENCE, async |conn| {
            sqlx::query_scalar(statement).bind(home::signed(index)).fetch_optional(conn).await
        })?;
        let Some(node) = node else { return Ok(false) };
        conn.run(PATIENCE, async |conn| {
            sqlx::query_scalar(
                "select exists (
                    select 1 from pg_locks
                    where locktype = 'advisory' and objsubid = 1 and granted
                      and database = (select oid from pg_database where datname = current_database())
                      and (classid::bigint << 32) | objid::bigint = $1)",
            )
            .bind(lock_key(node))
            .fetch_one(conn)
            .await
        })
    }
}
