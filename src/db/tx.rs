//! Transactions that need an opened door.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, Transaction};

use super::{
    Db, DbError,
    diff::Sealer,
    latch::{self, Allowed, Latch},
    relations,
    touched::{MAX_CHANGED_ROWS, Watching},
};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor, Facts, Owner, Relations},
    audit::{self, Action, Attempt, AttemptId, Trail, TrailError},
    clock::Timestamp,
    id::{RowId, SubjectId, TenantId, UserId},
    keys::TenantKey,
};

fn kind(relation: Relations) -> Result<&'static str, TxError> {
    match relation {
        Relations::ASSIGNED => Ok("assigned"),
        Relations::CIRCLE => Ok("circle"),
        // The other two are not kept but derived.
        _ => Err(TxError::NoRelation),
    }
}

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
    /// A statement changed a row that is not the door's: another person's, through a person's door; a person's, through a
    /// clinic's; or one of the library's own. The change was rolled back.
    #[error(
        "a row of `{table}` was changed through a door that is not for it, so nothing was changed: open the door of the \
         person whose row it is, or declare the table in `Schema::with_people`"
    )]
    OtherRow {
        /// The table.
        table: String,
    },
    /// Relations are changed through the door of the person whose they are.
    #[error("a relation is changed through `grant.subject(id)` of the person whose it is")]
    NoSubject,
    /// The transaction was not begun to change a relation, or was begun to change one that is not kept.
    #[error("begin the transaction with `Change::assign` or `Change::unassign`, and `assigned` or `circle`")]
    NoRelation,
    /// The person of the door was erased since it was opened.
    #[error("the person was erased: nothing of theirs is changed any more")]
    Erased,
    /// More rows with sealed columns changed than one transaction states. The change was rolled back.
    #[error(
        "more than {MAX_CHANGED_ROWS} rows with sealed columns were changed at once, so none was: change fewer at a time"
    )]
    TooManyRows,
    /// A value is sealed under a key that came after the door was opened, so what the change made of it cannot be said. The
    /// change was rolled back; it can be tried again with a door that is opened now.
    #[error("a value is sealed under a key that is newer than the door, so nothing was changed: open the door again")]
    KeyNotYetKnown,
    /// The key of the person or clinic was withdrawn since the door was opened.
    #[error("the key of this person or clinic was withdrawn: nothing of theirs is changed any more")]
    Withdrawn,
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
    relation: Option<(UserId, Relations)>,
    watching: Watching,
}

impl Change {
    const fn new(action: Action, entity: &'static str, row: Option<RowId>) -> Self {
        Self { action, entity, row, relation: None, watching: Watching::All }
    }

    /// A new row of this table.
    #[must_use]
    pub const fn create(entity: &'static str, row: RowId) -> Self {
        Self::new(Action::Create, entity, Some(row))
    }

    /// An existing row of this table.
    #[must_use]
    pub const fn update(entity: &'static str, row: RowId) -> Self {
        Self::new(Action::Update, entity, Some(row))
    }

    /// A row of this table that will be gone.
    #[must_use]
    pub const fn delete(entity: &'static str, row: RowId) -> Self {
        Self::new(Action::Delete, entity, Some(row))
    }

    /// Many new rows of this table at once, such as an import. The ledger says nothing of their values: they are new, so
    /// what was imported is what stands there until the next change. What else it changes is stated like any change.
    #[must_use]
    pub const fn import(entity: &'static str) -> Self {
        Self { watching: Watching::Import, ..Self::new(Action::Create, entity, None) }
    }

    /// The person of the door will stand in this relation to a user: [`Relations::ASSIGNED`] or [`Relations::CIRCLE`].
    /// The record names the user. [`TenantTx::relate`] does it.
    #[must_use]
    pub const fn assign(user: UserId, relation: Relations) -> Self {
        Self { relation: Some((user, relation)), ..Self::new(Action::Create, RELATIONS, None) }
    }

    /// The person of the door will stand in this relation no more. [`TenantTx::unrelate`] does it.
    #[must_use]
    pub const fn unassign(user: UserId, relation: Relations) -> Self {
        Self { relation: Some((user, relation)), ..Self::new(Action::Delete, RELATIONS, None) }
    }
}

/// What a change of relations is recorded as.
const RELATIONS: &str = "relations";

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
        let door = Door {
            facts: by.facts(),
            subject: by.subject_id(),
            permission: by.permission(),
            holds: by.holds(),
            key: Some(Arc::clone(by.tenant_key())),
            owner: Some(by.owner()),
        };
        self.begin(door, change).await
    }

    /// Begins the transaction of an erasure, which has ended what the library keeps of the person: their relations, and the
    /// blind indexes of their values.
    pub(crate) async fn erase(&self, by: &ErasureDoor) -> Result<TenantTx, TxError> {
        let door = Door {
            facts: &by.facts,
            subject: Some(by.subject),
            permission: by.permission,
            holds: by.holds,
            key: None,
            owner: None,
        };
        let change = Change { watching: Watching::Nothing, ..Change::new(Action::Erase, PERSON, None) };
        let mut tx = self.begin(door, change).await?;
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
        self.change(by, Change { watching: Watching::Nothing, ..Change::new(Action::Update, EPOCH, None) }).await
    }

    async fn begin(&self, by: Door<'_>, change: Change) -> Result<TenantTx, TxError> {
        let Door { facts, subject, permission, holds, key, owner } = by;
        facts.trail.may_open()?;
        let file = self.file(&facts.tenant).await?;
        let mut tx = file.writer.begin_with("BEGIN IMMEDIATE").await?;
        // A door that was open when its person was erased, in whatever process: it must not put back what was taken away.
        let erased: bool = sqlx::query_scalar("select exists (select 1 from main.ward_erased where subject = ?)")
            .bind(subject)
            .fetch_one(&mut *tx)
            .await?;
        if erased && change.action != Action::Erase {
            return Err(TxError::Erased);
        }
        file.latch.begin(subject.map_or(Allowed::Nobody, Allowed::Person), change.watching);
        let relation = match (change.relation, subject) {
            (Some((user, relation)), Some(subject)) => Some((subject, user, relation)),
            (Some(_), None) => return Err(TxError::NoSubject),
            (None, _) => None,
        };
        let attempt = facts.trail.attempt(audit::Change {
            action: change.action,
            permission,
            entity: change.entity,
            subjects: subject.as_slice(),
            row: change.row,
            about: change.relation.map(|(user, _)| user),
            why: holds.why(),
        })?;
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
        Ok(TenantTx { tx, attempt, trail, readers, before, latch, tables, key, relation, tenant, owner })
    }
}

/// What a transaction is begun with.
struct Door<'a> {
    facts: &'a Facts,
    subject: Option<SubjectId>,
    permission: &'static str,
    holds: Relations,
    key: Option<Arc<TenantKey>>,
    owner: Option<Owner>,
}

/// What sealing values anew is recorded as.
const EPOCH: &str = "key_epoch";
/// What an erasure is recorded as.
const PERSON: &str = "person";

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
        let row = relations::Row { user, subject, kind: kind(relation)?, until: until.map(Timestamp::as_millisecond) };
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
            let sealer = Sealer { latch: &self.latch, tenant: &self.tenant, owner, attempt: self.attempt.id() };
            let changes = sealer.changes(&self.before, &mut self.tx).await?;
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
