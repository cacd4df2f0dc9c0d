//! A durable store in PostgreSQL, for many servers.

mod conn;
mod examine;
mod place;

use std::{fmt, sync::Arc};

use conn::{ACQUIRE, For, Held, PATIENCE, SCRUBBING, failed, within};
pub use place::PostgresPlace;
use sqlx::{
    PgPool, Postgres, Row as _,
    postgres::{PgArguments, PgPoolOptions, PgRow},
    query::Query,
};

use super::{
    BoxFuture, Durable, Entry, ObjectName, Prefix, StoreError, check_page, check_value, from_micros, micros,
    scrubs::Scrubs,
};
use crate::clock::{SharedClock, SystemClock, Timestamp};

/// A [`Durable`] store in PostgreSQL 14 or later, shared by any number of tasks, processes and machines.
///
/// What it decides, in this order:
///
/// 1. [`open`](Self::open) refuses a place where what is acknowledged could be lost, or reached by another way than through this
///    store, each with a sentence of its own ([`StoreError::Unguarded`]): `fsync` off; `synchronous_commit` off for the role; a
///    standby; a role that is a superuser, bypasses row security, replicates, makes roles, or reads or writes everything; a server
///    that logs what is bound to statements; no tables; a role that owns them, may make others, truncate, or set triggers; rights for everybody;
///    triggers, rules, row security or a table that is not logged; statistics that would copy values; an archived log, unless
///    [`danger_archived`](PostgresPlace::danger_archived).
/// 2. Who writes first waits for the turn, a row that one transaction at a time has locked. So of any that race, whatever process
///    they are in, exactly one finds what it asked for, and versions are committed in their order.
/// 3. An entry ends by the clock of the process that asks, which is read once it has the turn. Processes whose clocks differ
///    differ about the edge: keep them in time.
/// 4. Nothing is acknowledged before its commit is on the server's disk, whatever the role's default.
/// 5. If the answer to a commit is lost, it is [`StoreError::Unavailable`], and unknown whether the write took place: look with
///    `get`. [`StoreError::Busy`] says that nothing was changed: no turn within 4 s, no connection within 5 s.
///
/// # Deployment caveat
///
/// One write at a time means one sync at a time: as many writes a second, by all servers together, as the disk syncs. That is
/// enough for keys, accounts and sessions. Readers never wait for writers.
///
/// With a standby, name it in `synchronous_standby_names`, or a failover takes acknowledged writes along and gives their versions
/// again. PostgreSQL has no `secure_delete`. A value that was removed or replaced stays
///
/// - in the table, until [`scrub`](Durable::scrub) writes it anew: of live rows alone, under a lock for which readers wait too;
/// - in the server's write-ahead log (`pg_wal`), until its segments are dropped. Set `wal_recycle = off`, or they are kept under
///   another name until they are overwritten; then what was scrubbed is gone from the server's folder once a segment was
///   switched and two checkpoints were made, some ten minutes at the defaults;
/// - in every base backup, archived log, replica's log and snapshot of the disk, which no statement reaches.
///
/// So keys belong into a server, or at least a database, of their own, of which there is no backup but registered copies
/// (`keys`), and never into the server of the clinics' data if that one is archived. With an archive, `scrub` refuses instead of
/// saying what is not so, and with it each erasure of a key.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use tower_ward::store::{Durable, PostgresPlace, PostgresStore, StoreError};
///
/// async fn keys(url: &str) -> Result<Arc<dyn Durable>, StoreError> {
///     let place = PostgresPlace::new(url)?.with_schema("ward_keys")?;
///     Ok(Arc::new(PostgresStore::open(&place).await?))
/// }
/// // A server that is not there is an error, and not a store in memory.
/// let nowhere = keys("postgres://ward@localhost/ward?host=/nowhere").await;
/// assert!(matches!(nowhere, Err(StoreError::Unavailable(_))));
/// assert!(matches!(keys("keys.sqlite").await, Err(StoreError::Place { setting: "url", .. })));
/// # Ok(()) }
/// ```
///
/// # Security
///
/// Whoever may log in as the role can read, change and remove every entry; who owns the tables, is a superuser, or reads the disk
/// too. Promised: nobody else does through this store, no name or `after` reaches another statement or prefix, and no error or
/// `Debug` shows the URL or a value. Not promised: secrecy from the server. Keys are wrapped before they get here.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    place: Arc<PostgresPlace>,
    clock: SharedClock,
    scrubs: Arc<Scrubs>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the store at `place`, whose tables are there, on the machine's clock.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or the place is not fit to hold a store.
    pub async fn open(place: &PostgresPlace) -> Result<Self, StoreError> {
        Self::open_with_clock(place, SystemClock::shared()).await
    }

    /// Opens the store and reads the time from this clock.
    ///
    /// # Errors
    ///
    /// As [`open`](PostgresStore::open).
    pub async fn open_with_clock(place: &PostgresPlace, clock: SharedClock) -> Result<Self, StoreError> {
        within(PATIENCE, examine::examine(place)).await?;
        let pool = PgPoolOptions::new().max_connections(place.connections.get()).acquire_timeout(ACQUIRE);
        let pool = if place.pooled {
            pool
        } else {
            pool.after_connect(|conn, _| {
                Box::pin(async move { sqlx::raw_sql(conn::SESSION).execute(conn).await.map(drop) })
            })
        };
        let pool = pool.connect_lazy_with(place.options().clone());
        Ok(Self { pool, place: Arc::new(place.clone()), clock, scrubs: Arc::default() })
    }

    /// Closes the connections once running calls have ended. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    async fn begin(&self, what: For) -> Result<Held, StoreError> {
        Held::begin(self.pool.acquire().await.map_err(failed)?, &self.place, what).await
    }

    /// What one statement finds.
    async fn read(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
        if self.place.pooled {
            let mut tx = self.begin(For::Reading).await?;
            let rows = tx.fetch(query).await?;
            tx.roll_back().await;
            return Ok(rows);
        }
        let mut conn = Held::without(self.pool.acquire().await.map_err(failed)?);
        let rows = conn.fetch(query).await?;
        conn.put_back();
        Ok(rows)
    }
}

