//! A durable store in one SQLite file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection as _, Row, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use super::{
    BoxFuture, Durable, Entry, ObjectName, Prefix, StoreError, check_page, check_value, from_micros, micros,
    scrubs::Scrubs,
};
use crate::clock::{SharedClock, SystemClock, Timestamp};

/// `WARD` in ASCII; stands in the file's header, so that a file of something else is recognised.
const APPLICATION_ID: i64 = 0x5741_5244;
const SCHEMA_VERSION: i64 = 2;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// How many expired entries one insert clears away.
const SWEEP: i64 = 16;

const SCHEMA: &str = "
CREATE TABLE objects (
    name    TEXT PRIMARY KEY NOT NULL,
    value   BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_by_expiry ON objects (expires) WHERE expires IS NOT NULL;
CREATE INDEX objects_by_version ON objects (version);
CREATE TABLE versions (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT;
INSERT INTO versions VALUES (1, 0);
PRAGMA application_id = 0x57415244;
PRAGMA user_version = 2;
";

/// A [`Durable`] store in one SQLite file, shared by any number of tasks and processes of one machine.
///
/// The file is created with mode 0600. It runs with a write-ahead log and `synchronous = FULL` (with `NORMAL` a power
/// cut loses acknowledged writes) and with `secure_delete`. That alone leaves older values readable: in the log, and in the
/// gaps of pages that SQLite moved values out of. [`scrub`](Durable::scrub) writes the file anew (`VACUUM`) and empties the
/// log: 3 ms for a thousand values of 112 bytes, 0.2 s for 100,000, 0.8 s for 500,000, and that much memory for as long.
/// Readers do not wait for it; writers do. What did not take effect refuses to open.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer, and waiting here is fairer than retrying on its lock.
    writer: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
    clock: SharedClock,
    scrubs: Arc<Scrubs>,
}

impl SqliteStore {
    /// Opens the store at `path`, creating it if there is no file, on the machine's clock.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or created, belongs to something else, or a setting did not take effect.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with_clock(path, SystemClock::shared()).await
    }

    /// Opens the store and reads the time from this clock.
    ///
    /// # Errors
    ///
    /// As [`open`](SqliteStore::open).
    pub async fn open_with_clock(path: impl AsRef<Path>, clock: SharedClock) -> Result<Self, StoreError> {
        let path = create_private(path.as_ref()).map_err(|e| StoreError::Unavailable(e.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON")
            // What `VACUUM` works in would be a file of its own, with every value in it.
            .pragma("temp_store", "MEMORY")
            .pragma("trusted_schema", "OFF");
        let pool = || {
            SqlitePoolOptions::new().acquire_timeout(BUSY_TIMEOUT).after_release(|conn, _| Box::pin(is_at_rest(conn)))
        };
        // Turning its log on needs the file alone, and SQLite does not wait for that as it waits for other locks.
        let mut tries = 0;
        let writer = loop {
            match pool().max_connections(1).connect_with(options.clone()).await.map_err(failed) {
                Err(StoreError::Busy) if tries < 100 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break opened?,
            }
        };
        initialise(&writer).await?;
        check_settings(&writer).await?;
        let readers = pool().max_connections(READERS).connect_lazy_with(options);
        Ok(Self { writer, readers, path, clock, scrubs: Arc::default() })
    }

    /// Closes the file once running calls have ended. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    /// Takes SQLite's write lock at once: a transaction that reads first and locks later can fail half-way.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Durable for SqliteStore {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT value, version, expires FROM objects WHERE name = ?1 AND (expires IS NULL OR expires > ?2)",
            )
            .bind(name.as_str())
            .bind(self.now())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?
            .map(|row| entry(&row))
            .transpose()
        })
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            check_value(value)?;
            let now = self.now();
            let mut tx = self.begin().await?;
            sqlx::query(
                "DELETE FROM objects WHERE name IN \
                 (SELECT name FROM objects WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
            )
            .bind(now)
            .bind(SWEEP)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
            let written = sqlx::query(
                "INSERT INTO objects (name, value, version, expires) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (name) DO UPDATE \
                 SET value = excluded.value, version = excluded.version, expires = excluded.expires \
                 WHERE objects.expires <= ?5",
            )
            .bind(name.as_str())
            .bind(value)
            .bind(next_version(&mut tx).await?)
            .bind(expires.map(micros))
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(failed)?
            .rows_affected();
            finish(tx, written).await
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            check_value(value)?;
            let Ok(version) = i64::try_from(version) else { return Ok(false) };
            let mut tx = self.begin().await?;
            let written = sqlx::query(
                "UPDATE objects SET value = ?1, version = ?2, expires = ?3 \
                 WHERE name = ?4 AND version = ?5 AND (expires IS NULL OR expires > ?6)",
            )
            .bind(value)
            .bind(next_version(&mut tx).await?)
            .bind(expires.map(micros))
            .bind(name.as_str())
            .bind(version)
            .bind(self.now())
            .execute(&mut *tx)
            .await
            .map_err(failed)?
            .rows_affected();
            finish(tx, written).await
        })
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let now = self.now();
            let removed = sqlx::query("DELETE FROM objects WHERE name = ?1 RETURNING expires")
                .bind(name.as_str())
                .fetch_optional(&self.writer)
                .await
                .map_err(failed)?;
            let Some(row) = removed else { return Ok(false) };
            let expires: Option<i64> = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
            Ok(expires.is_none_or(|expires| now < expires))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        Box::pin(async move {
            check_page(limit)?;
            let rows = sqlx::query(
                "SELECT value, version, expires, name FROM objects \
                 WHERE name > ?1 AND name < ?2 AND (expires IS NULL OR expires > ?3) ORDER BY name LIMIT ?4",
            )
            .bind(prefix.start(after))
            .bind(prefix.end())
            .bind(self.now())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
            rows.iter()
                .map(|row| {
                    let name: &str = row.try_get(3).map_err(|_| StoreError::Corrupt)?;
                    let key = name.strip_prefix(prefix.as_str()).ok_or(StoreError::Corrupt)?;
                    Ok((key.to_owned(), entry(row)?))
                })
                .collect()
        })
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        Box::pin(async move {
            check_page(limit)?;
            let Ok(version) = i64::try_from(version) else { return Ok(Vec::new()) };
            let rows = sqlx::query(
                "SELECT value, version, expires, name FROM objects \
                 WHERE version > ?1 AND (expires IS NULL OR expires > ?2) ORDER BY version LIMIT ?3",
            )
            .bind(version)
            .bind(self.now())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
            rows.iter()
                .map(|row| {
                    let name: &str = row.try_get(3).map_err(|_| StoreError::Corrupt)?;
                    Ok((ObjectName::stored(name).ok_or(StoreError::Corrupt)?, entry(row)?))
                })
                .collect()
        })
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let last: i64 = sqlx::query_scalar("SELECT last FROM versions WHERE one = 1")
                .fetch_one(&self.readers)
                .await
                .map_err(failed)?;
            u64::try_from(last).map_err(|_| StoreError::Corrupt)
        })
    }

    fn take_over<'a>(
        &'a self,
        (mark, version, value): (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            check_value(value)?;
            entries.iter().try_for_each(|(_, value)| check_value(value))?;
            let mut tx = self.begin().await?;
            let there: Option<i64> =
                sqlx::query_scalar("SELECT version FROM objects WHERE name = ?1 AND (expires IS NULL OR expires > ?2)")
                    .bind(mark.as_str())
                    .bind(self.now())
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(failed)?;
            if there.map(u64::try_from).transpose().map_err(|_| StoreError::Corrupt)? != version {
                return finish(tx, 0).await;
            }
            let entries = entries.iter().map(|(name, value)| (name, value.as_slice()));
            for (name, value) in entries.chain([(mark, value)]) {
                sqlx::query(
                    "INSERT INTO objects (name, value, version, expires) VALUES (?1, ?2, ?3, NULL) \
                     ON CONFLICT (name) DO UPDATE \
                     SET value = excluded.value, version = excluded.version, expires = excluded.expires",
                )
                .bind(name.as_str())
                .bind(value)
                .bind(next_version(&mut tx).await?)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            }
            finish(tx, 1).await
        })
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.scrubs.share(async move {
            let mut conn = self.writer.acquire().await.map_err(failed)?;
            sqlx::query("VACUUM").execute(&mut *conn).await.map_err(failed)?;
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await.map_err(failed)?;
            let busy: i64 = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
            if busy != 0 {
                return Err(StoreError::Busy);
            }
            Ok(())
        }))
    }
}

