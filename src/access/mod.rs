//! Who may do what: permissions and data classes as types, roles and policy as data, and the doors.
//!
//! # Decision rule
//!
//! 1. A [permission](crate::permissions) is a type, and so is a [class of data](crate::classes). Which classes a
//!    permission opens, and whether it changes them, is written beside it, and checked by the compiler at every column and
//!    at every change.
//! 2. A [`Policy`] says for every role which permissions it has and under which [relations](Relations). What it does not
//!    say is refused; a role that it does not name has nothing.
//! 3. A [`Grant<P>`] is the guard's proof that the policy grants `P` to this principal under some relation. It is made for
//!    one request and handed to the handler by value.
//! 4. A door of the grant checks, in this order: does one of the relations hold to this person; is the person's key here;
//!    and then enqueues the record, with nothing awaited in between. Only then is there a [`SubjectGrant`].
//! 5. A person who is absent, of another clinic, erased, or not related is one answer: [`DoorError::NotFound`].
//! 6. A response and a commit wait by themselves until the record is durable. Whatever leaves by another way waits by
//!    hand: `grant.trail().settled().await?` before an outbound call.
//! 7. When the request ends, every grant of it ends.
//! 8. Accounts are administered through the door of a permission that the application marked for it
//!    ([`ManagesAccounts`]), and every change and list of them is recorded.
//! 9. The clinic's part of the ledger is read through the door of a permission that was marked for that
//!    ([`ReadsLedger`]), and every reading is recorded.
//!
//! # Deployment caveat
//!
//! Relations are asked for on every request, so their [source](RelationSource) must answer as fast as the database that
//! the request reads anyway. [`SqliteRelations`](crate::db::SqliteRelations) keeps them in the clinic's own file.
//!
//! # Example
//!
//! Sealed columns and the record alone, for an application that decides by its own means; behind the router the grant comes
//! from the guard instead.
//!
//! ```
//! use std::{num::NonZeroUsize, sync::Arc};
//! use tower_ward::{
//!     access::{DoorError, danger_grant}, audit::{End, Ledger, LedgerOptions, RequestFacts}, clock::SystemClock,
//!     field::Encrypted, id::{RowId, SubjectId, TenantId, UserId}, keys::{Keyring, RootKey}, store::MemoryStore,
//! };
//!
//! tower_ward::classes! { pub Clinical = "clinical"; }
//! tower_ward::permissions! { pub WriteNotes = "notes.write" changes Clinical; }
//! tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let clock = SystemClock::shared();
//! let ledger = Ledger::open(folder.path(), LedgerOptions::new(), clock.clone())?;
//! let store = MemoryStore::new(NonZeroUsize::MAX).danger_forgetful(); // a real server: `SqliteStore`
//! let keyring = Keyring::open(RootKey::generate(), Arc::new(store)).await?;
//! let (harbour, doctor) = (TenantId::new("harbour")?, UserId::generate(&*clock));
//! keyring.create_tenant(&harbour).await?;
//!
//! let (trail, mut closer) = ledger.begin(RequestFacts::new());
//! let grant = danger_grant::<WriteNotes>(&trail, &keyring, &clock, doctor, harbour, "our own rules")?;
//! let (chart, row) = (grant.admit().await?, RowId::generate(&*clock));
//! let sealed = Encrypted::<NoteText>::seal(&"sleeps well".to_owned(), &chart, row)?;
//! assert_eq!(sealed.open(&chart, row)?.disclose(), "sleeps well");
//!
//! // Somebody whom the clinic does not know; another row; and, after its end, the request's own grant.
//! let stranger = SubjectId::generate(&*clock);
//! assert!(matches!(grant.subject(stranger).await, Err(DoorError::NotFound)));
//! assert!(sealed.open(&chart, RowId::generate(&*clock)).is_err());
//! closer.finish(End::Completed);
//! assert!(sealed.open(&chart, row).is_err());
//! # ledger.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Security
//!
//! The attacker is a principal of the clinic, or of another, who asks for what is not his; or a developer in a hurry. The
//! promise: no field opens without a grant for its class, and no grant is made, cloned or kept outside this crate, or opens
//! anything in the handler or the body of another request. Not promised: that a task which one request spawns does not use
//! the grant of another that still runs, nor that the policy is right. Print its [matrix](crate::axum::Router::matrix), and keep it
//! as a golden file.

mod accounts;
mod cohort;
mod danger;
mod error;
mod grant;
mod job;
mod ledger;
mod permission;
mod policy;
mod relation;
#[cfg(test)]
pub(crate) mod test_support;

pub use crate::store::BoxFuture;
pub use accounts::{Accounts, ManagesAccounts};
pub use cohort::{Cohort, CohortQuery, Scope};
pub use danger::danger_grant;
pub use error::{DoorError, MAX_COHORT};
pub use grant::{Authority, ChangeDoor, ClinicGrant, Closed, Grant, Indexer, OpenDoor, Opener, SubjectGrant};
pub(crate) use grant::{Doors, ErasureDoor, Facts, Owner, SealKey, Sealing, Who};
pub(crate) use job::Issuers;
#[doc(hidden)]
pub use job::fuzz_envelope;
pub use job::{JobError, JobGrant, Jobs, MAX_ENVELOPE_BYTES, MAX_JOB_LIFE, Task};
pub use ledger::{HoldsLedger, ReadsLedger};
pub use permission::{Changes, DataClass, Opens, Permission};
#[doc(hidden)]
pub use permission::{contains, equal};
pub(crate) use policy::PermissionIndex;
pub use policy::{MAX_POLICY_BYTES, PermissionInfo, Policy, PolicyError};
pub use relation::{NoRelations, RelationError, RelationSource, Relations};
