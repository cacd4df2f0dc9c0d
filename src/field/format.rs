#![doc = include_str!("../../docs/format.md")]

use std::fmt;

use super::value::{EncodeError, Encoder, Plaintext};
use crate::{
    access::SealKey,
    entropy,
    id::{RowId, SubjectId, TenantId},
    keys::{Aead, Held, InPlace, NoEpoch, WideAead},
    secret::wipe,
};

/// The most bytes that one value may have once encoded: 1 MiB.
pub const MAX_PLAINTEXT: usize = 1 << 20;

/// The longest name of a table, column or data class.
pub const MAX_NAME: usize = 63;

pub(super) const TAG: usize = 16;
/// The longest sealed field there is.
pub(super) const MAX_SEALED: usize = HEADER + Suite::Tenant.iv() + MAX_PLAINTEXT + TAG;

const VERSION: u8 = 1;
pub(super) const HEADER: usize = 6;
const IV_MAX: usize = 24;
const NAMES_MAX: usize = 3 * (1 + MAX_NAME);
/// The header, the tenant, the names, two identifiers, and a length byte for each.
const AAD_MAX: usize = HEADER + (1 + MAX_NAME) + NAMES_MAX + 2 * (1 + 16);

/// Why a sealed field did not open. For the operator's trace; the caller sees one [`OpenError`](super::OpenError).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    TooShort,
    UnknownVersion,
    UnknownSuite,
    TooLong,
    WrongSuite,
    WrongEpoch,
    NotYetKnown,
    NotAuthentic,
    NotCanonical,
    /// Not a defect of the bytes: the request has ended.
    Closed,
}

impl Defect {
    /// The name that `docs/format.md` and the vectors use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::UnknownVersion => "unknown_version",
            Self::UnknownSuite => "unknown_suite",
            Self::TooLong => "too_long",
            Self::WrongSuite => "wrong_suite",
            Self::WrongEpoch => "wrong_epoch",
            Self::NotYetKnown => "key_not_yet_known",
            Self::NotAuthentic => "not_authentic",
            Self::NotCanonical => "not_canonical",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// AES-256-GCM under one person's key.
    Subject = 1,
    /// XAES-256-GCM under one clinic's key.
    Tenant = 2,
}

impl Suite {
    pub(super) const fn iv(self) -> usize {
        match self {
            Self::Subject => 12,
            Self::Tenant => 24,
        }
    }

    fn header(self, epoch: u32) -> [u8; HEADER] {
        let [a, b, c, d] = epoch.to_be_bytes();
        [VERSION, self as u8, a, b, c, d]
    }
}

/// The parts of a sealed field that has the form of one. Nothing here is authentic yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    suite: Suite,
    epoch: u32,
    iv: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG],
}

impl<'a> Parts<'a> {
    /// Rules 1 to 4 of the format.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Defect> {
        let (&[version, suite], _) = bytes.split_first_chunk::<2>().ok_or(Defect::TooShort)?;
        if version != VERSION {
            return Err(Defect::UnknownVersion);
        }
        let suite = match suite {
            1 => Suite::Subject,
            2 => Suite::Tenant,
            _ => return Err(Defect::UnknownSuite),
        };
        let (&[_, _, a, b, c, d], rest) = bytes.split_first_chunk::<HEADER>().ok_or(Defect::TooShort)?;
        let (iv, rest) = rest.split_at_checked(suite.iv()).ok_or(Defect::TooShort)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(Defect::TooShort)?;
        if ciphertext.len() > MAX_PLAINTEXT {
            return Err(Defect::TooLong);
        }
        Ok(Self { suite, epoch: u32::from_be_bytes([a, b, c, d]), iv, ciphertext, tag })
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    fn print(&self) -> Vec<u8> {
        [&self.suite.header(self.epoch)[..], self.iv, self.ciphertext, self.tag].concat()
    }
}

