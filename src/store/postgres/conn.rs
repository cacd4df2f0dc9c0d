//! A connection, and what is known of its transaction.

use std::{io, time::Duration};

use sqlx::{
    PgConnection, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{super::StoreError, place::PostgresPlace};

/// How long to wait for a connection.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);
/// How long one call may take, waiting for a connection and for its turn included. The server gives up before.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The same for a scrub.
pub(super) const SCRUBBING: Duration = Duration::from_secs(75);

/// For the transaction alone, and so with a pooler too. Whatever the role's or the database's default is: an answer means that
/// the disk has it; what this end has given up does not go on waiting at the other, or keep others from their turn.
const WRITE: &str = "begin isolation level read committed read write;
    set local synchronous_commit = on;
    set local lock_timeout = '4s';
    set local statement_timeout = '5s';
    set local idle_in_transaction_session_timeout = '5s';
    set local search_path = pg_catalog, pg_temp";
/// Comes back as a row, or nobody could write.
const TURN: &str = "; select last from {schema}.versions for update";
const READ: &str = "begin isolation level read committed read only;
    set local statement_timeout = '5s';
    set local idle_in_transaction_session_timeout = '5s';
    set local search_path = pg_catalog, pg_temp";
const SCRUB: &str = "; set local statement_timeout = '60s'";
/// Where each session is one's own.
pub(super) const SESSION: &str =
    "set synchronous_commit = on; set statement_timeout = '5s'; set search_path = pg_catalog, pg_temp";

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Looking.
    Reading,
    /// Removing.
    Removing,
    /// Giving out versions: one at a time.
    Writing,
    /// Writing all anew.
    Scrubbing,
}

impl For {
    /// How it begins: in one message, so that no answer is waited for in between.
    fn statements(self) -> String {
        match self {
            Self::Reading => READ.to_owned(),
            Self::Removing => WRITE.to_owned(),
            Self::Writing => format!("{WRITE}{TURN}"),
            Self::Scrubbing => format!("{WRITE}{SCRUB}"),
        }
    }
}

/// A transaction of a connection that goes back to its pool only if it is known to have ended.
///
/// Not the driver's: that one does not know of a transaction whose beginning was given up half-way, and would lend out the
/// connection with it.
pub(super) struct Held {
    conn: PoolConnection<Postgres>,
    at_rest: bool,
}

impl Held {
    pub(super) async fn begin(
        conn: PoolConnection<Postgres>,
        place: &PostgresPlace,
        what: For,
    ) -> Result<Self, StoreError> {
        let mut held = Self { conn, at_rest: false };
        let begin = sqlx::raw_sql(place.statement(&what.statements()));
        let rows = begin.fetch_all(&mut *held.conn).await.map_err(failed)?;
        if what == For::Writing && rows.len() != 1 {
            return Err(StoreError::Corrupt);
        }
        Ok(held)
    }

    /// One that has no transaction, for a single statement that reads.
    pub(super) fn without(conn: PoolConnection<Postgres>) -> Self {
        Self { conn, at_rest: false }
    }

    pub(super) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// How many rows a statement wrote.
    pub(super) async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, StoreError> {
        Ok(query.execute(self.conn()).await.map_err(failed)?.rows_affected())
    }

    pub(super) async fn fetch(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
        query.fetch_all(self.conn()).await.map_err(failed)
    }

    /// Commits if something was written.
    pub(super) async fn finish(self, written: u64) -> Result<bool, StoreError> {
        if written == 0 {
            self.roll_back().await;
            return Ok(false);
        }
        self.commit().await?;
        Ok(true)
    }

    /// An error says that it is unknown whether it took place.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("commit").execute(self.conn()).await.map_err(|error| StoreError::Unavailable(said(error)))?;
        self.at_rest = true;
        Ok(())
    }

    /// Without an answer, the connection is closed, and the server does the same.
    pub(super) async fn roll_back(mut self) {
        self.at_rest = sqlx::raw_sql("rollback").execute(self.conn()).await.is_ok();
    }

    /// There was no transaction, and the one answer has come.
    pub(super) fn put_back(mut self) {
        self.at_rest = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.at_rest {
            self.conn.close_on_drop();
        }
    }
}

/// Does something within the time, or says that it is unknown whether it was done.
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable(io::Error::from(io::ErrorKind::TimedOut).into())))
}

/// What the server said. Without its detail, which may show a row.
#[derive(Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
struct Said {
    code: String,
    message: String,
}

fn said(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error.as_database_error() {
        Some(said) => {
            let code = said.code().unwrap_or_default().into_owned();
            Said { code, message: said.message().to_owned() }.into()
        }
        None => error.into(),
    }
}

/// An error before anything was committed.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let locked = matches!(error, sqlx::Error::PoolTimedOut)
        || error.as_database_error().and_then(|said| said.code()).is_some_and(|code| {
            // Serialization failure, deadlock, too many connections, lock not available, cancelled, idle for too long.
            matches!(&*code, "40001" | "40P01" | "53300" | "55P03" | "57014" | "25P03")
        });
    if locked { StoreError::Busy } else { StoreError::Unavailable(said(error)) }
}