/// Clears away up to 16 expired entries besides.
const INSERT: &str = "
    with next as (update {schema}.versions set last = last + 1 returning last),
        swept as (delete from {schema}.objects where name in (
            select name from {schema}.objects where expires <= $4 and name <> $1 order by expires limit 16))
    insert into {schema}.objects as there (name, value, version, expires) select $1, $2, last, $3 from next
    on conflict (name) do update set value = excluded.value, version = excluded.version, expires = excluded.expires
    where there.expires <= $4";

const SWAP: &str = "
    with next as (update {schema}.versions set last = last + 1 returning last)
    update {schema}.objects set value = $3, version = last, expires = $4 from next
    where name = $1 and version = $2 and (expires is null or expires > $5)";

const TAKE_OVER: &str = "
    with next as (update {schema}.versions set last = last + cardinality($1) returning last - cardinality($1) as before)
    insert into {schema}.objects (name, value, version, expires)
    select entry.name, entry.value, before + place, null
    from next, unnest($1, $2) with ordinality as entry (name, value, place)
    on conflict (name) do update set value = excluded.value, version = excluded.version, expires = null";

impl Durable for PostgresStore {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            let statement = "select value, version, expires from {schema}.objects \
                             where name = $1 and (expires is null or expires > $2)";
            let rows = self.read(self.place.query(statement).bind(name.as_str()).bind(self.now())).await?;
            rows.first().map(entry).transpose()
        }))
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            check_value(value)?;
            let mut turn = self.begin(For::Writing).await?;
            let insert = self.place.query(INSERT).bind(name.as_str()).bind(value).bind(expires.map(micros));
            let written = turn.execute(insert.bind(self.now())).await?;
            turn.finish(written).await
        }))
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            check_value(value)?;
            let Ok(version) = i64::try_from(version) else { return Ok(false) };
            let mut turn = self.begin(For::Writing).await?;
            let swap = self.place.query(SWAP).bind(name.as_str()).bind(version).bind(value).bind(expires.map(micros));
            let written = turn.execute(swap.bind(self.now())).await?;
            turn.finish(written).await
        }))
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            let mut tx = self.begin(For::Removing).await?;
            let delete = self.place.query("delete from {schema}.objects where name = $1 returning expires");
            let removed = tx.fetch(delete.bind(name.as_str())).await?;
            let Some(row) = removed.first() else { return tx.finish(0).await };
            let expires: Option<i64> = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
            let live = expires.is_none_or(|expires| self.now() < expires);
            tx.commit().await?;
            Ok(live)
        }))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            check_page(limit)?;
            let statement = "select value, version, expires, name from {schema}.objects \
                             where name > $1 and name < $2 and (expires is null or expires > $3) order by name limit $4";
            let list = self.place.query(statement).bind(ascii(&prefix.start(after))).bind(prefix.end());
            let rows = self.read(list.bind(self.now()).bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
            rows.iter()
                .map(|row| {
                    let name: &str = row.try_get(3).map_err(|_| StoreError::Corrupt)?;
                    let key = name.strip_prefix(prefix.as_str()).ok_or(StoreError::Corrupt)?;
                    Ok((key.to_owned(), entry(row)?))
                })
                .collect()
        }))
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            check_page(limit)?;
            let Ok(version) = i64::try_from(version) else { return Ok(Vec::new()) };
            let statement = "select value, version, expires, name from {schema}.objects \
                             where version > $1 and (expires is null or expires > $2) order by version limit $3";
            let since = self.place.query(statement).bind(version).bind(self.now());
            let rows = self.read(since.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
            rows.iter()
                .map(|row| {
                    let name: &str = row.try_get(3).map_err(|_| StoreError::Corrupt)?;
                    Ok((ObjectName::stored(name).ok_or(StoreError::Corrupt)?, entry(row)?))
                })
                .collect()
        }))
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            let rows = self.read(self.place.query("select last from {schema}.versions")).await?;
            let [row] = &rows[..] else { return Err(StoreError::Corrupt) };
            let last: i64 = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
            u64::try_from(last).map_err(|_| StoreError::Corrupt)
        }))
    }

    fn take_over<'a>(
        &'a self,
        (mark, version, value): (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(within(PATIENCE, async move {
            check_value(value)?;
            entries.iter().try_for_each(|(_, value)| check_value(value))?;
            // One statement writes no row twice: of two entries of one name the later counts.
            let all: Vec<_> =
                entries.iter().map(|(name, value)| (name, value.as_slice())).chain([(mark, value)]).collect();
            let last: std::collections::HashMap<_, _> =
                all.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
            let (names, values): (Vec<_>, Vec<_>) = all
                .into_iter()
                .enumerate()
                .filter(|(i, (name, _))| last[name] == *i)
                .map(|(_, (name, value))| (name.as_str(), value))
                .unzip();
            let mut turn = self.begin(For::Writing).await?;
            let there = "select version from {schema}.objects where name = $1 and (expires is null or expires > $2)";
            let there = turn.fetch(self.place.query(there).bind(mark.as_str()).bind(self.now())).await?;
            let there: Option<i64> =
                there.first().map(|row| row.try_get(0)).transpose().map_err(|_| StoreError::Corrupt)?;
            if there.map(u64::try_from).transpose().map_err(|_| StoreError::Corrupt)? != version {
                return turn.finish(0).await;
            }
            let written = turn.execute(self.place.query(TAKE_OVER).bind(names).bind(values)).await?;
            turn.finish(written).await
        }))
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.scrubs.share(within(SCRUBBING, async move {
            let mut tx = self.begin(For::Scrubbing).await?;
            // Asked each time: it may have been turned on since.
            examine::check_archive(&self.place, tx.conn()).await?;
            tx.fetch(self.place.query("select {schema}.scrub()")).await?;
            tx.commit().await
        })))
    }
}