/// The first bytes of what is sealed for the ledger, which are those of a sealed field.
pub(super) fn header(suite: Suite, epoch: u32) -> [u8; HEADER] {
    suite.header(epoch)
}

/// The parts of what is sealed for the ledger, which has the layout of a sealed field: suite, epoch, IV, ciphertext, tag.
#[expect(clippy::type_complexity, reason = "the parts of the layout")]
pub(super) fn parts(bytes: &[u8]) -> Result<(Suite, u32, &[u8], &[u8], &[u8; TAG]), Defect> {
    let Parts { suite, epoch, iv, ciphertext, tag } = Parts::parse(bytes)?;
    Ok((suite, epoch, iv, ciphertext, tag))
}

/// Parses a sealed field and prints what it read: `None`, or the same bytes. For fuzzing.
#[doc(hidden)]
#[must_use]
pub fn reprint(bytes: &[u8]) -> Option<Vec<u8>> {
    Parts::parse(bytes).ok().map(|parts| parts.print())
}

/// Where a value belongs: what the associated data says beside the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) subject: Option<SubjectId>,
    pub(super) names: &'a Names,
    pub(super) row: RowId,
}

/// A column's class, table and name as the associated data has them: made by the compiler, once for each column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    bytes: [u8; NAMES_MAX],
    len: usize,
}

impl Names {
    pub(super) const fn new(class: &str, table: &str, column: &str) -> Self {
        let mut names = Self { bytes: [0; NAMES_MAX], len: 0 };
        names.part(class.as_bytes());
        names.part(table.as_bytes());
        names.part(column.as_bytes());
        names
    }

    #[expect(clippy::cast_possible_truncation, reason = "asserted just before")]
    const fn part(&mut self, part: &[u8]) {
        assert!(part.len() <= MAX_NAME, "a part of the associated data is at most 63 bytes");
        self.bytes[self.len] = part.len() as u8;
        self.bytes.split_at_mut(self.len + 1).1.split_at_mut(part.len()).0.copy_from_slice(part);
        self.len += 1 + part.len();
    }

    const fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }
}

/// The associated data, on the stack.
pub(super) struct Aad {
    bytes: [u8; AAD_MAX],
    len: usize,
}

impl Aad {
    #[inline]
    fn new(header: [u8; HEADER], place: &Place<'_>) -> Self {
        let mut aad = Self { bytes: [0; AAD_MAX], len: HEADER };
        aad.bytes[..HEADER].copy_from_slice(&header);
        aad.part(place.tenant.as_str().as_bytes());
        aad.part(place.subject.as_ref().map_or(&[], |id| id.as_bytes()));
        aad.push(place.names.as_bytes());
        aad.part(place.row.as_bytes());
        aad
    }

