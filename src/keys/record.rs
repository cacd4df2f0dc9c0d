//! What the keyring keeps in its store, byte by byte: see `docs/keys.md`.

use std::fmt;

use hmac::Mac as _;
use zeroize::Zeroizing;

use super::{
    derive::{Aead, Mac, aead, derive, label, mac, push_part},
    in_place::InPlace,
    kek::KekId,
    provider::{KeyBytes, MAX_WRAPPED},
};
use crate::{
    entropy,
    id::{SubjectId, TenantId},
    secret::{ExposeSecret, Secret, equal},
};

#[cfg(test)]
pub(super) mod tests;

const VERSION: u8 = 2;
const KIND_PLATFORM: u8 = 0;
const KIND_TENANT: u8 = 1;
const KIND_SUBJECT: u8 = 2;
const KIND_CLINIC: u8 = 3;
const KIND_ERASED: u8 = 4;
// 5 is that of the notices.
const KIND_SHRED: u8 = 6;
/// A subject whose keys were replaced: as a subject's, with what is kept of the old ones.
const KIND_SUBJECT_PAST: u8 = 7;

/// The most keys that one owner has at a time: the one in use, and one that is coming or going.
pub(super) const MAX_KEYS: usize = 2;
/// The most retired keys of one owner of which something is kept.
pub(super) const MAX_PAST: usize = 255;
const MAC: usize = 32;

/// The bytes are no record, or not one that its authority wrote for this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corrupt;

/// Whose record it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    /// `None` for the platform.
    pub(super) tenant: Option<&'a TenantId>,
    /// `None` for what is the platform's or the tenant's own.
    pub(super) subject: Option<SubjectId>,
}

impl<'a> Owner<'a> {
    pub(super) const PLATFORM: Self = Self { tenant: None, subject: None };

    pub(super) const fn tenant(tenant: &'a TenantId) -> Self {
        Self { tenant: Some(tenant), subject: None }
    }

    pub(super) const fn subject(tenant: &'a TenantId, subject: SubjectId) -> Self {
        Self { tenant: Some(tenant), subject: Some(subject) }
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_part(out, self.tenant.map_or(&[][..], |tenant| tenant.as_str().as_bytes()));
        push_part(out, self.subject.as_ref().map_or(&[][..], |subject| subject.as_bytes()));
    }
}

/// One record, taken apart and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Guarded(Guarded),
    Set(KeySet),
    Erased(Tombstone),
    Shred(Shred),
}

/// Keys under key-encryption keys: the platform's secret, or a tenant's wrapping key with the clinic's keys under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guarded {
    pub(super) state: State,
    /// By rising epoch; the last is in use.
    pub(super) keys: Vec<GuardedKey>,
    /// A tenant's alone.
    pub(super) clinic: Option<KeySet>,
    mac: [u8; MAC],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    InUse = 1,
    Revoked = 2,
}

/// A key as a provider wrapped it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct GuardedKey {
    pub(super) epoch: u32,
    /// Milliseconds since 1970.
    pub(super) made: i64,
    pub(super) kek: KekId,
    pub(super) blob: Vec<u8>,
    pub(super) commitment: [u8; 32],
}

impl fmt::Debug for GuardedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedKey").field("epoch", &self.epoch).field("kek", &self.kek).finish_non_exhaustive()
    }
}

/// The keys of one subject, or of what belongs to no person, wrapped under their tenant's wrapping key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySet {
    kind: u8,
    pub(super) parent_epoch: u32,
    /// Which of the keys seals.
    pub(super) current: u8,
    /// By rising epoch.
    pub(super) keys: Vec<Wrapped>,
    /// By rising epoch: of retired keys, what opens the ledger.
    pub(super) past: Vec<Wrapped>,
    mac: [u8; MAC],
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) epoch: u32,
    /// Milliseconds since 1970.
    pub(super) made: i64,
    iv: [u8; 12],
    ciphertext: [u8; 32],
    tag: [u8; 16],
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped").field("epoch", &self.epoch).field("made", &self.made).finish_non_exhaustive()
    }
}

/// What stands in the place of an erased subject's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tombstone {
    /// The newest epoch that there was.
    pub(super) epoch: u32,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    /// Which attempt of the ledger did it; zeros if none.
    pub(super) attempt: [u8; 16],
    mac: [u8; MAC],
}

