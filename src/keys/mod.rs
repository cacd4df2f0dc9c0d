//! Where keys come from, and the keyring of root, tenant and subject keys.
//!
//! What is decided, in this order; every failure is a refusal, and there is no default key:
//!
//! 1. The root key is read from one named [`KeySource`]. A file must be regular, not a link, and closed to all but its
//!    owner.
//! 2. Its text has exactly one form, and a key that looks made up is refused ([`KeySourceErrorKind`] lists every case).
//! 3. [`Keyring::open`] compares the root key with the check value in the store. Another root opens nothing.
//! 4. A tenant's key and a subject's key are random. Each is stored wrapped under its parent, bound to its owner and its
//!    epoch, with a commitment to the parent that is checked before anything is opened.
//! 5. Keys are looked up under their tenant's name alone: a subject of another tenant is
//!    [`Unknown`](KeyError::Unknown), a record copied from there [`Corrupt`](KeyError::Corrupt), and one whose key was
//!    destroyed [`Erased`](KeyError::Erased). No key is ever tried in turn.
//! 6. HKDF leads from a key to its uses (class, epoch), never from one owner's key to another's.
//!
//! `docs/keys.md` gives the formats byte by byte.
//!
//! # Deployment caveat
//!
//! Losing the root key loses everything sealed under it: keep a second copy of it where no copy of the store is. Keep
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
//! keyring.erase_subject(&north, patient).await?;
//! assert!(matches!(keyring.subject(&north, patient).await, Err(KeyError::Erased)));
//! # Ok(()) }
//! ```
//!
//! # Security
//!
//! The attacker reads and writes the key store, and chooses identifiers. Promised: without the root key the store gives
//! no key; a record moved, edited or taken from another keyring opens nothing, nor does one made to open under two
//! keys; no error, `Debug` or trace holds key bytes; keys are wiped when dropped. Not promised: a store that is rolled
//! back to an older copy brings back keys that were erased since (keep its copies few, and erase in each); memory of a
//! running server that an attacker reads; secrecy of *which* tenants and subjects exist, whose names stand in the store.

#![cfg_attr(not(feature = "identity"), allow(dead_code, reason = "what only the rooms above ask for"))]

mod derive;
mod key;
mod keyring;
mod root;
mod source;
mod wrapped;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use key::{SubjectKey, TenantKey};
pub use keyring::{KeyError, Keyring, KeyringOptions};
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
    wrapped::round_trips(bytes)
}

#[cfg(doctest)]
#[doc = include_str!("../../docs/keys.md")]
struct KeysDoc;
