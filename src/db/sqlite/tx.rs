//! Transactions that need an opened door.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, Transaction};

use super::{
    Db,
    changes::changes,
    latch::{self, Allowed, Latch},
    relations,
};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor, Owner, Relations},
    audit::{Action, Attempt, AttemptId, Trail, TrailError},
    clock::Timestamp,
    db::{
        Change, TxError,
        change::{Door, kind},
        relation::Row,
        seal::Sealer,
    },
    id::{SubjectId, TenantId, UserId},
    keys::TenantKey,
};

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
    before: sqlx::SqlitePool,
    latch: Latch,
    /// As the transaction found them.
    tables: String,
    /// For the MAC of a relation. An erasure has none, and makes none.
    key: Option<Arc<TenantKey>>,
    /// Whose relation this transaction was begun to change, to whom.
    relation: Option<(SubjectId, UserId, Relations)>,
    tenant: TenantId,
    /// An erasure has none: it states nothing.
    owner: Option<Owner>,
}

impl Db {
    /// Begins a transaction that reads, in the clinic of the door that was opened.
    ///
    /// # Errors
    ///
    /// [`TxError::Db`] if the clinic's file cannot be read; [`TxError::Trail`] once the request has ended, and in the
    /// handler of another.
    pub async fn read(&self, by: &impl Authority) -> Result<ReadTx, TxError> {
        let facts = by.facts();
        facts.trail.may_open()?;
        let file = self.file(&facts.tenant).await?;
        Ok(ReadTx { tx: file.readers.begin().await? })
    }

    /// Begins a transaction that changes what `change` says, in the clinic of the door that was opened. The record of
    /// the attempt is enqueued before this returns.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if no record can be made now; [`TxError::Db`] if the clinic's file cannot be written.
    pub async fn change(&self, by: &impl ChangeDoor, change: Change) -> Result<TenantTx, TxError> {
        self.begin(Door::of(by), change).await
    }

    /// Begins the transaction of an erasure, which has ended what the library keeps of the person: their relations, and the
    /// blind indexes of their values.
    pub(super) async fn erase(&self, by: &ErasureDoor) -> Result<TenantTx, TxError> {
        let mut tx = self.begin(Door::erasing(by), Change::erasure()).await?;
        let file = self.file(&by.facts.tenant).await?;
        for index in &file.indexes {
            sqlx::query(AssertSqlSafe(index.forget.as_str())).bind(by.subject).execute(tx.conn()).await?;
        }
        let by_library = tx.latch.by_library();
        sqlx::query("delete from main.ward_relations where subject = ?").bind(by.subject).execute(&mut *tx.tx).await?;
        sqlx::query("insert or ignore into main.ward_erased (subject) values (?)")
            .bind(by.subject)
            .execute(&mut *tx.tx)
            .await?;
        drop(by_library);
        Ok(tx)
    }

    /// Begins the transaction in which a person's values are sealed anew.
    pub(super) async fn reseal(&self, by: &impl ChangeDoor) -> Result<TenantTx, TxError> {
        self.change(by, Change::reseal()).await
    }

    async fn begin(&self, by: Door<'_>, change: Change) -> Result<TenantTx, TxError> {
        let facts = by.facts;
        facts.trail.may_open()?;
        let file = self.file(&facts.tenant).await?;
        let mut tx = file.writer.begin_with("BEGIN IMMEDIATE").await?;
        // A door that was open when its person was erased, in whatever process: it must not put back what was taken away.
        let erased: bool = sqlx::query_scalar("select exists (select 1 from main.ward_erased where subject = ?)")
            .bind(by.subject)
            .fetch_one(&mut *tx)
            .await?;
        if erased && change.action != Action::Erase {
            return Err(TxError::Erased);
        }
        file.latch.begin(by.subject.map_or(Allowed::Nobody, Allowed::Person), change.watching);
        let relation = by.relation(&change)?;
        let attempt = by.attempt(&change)?;
        let by_library = file.latch.by_library();
        sqlx::query("insert into main.ward_attempts (id) values (?)")
            .bind(attempt.id().as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        drop(by_library);
        let tables = latch::tables(&mut tx).await?;
        let (trail, readers, before) = (facts.trail.clone(), file.readers.clone(), file.before.clone());
        let latch = file.latch.clone();
        let tenant = facts.tenant.clone();
        let Door { key, owner, .. } = by;
        Ok(TenantTx { tx, attempt, trail, readers, before, latch, tables, key, relation, tenant, owner })
    }
}

impl TenantTx {
    /// The attempt that this transaction is recorded as.
    pub(crate) fn attempt(&self) -> AttemptId {
        self.attempt.id()
    }