/// A line of the shred journal: that a subject's keys are to be destroyed, and whether every copy has confirmed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shred {
    pub(super) done: bool,
    /// When it began, milliseconds since 1970.
    pub(super) at: i64,
    /// Which attempt of the ledger it is; zeros if none.
    pub(super) attempt: [u8; 16],
    /// How many copies of the store have confirmed, this one among them.
    pub(super) copies: u8,
    mac: [u8; MAC],
}

impl Record {
    /// Takes a record apart. Refuses another version, kind or length, counts and epochs out of their bounds or order, and
    /// bytes left over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let (&[version, kind], _) = bytes.split_first_chunk::<2>().ok_or(Corrupt)?;
        if version != VERSION {
            return Err(Corrupt);
        }
        match kind {
            KIND_PLATFORM | KIND_TENANT => Guarded::parse(bytes).map(Self::Guarded),
            KIND_SUBJECT | KIND_SUBJECT_PAST => KeySet::parse(bytes, kind).map(Self::Set),
            KIND_ERASED => Tombstone::parse(bytes).map(Self::Erased),
            KIND_SHRED => Shred::parse(bytes).map(Self::Shred),
            // A clinic's keys stand within the tenant's record and nowhere else.
            _ => Err(Corrupt),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Guarded(guarded) => guarded.to_bytes(),
            Self::Set(set) => set.to_bytes(),
            Self::Erased(tombstone) => tombstone.to_bytes(),
            Self::Shred(shred) => shred.to_bytes(),
        }
    }
}

impl Guarded {
    pub(super) const fn new(keys: Vec<GuardedKey>, clinic: Option<KeySet>) -> Self {
        Self { state: State::InUse, keys, clinic, mac: [0; MAC] }
    }

    /// The key in use.
    pub(super) fn current(&self) -> &GuardedKey {
        self.keys.last().expect("a record of a guarded key has at least one: the parser and `new` see to it")
    }

    fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let [_, kind, state, count] = take(&mut rest)?;
        let state = match (state, kind) {
            (1, _) => State::InUse,
            (2, KIND_TENANT) => State::Revoked,
            _ => return Err(Corrupt),
        };
        let mut keys = Vec::with_capacity(MAX_KEYS);
        for _ in 0..count_of(count)? {
            let (epoch, made) = (take_epoch(&mut rest)?, take_time(&mut rest)?);
            let [length] = take(&mut rest)?;
            let kek = KekId::from_bytes(take_slice(&mut rest, usize::from(length))?).ok_or(Corrupt)?;
            let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
            if length == 0 || length > MAX_WRAPPED {
                return Err(Corrupt);
            }
            let blob = take_slice(&mut rest, length)?.to_vec();
            keys.push(GuardedKey { epoch, made, kek, blob, commitment: take(&mut rest)? });
        }
        rising(keys.iter().map(|key| key.epoch))?;
        let clinic = if kind == KIND_TENANT {
            let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
            Some(KeySet::parse(take_slice(&mut rest, length)?, KIND_CLINIC)?)
        } else {
            None
        };
        let mac = take(&mut rest)?;
        if rest.is_empty() { Ok(Self { state, keys, clinic, mac }) } else { Err(Corrupt) }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let kind = if self.clinic.is_some() { KIND_TENANT } else { KIND_PLATFORM };
        let mut out = vec![VERSION, kind, self.state as u8, short(self.keys.len())];
        for key in &self.keys {
            out.extend_from_slice(&key.epoch.to_be_bytes());
            out.extend_from_slice(&key.made.to_be_bytes());
            out.push(short(key.kek.as_str().len()));
            out.extend_from_slice(key.kek.as_str().as_bytes());
            push_part(&mut out, &key.blob);
            out.extend_from_slice(&key.commitment);
        }
        if let Some(clinic) = &self.clinic {
            push_part(&mut out, &clinic.to_bytes());
        }
        out.extend_from_slice(&self.mac);
        out
    }
}

