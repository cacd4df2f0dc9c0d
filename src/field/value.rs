//! What a column can hold, and how it becomes bytes.

use std::{cell::Cell, fmt};

use jiff::{Timestamp, civil::Date};
use zeroize::Zeroize;

use super::format::MAX_PLAINTEXT;
use crate::secret::wipe;

/// A value could not be encoded, so nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Larger than a sealed field may be.
    #[error("the value is too large for a sealed field: keep large content elsewhere and seal what names it")]
    TooLarge,
    /// The value's own `Serialize` refused, or gave JSON that `Json` does not take.
    #[error("the value has no JSON form that can be read back: give maps text keys, and nest less deeply")]
    NotJson,
}

/// Bytes are not an encoding of the type that was asked for. Says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not an encoding of this type")]
pub struct DecodeError;

/// What a column can hold.
///
/// Implemented for `String`, `Vec<u8>`, `i64`, `bool`, [`jiff::civil::Date`], [`jiff::Timestamp`] and [`Json`](super::Json); a type of
/// your own delegates to one of them, so that its rule is checked wherever it is opened:
///
/// ```
/// use tower_ward::field::{DecodeError, EncodeError, Encoder, FieldValue, Plaintext};
///
/// struct SortCode(String);
///
/// impl FieldValue for SortCode {
///     fn encoded_len(&self) -> usize {
///         self.0.encoded_len()
///     }
///     fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
///         self.0.encode(out)
///     }
///     fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
///         let text = String::decode(plain)?;
///         if text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit()) { Ok(Self(text)) } else { Err(DecodeError) }
///     }
///     fn wipe(&mut self) {
///         self.0.wipe();
///     }
/// }
/// ```
pub trait FieldValue: Sized {
    /// How many bytes [`encode`](Self::encode) will write. A wrong answer costs a copy, nothing else.
    fn encoded_len(&self) -> usize;

    /// Writes the value's one encoding.
    ///
    /// # Errors
    ///
    /// If the value is too large, or has no encoding.
    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError>;

    /// Reads a value back, and takes nothing that [`encode`](Self::encode) does not write.
    ///
    /// # Errors
    ///
    /// If the bytes are not an encoding of this type.
    fn decode(plain: Plaintext) -> Result<Self, DecodeError>;

    /// Overwrites the value in memory, as far as the type allows. Called when a [`Phi`](super::Phi) is dropped.
    fn wipe(&mut self);

    /// The memory that the value stands in, which is wiped and serves the next one that is
    /// [looked at](super::Encrypted::disclose_with). Wiped and given back to the allocator unless a type says otherwise.
    #[must_use]
    fn into_memory(mut self) -> Plaintext {
        self.wipe();
        Plaintext::new(Vec::new())
    }
}

/// A value that can have a [`BlindIndex`](super::BlindIndex).
///
/// `bool` is none, on purpose: an index over two values is the values. A type of your own says what it is by delegating:
///
/// ```
/// # use tower_ward::field::{DecodeError, EncodeError, Encoder, FieldValue, Plaintext};
/// use tower_ward::field::{IndexKind, Indexable};
///
/// struct Postcode(String);
/// # impl FieldValue for Postcode {
/// #     fn encoded_len(&self) -> usize { self.0.encoded_len() }
/// #     fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> { self.0.encode(out) }
/// #     fn decode(plain: Plaintext) -> Result<Self, DecodeError> { String::decode(plain).map(Self) }
/// #     fn wipe(&mut self) { self.0.wipe(); }
/// # }
/// impl Indexable for Postcode {
///     const KIND: IndexKind = <String as Indexable>::KIND;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a column of `{Self}` cannot be indexed",
    note = "text, bytes, `i64` and dates can; a `bool` has too few values, and JSON has no one spelling"
)]
pub trait Indexable: FieldValue {
    /// How its encoding is read.
    const KIND: IndexKind;
}

/// How an encoding is hashed; a text and a number of the same bytes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexKind {
    /// UTF-8, normalised first.
    Text = 1,
    /// As it is.
    Bytes = 2,
    /// As it is.
    Integer = 3,
    /// As it is.
    Date = 4,
}

/// Where a [`FieldValue`] is written: a buffer that leaves no copy of plaintext behind, and stops at 1 MiB.
pub struct Encoder {
    buf: Vec<u8>,
    start: usize,
    tail: usize,
}

impl Encoder {
    /// A buffer that begins with `head` and keeps room for `tail` bytes after the plaintext.
    #[inline]
    pub(super) fn new<const N: usize>(head: [&[u8]; N], len_hint: usize, tail: usize) -> Self {
        let start = head.iter().map(|part| part.len()).sum();
        let mut buf = Vec::with_capacity(start + len_hint.min(MAX_PLAINTEXT) + tail);
        head.iter().for_each(|part| buf.extend_from_slice(part));
        Self { buf, start, tail }
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// If the value would be larger than 1 MiB.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() > MAX_PLAINTEXT - (self.buf.len() - self.start) {
            return Err(EncodeError::TooLarge);
        }
        let need = self.buf.len() + bytes.len() + self.tail;
        if need > self.buf.capacity() {
            // `Vec` would grow by leaving the plaintext in freed memory.
            let mut larger = Vec::with_capacity(need.max(self.buf.capacity() * 2));
            larger.extend_from_slice(&self.buf);
            wipe(&mut std::mem::replace(&mut self.buf, larger));
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn plaintext(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    pub(super) fn plaintext_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..]
    }

