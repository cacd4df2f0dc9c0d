//! PostgreSQL as the ledger's home: many nodes write one ledger.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    PostgresLedger, Row,
    conn::{Conn, PATIENCE},
};
use crate::{
    audit::{
        ledger::{
            Head,
            home::{Draft, Home, HomeError, Link, Places},
        },
        record::{Dropped, Hash, Record},
    },
    entropy,
};

/// The writer's connection.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) conn: Conn,
    place: PostgresLedger,
    node: Uuid,
    /// The batch as it is placed now, while it is not known to be there: the same on every try, so that none is there twice.
    sent: Option<Uuid>,
}

impl Table {
    pub(super) fn new(conn: Conn, place: PostgresLedger, node: Uuid) -> Self {
        Self { conn, place, node, sent: None }
    }

    /// Whether the batch is there, whose answer may have been lost.
    fn arrived(&mut self) -> Result<bool, HomeError> {
        let Some(id) = self.sent else { return Ok(false) };
        let statement = self.place.statement("select count(*) from {schema}.batches where id = $1");
        let found: i64 =
            self.conn.run(PATIENCE, async |conn| sqlx::query_scalar(statement).bind(id).fetch_one(conn).await)?;
        Ok(found > 0)
    }
}

/// The next record, written by another node.
fn follow(places: &mut Places, row: &Row) -> Result<(), HomeError> {
    let changed = || HomeError::Changed { index: row.index };
    if let Ok(left) = Dropped::from_bytes(&row.bytes) {
        // Retention was faster than this node.
        let sequence = places.chains.get(&left.stream).map_or(0, |link| link.sequence + 1);
        if left.index != places.tree.size() || left.sequence != sequence || !row.is_itself() {
            return Err(changed());
        }
        places.tree.push(left.hash);
        places.last = Some(left.hash);
        places.chains.insert(left.stream, Link { sequence: left.sequence, hash: left.hash });
        return Ok(());
    }
    let record = Record::from_bytes(&row.bytes).map_err(|_| changed())?;
    let (sequence, previous) =
        places.chains.get(&record.stream).map_or((0, [0; 32]), |link| (link.sequence + 1, link.hash));
    let follows = row.is_itself() && record.index == places.tree.size();
    if !follows || record.sequence != sequence || record.previous != previous {
        return Err(changed());
    }
    places.tree.push(row.hash);
    places.last = Some(row.hash);
    places.chains.insert(record.stream, Link { sequence, hash: row.hash });
    Ok(())
}

/// A batch as the function `append` takes it.
struct Sent<'d> {
    before: Head,
    follows: Option<Hash>,
    streams: Vec<&'d str>,
    sequences: Vec<i64>,
    hashes: Vec<&'d [u8]>,
    bodies: Vec<&'d [u8]>,
}

impl<'d> Sent<'d> {
    fn of(draft: &'d Draft) -> Self {
        Self {
            before: draft.before(),
            follows: draft.follows(),
            streams: draft.records().iter().map(|record| record.stream.as_str()).collect(),
            sequences: draft.records().iter().map(|record| signed(record.sequence)).collect(),
            hashes: draft.hashes().iter().map(Hash::as_slice).collect(),
            bodies: draft.encoded().collect(),
        }
    }

    async fn append(
        self,
        place: &PostgresLedger,
        ids: (Uuid, Uuid),
        conn: &mut PgConnection,
    ) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(place.statement(APPEND))
            .bind(signed(self.before.size()))
            .bind(self.follows.map(Vec::from))
            .bind(ids.0)
            .bind(ids.1)
            .bind(self.before.root().as_slice())
            .bind(self.streams)
            .bind(self.sequences)
            .bind(self.hashes)
            .bind(self.bodies)
            .fetch_one(conn)
            .await
    }
}

impl Table {
    /// Behind what others write meanwhile: nobody else has a turn until it is done.
    fn store_in_turn(&mut self, draft: &mut Draft, places: &mut Places) -> Result<(), HomeError> {
        let Self { conn, place, node, sent } = self;
        draft.unplace(places);
        let stored = conn.run(PATIENCE, async |conn| {
            let mut turn = conn.begin().await?;
            sqlx::query(place.statement("select {schema}.hold()")).execute(&mut *turn).await?;
            loop {
                let rows = place.rows(&mut turn, places.tree.size(), i64::MAX).await?;
                if rows.is_empty() {
                    break;
                }
                for row in &rows {
                    if let Err(error) = follow(places, row) {
                        return Ok(Err(error));
                    }
                }
            }
            draft.replace(places);
            let id = *sent.insert(Uuid::from_bytes(entropy::array()));
            let size = Sent::of(draft).append(place, (id, *node), &mut turn).await?;
            turn.commit().await?;
            Ok(Ok(size == signed(draft.before().size())))
        });
        if !draft.is_placed() {
            draft.replace(places);
        }
        if stored?? {
            self.sent = None;
            return Ok(());
        }
        Err(HomeError::Changed { index: draft.before().size() })
    }
}

impl Table {
    /// Reads what others wrote since. Rows are there in whole batches, and for good.
    fn catch_up(&mut self, places: &mut Places) -> Result<(), HomeError> {
        let Self { conn, place, .. } = self;
        loop {
            let from = places.tree.size();
            let rows = conn.run(PATIENCE, async |conn| place.rows(conn, from, i64::MAX).await)?;
            if rows.is_empty() {
                return Ok(());
            }
            rows.iter().try_for_each(|row| follow(places, row))?;
        }
    }
}

/// Between two signs of life of a node that has nothing to write.
const ALIVE: Duration = Duration::from_secs(5);

impl Home for Table {
    fn every(&self) -> Option<Duration> {
        Some(ALIVE)
    }

    fn refresh(&mut self, places: &mut Places) -> Result<(), HomeError> {
        match self.catch_up(places) {
            // A session that has broken is made anew, and holds the lock by which others know that this node lives.
            Err(HomeError::Sql(_)) => self.catch_up(places),
            done => done,
        }
    }

    fn store(&mut self, draft: &mut Draft, places: &mut Places) -> Result<(), HomeError> {
        if self.arrived()? {
            self.sent = None;
            return Ok(());
        }
        let id = *self.sent.get_or_insert_with(|| Uuid::from_bytes(entropy::array()));
        let Self { conn, place, node, .. } = self;
        let size = conn.run(PATIENCE, async |conn| Sent::of(draft).append(place, (id, *node), conn).await)?;
        let known = signed(draft.before().size());
        // Behind its own earlier try, which was still on its way when it was looked for.
        if size == known || self.arrived()? {
            self.sent = None;
            return Ok(());
        }
        if size < known {
            // The table was put back to an older state, or the last record is another one.
            return Err(HomeError::Changed { index: u64::try_from(size).unwrap_or_default() });
        }
        self.sent = None;
        self.store_in_turn(draft, places)
    }

    fn keep_checkpoint(&mut self, note: &str, head: Head) -> Result<(), HomeError> {
        let statement = self.place.statement(SIGN);
        let size = signed(head.size());
        self.conn.run(PATIENCE, async |conn| sqlx::query(statement).bind(size).bind(note).execute(conn).await)?;
        Ok(())
    }
}

/// Arguments: records before, the last one's hash, ids of batch and node, root before, chains, numbers, hashes, bytes.
pub(super) const APPEND: &str = "select {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// Arguments: records, text.
pub(super) const SIGN: &str = "select {schema}.sign($1, $2)";

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).expect("a ledger has fewer than 2^63 records")
}
