//! The ledger of who did what: a hash chain per tenant and a Merkle tree over all, durable before any response leaves.
//!
//! What is decided, in this order:
//!
//! 1. Every request (or job) has one [`Trail`]. It costs neither memory in the queue nor the disk until a door opens.
//! 2. At its first door a trail reserves two places in the ledger's queue, for the door's record and for the end's; at
//!    every other door one. A full queue, a ledger that cannot write, a request that has ended, a trail beyond its
//!    deadline, a door without an actor, a user with too many trails open already: the door stays shut.
//! 3. The record is queued with nothing awaited in between, and made durable while the handler works: one write and one
//!    sync for all that has queued up.
//! 4. The response, or the error in its place, waits until the records of the doors opened are durable, and so does each
//!    frame of a body that opened more. If they cannot be made durable, the handler's answer is thrown away: 503.
//!    A body that is still being sent at its trail's deadline fails.
//! 5. A change is recorded before and after it. What a crash left without an outcome is [settled](Ledger::settle) from
//!    the database.
//! 6. The end is recorded on the reserved place, however it comes: completed, aborted, cancelled, panicked, failed.
//!    Ends and refusals are queued and not waited for.
//! 7. Refusals of somebody unknown are counted per peer and minute. Their table is bounded, and so is the queue.
//! 8. When a write fails the ledger refuses doors, keeps what it could not write, and tries a new segment every 100 ms
//!    until it can.
//! 9. What an operator does in a clinic, who belongs to none, stands in the clinic's chain and in the platform's, written
//!    together.
//! 10. The ledger is read back page by page: one person's part, a clinic's, or, by an operator, several clinics'
//!     ([`OperatorLedger`]). Each of these readings is recorded. A [`LedgerQuery`] names no chain: the door does.
//! 11. With a signer, a checkpoint is signed each second, and every record can be proved to be in it. What was kept of
//!     checkpoints is held against the ledger by [`verify_with`].
//! 12. [`Sinks`] get every record besides: a required one before anybody is answered, another with its gaps on record.
//! 13. What is older than seven years, and not held, is dropped by `Ledger::prune` and by nothing else; the hashes stay.
//!
//! `docs/ledger.md` gives the bytes and the attacker's table.
//!
//! # Deployment caveat
//!
//! One process writes a folder, and it must be on a local disk whose sync can be believed; many write a ledger in
//! PostgreSQL (feature `postgres`). [`Ledger::open`] reads the whole ledger, about a second for each million records. A
//! head or a checkpoint is only worth something where the writer of the ledger cannot change it: carry it elsewhere. Records
//! are dropped only if somebody calls `Ledger::prune`, once a month say. The process must call [`Ledger::shutdown`] after its
//! last request.
//!
//! A body that its client does not read keeps its trail open, and one place of the queue, until the server drops it: give
//! writes a time limit there. What one user can keep so is bounded by
//! [`with_trails_per_user`](LedgerOptions::with_trails_per_user); keep that far below the queue.
//!
//! # Example
//!
//! Only the ledger, without the rest of the crate:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_ward::{
//!     audit::{Action, AuditLayer, Event, Ledger, LedgerOptions, Trail, verify},
//!     clock::SystemClock,
//!     id::TenantId,
//! };
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! # let options = LedgerOptions::new().with_segment_size(128 * 1024);
//! let ledger = Ledger::open(dir, options, SystemClock::shared())?;
//! let service = AuditLayer::new(ledger.clone()).layer(service_fn(async |request: Request<TenantId>| {
//!     let trail = request.extensions().get::<Trail>().ok_or("no trail")?.clone();
//!     // No record, no data.
//!     trail.record(Event::new(Action::Export).with_tenant(request.into_body()).with_entity("report"))?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::new(&b"the report"[..])))
//! }));
//!
//! let response = service.clone().oneshot(Request::new(TenantId::new("clinic-a")?)).await;
//! assert_eq!(response.map(|r| r.status()).ok(), Some(StatusCode::OK));
//! assert_eq!(ledger.head().size(), 1, "the record is durable when the response is there");
//!
//! ledger.shutdown().await;
//! let refused = service.oneshot(Request::new(TenantId::new("clinic-a")?)).await;
//! assert!(refused.is_err(), "a ledger that cannot write opens no door");
//! assert_eq!(verify(dir)?.head(), ledger.head());
//! # Ok(()) }
//! ```
//!
//! # Security
//!
//! The attackers are users who would rather not be seen, a stranger who floods, a fault of the machine, and whoever can
//! edit the files. Promised: no response, and no change through a transaction that waits for its trail, precedes its
//! durable record; a kill at any instant loses no acknowledged record; an edited, deleted, inserted or reordered record
//! is found and named. Not promised: to tell, from the folder alone, a ledger whose end was cut off or that was written
//! anew from the true one; that somebody *saw* what was opened; secrecy of who opened whose record when, which stands
//! in the files in clear, under ids. No datum of a person does, as long as the application puts none into an [`Event`].

