//! One sealed value of one column.

use std::{borrow::Cow, fmt, marker::PhantomData};

use super::{
    column::{Column, assert_well_named},
    format::{Cipher, Defect, MAX_SEALED, Names, Parts, Place},
    phi::Phi,
    value::{EncodeError, FieldValue, spare},
};
use crate::{
    access::{Closed, DataClass, Opener, Sealing},
    codec,
    id::RowId,
    trace,
};

/// A value of the column `C`, sealed. The wrong column's ciphertext is another type.
///
/// It holds ciphertext alone, so it can be cloned, stored and sent. `Debug` prints its length; serde writes and reads the
/// ciphertext as base64url, for exports that stay sealed.
///
/// # Security
///
/// Who can write the database can delete a value, or put back one that stood in the same cell before; anything else they do
/// to it makes it fail to open. Who can read it learns the length of each value.
pub struct Encrypted<C: Column> {
    bytes: Box<[u8]>,
    _column: PhantomData<fn() -> C>,
}

/// A value was not sealed. Nothing was written.
///
/// ```
/// use tower_ward::field::{EncodeError, SealError, SealErrorKind};
///
/// /// Whether another value would have been sealed.
/// fn is_the_values_fault(error: &SealError) -> bool {
///     matches!(error.kind(), SealErrorKind::Encode(EncodeError::TooLarge | EncodeError::NotJson))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{table}.{column}` was not sealed")]
pub struct SealError {
    table: &'static str,
    column: &'static str,
    #[source]
    kind: SealErrorKind,
}

/// Why a value was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealErrorKind {
    /// The request has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The value has no encoding, or is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl SealError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> SealErrorKind {
        self.kind
    }
}

/// A sealed field did not open.
///
/// It says the same whatever the reason: bytes damaged, moved, forged or sealed under another key, or a request that has
/// ended. The reason goes to the operator's trace, with the table and column, and never to the caller.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed field did not open: the trace names its table and column, and why")]
pub struct OpenError(());

impl fmt::Debug for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenError")
    }
}

impl<C: Column> Encrypted<C> {
    /// Seals a value into row `row`, under the key that the grant holds.
    ///
    /// # Errors
    ///
    /// If the request that the grant belonged to has ended, if the value is larger than 1 MiB once encoded, or if it has no
    /// encoding.
    pub fn seal<G: Opener<C::Class>>(value: &C::Value, grant: &G, row: RowId) -> Result<Self, SealError> {
        Self::seal_under(value, grant.sealing(), row)
    }

    /// Opens the value, which must have been sealed into row `row` of this column for the person (or clinic) of this grant.
    ///
    /// # Errors
    ///
    /// If it was not, in any respect, or if the request that the grant belonged to has ended.
    pub fn open<G: Opener<C::Class>>(&self, grant: &G, row: RowId) -> Result<Phi<C::Value>, OpenError> {
        self.open_under(grant.sealing(), row).map_err(Self::refuse)
    }

    /// Opens the value like [`open`](Self::open), lends it to `look`, and wipes it: for what is compared, counted or
    /// written elsewhere, and not kept. A text, or bytes, of up to 1 KiB takes no allocation: each thread keeps a buffer.
    ///
    /// ```
    /// use tower_ward::{access::Opener, field::{Encrypted, OpenError}, id::RowId};
    ///
    /// tower_ward::classes! { pub Clinical = "clinical"; }
    /// tower_ward::columns! { pub Family: String = "patients"."family" as Clinical, indexed; }
    ///
    /// /// A blind index finds what is equal but for case: whether this row is.
    /// fn is_exactly(sealed: &Encrypted<Family>, by: &impl Opener<Clinical>, row: RowId, name: &str) -> Result<bool, OpenError> {
    ///     sealed.disclose_with(by, row, |family| family == name)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `look` is not called then.
    pub fn disclose_with<G: Opener<C::Class>, R>(
        &self,
        grant: &G,
        row: RowId,
        look: impl FnOnce(&C::Value) -> R,
    ) -> Result<R, OpenError> {
        // A `Phi` meanwhile, so that it is wiped if `look` panics.
        let value = self.open_in(grant.sealing(), row, spare()).map_err(Self::refuse)?;
        let seen = look(value.value());
        drop(value.disclose().into_memory());
        Ok(seen)
    }

    /// Takes bytes as they stand in the database. Whether they are a sealed field shows when they are opened.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { bytes: bytes.into(), _column: PhantomData }
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn seal_under(
        value: &C::Value,
        sealing: Result<Sealing<'_>, Closed>,
        row: RowId,
    ) -> Result<Self, SealError> {
        let refuse = |kind| SealError { table: C::TABLE, column: C::NAME, kind };
        let sealing = sealing.map_err(|closed| refuse(closed.into()))?;
        Cipher::new(&sealing.key, C::Class::ID)
            .seal(&Self::place(&sealing, row), value.encoded_len(), |out| value.encode(out))
            .map(Self::from_bytes)
            .map_err(|error| refuse(error.into()))
    }

    pub(super) fn open_under(&self, sealing: Result<Sealing<'_>, Closed>, row: RowId) -> Result<Phi<C::Value>, Defect> {
        self.open_in(sealing, row, Vec::new())
    }

    fn open_in(
        &self,
        sealing: Result<Sealing<'_>, Closed>,
        row: RowId,
        memory: Vec<u8>,
    ) -> Result<Phi<C::Value>, Defect> {
        let sealing = sealing.map_err(|_| Defect::Closed)?;
        let parts = Parts::parse(&self.bytes)?;
        let cipher = Cipher::opening(&sealing.key, C::Class::ID, &parts)?;
        let plain = cipher.open(&Self::place(&sealing, row), &parts, memory)?;
        C::Value::decode(plain).map(Phi::new).map_err(|_| Defect::NotCanonical)
    }

    fn refuse(why: Defect) -> OpenError {
        trace::event!(warn, table = C::TABLE, column = C::NAME, why = %why, "a sealed field did not open");
        OpenError(())
    }

    fn place<'a>(sealing: &Sealing<'a>, row: RowId) -> Place<'a> {
        // Also catches a `Column` that was implemented by hand.
        const { assert_well_named::<C>() };
        Place {
            tenant: sealing.tenant,
            subject: sealing.subject,
            names: const { &Names::new(C::Class::ID, C::TABLE, C::NAME) },
            row,
        }
    }
}

impl<C: Column> Clone for Encrypted<C> {
    fn clone(&self) -> Self {
        Self::from_bytes(self.bytes.clone())
    }
}

impl<C: Column> fmt::Debug for Encrypted<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("table", &C::TABLE)
            .field("column", &C::NAME)
            .field("len", &self.bytes.len())
            .finish()
    }
}

/// The ciphertext, as base64url without padding.
impl<C: Column> serde::Serialize for Encrypted<C> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&codec::base64url(&self.bytes))
    }
}

/// The ciphertext, from base64url without padding.
impl<'de, C: Column> serde::Deserialize<'de> for Encrypted<C> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        Some(text)
            .filter(|text| text.len() <= MAX_SEALED.div_ceil(3) * 4)
            .and_then(|text| codec::unbase64url(&text))
            .map(Self::from_bytes)
            .ok_or_else(|| serde::de::Error::custom("not a sealed field: expected base64url without padding"))
    }
}
