//! A change, from its announcement to its outcome.

use std::fmt;

use super::Trail;
use crate::audit::{
    ledger::{Slot, Unsettled},
    record::{Action, AttemptId, ClassDiff, Kind, Outcome, Record},
    trail::TrailError,
};
use crate::id::RowId;

/// What a change makes of one row.
#[derive(Debug)]
pub(crate) struct RowChange {
    pub(crate) action: Action,
    pub(crate) entity: &'static str,
    pub(crate) row: RowId,
    pub(crate) changes: Vec<ClassDiff>,
}

/// A change that was announced. Dropped before its commit was [sent](Self::sent), it was rolled back.
#[must_use = "dropping it records that the change was rolled back"]
pub(crate) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) trail: Trail,
    /// The place in the queue, and what the attempt's record said.
    pub(super) kept: Option<(Slot, Box<Record>)>,
    /// Whether the commit was sent: from then on, silence is not a rollback.
    pub(super) sent: bool,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Attempt {
    /// The id to write in the change's own transaction.
    pub(crate) fn id(&self) -> AttemptId {
        self.id
    }

    /// Says what the change makes of its rows, before it does: the commit waits for these records as for the attempt's.
    pub(crate) fn changes(&self, rows: Vec<RowChange>) -> Result<(), TrailError> {
        let Some((_, attempt)) = &self.kept else { return Ok(()) };
        let clock = self.trail.0.ledger.clock();
        let records = rows.into_iter().map(|row| {
            let mut record = Record::clone(attempt);
            record.kind = Kind::Changed;
            record.action = Some(row.action);
            record.entity = Some(row.entity.into());
            record.row = Some(row.row);
            record.changes = row.changes;
            record.at = clock.now();
            record.monotonic_ns = u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
            record
        });
        self.trail.enter_all(records.collect())
    }

    /// The commit is about to be sent. Dropped without a word after this, its outcome is unknown.
    pub(crate) fn sent(&mut self) {
        self.sent = true;
    }

    /// The transaction was committed.
    pub(crate) fn committed(mut self) {
        self.end(Outcome::Committed);
    }

    /// The transaction was rolled back.
    pub(crate) fn rolled_back(mut self) {
        self.end(Outcome::RolledBack);
    }

    /// The commit was sent and its answer lost: it is settled from the database later.
    pub(crate) fn unknown(mut self) {
        self.lost();
    }

    fn lost(&mut self) {
        if let Some((_, record)) = &self.kept
            && let Some(unsettled) = Unsettled::of(record)
        {
            self.trail.0.ledger.remember(unsettled);
        }
        self.end(Outcome::Unknown);
    }

    fn end(&mut self, outcome: Outcome) {
        let Some((slot, mut record)) = self.kept.take() else { return };
        let clock = self.trail.0.ledger.clock();
        record.kind = Kind::Outcome;
        record.outcome = Some(outcome);
        record.at = clock.now();
        record.monotonic_ns = u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.trail.0.ledger.submit(slot, record);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.sent { self.lost() } else { self.end(Outcome::RolledBack) }
    }
}
