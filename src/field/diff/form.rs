//! The bytes: what the sealed list of a section holds, and what it is bound to.

use zeroize::Zeroizing;

use crate::{
    access::SealKey,
    audit::{AttemptId, FieldDiff, Stated},
    field::{
        format::{Defect, HEADER, Suite, TAG, header},
        value::{Encoder, Plaintext},
    },
    id::{RowId, SubjectId, TenantId},
    keys::{InPlace as _, LedgerKey, NoEpoch},
};

/// A value's tags in the sealed list.
pub(super) const NOTHING: u8 = 0;
pub(super) const VALUE: u8 = 1;
pub(super) const LEFT_OUT: u8 = 2;
pub(super) const ILLEGIBLE: u8 = 3;

/// The sealed list is as long as a multiple of this: its length stands in clear, and would tell a short value such as
/// `yes` from `no`.
pub(super) const STEP: usize = 256;

/// How many zeros a list of this length is followed by.
pub(super) fn padding(length: usize) -> usize {
    length.next_multiple_of(STEP) - length
}

/// The most bytes around the values of one section.
pub(super) const AROUND: usize = HEADER + 24 + TAG;

/// Which row's change, in which attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) subject: Option<SubjectId>,
    pub(super) attempt: AttemptId,
    pub(super) table: &'a str,
    pub(super) row: RowId,
}

impl Place<'_> {
    /// The key of one commitment. Owner and epoch are in the ledger key.
    pub(super) fn commitment_key(&self, key: &LedgerKey, class: &str, name: &str, side: u8) -> Zeroizing<[u8; 32]> {
        key.commitment_key(&[
            self.attempt.as_bytes(),
            class.as_bytes(),
            self.table.as_bytes(),
            name.as_bytes(),
            self.row.as_bytes(),
            &[side],
        ])
    }

    /// The associated data: the whole of what the record says in clear of these fields, so that no part of it can be
    /// moved, left out or exchanged by who has not the key.
    fn aad(&self, header: [u8; HEADER], class: &str, fields: &[FieldDiff]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(160 + fields.len() * 136);
        aad.extend_from_slice(&header);
        part(&mut aad, self.tenant.as_str().as_bytes());
        part(&mut aad, self.subject.as_ref().map_or(&[], |id| id.as_bytes()));
        part(&mut aad, self.attempt.as_bytes());
        part(&mut aad, self.table.as_bytes());
        part(&mut aad, self.row.as_bytes());
        part(&mut aad, class.as_bytes());
        for field in fields {
            part(&mut aad, field.name.as_bytes());
            for stated in [&field.before, &field.after] {
                match stated {
                    Stated::Nothing => aad.push(NOTHING),
                    Stated::Illegible => aad.push(ILLEGIBLE),
                    Stated::Commitment(commitment) => {
                        aad.push(VALUE);
                        aad.extend_from_slice(commitment);
                    }
                }
            }
        }
        aad
    }
}

/// After its length, in two bytes.
fn part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).expect("identifiers and names are shorter than 64 KiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

/// The suite and epoch that seal now, and the key.
pub(super) fn sealing(key: &SealKey<'_>) -> (Suite, u32, LedgerKey) {
    match key {
        SealKey::Subject(key) => (Suite::Subject, key.epoch(), key.ledger_key()),
        SealKey::Tenant(key) => (Suite::Tenant, key.epoch(), key.ledger_key()),
    }
}

/// The key of the epoch that sealed. The number chooses among the grant's own person's keys and reaches no others.
fn opening(key: &SealKey<'_>, suite: Suite, epoch: u32) -> Result<LedgerKey, Defect> {
    match (key, suite) {
        (SealKey::Subject(key), Suite::Subject) => key.ledger_key_of(epoch).map_err(|why| match why {
            NoEpoch::Gone => Defect::WrongEpoch,
            NoEpoch::NotYetKnown => Defect::NotYetKnown,
        }),
        (SealKey::Tenant(key), Suite::Tenant) if key.epoch() == epoch => Ok(key.ledger_key()),
        (SealKey::Tenant(_), Suite::Tenant) => Err(Defect::WrongEpoch),
        _ => Err(Defect::WrongSuite),
    }
}

/// Seals what `write` encodes.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn seal(
    (suite, epoch, key): (Suite, u32, &LedgerKey),
    place: &Place<'_>,
    class: &str,
    fields: &[FieldDiff],
    len: usize,
    write: impl FnOnce(&mut Encoder) -> Result<(), crate::field::EncodeError>,
) -> Result<Box<[u8]>, crate::field::EncodeError> {
    let mut iv = [0; 24];
    let iv = &mut iv[..suite.iv()];
    crate::entropy::fill(iv);
    let header = header(suite, epoch);
    let aad = place.aad(header, class, fields);
    let mut encoder = Encoder::new([&header, iv], len, TAG);
    write(&mut encoder)?;
    let body = encoder.plaintext_mut();
    let sealed = match suite {
        Suite::Subject => iv.try_into().ok().and_then(|iv| key.cipher(class).seal(&iv, &aad, body).ok()),
        Suite::Tenant => iv.try_into().ok().and_then(|iv| key.wide_cipher(class).seal(&iv, &aad, body).ok()),
    };
    // GCM fails on 64 GiB alone.
    let tag = sealed.ok_or(crate::field::EncodeError::TooLarge)?;
    Ok(encoder.finish(&tag))
}

/// Opens a section: the list of its values, and the key that its commitments are made with.
pub(super) fn open(
    key: &SealKey<'_>,
    place: &Place<'_>,
    class: &str,
    fields: &[FieldDiff],
    bytes: &[u8],
) -> Result<(Plaintext, LedgerKey), Defect> {
    let (suite, epoch, iv, ciphertext, tag) = crate::field::format::parts(bytes)?;
    let key = opening(key, suite, epoch)?;
    let aad = place.aad(header(suite, epoch), class, fields);
    let mut body = ciphertext.to_vec();
    let opened = match suite {
        Suite::Subject => iv.try_into().ok().and_then(|iv| key.cipher(class).open(iv, &aad, &mut body, tag).ok()),
        Suite::Tenant => iv.try_into().ok().and_then(|iv| key.wide_cipher(class).open(iv, &aad, &mut body, tag).ok()),
    };
    if opened.is_none() {
        crate::secret::wipe(&mut body);
        return Err(Defect::NotAuthentic);
    }
    Ok((Plaintext::new(body), key))
}
