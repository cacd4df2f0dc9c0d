//! Sealed fields and blind indexes as `BLOB`s of SQLite and `bytea` of PostgreSQL.

use super::{BlindIndex, Column, Encrypted, Indexed, format::MAX_SEALED};

/// A stored value cannot be a sealed field, or a blind index: it has a length that none has.
#[derive(Debug, thiserror::Error)]
#[error("`{table}.{column}` holds a blob of a length that {what} never has")]
struct BadLength {
    table: &'static str,
    column: &'static str,
    what: &'static str,
}

macro_rules! columns_of {
    ($($feature:literal: $database:ident;)+) => { $(
        #[cfg(feature = $feature)]
        const _: () = {
            use sqlx::{$database, Database, Decode, Encode, Type, encode::IsNull, error::BoxDynError};

            type Buffer = <$database as Database>::ArgumentBuffer;
            type Info = <$database as Database>::TypeInfo;
            type Value<'r> = <$database as Database>::ValueRef<'r>;

            impl<C: Column> Type<$database> for Encrypted<C> {
                fn type_info() -> Info {
                    <[u8] as Type<$database>>::type_info()
                }
            }

            impl<'q, C: Column> Encode<'q, $database> for Encrypted<C> {
                fn encode_by_ref(&self, buf: &mut Buffer) -> Result<IsNull, BoxDynError> {
                    <Vec<u8> as Encode<'q, $database>>::encode(self.as_bytes().to_vec(), buf)
                }
            }

            impl<'r, C: Column> Decode<'r, $database> for Encrypted<C> {
                fn decode(value: Value<'r>) -> Result<Self, BoxDynError> {
                    let bytes = <&[u8] as Decode<'r, $database>>::decode(value)?;
                    if bytes.len() > MAX_SEALED {
                        return Err(BadLength { table: C::TABLE, column: C::NAME, what: "a sealed field" }.into());
                    }
                    Ok(Self::from_bytes(bytes))
                }
            }

            impl<C: Indexed> Type<$database> for BlindIndex<C> {
                fn type_info() -> Info {
                    <[u8] as Type<$database>>::type_info()
                }
            }

            impl<'q, C: Indexed> Encode<'q, $database> for BlindIndex<C> {
                fn encode_by_ref(&self, buf: &mut Buffer) -> Result<IsNull, BoxDynError> {
                    <Vec<u8> as Encode<'q, $database>>::encode(self.as_bytes().to_vec(), buf)
                }
            }

            impl<'r, C: Indexed> Decode<'r, $database> for BlindIndex<C> {
                fn decode(value: Value<'r>) -> Result<Self, BoxDynError> {
                    let bytes = <&[u8] as Decode<'r, $database>>::decode(value)?;
                    let bytes = bytes
                        .try_into()
                        .map_err(|_| BadLength { table: C::TABLE, column: C::NAME, what: "a blind index" })?;
                    Ok(Self::from_bytes(bytes))
                }
            }
        };
    )+ };
}
columns_of! {
    "postgres": Postgres;
    "sqlite": Sqlite;
}
