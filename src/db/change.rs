//! What a transaction is about to change, and why one does not begin or commit.

use std::sync::Arc;

use super::DbError;
use crate::{
    access::{ChangeDoor, ErasureDoor, Facts, Owner, Relations},
    audit::{self, Action, Attempt, TrailError},
    id::{RowId, SubjectId, UserId},
    keys::TenantKey,
};

/// The most rows with sealed columns that one transaction changes. An import's new rows do not count.
///
/// ```
/// use tower_ward::db::{MAX_CHANGED_ROWS, TxError};
///
/// let refused = TxError::TooManyRows.to_string();
/// assert!(refused.contains(&MAX_CHANGED_ROWS.to_string()), "{refused}");
/// ```
pub const MAX_CHANGED_ROWS: usize = 256;

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
        Self::Db(DbError::Database(error))
    }
}

/// What a transaction is about to change, for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub(super) action: Action,
    pub(super) entity: &'static str,
    pub(super) row: Option<RowId>,
    pub(super) relation: Option<(UserId, Relations)>,
    pub(super) watching: Watching,
}

impl Change {
    pub(super) const fn new(action: Action, entity: &'static str, row: Option<RowId>) -> Self {
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
    /// The record names the user. The transaction's `relate` does it.
    #[must_use]
    pub const fn assign(user: UserId, relation: Relations) -> Self {
        Self { relation: Some((user, relation)), ..Self::new(Action::Create, RELATIONS, None) }
    }

    /// The person of the door will stand in this relation no more. The transaction's `unrelate` does it.
    #[must_use]
    pub const fn unassign(user: UserId, relation: Relations) -> Self {
        Self { relation: Some((user, relation)), ..Self::new(Action::Delete, RELATIONS, None) }
    }
}

/// What is to be told of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Watching {
    /// Every row.
    #[default]
    All,
    /// Every row but the new ones: it is an import.
    Import,
    /// None: it is the library's own, and changes no value.
    Nothing,
}

pub(super) fn kind(relation: Relations) -> Result<&'static str, TxError> {
    match relation {
        Relations::ASSIGNED => Ok("assigned"),
        Relations::CIRCLE => Ok("circle"),
        // The other two are not kept but derived.
        _ => Err(TxError::NoRelation),
    }
}

/// What a change of relations is recorded as.
const RELATIONS: &str = "relations";

/// What sealing values anew is recorded as.
const EPOCH: &str = "key_epoch";
/// What an erasure is recorded as.
const PERSON: &str = "person";

impl Change {
    /// The end of a person's data.
    pub(super) const fn erasure() -> Self {
        Self { watching: Watching::Nothing, ..Self::new(Action::Erase, PERSON, None) }
    }

    /// A person's values, sealed anew.
    pub(super) const fn reseal() -> Self {
        Self { watching: Watching::Nothing, ..Self::new(Action::Update, EPOCH, None) }
    }
}

/// What a transaction that changes something is begun with.
pub(super) struct Door<'a> {
    pub(super) facts: &'a Facts,
    pub(super) subject: Option<SubjectId>,
    permission: &'static str,
    holds: Relations,
    /// For the MAC of a relation. An erasure has none, and makes none.
    pub(super) key: Option<Arc<TenantKey>>,
    /// An erasure has none: it states nothing.
    pub(super) owner: Option<Owner>,
}

impl<'a> Door<'a> {
    pub(super) fn of(by: &'a impl ChangeDoor) -> Self {
        Self {
            facts: by.facts(),
            subject: by.subject_id(),
            permission: by.permission(),
            holds: by.holds(),
            key: Some(Arc::clone(by.tenant_key())),
            owner: Some(by.owner()),
        }
    }

    pub(super) fn erasing(by: &'a ErasureDoor) -> Self {
        Self {
            facts: &by.facts,
            subject: Some(by.subject),
            permission: by.permission,
            holds: by.holds,
            key: None,
            owner: None,
        }
    }

    /// Whose relation is to be changed, to whom.
    pub(super) fn relation(&self, change: &Change) -> Result<Option<(SubjectId, UserId, Relations)>, TxError> {
        match (change.relation, self.subject) {
            (Some((user, relation)), Some(subject)) => Ok(Some((subject, user, relation))),
            (Some(_), None) => Err(TxError::NoSubject),
            (None, _) => Ok(None),
        }
    }

    /// Enqueues the record of the attempt.
    pub(super) fn attempt(&self, change: &Change) -> Result<Attempt, TrailError> {
        self.facts.trail.attempt(audit::Change {
            action: change.action,
            permission: self.permission,
            entity: change.entity,
            subjects: self.subject.as_slice(),
            row: change.row,
            about: change.relation.map(|(user, _)| user),
            why: self.holds.why(),
        })
    }
}