/// A bound that PostgreSQL takes, which has all names at the side where the text has them: those are of ASCII without NUL and
/// DEL.
fn ascii(text: &str) -> String {
    let good = text.find(|c: char| !matches!(c, '\x01'..='\x7e')).unwrap_or(text.len());
    let (good, rest) = text.split_at(good);
    // No name goes on with a NUL, so all that go on are after it; and all are before what begins beyond ASCII.
    if rest.is_empty() || rest.starts_with('\0') { good.to_owned() } else { format!("{good}\x7f") }
}

fn entry(row: &PgRow) -> Result<Entry, StoreError> {
    let value: Vec<u8> = row.try_get(0).map_err(|_| StoreError::Corrupt)?;
    let version: i64 = row.try_get(1).map_err(|_| StoreError::Corrupt)?;
    let expires: Option<i64> = row.try_get(2).map_err(|_| StoreError::Corrupt)?;
    Ok(Entry {
        value,
        version: u64::try_from(version).map_err(|_| StoreError::Corrupt)?,
        expires: expires.map(from_micros).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever `after` is, PostgreSQL starts where a comparison of bytes does.
        #[test]
        fn a_bound_has_every_name_at_its_side(text in "[\\x00-\\x02a-c\\x7eé\\x7f]{0,6}", name in "[a-c\\x7e]{0,6}") {
            let bound = ascii(&text);
            proptest::prop_assert!(bound.is_ascii() && !bound.contains('\0'));
            proptest::prop_assert_eq!(name.as_str() > bound.as_str(), name.as_str() > text.as_str(), "{:?}", text);
        }
    }
}
