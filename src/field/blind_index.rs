//! Finding a sealed value by what it is equal to.

use std::{fmt, marker::PhantomData};

use hmac::Mac;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use super::{
    column::{Column, Indexed, assert_well_named},
    value::{EncodeError, Encoder, FieldValue, IndexKind, Indexable},
};
use crate::{
    access::{Closed, Indexer},
    keys::TenantKey,
};

/// The most text that is normalised.
const MAX_TEXT: usize = 1024;
const VERSION: u8 = 1;

/// Sixteen bytes that are equal when two values of the indexed column `C` are equal in one clinic.
///
/// Store it in a column of its own beside the sealed one, compute it again from what is searched for, and compare in SQL.
/// Text is compared without regard to case, to compatibility forms, and to white space at its ends; so open what was found
/// and compare once more where the difference matters.
///
/// # Security
///
/// Who can read the database sees which rows of one clinic share a value, and how often; nothing across clinics, columns or
/// tables. Where the values are few or their frequencies known (sex, blood group, a first name, a postcode's first half) that
/// *is* the value: do not index such a column. Who can also write rows through the application can test guesses one by one.
/// The key is the clinic's, not the person's: erasing a person must delete their index entries too.
pub struct BlindIndex<C: Indexed> {
    bytes: [u8; 16],
    _column: PhantomData<fn() -> C>,
}

/// A blind index was not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The request has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// A text of more than 1,024 bytes.
    #[error("the value is too long to be indexed: at most 1,024 bytes of text")]
    TooLong,
    /// The value has no encoding, or is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl<C: Indexed> BlindIndex<C> {
    /// The index of a value, in the clinic of this grant: of an opened door, or of the scope of a search.
    ///
    /// # Errors
    ///
    /// If the request that the grant belonged to has ended, or if the value is a text of more than 1,024 bytes.
    pub fn of<G: Indexer<C::Class>>(value: &C::Value, grant: &G) -> Result<Self, IndexError> {
        Self::compute(value, grant.index_key()?)
    }

    fn compute(value: &C::Value, key: &TenantKey) -> Result<Self, IndexError> {
        const { assert_well_named::<C>() };
        let kind = <C::Value as Indexable>::KIND;
        let mut plain = Encoder::new(&[], value.encoded_len(), 0);
        value.encode(&mut plain)?;
        let text;
        let message = match kind {
            IndexKind::Text => {
                let given = std::str::from_utf8(plain.plaintext()).map_err(|_| EncodeError::NotJson)?;
                text = normalise(given)?;
                text.as_bytes()
            }
            IndexKind::Bytes | IndexKind::Integer | IndexKind::Date => plain.plaintext(),
        };
        let len = u32::try_from(message.len()).map_err(|_| IndexError::TooLong)?;
        let mut mac = key.index_mac(<C as Column>::TABLE, <C as Column>::NAME);
        mac.update(&[VERSION, kind as u8]);
        mac.update(&len.to_be_bytes());
        mac.update(message);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Ok(Self::from_bytes(bytes))
    }

    /// Takes sixteen bytes as they stand in the database.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { bytes, _column: PhantomData }
    }

    /// The bytes to store, or to look for.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.bytes
    }
}

impl<C: Indexed> Clone for BlindIndex<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Indexed> Copy for BlindIndex<C> {}

impl<C: Indexed> PartialEq for BlindIndex<C> {
    fn eq(&self, other: &Self) -> bool {
        crate::secret::equal(&self.bytes, &other.bytes)
    }
}

impl<C: Indexed> Eq for BlindIndex<C> {}

/// Names the column alone: equal indexes in a log would link two people's rows.
impl<C: Indexed> fmt::Debug for BlindIndex<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlindIndex").field("table", &C::TABLE).field("column", &C::NAME).finish_non_exhaustive()
    }
}

/// One form for all texts that differ only in case, compatibility form, or white space at the ends.
fn normalise(text: &str) -> Result<Zeroizing<String>, IndexError> {
    if text.len() > MAX_TEXT {
        return Err(IndexError::TooLong);
    }
    // Upper case, then lower: that also makes one of `ß` and `SS`, and of the two small sigmas. By the scalar, since
    // `str::to_lowercase` looks at the neighbours.
    let folded = text.trim().nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2));
    for scalar in folded.nfkc() {
        if out.capacity() - out.len() < scalar.len_utf8() {
            let mut larger = String::with_capacity(out.capacity() * 2 + 4);
            larger.push_str(&out);
            std::mem::replace(&mut *out, larger).zeroize();
        }
        out.push(scalar);
    }
    // Compatibility forms can leave a space at an end where there was none.
    let trimmed = out.trim();
    if trimmed.len() < out.len() {
        let trimmed = Zeroizing::new(trimmed.to_owned());
        return Ok(trimmed);
    }
    Ok(out)
}

#[cfg(test)]
#[path = "blind_index_tests.rs"]
mod tests;
