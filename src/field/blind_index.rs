//! Finding a sealed value by what it is equal to.

use std::{fmt, marker::PhantomData};

use unicode_normalization::UnicodeNormalization;

use super::{
    column::{Column, Indexed, assert_well_named},
    value::{EncodeError, Encoder, IndexKind, Indexable},
};
use crate::{
    access::{Closed, Indexer},
    keys::{IndexMac, TenantKey},
};

/// The most text that is normalised.
const MAX_TEXT: usize = 1024;
const VERSION: u8 = 1;
/// The version, the kind and the length.
const HEAD: usize = 6;

/// Sixteen bytes that are equal when two values of the indexed column `C` are equal in one clinic.
///
/// Store it in a column of its own beside the sealed one, compute it again from what is searched for, and compare in SQL.
/// Text is compared without regard to case, to compatibility forms, and to white space at its ends; so open what was found
/// and compare once more where the difference matters.
///
/// ```
/// use tower_ward::{access::Scope, field::{BlindIndex, Column, IndexError, Indexed}};
///
/// tower_ward::classes! { pub Payroll = "payroll"; }
/// tower_ward::permissions! { pub FindStaff = "staff.find" opens Payroll; }
/// tower_ward::columns! { pub NiNumber: String = "staff"."ni" as Payroll, indexed; }
///
/// /// What `select … where ni_index = ?` is bound to, in the query of a search.
/// fn wanted(scope: &Scope<FindStaff>, number: &String) -> Result<[u8; 16], IndexError> {
///     Ok(*BlindIndex::<NiNumber>::of(number, scope)?.as_bytes())
/// }
///
/// fn only_indexed<C: Indexed>() -> (&'static str, &'static str) { (<C as Column>::TABLE, <C as Column>::NAME) }
/// assert_eq!(only_indexed::<NiNumber>(), ("staff", "ni"));
/// ```
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
    /// A type of the application's own says that it is text, and its encoding is not UTF-8.
    #[error("the value's type says that it is text, and its encoding is not UTF-8: correct its `Indexable::KIND`")]
    NotText,
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
        let mac = key.index_mac(<C as Column>::TABLE, <C as Column>::NAME);
        digest(value, &mac).map(Self::from_bytes)
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

fn digest<V: Indexable>(value: &V, mac: &IndexMac) -> Result<[u8; 16], IndexError> {
    let mut message = Encoder::new([&[0; HEAD]], value.encoded_len(), 0);
    value.encode(&mut message)?;
    match V::KIND {
        IndexKind::Text => normalise(&mut message)?,
        IndexKind::Bytes | IndexKind::Integer | IndexKind::Date => {}
    }
    let [a, b, c, d] = u32::try_from(message.plaintext().len()).map_err(|_| IndexError::TooLong)?.to_be_bytes();
    message.head_mut().copy_from_slice(&[VERSION, V::KIND as u8, a, b, c, d]);
    let digest = mac.tag(message.as_bytes());
    let (&first, _) = digest.split_first_chunk().ok_or(IndexError::TooLong)?;
    Ok(first)
}

/// One form for all texts that differ only in case, compatibility form, or white space at the ends.
fn normalise(plain: &mut Encoder) -> Result<(), IndexError> {
    let text = str::from_utf8(plain.plaintext()).map_err(|_| IndexError::NotText)?;
    if text.len() > MAX_TEXT {
        return Err(IndexError::TooLong);
    }
    let ends = |text: &str| (text.len() - text.trim_start().len(), text.trim().len());
    let (begin, length) = if text.is_ascii() {
        let ends = ends(text);
        plain.plaintext_mut().make_ascii_lowercase();
        ends
    } else {
        let mut out = Encoder::new([&[0; HEAD]], text.len() * 2, 0);
        let mut put = |scalar: char| out.push(scalar.encode_utf8(&mut [0; 4]).as_bytes());
        // By way of upper case, which makes one of `ß`, `ẞ` and `SS`, and of the two small sigmas. By the scalar, since
        // `str::to_lowercase` looks at the neighbours.
        let folded = text.nfkc().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
        folded.nfkc().try_for_each(&mut put)?;
        *plain = out;
        ends(str::from_utf8(plain.plaintext()).map_err(|_| IndexError::NotText)?)
    };
    plain.keep(begin, length);
    Ok(())
}

#[cfg(test)]
mod tests;