    #[inline]
    fn part(&mut self, part: &[u8]) {
        // `TenantId` bounds its text, so the buffer holds it; a longer one stops here, loudly.
        self.push(&[u8::try_from(part.len()).expect("a part of the associated data is at most 63 bytes")]);
        self.push(part);
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A cipher under the key that a grant holds, and the epoch of that key. Its kind is the suite.
pub(super) enum Cipher<'a, A = Aead> {
    Subject(Held<'a, A>, u32),
    Tenant(Held<'a, WideAead>, u32),
}

impl<'a> Cipher<'a> {
    pub(super) fn new(key: &SealKey<'a>, class: &'static str) -> Self {
        match key {
            SealKey::Subject(key) => Self::Subject(key.cipher(class), key.epoch()),
            SealKey::Tenant(key) => Self::Tenant(key.cipher(class), key.epoch()),
        }
    }

    /// The one that opens what says that it was sealed so: rules 5 and 6 of the format. The epoch chooses among the keys of
    /// the grant's own person and reaches no others.
    pub(super) fn opening(key: &SealKey<'a>, class: &'static str, parts: &Parts<'_>) -> Result<Self, Defect> {
        match (key, parts.suite) {
            (SealKey::Subject(key), Suite::Subject) => match key.cipher_of(parts.epoch, class) {
                Ok(cipher) => Ok(Self::Subject(cipher, parts.epoch)),
                Err(NoEpoch::NotYetKnown) => Err(Defect::NotYetKnown),
                Err(NoEpoch::Gone) => Err(Defect::WrongEpoch),
            },
            (SealKey::Tenant(key), Suite::Tenant) if key.epoch() < parts.epoch => Err(Defect::NotYetKnown),
            (SealKey::Tenant(key), Suite::Tenant) => Ok(Self::Tenant(key.cipher(class), key.epoch())),
            _ => Err(Defect::WrongSuite),
        }
    }
}

impl<A: InPlace<12>> Cipher<'_, A> {
    fn suite(&self) -> Suite {
        match self {
            Self::Subject(..) => Suite::Subject,
            Self::Tenant(..) => Suite::Tenant,
        }
    }

    fn epoch(&self) -> u32 {
        match self {
            Self::Subject(_, epoch) | Self::Tenant(_, epoch) => *epoch,
        }
    }

    /// Seals what `write` encodes: header, IV, plaintext and tag share the one buffer that leaves.
    pub(super) fn seal(
        &self,
        place: &Place<'_>,
        len_hint: usize,
        write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    ) -> Result<Box<[u8]>, EncodeError> {
        let mut iv = [0; IV_MAX];
        let iv = &mut iv[..self.suite().iv()];
        entropy::fill(iv);
        self.seal_with_iv(place, iv, len_hint, write)
    }

    /// Only [`seal`](Self::seal) and the vectors choose an IV; no caller outside this file does.
    fn seal_with_iv(
        &self,
        place: &Place<'_>,
        iv: &[u8],
        len_hint: usize,
        write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    ) -> Result<Box<[u8]>, EncodeError> {
        let header = self.suite().header(self.epoch());
        let aad = Aad::new(header, place);
        let mut encoder = Encoder::new([&header, iv], len_hint, TAG);
        write(&mut encoder)?;
        let body = encoder.plaintext_mut();
        let sealed = match self {
            Self::Subject(cipher, _) => iv.try_into().ok().and_then(|iv| cipher.seal(iv, aad.as_bytes(), body).ok()),
            Self::Tenant(cipher, _) => iv.try_into().ok().and_then(|iv| cipher.seal(iv, aad.as_bytes(), body).ok()),
        };
        // GCM fails on 64 GiB alone, and the encoder stops at 1 MiB.
        let tag = sealed.ok_or(EncodeError::TooLarge)?;
        Ok(encoder.finish(&tag))
    }

    /// Rules 5 to 7 of the format. `body` is empty; what is opened is written into its room.
    pub(super) fn open(&self, place: &Place<'_>, parts: &Parts<'_>, mut body: Vec<u8>) -> Result<Plaintext, Defect> {
        if parts.suite != self.suite() {
            return Err(Defect::WrongSuite);
        }
        if parts.epoch != self.epoch() {
            return Err(Defect::WrongEpoch);
        }
        let aad = Aad::new(parts.suite.header(parts.epoch), place);
        body.extend_from_slice(parts.ciphertext);
        let opened = match self {
            Self::Subject(cipher, _) => {
                parts.iv.try_into().ok().and_then(|iv| cipher.open(iv, aad.as_bytes(), &mut body, parts.tag).ok())
            }
            Self::Tenant(cipher, _) => {
                parts.iv.try_into().ok().and_then(|iv| cipher.open(iv, aad.as_bytes(), &mut body, parts.tag).ok())
            }
        };
        if opened.is_none() {
            // `aes-gcm` checks the tag before it decrypts, and aws-lc decrypts meanwhile.
            wipe(&mut body);
            return Err(Defect::NotAuthentic);
        }
        Ok(Plaintext::new(body))
    }
}

#[cfg(test)]
mod tests;
