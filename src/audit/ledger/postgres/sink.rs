//! A copy of a ledger in PostgreSQL.

use uuid::Uuid;

#[cfg(feature = "checkpoint")]
use super::scan::Rows;
use super::{
    PostgresLedger, READING, ROWS,
    conn::{Conn, PATIENCE},
    home::{APPEND, SIGN, signed},
};
#[cfg(feature = "checkpoint")]
use crate::audit::ledger::retention::{Pruned, Pruning};
use crate::{
    audit::{
        ledger::{
            Head, LedgerError,
            home::Batch,
            sink::{Sink, SinkError},
            tree::{self, Tree},
        },
        record::{Dropped, Hash, Record},
    },
    entropy,
};

/// A copy of the ledger in a PostgreSQL database, in the tables that a ledger in PostgreSQL has: [`verify_postgres`] reads
/// it.
///
/// [`verify_postgres`]: super::verify_postgres
///
/// ```no_run
/// use tower_ward::audit::{LedgerError, PostgresLedger, PostgresSink, Sinks};
///
/// # fn sinks() -> Result<Sinks, LedgerError> {
/// let place = PostgresLedger::new("postgres://ward_writer@archive.clinic.example/ward?sslmode=verify-full")?;
/// // On another machine, by a role that can only add: who owns this machine cannot take back what was done.
/// Ok(Sinks::new().add_required("archive", PostgresSink::new(&place)?))
/// # }
/// ```
#[derive(Debug)]
pub struct PostgresSink {
    conn: Conn,
    place: PostgresLedger,
    examined: bool,
    /// What was there when it last looked.
    tree: Tree,
    last: Option<Hash>,
    #[cfg(feature = "checkpoint")]
    pruning: Pruning,
}

impl PostgresSink {
    /// One that connects when it is first asked.
    ///
    /// # Errors
    ///
    /// If no thread's runtime can be made.
    pub fn new(place: &PostgresLedger) -> Result<Self, LedgerError> {
        let conn = Conn::new(place.options.clone(), None)
            .map_err(|source| LedgerError::Database { doing: "start a runtime", source: source.into() })?;
        Ok(Self {
            conn,
            place: place.clone(),
            examined: false,
            tree: Tree::default(),
            last: None,
            #[cfg(feature = "checkpoint")]
            pruning: Pruning::default(),
        })
    }
}

impl Sink for PostgresSink {
    fn held(&mut self) -> Result<Option<Head>, SinkError> {
        if !self.examined {
            self.place.examine(&mut self.conn)?;
            self.examined = true;
        }
        loop {
            let from = signed(self.tree.size());
            let statement =
                self.place.statement("select idx, hash from {schema}.records where idx >= $1 order by idx limit $2");
            let rows: Vec<(i64, Vec<u8>)> = self.conn.run(READING, async |conn| {
                sqlx::query_as(statement).bind(from).bind(ROWS * 16).fetch_all(conn).await
            })?;
            if rows.is_empty() {
                return Ok(Some(Head::of(&self.tree)));
            }
            for (index, hash) in rows {
                let hash: Hash = hash.try_into().map_err(|_| "a hash in the table is none")?;
                if index != signed(self.tree.size()) {
                    return Err("a record is missing in the table".into());
                }
                self.tree.push(hash);
                self.last = Some(hash);
            }
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let (mut streams, mut sequences, mut hashes, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for body in batch.records() {
            if Dropped::is(body) {
                let left = Dropped::from_bytes(body)?;
                streams.push(left.stream.as_str().to_owned());
                sequences.push(signed(left.sequence));
                hashes.push(left.hash);
                bodies.push(None);
                continue;
            }
            let record = Record::from_bytes(body)?;
            streams.push(record.stream.as_str().to_owned());
            sequences.push(signed(record.sequence));
            hashes.push(tree::leaf(body));
            bodies.push(Some(body));
        }
        if batch.before() != Head::of(&self.tree) {
            return Err("the batch does not go on where this copy ends".into());
        }
        let known = signed(batch.before().size());
        let follows = self.last.map(Vec::from);
        let leaves: Vec<&[u8]> = hashes.iter().map(Hash::as_slice).collect();
        let statement = self.place.statement(APPEND);
        let size = self.conn.run(PATIENCE, async |conn| {
            sqlx::query_scalar::<_, i64>(statement)
                .bind(known)
                .bind(follows)
                .bind(Uuid::from_bytes(entropy::array()))
                .bind(Uuid::nil())
                .bind(batch.before().root().as_slice())
                .bind(streams)
                .bind(sequences)
                .bind(leaves)
                .bind(bodies)
                .fetch_one(conn)
                .await
        })?;
        if size != known {
            return Err("the batch does not go on where this copy ends".into());
        }
        for hash in hashes {
            self.tree.push(hash);
            self.last = Some(hash);
        }
        Ok(())
    }

    #[cfg(feature = "checkpoint")]
    fn prune(&mut self, pruned: &Pruned) -> Result<(), SinkError> {
        self.pruning.start(Box::new(Rows::open(&self.place)?), pruned, None, || ())
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), SinkError> {
        let statement = self.place.statement(SIGN);
        let size = signed(self.tree.size());
        self.conn.run(PATIENCE, async |conn| sqlx::query(statement).bind(size).bind(note).execute(conn).await)?;
        Ok(())
    }
}