#![cfg_attr(
    not(all(feature = "axum", feature = "sqlite")),
    allow(dead_code, unused_imports, reason = "what only the rooms above ask for")
)]

mod body;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod future;
#[cfg(feature = "checkpoint")]
mod hashes;
mod layer;
mod ledger;
#[cfg(feature = "checkpoint")]
mod proof;
mod record;
mod trail;
mod verify;

pub use body::{Overdue, TrailBody, Unrecorded};
#[cfg(feature = "checkpoint")]
#[doc(hidden)]
pub use checkpoint::fuzz_checkpoint;
#[cfg(feature = "checkpoint")]
pub use checkpoint::{
    CheckpointError, CheckpointKeyError, CheckpointSigner, CheckpointVerifier, Cosignature, MAX_CHECKPOINT,
    VerifiedCheckpoint, VerifierKey,
};
pub(crate) use future::UsedTrail;
pub use future::{AuditFuture, Failure, UpgradeHasTrail};
#[cfg(feature = "checkpoint")]
pub use hashes::{HashError, HashFile, HashReader};
pub use layer::{Audit, AuditLayer};
#[cfg(feature = "tracing")]
pub use ledger::TracingSink;
#[doc(hidden)]
pub use ledger::fuzz_segment;
pub use ledger::{Batch, FolderSink, Sink, SinkError, Sinks};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use ledger::{CONFIRMED, Erased, SHREDDED};
#[cfg(feature = "checkpoint")]
pub use ledger::{Checkpoint, PruneReport, Pruned, Retention, RetentionError};
pub(crate) use ledger::{Found, Place, cursor_bytes};
pub use ledger::{
    Head, HeadError, Ledger, LedgerError, LedgerFolder, LedgerOptions, LedgerPage, LedgerQuery, LedgerReport, MAX_PAGE,
    MAX_TENANTS_READ, OperatorLedger, SinkReport, Timeline, TimelineError, Unsettled,
};
#[cfg(feature = "postgres")]
pub use ledger::{PostgresLedger, PostgresSink, verify_postgres};
#[cfg(feature = "checkpoint")]
#[doc(hidden)]
pub use proof::fuzz_proof;
#[cfg(feature = "checkpoint")]
pub use proof::{ConsistencyProof, InclusionProof, ProofError, leaf_hash};
pub use record::{
    Action, AttemptId, ClassDiff, Dropped, End, Event, FieldDiff, Kind, MAX_CLASSES, MAX_FIELDS, MAX_NAME, MAX_RECORD,
    MAX_SEALED_VALUES, MAX_SUBJECTS, MAX_TEXT, MAX_WHY, Method, Outcome, Prune, Purpose, PurposeError, Record,
    RecordError, Stated, Stream,
};
pub(crate) use record::{Actor, Change, Door, Refusal};
pub(crate) use trail::{Attempt, Declared, RowChange};
pub use trail::{Closer, PURPOSE, REASON, RequestFacts, Trail, TrailError};
pub use verify::{Chain, Fault, Known, Report, VerifyError, verify, verify_chain, verify_with};

#[cfg(test)]
mod tests;
