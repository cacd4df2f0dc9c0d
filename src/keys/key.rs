//! The keys that grants carry.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    derive::{Aead, WideAead, aead, derive, label, wide_aead},
    index_mac::IndexMac,
    ledger_key::LedgerKey,
    provider::KeyBytes,
};
use crate::{
    id::{SubjectId, TenantId},
    secret::{ExposeSecret, Secret},
};

/// How many derived ciphers one key keeps. Classes are types of the program, so their number is small; one over is
/// derived anew each time.
const SLOTS: usize = 8;

/// The keys of one person: random, wrapped under their clinic's key, and gone when they are erased.
///
/// A grant carries them; nothing outside the crate reads them. Wiped when the last holder drops them.
pub struct SubjectKey {
    subject: SubjectId,
    /// By rising epoch: the one that seals, and perhaps one that is coming or going.
    keys: Box<[EpochKey]>,
    /// By epoch: what is kept of retired keys, to open the ledger with.
    past: Box<[(u32, KeyBytes)]>,
    current: usize,
    cut: Cut,
    /// Bytes were met that were sealed under a newer epoch than is known here.
    outdated: AtomicBool,
    loaded: Duration,
}

struct EpochKey {
    epoch: u32,
    root: Secret<[u8; 32]>,
    ciphers: Slots<&'static str, Aead>,
}

/// No key of this epoch is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEpoch {
    /// It was never given out, or is retired.
    Gone,
    /// It is newer than what this process knows.
    NotYetKnown,
}

impl SubjectKey {
    pub(super) fn new(
        subject: SubjectId,
        keys: Vec<(u32, Secret<[u8; 32]>)>,
        past: Vec<(u32, KeyBytes)>,
        current: usize,
        cut: Cut,
        loaded: Duration,
    ) -> Self {
        let keys = keys.into_iter().map(|(epoch, root)| EpochKey { epoch, root, ciphers: Slots::default() }).collect();
        Self { subject, keys, past: past.into(), current, cut, outdated: AtomicBool::new(false), loaded }
    }