impl KeySet {
    /// Keys of a subject, or of a clinic, the last of them in use, still without their MAC.
    pub(super) const fn new(
        subject: bool,
        parent_epoch: u32,
        current: u8,
        keys: Vec<Wrapped>,
        past: Vec<Wrapped>,
    ) -> Self {
        let kind = match (subject, past.is_empty()) {
            (true, true) => KIND_SUBJECT,
            (true, false) => KIND_SUBJECT_PAST,
            (false, _) => KIND_CLINIC,
        };
        Self { kind, parent_epoch, current, keys, past, mac: [0; MAC] }
    }

    /// The newest epoch that there is.
    pub(super) fn newest(&self) -> u32 {
        self.keys.last().map_or(0, |key| key.epoch)
    }

    fn parse(bytes: &[u8], expected: u8) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let [version, kind] = take(&mut rest)?;
        if version != VERSION || kind != expected {
            return Err(Corrupt);
        }
        let parent_epoch = take_epoch(&mut rest)?;
        let [current, count] = take(&mut rest)?;
        let count = count_of(count)?;
        if usize::from(current) >= count {
            return Err(Corrupt);
        }
        let mut keys = Vec::with_capacity(MAX_KEYS);
        for _ in 0..count {
            keys.push(Wrapped::take(&mut rest)?);
        }
        let mut past = Vec::new();
        if kind == KIND_SUBJECT_PAST {
            let [count] = take(&mut rest)?;
            if count == 0 {
                return Err(Corrupt);
            }
            for _ in 0..count {
                past.push(Wrapped::take(&mut rest)?);
            }
        }
        rising(past.iter().chain(&keys).map(|key| key.epoch))?;
        let mac = take(&mut rest)?;
        if rest.is_empty() { Ok(Self { kind, parent_epoch, current, keys, past, mac }) } else { Err(Corrupt) }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + (self.keys.len() + self.past.len()) * 72 + MAC);
        out.extend_from_slice(&[VERSION, self.kind]);
        out.extend_from_slice(&self.parent_epoch.to_be_bytes());
        out.extend_from_slice(&[self.current, short(self.keys.len())]);
        self.keys.iter().for_each(|key| key.push(&mut out));
        if self.kind == KIND_SUBJECT_PAST {
            out.push(short(self.past.len()));
            self.past.iter().for_each(|key| key.push(&mut out));
        }
        out.extend_from_slice(&self.mac);
        out
    }
}

impl Wrapped {
    fn take(rest: &mut &[u8]) -> Result<Self, Corrupt> {
        Ok(Self {
            epoch: take_epoch(rest)?,
            made: take_time(rest)?,
            iv: take(rest)?,
            ciphertext: take(rest)?,
            tag: take(rest)?,
        })
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.made.to_be_bytes());
        out.extend_from_slice(&self.iv);
        out.extend_from_slice(&self.ciphertext);
        out.extend_from_slice(&self.tag);
    }
}

impl Tombstone {
    pub(super) const fn new(epoch: u32, at: i64, attempt: [u8; 16]) -> Self {
        Self { epoch, at, attempt, mac: [0; MAC] }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let [_, _] = take(&mut rest)?;
        let (epoch, at) = (take_epoch(&mut rest)?, take_time(&mut rest)?);
        let (attempt, mac) = (take(&mut rest)?, take(&mut rest)?);
        if rest.is_empty() { Ok(Self { epoch, at, attempt, mac }) } else { Err(Corrupt) }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, KIND_ERASED];
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.attempt);
        out.extend_from_slice(&self.mac);
        out
    }
}

impl Shred {
    pub(super) const fn begun(at: i64, attempt: [u8; 16]) -> Self {
        Self { done: false, at, attempt, copies: 0, mac: [0; MAC] }
    }

    /// The same, confirmed by so many copies.
    pub(super) const fn done(self, copies: u8) -> Self {
        Self { done: true, copies, ..self }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let [_, _, state] = take(&mut rest)?;
        let (at, attempt) = (take_time(&mut rest)?, take(&mut rest)?);
        let [copies] = take(&mut rest)?;
        let done = match (state, copies) {
            (1, 0) => false,
            (2, 1..) => true,
            _ => return Err(Corrupt),
        };
        let mac = take(&mut rest)?;
        if rest.is_empty() { Ok(Self { done, at, attempt, copies, mac }) } else { Err(Corrupt) }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, KIND_SHRED, if self.done { 2 } else { 1 }];
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.attempt);
        out.push(self.copies);
        out.extend_from_slice(&self.mac);
        out
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Corrupt)?;
    *rest = tail;
    Ok(*head)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Corrupt> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Corrupt)?;
    *rest = tail;
    Ok(head)
}

