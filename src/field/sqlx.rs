//! Sealed fields and blind indexes as `BLOB`s of SQLite.

use sqlx::{
    Database, Decode, Encode, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    sqlite::{SqliteTypeInfo, SqliteValueRef},
};

use super::{BlindIndex, Column, Encrypted, Indexed, format::MAX_SEALED};

type Buffer = <Sqlite as Database>::ArgumentBuffer;

/// A stored value cannot be a sealed field, or a blind index: it has a length that none has.
#[derive(Debug, thiserror::Error)]
#[error("`{table}.{column}` holds a blob of a length that {what} never has")]
struct BadLength {
    table: &'static str,
    column: &'static str,
    what: &'static str,
}

impl<C: Column> Type<Sqlite> for Encrypted<C> {
    fn type_info() -> SqliteTypeInfo {
        <[u8] as Type<Sqlite>>::type_info()
    }
}

impl<'q, C: Column> Encode<'q, Sqlite> for Encrypted<C> {
    fn encode_by_ref(&self, buf: &mut Buffer) -> Result<IsNull, BoxDynError> {
        <Vec<u8> as Encode<'q, Sqlite>>::encode(self.as_bytes().to_vec(), buf)
    }
}

impl<'r, C: Column> Decode<'r, Sqlite> for Encrypted<C> {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = <&[u8] as Decode<'r, Sqlite>>::decode(value)?;
        if bytes.len() > MAX_SEALED {
            return Err(BadLength { table: C::TABLE, column: C::NAME, what: "a sealed field" }.into());
        }
        Ok(Self::from_bytes(bytes))
    }
}

impl<C: Indexed> Type<Sqlite> for BlindIndex<C> {
    fn type_info() -> SqliteTypeInfo {
        <[u8] as Type<Sqlite>>::type_info()
    }
}

impl<'q, C: Indexed> Encode<'q, Sqlite> for BlindIndex<C> {
    fn encode_by_ref(&self, buf: &mut Buffer) -> Result<IsNull, BoxDynError> {
        <Vec<u8> as Encode<'q, Sqlite>>::encode(self.as_bytes().to_vec(), buf)
    }
}

impl<'r, C: Indexed> Decode<'r, Sqlite> for BlindIndex<C> {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = <&[u8] as Decode<'r, Sqlite>>::decode(value)?;
        let bytes =
            bytes.try_into().map_err(|_| BadLength { table: C::TABLE, column: C::NAME, what: "a blind index" })?;
        Ok(Self::from_bytes(bytes))
    }
}
