//! What the keyring keeps in its store, byte by byte: see `docs/keys.md`.

use aes_gcm::aead::AeadInOut;
use hmac::Mac as _;

use super::derive::{Aead, Mac, aead, derive, label, mac, push_part};
use crate::{
    entropy,
    id::{SubjectId, TenantId},
    secret::{ExposeSecret, Secret, equal},
};

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const KIND_ROOT_CHECK: u8 = 0;
const KIND_TENANT: u8 = 1;
const KIND_SUBJECT: u8 = 2;
const KIND_ERASED: u8 = 3;

const ROOT_CHECK_LEN: usize = 2 + 32;
const WRAPPED_LEN: usize = 2 + 4 + 4 + 12 + 32 + 16 + 32;
const ERASED_LEN: usize = 2 + 4 + 4 + 32;

/// The bytes are no record, or not one that this parent wrote for this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corrupt;

/// Whose key it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) tenant: &'a TenantId,
    /// `None` for the tenant's own key.
    pub(super) subject: Option<SubjectId>,
}

impl Owner<'_> {
    fn kind(&self) -> u8 {
        if self.subject.is_some() { KIND_SUBJECT } else { KIND_TENANT }
    }

    /// What a record is bound to. Nothing of it is read from the record but the epochs, which stand in it twice.
    fn binding(&self, label: &str, epoch: u32, parent_epoch: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        push_part(&mut out, label.as_bytes());
        out.extend_from_slice(&[VERSION, self.kind()]);
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&parent_epoch.to_be_bytes());
        push_part(&mut out, self.tenant.as_str().as_bytes());
        push_part(&mut out, self.subject.as_ref().map_or(&[][..], |subject| subject.as_bytes()));
        out
    }
}

/// One record, taken apart and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    RootCheck([u8; 32]),
    Wrapped(Wrapped),
    Erased(Erased),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapped {
    kind: u8,
    pub(super) epoch: u32,
    parent_epoch: u32,
    iv: [u8; 12],
    ciphertext: [u8; 32],
    tag: [u8; 16],
    commitment: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Erased {
    pub(super) epoch: u32,
    parent_epoch: u32,
    mac: [u8; 32],
}

impl Record {
    /// Takes a record apart. Refuses another version or kind, another length, and an epoch of zero.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let [version, kind] = take(&mut rest)?;
        if version != VERSION {
            return Err(Corrupt);
        }
        let record = match (kind, bytes.len()) {
            (KIND_ROOT_CHECK, ROOT_CHECK_LEN) => Self::RootCheck(take(&mut rest)?),
            (KIND_TENANT | KIND_SUBJECT, WRAPPED_LEN) => Self::Wrapped(Wrapped {
                kind,
                epoch: take_epoch(&mut rest)?,
                parent_epoch: take_epoch(&mut rest)?,
                iv: take(&mut rest)?,
                ciphertext: take(&mut rest)?,
                tag: take(&mut rest)?,
                commitment: take(&mut rest)?,
            }),
            (KIND_ERASED, ERASED_LEN) => Self::Erased(Erased {
                epoch: take_epoch(&mut rest)?,
                parent_epoch: take_epoch(&mut rest)?,
                mac: take(&mut rest)?,
            }),
            _ => return Err(Corrupt),
        };
        if rest.is_empty() { Ok(record) } else { Err(Corrupt) }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(WRAPPED_LEN);
        out.push(VERSION);
        match self {
            Self::RootCheck(check) => {
                out.push(KIND_ROOT_CHECK);
                out.extend_from_slice(check);
            }
            Self::Wrapped(wrapped) => {
                out.push(wrapped.kind);
                out.extend_from_slice(&wrapped.epoch.to_be_bytes());
                out.extend_from_slice(&wrapped.parent_epoch.to_be_bytes());
                out.extend_from_slice(&wrapped.iv);
                out.extend_from_slice(&wrapped.ciphertext);
                out.extend_from_slice(&wrapped.tag);
                out.extend_from_slice(&wrapped.commitment);
            }
            Self::Erased(erased) => {
                out.push(KIND_ERASED);
                out.extend_from_slice(&erased.epoch.to_be_bytes());
                out.extend_from_slice(&erased.parent_epoch.to_be_bytes());
                out.extend_from_slice(&erased.mac);
            }
        }
        out
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Corrupt)?;
    *rest = tail;
    Ok(*head)
}