/// Creates the file for its owner alone before SQLite sees it (the log takes over its mode), and gives its full path,
/// which SQLite cannot mistake for `:memory:` or a URI.
fn create_private(path: &Path) -> std::io::Result<PathBuf> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    std::fs::canonicalize(path)
}

/// Whether a connection that is given back can be used again.
///
/// On a full or failing disk SQLite ends a transaction by itself. The driver's `ROLLBACK` fails then, and it goes on
/// counting one as open: no other would ever begin on that connection. It is closed, and the next call opens another.
async fn is_at_rest(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    // The rollback is queued; the ping comes back behind it.
    conn.ping().await?;
    Ok(!conn.is_in_transaction())
}

/// Writes the schema into an empty file; leaves one of ours; refuses any other.
async fn initialise(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *tx).await.map_err(failed)?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await.map_err(failed)?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *tx).await.map_err(failed)?;
    match (application, version, tables) {
        (0, 0, 0) => {
            sqlx::raw_sql(SCHEMA).execute(&mut *tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)
        }
        (APPLICATION_ID, SCHEMA_VERSION, _) => Ok(()),
        (APPLICATION_ID, 1, _) => {
            sqlx::raw_sql("CREATE INDEX objects_by_version ON objects (version); PRAGMA user_version = 2;")
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            tx.commit().await.map_err(failed)
        }
        (APPLICATION_ID, newer, _) if newer > SCHEMA_VERSION => Err(StoreError::Newer),
        _ => Err(StoreError::Foreign),
    }
}

