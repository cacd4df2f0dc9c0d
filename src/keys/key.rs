//! The keys that grants carry.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::{
    derive::{Aead, Mac, WideAead, aead, derive, label, mac, wide_aead},
    wrapped::Parent,
};
use crate::{
    id::{SubjectId, TenantId},
    secret::{ExposeSecret, Secret},
};

/// How many derived ciphers one key keeps. Classes are types of the program, so their number is small; one over is
/// derived anew each time.
const SLOTS: usize = 8;

/// The key of one person: random, wrapped under their clinic's key, and gone when it is erased.
///
/// A grant carries it; nothing outside the crate reads it. Wiped when the last holder drops it.
pub struct SubjectKey {
    subject: SubjectId,
    epoch: u32,
    root: Secret<[u8; 32]>,
    ciphers: Slots<&'static str, Aead>,
}

impl SubjectKey {
    pub(super) fn new(subject: SubjectId, epoch: u32, root: Secret<[u8; 32]>) -> Self {
        Self { subject, epoch, root, ciphers: Slots::default() }
    }

    /// Whose key it is.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        self.subject
    }

    /// Counts the keys that this person had; stands in every value sealed under it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Suite 1 for columns of a class, its key schedule ready.
    pub(crate) fn cipher(&self, class: &'static str) -> Arc<Aead> {
        self.ciphers.get(class, || aead(&self.derived(class)))
    }

    fn derived(&self, class: &'static str) -> zeroize::Zeroizing<[u8; 32]> {
        derive(self.root.expose_secret(), label::SUBJECT_FIELD, &[class.as_bytes(), &self.epoch.to_be_bytes()])
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").field("subject", &self.subject).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl SubjectKey {
    pub(crate) fn for_test(subject: SubjectId, epoch: u32, root: [u8; 32]) -> Self {
        Self::new(subject, epoch, Secret::new(Box::new(root)))
    }
}

#[cfg(test)]
impl TenantKey {
    pub(crate) fn for_test(tenant: TenantId, epoch: u32, root: [u8; 32]) -> Self {
        Self::new(tenant, epoch, Secret::new(Box::new(root)))
    }
}

/// The key of one clinic: random, wrapped under the root key.
///
/// Wraps the keys of the clinic's subjects, and seals what belongs to no person. No subject's key is derived from it.
pub struct TenantKey {
    tenant: TenantId,
    epoch: u32,
    root: Secret<[u8; 32]>,
    pub(super) parent: Parent,
    ciphers: Slots<&'static str, WideAead>,
    indexes: Slots<(&'static str, &'static str), Mac>,
}

impl TenantKey {
    pub(super) fn new(tenant: TenantId, epoch: u32, root: Secret<[u8; 32]>) -> Self {
        let parent = Parent::new(root.expose_secret(), epoch);
        Self { tenant, epoch, root, parent, ciphers: Slots::default(), indexes: Slots::default() }
    }

    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Counts the keys that this clinic had; stands in every value sealed under it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Suite 2 for columns of a class, its key schedule ready.
    pub(crate) fn cipher(&self, class: &'static str) -> Arc<WideAead> {
        self.ciphers.get(class, || {
            let parts = [class.as_bytes(), &self.epoch.to_be_bytes()];
            wide_aead(&derive(self.root.expose_secret(), label::TENANT_FIELD, &parts))
        })
    }

    /// The keyed state of a column's blind index.
    pub(crate) fn index_mac(&self, table: &'static str, column: &'static str) -> Mac {
        let keyed = self.indexes.get((table, column), || {
            let parts = [table.as_bytes(), column.as_bytes(), &self.epoch.to_be_bytes()];
            mac(&derive(self.root.expose_secret(), label::BLIND_INDEX, &parts))
        });
        Mac::clone(&keyed)
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKey").field("tenant", &self.tenant).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// A small map that only grows, read without a lock.
struct Slots<K, V>([OnceLock<(K, Arc<V>)>; SLOTS]);

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<K: Copy + PartialEq, V> Slots<K, V> {
    fn get(&self, key: K, make: impl Fn() -> V) -> Arc<V> {
        for slot in &self.0 {
            // Whoever comes second to a slot waits for the first, and goes on if that one had another key.
            let (held, value) = slot.get_or_init(|| (key, Arc::new(make())));
            if *held == key {
                return Arc::clone(value);
            }
        }
        Arc::new(make())
    }
}
