//! What keeps a statement from ending its transaction by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqlitePoolOptions};

use crate::audit::AttemptId;

/// Lets the one connection that writes commit, once for each time it is lifted.
///
/// The application's statements reach the connection as text, and `'; commit; --` in one of them would end the
/// transaction before its record is durable, with an outcome in the ledger that is not so. SQLite asks the latch at
/// every commit, the implicit ones included, and turns a refused one into a rollback.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<AtomicBool>);

/// A lifted latch. Falls when it is dropped, if no commit made it fall before.
pub(super) struct Lifted<'a>(&'a Latch);

impl Drop for Lifted<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

impl Latch {
    /// Lets the next commit pass.
    pub(super) fn lift(&self) -> Lifted<'_> {
        self.0.store(true, Ordering::Release);
        Lifted(self)
    }

    /// A pool each of whose connections asks this latch.
    pub(super) fn guard(&self, pool: SqlitePoolOptions) -> SqlitePoolOptions {
        let latch = self.clone();
        pool.after_connect(move |conn, _| {
            let latch = latch.clone();
            Box::pin(async move {
                conn.lock_handle().await?.set_commit_hook(move || latch.0.swap(false, Ordering::AcqRel));
                Ok(())
            })
        })
        // A statement may also have left something on the connection for whoever has it next; and the driver does not
        // know of a transaction that ended without it. Such a connection is closed.
        .after_release(|conn, _| Box::pin(async move { Ok(is_clean(conn).await? && !conn.is_in_transaction()) }))
    }
}

/// Whether no other file is attached, and nothing temporary stands before the clinic's own tables.
async fn is_clean(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select not exists (select 1 from pragma_database_list where name not in ('main', 'temp'))
            and not exists (select 1 from temp.sqlite_schema)",
    )
    .fetch_one(conn)
    .await
}

/// Whether this is still the transaction that the attempt was written in, and it touches no file but its own.
pub(super) async fn is_whole(conn: &mut SqliteConnection, attempt: AttemptId) -> Result<bool, sqlx::Error> {
    let written: bool = sqlx::query_scalar("select exists (select 1 from main.ward_attempts where id = ?)")
        .bind(attempt.as_bytes().to_vec())
        .fetch_one(&mut *conn)
        .await?;
    Ok(written && is_clean(conn).await?)
}
