//! A serde type as the value of a column.

use std::{collections::HashSet, fmt, io};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};

use super::value::{DecodeError, EncodeError, Encoder, FieldValue, Plaintext};

/// A value that is sealed as JSON: for a small structure that is always read whole.
///
/// At most 64 KiB of JSON. It cannot be indexed, and serde leaves copies in memory that are not wiped; for one text, one
/// number or one date, use the type itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<T>(T);

/// The most JSON that is written or read.
const MAX: usize = 1 << 16;

impl<T> Json<T> {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json([REDACTED])")
    }
}

impl<T: Serialize + DeserializeOwned> FieldValue for Json<T> {
    fn encoded_len(&self) -> usize {
        256
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        let mut writer = Writer { out, full: false };
        match serde_json::to_writer(&mut writer, &self.0) {
            Ok(()) => {}
            Err(_) if writer.full => return Err(EncodeError::TooLarge),
            Err(_) => return Err(EncodeError::NotJson),
        }
        // Nothing is sealed that could not be opened again: a map that names a member twice, or too deep a nest.
        if canonical(out.plaintext()) { Ok(()) } else { Err(EncodeError::NotJson) }
    }

    fn decode(plain: Plaintext) -> Result<Self, DecodeError> {
        let text = plain.as_bytes();
        if text.len() > MAX || !canonical(text) {
            return Err(DecodeError);
        }
        // The error would quote the text.
        serde_json::from_slice(text).map(Self).map_err(|_| DecodeError)
    }

    /// Does nothing: what `T` holds is out of reach.
    fn wipe(&mut self) {}
}

struct Writer<'a> {
    out: &'a mut Encoder,
    full: bool,
}

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.plaintext().len() + bytes.len() > MAX || self.out.push(bytes).is_err() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `text` is one JSON value, without white space between tokens, in which no object names a member twice.
fn canonical(text: &[u8]) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => return false,
            _ => {}
        }
    }
    serde_json::from_slice::<Strict>(text).is_ok()
}

/// Any JSON value in which no object names a member twice.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name) {
                return Err(A::Error::custom("a member is named twice"));
            }
            map.next_value::<Strict>()?;
        }
        Ok(Strict)
    }
}
