//! Why there is no key.

use super::super::{kek::KekId, provider::ProviderError, record::Corrupt};
use crate::{
    id::{SubjectId, TenantId},
    store::StoreError,
};

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such key in this tenant, or no such tenant.
    #[error("there is no such key here: create the tenant or the subject first")]
    Unknown,
    /// The subject's key was destroyed, and with it everything sealed under it.
    #[error("the key was erased: what was sealed under it cannot be opened again")]
    Erased,
    /// The record was wrapped under a newer key than this process can read of: its store lags behind another.
    #[error("the key was wrapped under a newer one that this store does not hold yet: ask again when it has caught up")]
    NotYetKnown,
    /// The stored record is damaged, was moved here, or was wrapped under another key.
    #[error("the stored key is damaged or was not written for this owner: restore the key store from a copy")]
    Corrupt,
    /// A subject's record stands in the way of a rotation.
    #[error(
        "the keys of `{subject}` of `{tenant}` are damaged, so the old wrapping key is kept: restore the record from a copy \
         of the key store, or erase it, and rotate again; all others are wrapped anew"
    )]
    Damaged {
        /// The tenant.
        tenant: TenantId,
        /// One of the subjects.
        subject: SubjectId,
    },
    /// The root key is not the one that this store was begun with.
    #[error(
        "the root key is not the one of this key store: compare with `ward keys check` which key this machine holds"
    )]
    WrongRoot,
    /// Access to this tenant's keys was revoked, and not restored.
    #[error("access to this tenant's keys was revoked: `Keyring::restore_tenant` gives it back")]
    Revoked,
    /// A record names a key-encryption key that this process was not told of.
    #[error("a record is wrapped under the key-encryption key `{0}`: add it with `KeyringOptions::add_kek`")]
    UnknownKek(KekId),
    /// A copy of the store is registered, and this process was not given it.
    #[error(
        "the copy `{0}` of the key store is registered: add it with `KeyringOptions::add_copy`, or, if it was destroyed, \
         say so with `danger_forget_copy`"
    )]
    MissingCopy(String),
    /// A copy holds the keys of another platform.
    #[error(
        "the copy `{0}` holds the keys of another platform, and is left as it is: if this store was begun by mistake, because \
         its disk was not there, stop, and put the right one in its place; else name an empty file"
    )]
    CopyOfAnother(String),
    /// A copy was opened as a store.
    #[error("the copy `{0}` was opened as a key store of its own: use that one, and name an empty file for a copy")]
    CopyInUse(String),
    /// The store is a copy that was being filled.
    #[error("this copy of the key store was not brought up to date to its end, and lacks keys: use another one")]
    PartialCopy,
    /// A copy is the store itself.
    #[error("the copy `{0}` is the key store itself: give it a file of its own, on another disk")]
    CopyOfItself(String),
    /// What holds the key-encryption key refused, or did not answer.
    #[error("the key-encryption key cannot be used")]
    Provider(#[from] ProviderError),
    /// The store failed.
    #[error("the key store did not answer")]
    Store(#[from] StoreError),
}

impl From<Corrupt> for KeyError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}
