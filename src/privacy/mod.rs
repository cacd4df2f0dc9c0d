//! What people may ask for: that their data be destroyed.
//!
//! # Decision rule
//!
//! An erasure ([`Erasures::erase`]) is, in this order:
//!
//! 1. asked for with a grant of a permission that changes data, by somebody who stands in a relation to the person that the
//!    policy asks for; the record of it is made first;
//! 2. decided by one transaction in the clinic's file, which ends the person's relations, the blind indexes of their values,
//!    and whatever the application wants gone with them. Before it has committed nothing is erased; from then on all of it
//!    will be, and no transaction begins for that person any more, whatever door is still open;
//! 3. done by destroying the person's keys: in the key store, in the caches of every process, and in every registered copy
//!    of the store, each of which confirms;
//! 4. mirrored in the ledger: `erase` *attempt* and *outcome*, then `shredded` when the keys are gone, then `confirmed` when
//!    every copy has said so.
//!
//! [`Erasures::open`] compares the ledger with the shred journal of the key store before the first request. What was
//! decided and not done is done now. What the ledger knows to be done, and the journal does not know of, is
//! [`Disagree`](ErasureError::Disagree): somebody put an older key store in place, and the server does not start.
//!
//! # Deployment caveat
//!
//! The key store is a database of its own, and never part of a backup: a copy that was not registered
//! ([`KeyringOptions::add_copy`](crate::keys::KeyringOptions::add_copy)) still holds the keys of whoever is erased. A backup
//! of the *data* may be kept and restored: what it holds of an erased person does not open. Whoever restores an older
//! ledger together with an older key store undoes both; keep the ledger's head elsewhere.
//!
//! # Example
//!
//! ```no_run
//! use tower_ward::{
//!     access::Grant, audit::Ledger, db::Db, id::SubjectId, keys::Keyring, privacy::{ErasureError, Erasures},
//! };
//!
//! tower_ward::permissions! { pub ErasePatient = "patients.erase" changes; }
//!
//! /// Before the first request, after `Db::settle`. It refuses an older key store.
//! async fn start(keyring: &Keyring, db: &Db, ledger: &Ledger) -> Result<Erasures<Db>, ErasureError> {
//!     db.settle(ledger).await?;
//!     Erasures::open(keyring, db, ledger).await
//! }
//!
//! async fn forget(erasures: &Erasures<Db>, grant: &Grant<ErasePatient>, patient: SubjectId) -> Result<bool, ErasureError> {
//!     // Also what stands in clear, in the same transaction.
//!     let erased = erasures.erase_with(grant, patient, async |tx| {
//!         sqlx::query("delete from reminders where patient = ?").bind(patient).execute(tx.conn()).await.map(|_| ())
//!     }).await?;
//!     Ok(erased.is_complete()) // `false`: a copy of the key store is away, and is asked again every second
//! }
//! ```
//!
//! What a permission for readers does not do:
//!
//! ```compile_fail,E0277
//! # use tower_ward::{access::Grant, db::Db, id::SubjectId, privacy::Erasures};
//! # tower_ward::permissions! { pub ReadPatient = "patients.read"; }
//! async fn forget(erasures: &Erasures<Db>, grant: &Grant<ReadPatient>, patient: SubjectId) {
//!     let _ = erasures.erase(grant, patient).await;
//! }
//! ```
//!
//! # Security
//!
//! The attackers are an insider who erases to hide something, a crash at the worst moment, and an old copy. Promised: no
//! erasure without its record; killed at any moment, a person is erased or not, and never half; what was sealed for an erased
//! person opens from no backup of the data; an older key store under a newer ledger does not start. Not promised: copies
//! that nobody registered; paper and screens; what the application keeps in clear and does not delete in `erase_with`.

mod erasure;

pub use erasure::{ErasureError, Erasures};
