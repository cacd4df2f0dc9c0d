//! The key of one owner and epoch for what the ledger says of their values.
//!
//! A record is never sealed anew, so what opens it outlives the owner's key: when a person's key is retired, this one, which
//! was derived from it and opens no value of theirs, stays in their record of the key store, and goes when they are erased.

use super::{
    derive::{Aead, WideAead, aead, derive, label, mac, wide_aead},
    provider::KeyBytes,
};
use crate::secret::{ExposeSecret, Secret};
use hmac::Mac as _;
use zeroize::Zeroizing;

/// Seals the values before and after a change, and makes the commitments to them.
pub(crate) struct LedgerKey(KeyBytes);

impl LedgerKey {
    /// Of one epoch of a person.
    pub(super) fn of_subject(root: &[u8; 32], epoch: u32) -> Self {
        Self(ledger_key(root, label::SUBJECT_LEDGER, epoch))
    }

    /// Of one epoch of a clinic, for rows that belong to no person.
    pub(super) fn of_tenant(root: &[u8; 32], epoch: u32) -> Self {
        Self(ledger_key(root, label::TENANT_LEDGER, epoch))
    }

    /// One that was kept when the key that it was derived from was retired.
    pub(super) fn kept(bytes: &KeyBytes) -> Self {
        Self(Secret::init_with_mut(|key: &mut [u8; 32]| key.copy_from_slice(bytes.expose_secret())))
    }

    /// The bytes to keep.
    pub(super) fn into_bytes(self) -> KeyBytes {
        self.0
    }

    /// Suite 1, for the values of one class.
    pub(crate) fn cipher(&self, class: &str) -> Aead {
        aead(&self.derive(label::LEDGER_DIFF, &[class.as_bytes()]))
    }

    /// The same in suite 2.
    pub(crate) fn wide_cipher(&self, class: &str) -> WideAead {
        wide_aead(&self.derive(label::LEDGER_DIFF, &[class.as_bytes()]))
    }

    /// The key of one commitment: `place` says to which value. It tells nothing of any other key, so that it can be handed
    /// to whom one value is to be proved.
    pub(crate) fn commitment_key(&self, place: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        self.derive(label::LEDGER_COMMITMENT, place)
    }

    fn derive(&self, label: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        derive(self.0.expose_secret(), label, parts)
    }
}

/// The commitment under its key: HMAC-SHA-256.
pub(crate) fn commit(key: &[u8; 32], value: &[u8]) -> [u8; 32] {
    mac(key).chain_update(value).finalize().into_bytes().into()
}

fn ledger_key(root: &[u8; 32], label: &str, epoch: u32) -> KeyBytes {
    let derived = derive(root, label, &[&epoch.to_be_bytes()]);
    Secret::init_with_mut(|key: &mut [u8; 32]| key.copy_from_slice(&*derived))
}
