//! PostgreSQL as the ledger's home: many nodes write one ledger.

use uuid::Uuid;

use super::{
    PostgresLedger,
    conn::{Conn, PATIENCE},
};
use crate::{
    audit::{
        ledger::{
            Head,
            home::{Draft, Home, HomeError, Link, Places},
            tree,
        },
        record::{Hash, Record},
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

    /// Takes note of what other nodes wrote since.
    fn follow(&mut self, places: &mut Places) -> Result<(), HomeError> {
        loop {
            let rows = self.place.records_from(&mut self.conn, places.tree.size(), i64::MAX)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                follow(places, row.index, &row.record)?;
            }
        }
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
fn follow(places: &mut Places, index: u64, bytes: &[u8]) -> Result<(), HomeError> {
    let changed = || HomeError::Changed { index };
    let record = Record::from_bytes(bytes).map_err(|_| changed())?;
    let (sequence, previous) =
        places.chains.get(&record.stream).map_or((0, [0; 32]), |link| (link.sequence + 1, link.hash));
    let follows = record.index == places.tree.size() && index == record.index;
    if !follows || record.sequence != sequence || record.previous != previous {
        return Err(changed());
    }
    let hash = tree::leaf(bytes);
    places.tree.push(hash);
    places.chains.insert(record.stream, Link { sequence, hash });
    Ok(())
}

impl Home for Table {
    fn store(&mut self, draft: &mut Draft, places: &mut Places) -> Result<(), HomeError> {
        if self.arrived()? {
            self.sent = None;
            return Ok(());
        }
        loop {
            let id = *self.sent.get_or_insert_with(|| Uuid::from_bytes(entropy::array()));
            let before = draft.before();
            let (node, known) = (self.node, signed(before.size()));
            let streams: Vec<&str> = draft.records().iter().map(|record| record.stream.as_str()).collect();
            let sequences: Vec<i64> = draft.records().iter().map(|record| signed(record.sequence)).collect();
            let hashes: Vec<&[u8]> = draft.hashes().iter().map(Hash::as_slice).collect();
            let bodies: Vec<&[u8]> = draft.encoded().collect();
            let statement = self.place.statement("select {schema}.append($1, $2, $3, $4, $5, $6, $7, $8)");
            let size = self.conn.run(PATIENCE, async |conn| {
                sqlx::query_scalar::<_, i64>(statement)
                    .bind(known)
                    .bind(id)
                    .bind(node)
                    .bind(before.root().as_slice())
                    .bind(streams)
                    .bind(sequences)
                    .bind(hashes)
                    .bind(bodies)
                    .fetch_one(conn)
                    .await
            })?;
            // Behind its own earlier try, which was still on its way when it was looked for.
            if size == known || self.arrived()? {
                self.sent = None;
                return Ok(());
            }
            if size < known {
                return Err(HomeError::Changed { index: u64::try_from(size).unwrap_or_default() });
            }
            self.sent = None;
            draft.unplace(places);
            let followed = self.follow(places);
            draft.replace(places);
            followed?;
        }
    }

    fn keep_checkpoint(&mut self, note: &str, head: Head) -> Result<(), HomeError> {
        let statement = self.place.statement("update {schema}.checkpoint set size = $1, note = $2 where size <= $1");
        let size = signed(head.size());
        self.conn.run(PATIENCE, async |conn| sqlx::query(statement).bind(size).bind(note).execute(conn).await)?;
        Ok(())
    }
}

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).expect("a ledger has fewer than 2^63 records")
}