/// A pragma that SQLite does not honour fails silently, so each one is read back.
async fn check_settings(pool: &SqlitePool) -> Result<(), StoreError> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.map_err(failed)?;
    if journal != "wal" {
        return Err(StoreError::Setting("journal_mode = WAL"));
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.map_err(failed)?;
    if synchronous != 2 {
        return Err(StoreError::Setting("synchronous = FULL"));
    }
    let secure_delete: i64 = sqlx::query_scalar("PRAGMA secure_delete").fetch_one(pool).await.map_err(failed)?;
    if secure_delete != 1 {
        return Err(StoreError::Setting("secure_delete = ON"));
    }
    let temp_store: i64 = sqlx::query_scalar("PRAGMA temp_store").fetch_one(pool).await.map_err(failed)?;
    if temp_store != 2 {
        return Err(StoreError::Setting("temp_store = MEMORY"));
    }
    Ok(())
}

/// Rolled back with the transaction if nothing is written, and still never given twice: then nobody has seen it.
async fn next_version(tx: &mut Transaction<'static, Sqlite>) -> Result<i64, StoreError> {
    sqlx::query_scalar("UPDATE versions SET last = last + 1 WHERE one = 1 RETURNING last")
        .fetch_one(&mut **tx)
        .await
        .map_err(failed)
}

async fn finish(tx: Transaction<'static, Sqlite>, written: u64) -> Result<bool, StoreError> {
    if written == 0 {
        tx.rollback().await.map_err(failed)?;
        return Ok(false);
    }
    tx.commit().await.map_err(failed)?;
    Ok(true)
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    let value: Vec<u8> = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
    let version: i64 = row.try_get(1).map_err(|_| StoreError::Corrupt)?;
    let expires: Option<i64> = row.try_get(2).map_err(|_| StoreError::Corrupt)?;
    Ok(Entry {
        value,
        version: u64::try_from(version).map_err(|_| StoreError::Corrupt)?,
        expires: expires.map(from_micros).transpose()?,
    })
}

/// SQLite's messages name tables and constraints, never values.
fn failed(error: sqlx::Error) -> StoreError {
    let locked = matches!(error, sqlx::Error::PoolTimedOut)
        || error.as_database_error().and_then(|e| e.code()).is_some_and(|code| {
            // SQLITE_BUSY and SQLITE_LOCKED, with their extended forms in the higher bits.
            matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
        });
    if locked { StoreError::Busy } else { StoreError::Unavailable(error.into()) }
}