    /// What stands before the plaintext.
    pub(super) fn head_mut(&mut self) -> &mut [u8] {
        &mut self.buf[..self.start]
    }

    /// All of it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Keeps so many bytes of the plaintext, from `begin` on.
    pub(super) fn keep(&mut self, begin: usize, length: usize) {
        if begin > 0 {
            self.plaintext_mut().copy_within(begin..begin + length, 0);
        }
        self.buf.truncate(self.start + length);
    }

    /// The whole buffer with `tail` behind it; called once what it holds is ciphertext.
    #[inline]
    pub(super) fn finish<const N: usize>(mut self, tail: &[u8; N]) -> Box<[u8]> {
        self.buf.extend_from_slice(tail);
        std::mem::take(&mut self.buf).into_boxed_slice()
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        wipe(&mut self.buf);
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("len", &self.plaintext().len()).finish_non_exhaustive()
    }
}

thread_local! {
    /// A buffer that was wiped, for the next value that is only looked at.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest buffer that a thread keeps.
const SPARE_MAX: usize = 1 << 10;

/// An empty buffer: this thread's spare one, if it has one.
pub(super) fn spare() -> Vec<u8> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// What came out of a sealed field, on its way to becoming a value. Wiped when dropped.
pub struct Plaintext(Vec<u8>);

impl Plaintext {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    ///
    /// If there are more or fewer.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.as_bytes().try_into().map_err(|_| DecodeError)
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        wipe(&mut self.0);
        if (1..=SPARE_MAX).contains(&self.0.capacity()) {
            // A thread that is ending keeps nothing.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
        }
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plaintext").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl FieldValue for String {
    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.push(self.as_bytes())
    }

    fn decode(mut plain: Plaintext) -> Result<Self, DecodeError> {
        String::from_utf8(std::mem::take(&mut plain.0)).map_err(|error| {
            wipe(&mut error.into_bytes());
            DecodeError
        })
    }

    fn wipe(&mut self) {
        wipe(&mut std::mem::take(self).into_bytes());
    }

    fn into_memory(self) -> Plaintext {
        Plaintext::new(self.into_bytes())
    }
}

impl Indexable for String {
    const KIND: IndexKind = IndexKind::Text;
}

impl FieldValue for Vec<u8> {
    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.push(self)
    }

    fn decode(mut plain: Plaintext) -> Result<Self, DecodeError> {
        Ok(std::mem::take(&mut plain.0))
    }

    fn wipe(&mut self) {
        wipe(self);
    }

    fn into_memory(self) -> Plaintext {
        Plaintext::new(self)
    }
}

impl Indexable for Vec<u8> {
    const KIND: IndexKind = IndexKind::Bytes;
}

impl FieldValue for i64 {
    fn encoded_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.push(&self.to_be_bytes())
    }

    fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
        Ok(i64::from_be_bytes(plain.array()?))
    }

    fn wipe(&mut self) {
        self.zeroize();
    }
}

impl Indexable for i64 {
    const KIND: IndexKind = IndexKind::Integer;
}

impl FieldValue for bool {
    fn encoded_len(&self) -> usize {
        1
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.push(&[u8::from(*self)])
    }

    fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
        match plain.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError),
        }
    }

    fn wipe(&mut self) {
        self.zeroize();
    }
}

impl FieldValue for Date {
    fn encoded_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        let [a, b] = self.year().to_be_bytes();
        let [month] = self.month().to_be_bytes();
        let [day] = self.day().to_be_bytes();
        out.push(&[a, b, month, day])
    }

    fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
        let [a, b, month, day] = plain.array()?;
        Date::new(i16::from_be_bytes([a, b]), i8::from_be_bytes([month]), i8::from_be_bytes([day]))
            .map_err(|_| DecodeError)
    }

    fn wipe(&mut self) {
        *self = Date::ZERO;
    }
}

impl Indexable for Date {
    const KIND: IndexKind = IndexKind::Date;
}

const NANOS: i128 = 1_000_000_000;

impl FieldValue for Timestamp {
    fn encoded_len(&self) -> usize {
        12
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        let total = self.as_nanosecond();
        // Both fit: a timestamp is within the years -9999 to 9999.
        let seconds = i64::try_from(total.div_euclid(NANOS)).map_err(|_| EncodeError::TooLarge)?;
        let nanos = u32::try_from(total.rem_euclid(NANOS)).map_err(|_| EncodeError::TooLarge)?;
        out.push(&seconds.to_be_bytes())?;
        out.push(&nanos.to_be_bytes())
    }

    fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = plain.array()?;
        let seconds = i128::from(i64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let nanos = i128::from(u32::from_be_bytes([n0, n1, n2, n3]));
        if nanos >= NANOS {
            return Err(DecodeError);
        }
        Timestamp::from_nanosecond(seconds * NANOS + nanos).map_err(|_| DecodeError)
    }

    fn wipe(&mut self) {
        *self = Timestamp::UNIX_EPOCH;
    }
}
