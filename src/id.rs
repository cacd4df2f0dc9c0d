//! Identifiers as types, so that a user's cannot be passed where a patient's is asked for.
//!
//! | type | form | made by |
//! |---|---|---|
//! | [`TenantId`] | 1 to 63 of `a-z 0-9 -`, a letter first, no `-` last: a DNS label (RFC 1035 §2.3.1) | the operator |
//! | [`SubjectId`], [`RowId`], [`UserId`], [`SessionId`] | UUID version 7 (RFC 9562) | this crate |
//!
//! None of them is a secret, and none carries anything about a person.
//!
//! ```
//! use tower_ward::{clock::SystemClock, id::{IdError, SubjectId, TenantId}};
//!
//! assert_eq!(TenantId::new("harbour")?.as_str(), "harbour");
//! let patient = SubjectId::generate(&SystemClock::new());
//! assert_eq!(patient.to_string().parse(), Ok(patient));
//!
//! // One identifier has one spelling, and none reaches out of its folder.
//! for attack in ["Harbour", "harbour/../meadow", "platform", ""] {
//!     assert!(TenantId::new(attack).is_err());
//! }
//! assert!(patient.to_string().to_uppercase().parse::<SubjectId>().is_err());
//! # Ok::<(), IdError>(())
//! ```
//!
//! # Security
//!
//! Somebody who guesses an identifier, or has seen one, gains nothing by it: what an identifier leads to is asked at a
//! door. It tells when it was made, to the millisecond.

use std::{fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// A text is not an identifier of the kind asked for. The text itself is not repeated: it came from a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind}: expected {expected}")]
pub struct IdError {
    kind: &'static str,
    expected: &'static str,
}

/// A clinic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Parses a tenant's identifier.
    ///
    /// # Errors
    ///
    /// If `text` is not a DNS label in lower case, or is one of the names that the crate keeps for itself.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let bytes = text.as_bytes();
        let shape = matches!(bytes, [b'a'..=b'z', ..])
            && bytes.len() <= 63
            && bytes.last() != Some(&b'-')
            && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        // `platform` names the ledger's stream of what belongs to no clinic.
        if !shape || text == "platform" {
            return Err(IdError {
                kind: "tenant id",
                expected: "1 to 63 of a-z, 0-9 and `-`, a letter first, not `-` last, and not `platform`",
            });
        }
        Ok(Self(text.into()))
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A map by tenant can be asked by its text.
impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// The one rule for names of roles and permissions.
#[cfg(feature = "identity")]
pub(crate) const NAME_RULE: &str = "1 to 64 of a-z, 0-9 and `_`: one word, or up to three joined by dots";

/// Whether a role or a permission may be called so: see [`NAME_RULE`].
#[cfg(feature = "identity")]
pub(crate) fn is_name(name: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    name.len() <= 64 && name.split('.').count() <= 3 && name.split('.').all(word)
}

macro_rules! uuid_ids {
    ($($(#[$meta:meta])* $name:ident, $kind:literal;)+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: the time in milliseconds, then 74 random bits (RFC 9562 §5.7).
            #[must_use]
            pub fn generate(clock: &dyn crate::clock::Clock) -> Self {
                Self(uuid_v7(clock))
            }

            /// The identifier with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Takes the hyphenated lower-case form alone, so that one identifier has one spelling.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bad = IdError { kind: $kind, expected: "a UUID, hyphenated, in lower case" };
                let id = Uuid::try_parse(text).map_err(|_| bad)?;
                let mut canonical = [0; uuid::fmt::Hyphenated::LENGTH];
                if id.hyphenated().encode_lower(&mut canonical) != text {
                    return Err(bad);
                }
                Ok(Self(id))
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "postgres")]
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <Uuid as sqlx::Type<sqlx::Postgres>>::type_info()
            }
        }

        #[cfg(feature = "postgres")]
        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <Uuid as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        #[cfg(feature = "postgres")]
        impl<'q> sqlx::Encode<'q, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buf: &mut <sqlx::Postgres as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <Uuid as sqlx::Encode<'q, sqlx::Postgres>>::encode_by_ref(&self.0, buf)
            }
        }

        #[cfg(feature = "postgres")]
        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                <Uuid as sqlx::Decode<'r, sqlx::Postgres>>::decode(value).map(Self)
            }
        }

        #[cfg(feature = "sqlite")]
        impl sqlx::Type<sqlx::Sqlite> for $name {
            fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
                <[u8] as sqlx::Type<sqlx::Sqlite>>::type_info()
            }
        }

        #[cfg(feature = "sqlite")]
        impl<'q> sqlx::Encode<'q, sqlx::Sqlite> for $name {
            fn encode_by_ref(
                &self,
                buf: &mut <sqlx::Sqlite as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <Vec<u8> as sqlx::Encode<'q, sqlx::Sqlite>>::encode(self.0.as_bytes().to_vec(), buf)
            }
        }

        #[cfg(feature = "sqlite")]
        impl<'r> sqlx::Decode<'r, sqlx::Sqlite> for $name {
            fn decode(value: sqlx::sqlite::SqliteValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                let bytes = <&[u8] as sqlx::Decode<'r, sqlx::Sqlite>>::decode(value)?;
                Ok(Self::from_bytes(bytes.try_into()?))
            }
        }
    )+ };
}

uuid_ids! {
    /// A person whose data is kept: a patient, or an employee.
    SubjectId, "subject id";
    /// A row of the application's own tables. Part of the associated data of every sealed field in it.
    RowId, "row id";
    /// Somebody who can log in.
    UserId, "user id";
    /// One login, on one device, until it ends.
    SessionId, "session id";
    /// One request's (or job's) trail in the ledger.
    TrailId, "trail id";
}

fn uuid_v7(clock: &dyn crate::clock::Clock) -> Uuid {
    let millis = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &crate::entropy::array()).into_uuid()
}

impl serde::Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_a_dns_label() {
        for good in ["a", "clinic-b", "c9", &"a".repeat(63)] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "9a", "a.b", "a:b", "a/b", "../a", "a%2e", "é", "platform", &"a".repeat(64)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }

    #[cfg(feature = "identity")]
    #[test]
    fn a_name_is_at_most_three_words() {
        for good in ["a", "clinic_admin", "9", "notes.read", "a.b.c", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.b.c.d", "A", "a-b", "a b", "é", "a\n", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        let canonical = "018f4e3a-7b1c-7def-8abc-0123456789ab";
        assert_eq!(canonical.parse::<SubjectId>().map(|id| id.to_string()).as_deref(), Ok(canonical));
        for bad in [
            "018F4E3A-7B1C-7DEF-8ABC-0123456789AB",
            "018f4e3a7b1c7def8abc0123456789ab",
            "{018f4e3a-7b1c-7def-8abc-0123456789ab}",
            "urn:uuid:018f4e3a-7b1c-7def-8abc-0123456789ab",
            "",
        ] {
            assert!(bad.parse::<SubjectId>().is_err(), "{bad}");
        }
    }
}
