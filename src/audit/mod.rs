//! The ledger of who did what: a hash chain per tenant and a Merkle tree over all, durable before any response leaves.

#![cfg_attr(
    not(feature = "stack"),
    allow(dead_code, unused_imports, reason = "the doors are opened by `access` and `identity`")
)]

mod body;
mod future;
mod layer;
mod ledger;
mod record;
mod trail;
mod verify;

pub use body::{TrailBody, Unrecorded};
pub(crate) use future::UsedTrail;
pub use future::{AuditFuture, Failure, UpgradeHasTrail};
pub use layer::{Audit, AuditLayer};
pub use ledger::{Head, Ledger, LedgerError, LedgerOptions, Unsettled};
pub use record::{
    Action, AttemptId, End, Event, Kind, MAX_NAME, MAX_RECORD, MAX_SUBJECTS, MAX_TEXT, MAX_WHY, Method, Outcome,
    Purpose, PurposeError, Record, RecordError, Stream,
};
pub(crate) use record::{Actor, Change, Door, Refusal};
pub(crate) use trail::Attempt;
pub use trail::{Closer, RequestFacts, Trail, TrailError};
pub use verify::{Fault, Report, VerifyError, verify};

#[cfg(test)]
mod tests;
