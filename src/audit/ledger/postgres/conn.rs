//! A connection that a thread without a runtime waits for.

use std::{io, time::Duration};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::runtime::{Builder, Runtime};

/// How long one statement may take; a server that does not answer is a disk that does not write.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, made when it is needed and thrown away after any error.
pub(super) struct Conn {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    options: PgConnectOptions,
    live: Option<PgConnection>,
    /// A lock of the session that says that this node lives.
    node: Option<i64>,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("live", &self.live.is_some()).finish_non_exhaustive()
    }
}

impl Conn {
    /// Must be used outside any runtime, or on a thread that may block.
    pub(super) fn new(options: PgConnectOptions, node: Option<i64>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime: Some(runtime), options, live: None, node })
    }

    /// Does some work on the connection within the time.
    pub(super) fn run<T>(
        &mut self,
        patience: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let Self { runtime, options, live, node } = self;
        let runtime = runtime.as_ref().expect("it is there until it is dropped");
        let done = runtime.block_on(async {
            let task = async {
                if live.is_none() {
                    *live = Some(connect(options, *node).await?);
                }
                let conn = live.as_mut().expect("it was made above");
                work(conn).await
            };
            tokio::time::timeout(patience, task).await
        });
        let done = done.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())));
        if done.is_err() {
            // Half of an answer may still be on its way.
            *live = None;
        }
        done
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let (Some(runtime), live) = (self.runtime.take(), self.live.take()) else { return };
        // The last handle of a ledger may be dropped by a task, which must not block.
        if let (Some(live), Err(_)) = (live, tokio::runtime::Handle::try_current()) {
            // Not closed, it is noticed by the server only later.
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(1), live.close()).await });
        }
        runtime.shutdown_background();
    }
}

async fn connect(options: &PgConnectOptions, node: Option<i64>) -> Result<PgConnection, sqlx::Error> {
    let mut conn = PgConnection::connect_with(options).await?;
    // Whatever the role's or the database's default is: an answer means that the disk has it.
    sqlx::query("set synchronous_commit = on").execute(&mut conn).await?;
    // What this end has given up must not go on waiting at the other.
    sqlx::query("set statement_timeout = '60s'").execute(&mut conn).await?;
    if let Some(node) = node {
        sqlx::query("set statement_timeout = '9s'").execute(&mut conn).await?;
        // Shared: the session before this one may not have ended yet at the server.
        sqlx::query("select pg_advisory_lock_shared($1)").bind(node).execute(&mut conn).await?;
    }
    Ok(conn)
}
