//! Transactions that need an opened door.

use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{Db, DbError};
use crate::{
    access::Authority,
    audit::{self, Action, Attempt, Trail, TrailError},
    id::RowId,
};

/// A transaction could not begin or commit. Nothing was changed, unless the kind says that it is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TxError {
    /// The clinic's file.
    #[error(transparent)]
    Db(#[from] DbError),
    /// No record can be made, so nothing is changed.
    #[error("no record of the change can be made now, so nothing is changed")]
    Trail(#[from] TrailError),
    /// The commit was refused by the database; the change was rolled back.
    #[error("the database refused the commit; nothing was changed")]
    RolledBack,
    /// Whether the commit took effect is not known: the disk failed in the middle of it. The ledger says so, and the next
    /// start settles it.
    #[error("it is not known whether the change took effect; it will be settled from the database")]
    Unknown,
}

impl From<sqlx::Error> for TxError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(DbError::Sqlite(error))
    }
}

/// What a transaction is about to change, for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    action: Action,
    entity: &'static str,
    row: Option<RowId>,
}

impl Change {
    /// A new row of this table.
    #[must_use]
    pub const fn create(entity: &'static str, row: RowId) -> Self {
        Self { action: Action::Create, entity, row: Some(row) }
    }

    /// An existing row of this table.
    #[must_use]
    pub const fn update(entity: &'static str, row: RowId) -> Self {
        Self { action: Action::Update, entity, row: Some(row) }
    }

    /// A row of this table that will be gone.
    #[must_use]
    pub const fn delete(entity: &'static str, row: RowId) -> Self {
        Self { action: Action::Delete, entity, row: Some(row) }
    }

    /// Many new rows of this table at once, such as an import.
    #[must_use]
    pub const fn import(entity: &'static str) -> Self {
        Self { action: Action::Create, entity, row: None }
    }
}

/// A transaction that reads. Its connection is read-only.
#[derive(Debug)]
pub struct ReadTx {
    tx: Transaction<'static, Sqlite>,
}

impl ReadTx {
    /// The connection, for the application's queries.
    pub fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }
}

/// A transaction that changes one clinic's data. Dropped without [`commit`](Self::commit), it rolls back.
#[derive(Debug)]
#[must_use = "a transaction that is not committed rolls back"]
pub struct TenantTx {
    tx: Transaction<'static, Sqlite>,
    attempt: Attempt,
    trail: Trail,
    readers: sqlx::SqlitePool,
}

impl Db {
    /// Begins a transaction that reads, in the clinic of the door that was opened.
    ///
    /// # Errors
    ///
    /// [`TxError::Db`] if the clinic's file cannot be read; [`TxError::Trail`] once the request has ended.
    pub async fn read(&self, by: &impl Authority) -> Result<ReadTx, TxError> {
        let facts = by.facts();
        if facts.trail.is_closed() {
            return Err(TrailError::Closed.into());
        }
        let file = self.file(&facts.tenant).await?;
        Ok(ReadTx { tx: file.readers.begin().await? })
    }

    /// Begins a transaction that changes what `change` says, in the clinic of the door that was opened. The record of
    /// the attempt is enqueued before this returns.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if no record can be made now; [`TxError::Db`] if the clinic's file cannot be written.
    pub async fn change(&self, by: &impl Authority, change: Change) -> Result<TenantTx, TxError> {
        let facts = by.facts();
        if facts.trail.is_closed() {
            return Err(TrailError::Closed.into());
        }
        let file = self.file(&facts.tenant).await?;
        let mut tx = file.writer.begin_with("BEGIN IMMEDIATE").await?;
        let subject = by.subject_id();
        let attempt = facts.trail.attempt(audit::Change {
            action: change.action,
            permission: by.permission(),
            entity: change.entity,
            subjects: subject.as_slice(),
            row: change.row,
            purpose: None,
            why: by.why().to_owned(),
        })?;
        sqlx::query("insert into ward_attempts (id) values (?)")
            .bind(attempt.id().as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        Ok(TenantTx { tx, attempt, trail: facts.trail.clone(), readers: file.readers.clone() })
    }
}

impl TenantTx {
    /// The connection, for the application's statements.
    pub fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// Waits until every record of the request so far is durable, then commits.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if the records cannot be made durable: nothing was changed then. [`TxError::RolledBack`] and
    /// [`TxError::Unknown`] if the database failed.
    pub async fn commit(self) -> Result<(), TxError> {
        self.trail.settled().await?;
        let Self { tx, attempt, readers, .. } = self;
        // In a task of its own: whoever drops the request's future must not stop a commit half-way.
        let commit = tokio::spawn(async move {
            let attempt = Sent(Some(attempt));
            let Err(error) = tx.commit().await else {
                attempt.ended(Attempt::committed);
                return Ok(());
            };
            let found = sqlx::query("select 1 from ward_attempts where id = ?")
                .bind(attempt.id())
                .fetch_optional(&readers)
                .await;
            match found {
                Ok(Some(_)) => {
                    attempt.ended(Attempt::committed);
                    Ok(())
                }
                Ok(None) if is_undone(&error) => {
                    attempt.ended(Attempt::rolled_back);
                    Err(TxError::RolledBack)
                }
                _ => Err(TxError::Unknown),
            }
        });
        commit.await.unwrap_or(Err(TxError::Unknown))
    }
}

/// An attempt whose commit was sent. Dropped without a word, as by a runtime that ends, nobody knows how it ended.
struct Sent(Option<Attempt>);

impl Sent {
    fn id(&self) -> Vec<u8> {
        self.0.iter().flat_map(|attempt| attempt.id().as_bytes().to_vec()).collect()
    }

    fn ended(mut self, how: impl FnOnce(Attempt)) {
        if let Some(attempt) = self.0.take() {
            how(attempt);
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(attempt) = self.0.take() {
            attempt.unknown();
        }
    }
}

/// Whether a commit that failed so leaves nothing in the write-ahead log that a crash could bring back.
///
/// One whose sync failed stands in the log whole. SQLite shows it to nobody, and writes the next commit over it; but a
/// process that dies before that leaves it to the next start, which takes it for committed.
fn is_undone(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    const FULL: u32 = 13;
    const CONSTRAINT: u32 = 19;
    let code = error.as_database_error().and_then(|error| error.code());
    // The primary code is the lowest byte: https://www.sqlite.org/rescode.html#extrc
    let code = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    matches!(code, Some(BUSY | FULL | CONSTRAINT))
}