    /// The connection, for the application's statements.
    pub fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// Makes the relation hold that this transaction was begun for, until some time or for good.
    ///
    /// # Errors
    ///
    /// [`TxError::NoRelation`] unless it was begun with [`Change::assign`].
    pub async fn relate(&mut self, until: Option<Timestamp>) -> Result<(), TxError> {
        let (subject, user, relation) = self.relation.ok_or(TxError::NoRelation)?;
        let row = Row { user, subject, kind: kind(relation)?, until: until.map(Timestamp::as_millisecond) };
        let key = self.key.as_ref().ok_or(TxError::NoRelation)?;
        let _by_library = self.latch.by_library();
        relations::insert(&mut self.tx, &row, key).await?;
        Ok(())
    }

    /// Ends the relation that this transaction was begun for; says whether it held.
    ///
    /// # Errors
    ///
    /// [`TxError::NoRelation`] unless it was begun with [`Change::unassign`].
    pub async fn unrelate(&mut self) -> Result<bool, TxError> {
        let (subject, user, relation) = self.relation.ok_or(TxError::NoRelation)?;
        let _by_library = self.latch.by_library();
        Ok(relations::remove(&mut self.tx, user, subject, kind(relation)?).await?)
    }

    /// Says in the ledger what the transaction made of each row with sealed columns, waits until every record of the
    /// request so far is durable, then commits.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if the request has ended or the records cannot be made durable: nothing was changed then.
    /// [`TxError::TooManyRows`], [`TxError::KeyNotYetKnown`] and [`TxError::Withdrawn`] if it cannot be said.
    /// [`TxError::RolledBack`] and [`TxError::Unknown`] if the database failed.
    pub async fn commit(mut self) -> Result<(), TxError> {
        self.trail.may_open()?;
        // A change that strayed is not committed: nothing is said of it.
        if let (Some(owner), None) = (&self.owner, self.latch.stray()) {
            let sealer = Sealer { tenant: &self.tenant, owner, attempt: self.attempt.id() };
            let changes = changes(&self.latch, &sealer, &self.before, &mut self.tx).await?;
            self.attempt.changes(changes)?;
        }
        self.trail.settled().await?;
        let Self { mut tx, mut attempt, trail, readers, latch, tables, .. } = self;
        // In a task of its own: whoever drops the request's future must not stop a commit half-way.
        let commit = tokio::spawn(async move {
            if let Some(table) = latch.stray() {
                let _ = tx.rollback().await;
                attempt.rolled_back();
                return Err(TxError::OtherRow { table });
            }
            if !matches!(latch.is_whole(&mut tx, attempt.id(), &tables).await, Ok(true)) {
                let _ = tx.rollback().await;
                attempt.rolled_back();
                return Err(TxError::RolledBack);
            }
            // Once more, right before: the wait for the records may have been long.
            if trail.is_overdue() {
                let _ = tx.rollback().await;
                attempt.rolled_back();
                return Err(TrailError::Expired.into());
            }
            attempt.sent();
            latch.lift();
            let committed = tx.commit().await;
            let Err(error) = committed else {
                attempt.committed();
                return Ok(());
            };
            let found = sqlx::query("select 1 from ward_attempts where id = ?")
                .bind(attempt.id().as_bytes().to_vec())
                .fetch_optional(&readers)
                .await;
            match found {
                Ok(Some(_)) => {
                    attempt.committed();
                    Ok(())
                }
                Ok(None) if is_undone(&error) => {
                    attempt.rolled_back();
                    Err(TxError::RolledBack)
                }
                _ => {
                    attempt.unknown();
                    Err(TxError::Unknown)
                }
            }
        });
        commit.await.unwrap_or(Err(TxError::Unknown))
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