fn take_epoch(rest: &mut &[u8]) -> Result<u32, Corrupt> {
    match u32::from_be_bytes(take(rest)?) {
        0 => Err(Corrupt),
        epoch => Ok(epoch),
    }
}

/// A key in its role of wrapping others: the root for tenants, a tenant for its subjects.
pub(super) struct Parent {
    aead: Aead,
    /// GCM commits to no key: one ciphertext can be made to open under two. A MAC under a second key, derived from the
    /// same parent, can not.
    commit: Mac,
    epoch: u32,
}

impl Parent {
    pub(super) fn new(key: &[u8; 32], epoch: u32) -> Self {
        Self::from_derived(&derive(key, label::WRAP, &[]), &derive(key, label::WRAP_COMMIT, &[]), epoch)
    }

    pub(super) fn from_derived(wrap: &[u8; 32], commit: &[u8; 32], epoch: u32) -> Self {
        Self { aead: aead(wrap), commit: mac(commit), epoch }
    }

    /// Wraps a key for its owner, under a fresh random IV.
    pub(super) fn wrap(&self, owner: Owner<'_>, epoch: u32, key: &Secret<[u8; 32]>) -> Record {
        let mut iv = [0; 12];
        entropy::fill(&mut iv);
        let mut ciphertext = *key.expose_secret();
        let binding = owner.binding(label::WRAPPED_KEY, epoch, self.epoch);
        let tag = self
            .aead
            .encrypt_inout_detached(&iv.into(), &binding, ciphertext.as_mut_slice().into())
            .expect("32 bytes are within AES-GCM's limits");
        Record::Wrapped(Wrapped {
            kind: owner.kind(),
            epoch,
            parent_epoch: self.epoch,
            iv,
            ciphertext,
            tag: tag.into(),
            commitment: self.commitment(&binding, &iv),
        })
    }

    /// The key, if this parent wrapped it for this owner.
    pub(super) fn unwrap(&self, owner: Owner<'_>, wrapped: &Wrapped) -> Result<Secret<[u8; 32]>, Corrupt> {
        if wrapped.kind != owner.kind() || wrapped.parent_epoch != self.epoch {
            return Err(Corrupt);
        }
        let binding = owner.binding(label::WRAPPED_KEY, wrapped.epoch, wrapped.parent_epoch);
        if !equal(&self.commitment(&binding, &wrapped.iv), &wrapped.commitment) {
            return Err(Corrupt);
        }
        let mut opened = Ok(());
        let key = Secret::init_with_mut(|key: &mut [u8; 32]| {
            key.copy_from_slice(&wrapped.ciphertext);
            opened = self.aead.decrypt_inout_detached(
                &wrapped.iv.into(),
                &binding,
                key.as_mut_slice().into(),
                &wrapped.tag.into(),
            );
        });
        opened.map(|()| key).map_err(|_| Corrupt)
    }

    /// What stands in the place of an erased subject's key. Authenticated, so that who can write to the store cannot
    /// make a damaged key look like an erased one.
    pub(super) fn tombstone(&self, owner: Owner<'_>, epoch: u32) -> Record {
        let binding = owner.binding(label::ERASED_KEY, epoch, self.epoch);
        Record::Erased(Erased { epoch, parent_epoch: self.epoch, mac: self.commitment(&binding, &[]) })
    }

    /// Whether this parent wrote the tombstone for this owner.
    pub(super) fn check_tombstone(&self, owner: Owner<'_>, erased: &Erased) -> Result<(), Corrupt> {
        let binding = owner.binding(label::ERASED_KEY, erased.epoch, erased.parent_epoch);
        if erased.parent_epoch == self.epoch && equal(&self.commitment(&binding, &[]), &erased.mac) {
            Ok(())
        } else {
            Err(Corrupt)
        }
    }

    fn commitment(&self, binding: &[u8], iv: &[u8]) -> [u8; 32] {
        let mut mac = self.commit.clone();
        mac.update(binding);
        mac.update(iv);
        mac.finalize().into_bytes().into()
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