    /// Whose keys they are.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        self.subject
    }

    /// Counts the keys that this person had; stands in every value that is sealed now.
    pub(crate) fn epoch(&self) -> u32 {
        self.keys[self.current].epoch
    }

    /// Suite 1 for sealing columns of a class, its key schedule ready.
    pub(crate) fn cipher(&self, class: &'static str) -> Held<'_, Aead> {
        self.keys[self.current].cipher(class)
    }

    /// The same for opening what says that it was sealed in `epoch`. The number chooses among this person's own keys and
    /// reaches no others.
    pub(crate) fn cipher_of(&self, epoch: u32, class: &'static str) -> Result<Held<'_, Aead>, NoEpoch> {
        if let Some(key) = self.keys.iter().find(|key| key.epoch == epoch) {
            return Ok(key.cipher(class));
        }
        if self.keys.iter().all(|key| key.epoch < epoch) {
            self.outdated.store(true, Ordering::Relaxed);
            return Err(NoEpoch::NotYetKnown);
        }
        Err(NoEpoch::Gone)
    }

    /// The key for what the ledger says now, of the epoch that seals.
    pub(crate) fn ledger_key(&self) -> LedgerKey {
        let key = &self.keys[self.current];
        LedgerKey::of_subject(key.root.expose_secret(), key.epoch)
    }

    /// The same for opening what says that it was sealed in `epoch`, which may be retired.
    pub(crate) fn ledger_key_of(&self, epoch: u32) -> Result<LedgerKey, NoEpoch> {
        if let Some(key) = self.keys.iter().find(|key| key.epoch == epoch) {
            return Ok(LedgerKey::of_subject(key.root.expose_secret(), epoch));
        }
        if let Some((_, kept)) = self.past.iter().find(|(kept, _)| *kept == epoch) {
            return Ok(LedgerKey::kept(kept));
        }
        if self.keys.iter().all(|key| key.epoch < epoch) {
            self.outdated.store(true, Ordering::Relaxed);
            return Err(NoEpoch::NotYetKnown);
        }
        Err(NoEpoch::Gone)
    }

    /// Whether these keys were withdrawn while somebody held them.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_made()
    }

    pub(super) fn cut(&self) {
        self.cut.make();
    }

    pub(super) fn is_below(&self, above: &Cut) -> bool {
        self.cut.is_below(above)
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    pub(super) const fn loaded(&self) -> Duration {
        self.loaded
    }
}

impl EpochKey {
    fn cipher(&self, class: &'static str) -> Held<'_, Aead> {
        self.ciphers.get(class, || {
            let parts = [class.as_bytes(), &self.epoch.to_be_bytes()];
            aead(&derive(self.root.expose_secret(), label::SUBJECT_FIELD, &parts))
        })
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey")
            .field("subject", &self.subject)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

/// Says to whoever holds a key that it is withdrawn: by itself, or with its clinic's.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut {
    own: Arc<AtomicBool>,
    above: Option<Arc<AtomicBool>>,
}

impl Cut {
    /// One that is made as well when this one is.
    pub(super) fn below(&self) -> Self {
        Self { own: Arc::default(), above: Some(Arc::clone(&self.own)) }
    }

    pub(super) fn is_below(&self, above: &Self) -> bool {
        self.above.as_ref().is_some_and(|own| Arc::ptr_eq(own, &above.own))
    }

    pub(super) fn make(&self) {
        self.own.store(true, Ordering::Release);
    }

    pub(super) fn is_made(&self) -> bool {
        self.own.load(Ordering::Acquire) || self.above.as_ref().is_some_and(|above| above.load(Ordering::Acquire))
    }
}

#[cfg(test)]
impl SubjectKey {
    pub(crate) fn for_test(subject: SubjectId, epoch: u32, root: [u8; 32]) -> Self {
        Self::for_test_with(subject, &[(epoch, root)], 0)
    }

    pub(crate) fn for_test_with(subject: SubjectId, keys: &[(u32, [u8; 32])], current: usize) -> Self {
        let keys = keys.iter().map(|(epoch, root)| (*epoch, Secret::new(Box::new(*root)))).collect();
        Self::new(subject, keys, Vec::new(), current, Cut::default(), Duration::ZERO)
    }
}

#[cfg(test)]
impl SubjectKey {
    /// The keys after the one of this epoch was replaced by that one, and retired.
    pub(crate) fn retired_for_test(self, epoch: u32, root: [u8; 32]) -> Self {
        let kept = (self.epoch(), self.ledger_key().into_bytes());
        let keys = vec![(epoch, Secret::new(Box::new(root)))];
        Self::new(self.subject, keys, vec![kept], 0, Cut::default(), Duration::ZERO)
    }
}

#[cfg(test)]
impl TenantKey {
    pub(crate) fn for_test(tenant: TenantId, epoch: u32, root: [u8; 32]) -> Self {
        Self::new(tenant, epoch, Secret::new(Box::new(root)), Cut::default())
    }
}

/// The key of one clinic for what belongs to no person: random, and wrapped under the clinic's wrapping key.
///
/// It seals, and it makes blind indexes. No subject's key is derived from it, nor wrapped under it.
pub struct TenantKey {
    tenant: TenantId,
    epoch: u32,
    root: Secret<[u8; 32]>,
    ciphers: Slots<&'static str, WideAead>,
    indexes: Slots<(&'static str, &'static str), IndexMac>,
    cut: Cut,
}

impl TenantKey {
    pub(super) fn new(tenant: TenantId, epoch: u32, root: Secret<[u8; 32]>, cut: Cut) -> Self {
        Self { tenant, epoch, root, ciphers: Slots::default(), indexes: Slots::default(), cut }
    }

    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Counts the keys of this kind that this clinic had; stands in every value sealed under it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether it was withdrawn while somebody held it.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_made()
    }

    /// Suite 2 for columns of a class, its key schedule ready.
    pub(crate) fn cipher(&self, class: &'static str) -> Held<'_, WideAead> {
        self.ciphers.get(class, || {
            let parts = [class.as_bytes(), &self.epoch.to_be_bytes()];
            wide_aead(&derive(self.root.expose_secret(), label::TENANT_FIELD, &parts))
        })
    }

    /// The key for what the ledger says of rows that belong to no person.
    pub(crate) fn ledger_key(&self) -> LedgerKey {
        LedgerKey::of_tenant(self.root.expose_secret(), self.epoch)
    }

    /// The keyed state of a column's blind index.
    pub(crate) fn index_mac(&self, table: &'static str, column: &'static str) -> Held<'_, IndexMac> {
        self.indexes.get((table, column), || {
            let parts = [table.as_bytes(), column.as_bytes(), &self.epoch.to_be_bytes()];
            IndexMac::keyed(&derive(self.root.expose_secret(), label::BLIND_INDEX, &parts))
        })
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKey").field("tenant", &self.tenant).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// What a slot keeps, or what was made anew because all of them keep something else.
pub(crate) enum Held<'a, V> {
    Kept(&'a V),
    Made(Box<V>),
}

impl<V> Deref for Held<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        match self {
            Self::Kept(value) => value,
            Self::Made(value) => value,
        }
    }
}

/// A small map that only grows, read without a lock.
struct Slots<K, V>([OnceLock<(K, Box<V>)>; SLOTS]);

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<K: Copy + PartialEq, V> Slots<K, V> {
    fn get(&self, key: K, make: impl Fn() -> V) -> Held<'_, V> {
        for slot in &self.0 {
            // Whoever comes second to a slot waits for the first, and goes on if that one had another key.
            let (held, value) = slot.get_or_init(|| (key, Box::new(make())));
            if *held == key {
                return Held::Kept(value);
            }
        }
        Held::Made(Box::new(make()))
    }
}