fn take_epoch(rest: &mut &[u8]) -> Result<u32, Corrupt> {
    match u32::from_be_bytes(take(rest)?) {
        0 => Err(Corrupt),
        epoch => Ok(epoch),
    }
}

/// No key was made before 1970.
fn take_time(rest: &mut &[u8]) -> Result<i64, Corrupt> {
    match i64::from_be_bytes(take(rest)?) {
        ..0 => Err(Corrupt),
        time => Ok(time),
    }
}

fn count_of(count: u8) -> Result<usize, Corrupt> {
    let count = usize::from(count);
    if (1..=MAX_KEYS).contains(&count) { Ok(count) } else { Err(Corrupt) }
}

fn rising(epochs: impl Iterator<Item = u32>) -> Result<(), Corrupt> {
    if epochs.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Corrupt) }
}

fn short(length: usize) -> u8 {
    u8::try_from(length).expect("a record has at most two keys and 255 retired ones, and a name at most 63 bytes")
}

/// What vouches for a record: a MAC under a key that is derived from the platform's secret, or from a tenant's wrapping key.
pub(super) struct Authority(Mac);

impl Authority {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(mac(&derive(key, label::RECORD_MAC, &[])))
    }

    /// The record with its MAC.
    pub(super) fn sign(&self, owner: Owner<'_>, mut record: Record) -> Record {
        let mac = self.mac_of(owner, &record);
        match &mut record {
            Record::Guarded(guarded) => guarded.mac = mac,
            Record::Set(set) => set.mac = mac,
            Record::Erased(tombstone) => tombstone.mac = mac,
            Record::Shred(shred) => shred.mac = mac,
        }
        record
    }

    /// Whether this authority wrote this record for this owner.
    pub(super) fn check(&self, owner: Owner<'_>, record: &Record) -> Result<(), Corrupt> {
        let mac = match record {
            Record::Guarded(guarded) => &guarded.mac,
            Record::Set(set) => &set.mac,
            Record::Erased(tombstone) => &tombstone.mac,
            Record::Shred(shred) => &shred.mac,
        };
        if equal(&self.mac_of(owner, record), mac) { Ok(()) } else { Err(Corrupt) }
    }

    fn mac_of(&self, owner: Owner<'_>, record: &Record) -> [u8; MAC] {
        let bytes = record.to_bytes();
        let mut message = Vec::with_capacity(bytes.len() + 160);
        push_part(&mut message, label::RECORD.as_bytes());
        owner.push(&mut message);
        message.extend_from_slice(&bytes[..bytes.len() - MAC]);
        self.mac(&message)
    }

    pub(super) fn mac(&self, message: &[u8]) -> [u8; MAC] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }
}

/// Names the key inside a wrapped one, and tells nothing of it. A provider's cipher may commit to no key (GCM does not), and
/// a provider may lie: what it gives back is compared with this.
pub(super) fn commitment(owner: Owner<'_>, epoch: u32, key: &KeyBytes) -> Zeroizing<[u8; 32]> {
    let mut binding = Vec::with_capacity(160);
    owner.push(&mut binding);
    binding.extend_from_slice(&epoch.to_be_bytes());
    derive(key.expose_secret(), label::KEY_COMMITMENT, &[&binding])
}

/// A tenant's wrapping key.
pub(super) struct Parent {
    aead: Aead,
    /// GCM commits to no key: one ciphertext can be made to open under two. A MAC under a second key, derived from the
    /// same parent, can not.
    authority: Authority,
    epoch: u32,
}

impl Parent {
    pub(super) fn new(key: &[u8; 32], epoch: u32) -> Self {
        Self { aead: aead(&derive(key, label::WRAP, &[])), authority: Authority::new(key), epoch }
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What one wrapped key is bound to. Nothing of it is read from the record but epochs and time, which its MAC covers.
    fn binding(&self, label: &str, owner: Owner<'_>, epoch: u32, made: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        push_part(&mut out, label.as_bytes());
        out.push(VERSION);
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&made.to_be_bytes());
        owner.push(&mut out);
        out
    }

