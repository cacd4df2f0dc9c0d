//! A real PostgreSQL server with a ledger, started in a folder of its own by the tests and by `benches`.

#[path = "cluster.rs"]
#[allow(dead_code, reason = "each who starts a server has uses of its own")]
pub(crate) mod cluster;

use std::ops::Deref;

use cluster::Cluster;
use tower_ward::audit::PostgresLedger;

/// The role that the ledger logs in as.
const WRITER: &str = "writer";

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Postgres(Cluster);

impl Deref for Postgres {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Postgres {
    /// A server with an empty ledger. `durable` says whether it syncs, which a ledger asks for.
    pub(crate) fn start() -> Self {
        Self::start_with(true)
    }

    pub(crate) fn start_with(durable: bool) -> Self {
        let server = Self(Cluster::start(if durable { &[] } else { &["fsync=off"] }));
        let script = server.place().schema(WRITER).unwrap();
        server.run_as("keeper", &script);
        server
    }

    /// Where the ledger is.
    pub(crate) fn place(&self) -> PostgresLedger {
        PostgresLedger::new(&self.url(WRITER)).unwrap()
    }

    /// The same for a role.
    pub(crate) fn place_as(&self, role: &str) -> PostgresLedger {
        PostgresLedger::new(&self.url(role)).unwrap()
    }

    /// Runs statements as the superuser with the ledger's own guards off, as an attacker who owns the database would.
    pub(crate) fn forge(&self, statements: &str) {
        self.sql(&format!("set session_replication_role = replica; {statements}"));
    }
}
