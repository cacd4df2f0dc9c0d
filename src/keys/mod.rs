//! Where keys come from, and the keyring of key-encryption, tenant and subject keys.
//!
//! What is decided, in this order; every failure is a refusal, and there is no default key:
//!
//! 1. A root key is read from one named [`KeySource`]. A file must be regular, not a link, and closed to all but its
//!    owner. Its text has exactly one form, and a key that looks made up is refused ([`KeySourceErrorKind`] lists every
//!    case). Or an HSM or a KMS holds the key-encryption key and never gives it out: a [`KeyProvider`].
//! 2. [`Keyring::open`] has the store's platform secret unwrapped. Another key opens nothing.
//! 3. A tenant's key and a subject's keys are random. A tenant's is wrapped under the platform's key-encryption key or
//!    under one that the clinic brought; a subject's under the tenant's. Each record carries a MAC that binds it to its
//!    owner, and a key that a provider gave back is compared with the commitment in the record.
//! 4. Keys are looked up under their tenant's name alone: a subject of another tenant is
//!    [`Unknown`](KeyError::Unknown), a record copied from there [`Corrupt`](KeyError::Corrupt), and one whose key was
//!    destroyed [`Erased`](KeyError::Erased). No key is ever tried in turn.
//! 5. A tenant's key that is in memory is given out while its provider's last yes is younger than the health interval
//!    (60 s). A definite no withdraws it at once, from open doors too; while there is no answer it serves until it is
//!    older than the outage allowed (10 min). A [revocation](Keyring::revoke_tenant) that we are told of withdraws it at
//!    once here, and within 5 s in every process that shares the store: one that could not read the notices for as long
//!    gives out nothing.
//! 6. HKDF leads from a key to its uses (class, epoch), never from one owner's key to another's.
//!
//! `docs/keys.md` gives the hierarchy, the formats byte by byte, and what fails how.
//!
//! # Deployment caveat
//!
//! Losing a key-encryption key loses everything sealed under it: keep a second copy of it where no copy of the store is. Keep
//! the key store in a database of its own, out of the backups of the data, or an erased subject lives on in them. An
//! environment variable is inherited by child processes; a file or a credential is not.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{num::NonZeroUsize, sync::Arc};
//! use tower_ward::{
//!     clock::SystemClock,
//!     id::{SubjectId, TenantId},
//!     keys::{KeyError, KeySource, Keyring, RootKey},
//!     store::MemoryStore,
//! };
//!
//! // A key that is not there stops the start, and the message says which one.
//! let error = RootKey::load(&"env:CLINIC_ROOT_KEY".parse::<KeySource>()?).unwrap_err();
//! assert!(error.to_string().starts_with("env:CLINIC_ROOT_KEY: the variable is not set"));
//!
//! // In production: `SqliteStore::open(path).await?`.
//! let store = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
//! let keyring = Keyring::open(RootKey::generate(), store).await?;
//!
//! let (north, south) = (TenantId::new("northgate")?, TenantId::new("southgate")?);
//! keyring.create_tenant(&north).await?;
//! keyring.create_tenant(&south).await?;
//! let patient = SubjectId::generate(&SystemClock::new());
//! keyring.create_subject(&north, patient).await?;
//!
//! assert_eq!(keyring.subject(&north, patient).await?.subject(), patient);
//! assert!(matches!(keyring.subject(&south, patient).await, Err(KeyError::Unknown)));
//!
//! assert!(keyring.erase_subject(&north, patient).await?.is_complete());
//! assert!(matches!(keyring.subject(&north, patient).await, Err(KeyError::Erased)));
//! # Ok(()) }
//! ```
//!
//! # Security
//!
//! The attacker reads and writes the key store, chooses identifiers, and may hold the key-encryption key of one clinic.
//! Promised: without the platform's the store gives no key; a record moved, edited or taken from another keyring opens
//! nothing, nor does one made to open under two keys, even if a clinic's provider lies; no error, `Debug` or trace holds
//! key bytes; keys are wiped when dropped. Not promised: a store that is rolled back to an older copy brings back keys that
//! were erased since (keep its copies few, and erase in each); memory of a running server that an attacker reads; secrecy
//! of *which* tenants and subjects exist, whose names stand in the store.

#![cfg_attr(not(feature = "identity"), allow(dead_code, reason = "what only the rooms above ask for"))]

mod derive;
mod in_place;
mod index_mac;
mod kek;
mod key;
mod keyring;
mod ledger_key;
mod provider;
mod record;
mod root;
mod source;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

#[cfg(feature = "aws-kms")]
pub use aws_sdk_kms;
pub(crate) use derive::{Aead, WideAead};
#[cfg(all(test, feature = "aws-lc"))]
pub(crate) use in_place::AwsLc;
pub(crate) use in_place::InPlace;
pub(crate) use index_mac::IndexMac;
pub use kek::{Kek, KekId, KekIdError};
pub(crate) use key::{Held, NoEpoch};
pub use key::{SubjectKey, TenantKey};
pub use keyring::{CopyReport, Erasure, KekReport, KeyError, KeyReport, Keyring, KeyringOptions};
pub(crate) use keyring::{EpochStep, Epochs, SEEN};
pub(crate) use ledger_key::{LedgerKey, commit};
#[cfg(feature = "aws-kms")]
pub use provider::aws_kms::{AwsKmsError, AwsKmsProvider};
#[cfg(feature = "pkcs11")]
pub use provider::pkcs11::{Pkcs11Options, Pkcs11Provider};
pub use provider::{KeyBytes, KeyContext, KeyDescription, KeyProvider, MAX_WRAPPED, ProviderError, ProviderErrorKind};
#[cfg(feature = "transit")]
pub use provider::{TransitError, TransitOptions, TransitProvider};
pub use root::RootKey;
pub use source::{KeySource, KeySourceError, KeySourceErrorKind};

/// For the fuzz target: takes stored bytes apart and puts them together again. Whether they were a record.
///
/// # Panics
///
/// If a record that parses prints as other bytes.
#[doc(hidden)]
#[must_use]
pub fn fuzz_record(bytes: &[u8]) -> bool {
    record::round_trips(bytes)
}

/// For the fuzz target: the same of what processes tell each other, its MAC aside.
///
/// # Panics
///
/// If notices that parse print as other bytes.
#[doc(hidden)]
#[must_use]
pub fn fuzz_notices(bytes: &[u8]) -> bool {
    keyring::notices_round_trip(bytes)
}

#[cfg(feature = "transit")]
#[doc(hidden)]
pub use provider::fuzz_transit_answer;

#[cfg(doctest)]
#[doc = include_str!("../../docs/keys.md")]
struct KeysDoc;