    /// Wraps keys for their owner, each under a fresh random IV.
    pub(super) fn wrap<'k>(
        &self,
        owner: Owner<'_>,
        current: u8,
        keys: impl IntoIterator<Item = (u32, i64, &'k KeyBytes)>,
    ) -> KeySet {
        self.wrap_with_past(owner, current, keys, [])
    }

    /// The same for a person whose keys were replaced, with what is kept of the old ones.
    pub(super) fn wrap_with_past<'k>(
        &self,
        owner: Owner<'_>,
        current: u8,
        keys: impl IntoIterator<Item = (u32, i64, &'k KeyBytes)>,
        past: impl IntoIterator<Item = (u32, i64, &'k KeyBytes)>,
    ) -> KeySet {
        let seal = |label: &str, (epoch, made, key): (u32, i64, &KeyBytes)| {
            let mut iv = [0; 12];
            entropy::fill(&mut iv);
            let mut ciphertext = *key.expose_secret();
            let tag = self
                .aead
                .seal(&iv, &self.binding(label, owner, epoch, made), &mut ciphertext)
                .expect("32 bytes are within AES-GCM's limits");
            Wrapped { epoch, made, iv, ciphertext, tag }
        };
        let keys = keys.into_iter().map(|key| seal(label::WRAPPED_KEY, key)).collect();
        let past = past.into_iter().map(|key| seal(label::WRAPPED_LEDGER_KEY, key)).collect();
        let set = KeySet::new(owner.subject.is_some(), self.epoch, current, keys, past);
        match self.authority.sign(owner, Record::Set(set)) {
            Record::Set(set) => set,
            Record::Guarded(_) | Record::Erased(_) | Record::Shred(_) => unreachable!("signing keeps the kind"),
        }
    }

    /// The keys with their epochs, if this parent wrapped them for this owner.
    pub(super) fn unwrap(&self, owner: Owner<'_>, set: &KeySet) -> Result<Vec<(u32, KeyBytes)>, Corrupt> {
        self.check(owner, set)?;
        set.keys.iter().map(|key| Ok((key.epoch, self.open(label::WRAPPED_KEY, owner, key)?))).collect()
    }

    /// What is kept of the retired keys, with their epochs.
    pub(super) fn unwrap_past(&self, owner: Owner<'_>, set: &KeySet) -> Result<Vec<(u32, KeyBytes)>, Corrupt> {
        if set.past.is_empty() {
            return Ok(Vec::new());
        }
        self.check(owner, set)?;
        set.past.iter().map(|key| Ok((key.epoch, self.open(label::WRAPPED_LEDGER_KEY, owner, key)?))).collect()
    }

    fn check(&self, owner: Owner<'_>, set: &KeySet) -> Result<(), Corrupt> {
        let of_subject = matches!(set.kind, KIND_SUBJECT | KIND_SUBJECT_PAST);
        if of_subject != owner.subject.is_some() || set.parent_epoch != self.epoch {
            return Err(Corrupt);
        }
        // Before anything is opened: it also commits to this parent.
        self.authority.check(owner, &Record::Set(set.clone()))
    }

    fn open(&self, label: &str, owner: Owner<'_>, wrapped: &Wrapped) -> Result<KeyBytes, Corrupt> {
        let binding = self.binding(label, owner, wrapped.epoch, wrapped.made);
        let mut opened = Ok(());
        let key = Secret::init_with_mut(|key: &mut [u8; 32]| {
            key.copy_from_slice(&wrapped.ciphertext);
            opened = self.aead.open(&wrapped.iv, &binding, key, &wrapped.tag);
        });
        opened.map(|()| key).map_err(|_| Corrupt)
    }
}

/// Parse, print, compare: for the fuzz target. Whether the bytes were a record.
pub(super) fn round_trips(bytes: &[u8]) -> bool {
    match Record::parse(bytes) {
        Ok(record) => {
            assert_eq!(record.to_bytes(), bytes, "a record has one spelling");
            true
        }
        Err(Corrupt) => false,
    }
}
