//! Names of objects: the tenant first, and one constructor for each form.

use std::fmt;

use crate::id::TenantId;

const MAX_KIND: usize = 32;
const MAX_KEY: usize = 128;

/// A text cannot be part of an object's name. The text itself is not repeated: it may have come from a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the {part} of an object's name: expected {expected}")]
pub struct NameError {
    part: &'static str,
    expected: &'static str,
}

/// The name of one object: `t:<tenant>:<kind>:<key>`, or `p:<kind>:<key>` for the platform's own.
///
/// - `tenant` is a [`TenantId`]: 1 to 63 of `a-z 0-9 -`.
/// - `kind` is 1 to 32 of `a-z 0-9 -`, a letter first; fixed in the program's text.
/// - `key` is 1 to 128 of `a-z 0-9 - _ .`, a letter or digit first and last, no `..`.
///
/// So a colon only ever separates, an entry has one spelling, and a name is also a safe file name.
///
/// ```
/// # use tower_ward::{id::TenantId, store::ObjectName};
/// let clinic = TenantId::new("northgate")?;
/// assert_eq!(ObjectName::tenant(&clinic, "session", "01ab")?.as_str(), "t:northgate:session:01ab");
/// assert_eq!(ObjectName::platform("session", "01ab")?.as_str(), "p:session:01ab");
/// for attack in ["../t:southgate:session:01ab", "a:b", "%2e%2e", "a\0", "A", ""] {
///     assert!(ObjectName::tenant(&clinic, "session", attack).is_err());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Box<str>);

impl ObjectName {
    /// The name of an object of a tenant.
    ///
    /// # Errors
    ///
    /// If `kind` or `key` has another form than the type's documentation says.
    pub fn tenant(tenant: &TenantId, kind: &'static str, key: &str) -> Result<Self, NameError> {
        Prefix::tenant(tenant, kind)?.name(key)
    }

    /// The name of an object that belongs to no tenant.
    ///
    /// # Errors
    ///
    /// If `kind` or `key` has another form than the type's documentation says.
    pub fn platform(kind: &'static str, key: &str) -> Result<Self, NameError> {
        Prefix::platform(kind)?.name(key)
    }

    /// The name that a store holds as this text.
    pub(super) fn stored(text: &str) -> Option<Self> {
        let (prefix, key) = text.rsplit_once(':')?;
        let (scope, kind) = prefix.rsplit_once(':')?;
        let scoped = match scope.split_once(':') {
            None => scope == "p",
            Some((t, tenant)) => t == "t" && TenantId::new(tenant).is_ok(),
        };
        (scoped && check_kind(kind).is_ok() && check_key(key).is_ok()).then(|| Self(text.into()))
    }

    /// What kind of object it names.
    #[cfg(feature = "keys")]
    pub(crate) fn kind(&self) -> &str {
        self.0.rsplit(':').nth(1).unwrap_or("")
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keys may hold a user's name, so only the part before the key is printed.
impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.0.rfind(':').map_or("", |end| &self.0[..=end]);
        write!(f, "ObjectName({prefix}…)")
    }
}

/// All names of one kind in one tenant, or of one kind on the platform.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::num::NonZeroUsize;
/// use tower_ward::{id::TenantId, store::{Entry, MemoryStore, ObjectName, Prefix, Volatile}};
///
/// let store = MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?);
/// let (north, south) = (TenantId::new("northgate")?, TenantId::new("southgate")?);
/// store.insert_new(&ObjectName::tenant(&north, "lockout", "dr.adeyemi")?, b"1", None).await?;
/// store.insert_new(&ObjectName::tenant(&south, "lockout", "dr.brandt")?, b"2", None).await?;
///
/// let page: Vec<(String, Entry)> = store.list(&Prefix::tenant(&north, "lockout")?, None, 100).await?;
/// assert_eq!(page.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["dr.adeyemi"]);
/// assert!(Prefix::tenant(&north, "lockout:").is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// All objects of one kind in one tenant.
    ///
    /// # Errors
    ///
    /// If `kind` is not 1 to 32 of `a-z 0-9 -`, a letter first.
    pub fn tenant(tenant: &TenantId, kind: &'static str) -> Result<Self, NameError> {
        check_kind(kind)?;
        Ok(Self(format!("t:{tenant}:{kind}:").into()))
    }

    /// All objects of one kind that belong to no tenant.
    ///
    /// # Errors
    ///
    /// If `kind` is not 1 to 32 of `a-z 0-9 -`, a letter first.
    pub fn platform(kind: &'static str) -> Result<Self, NameError> {
        check_kind(kind)?;
        Ok(Self(format!("p:{kind}:").into()))
    }

    /// The text of it; ends with a colon.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn name(&self, key: &str) -> Result<ObjectName, NameError> {
        check_key(key)?;
        Ok(ObjectName(format!("{}{key}", self.0).into()))
    }

    /// The first text that is after every name under this prefix: `;` follows `:` in ASCII.
    pub(super) fn end(&self) -> String {
        let mut end = String::from(&self.0[..self.0.len() - 1]);
        end.push(';');
        end
    }

    /// Where a page begins: every name under this prefix after this one is after `after`, whatever `after` holds.
    pub(super) fn start(&self, after: Option<&str>) -> String {
        format!("{}{}", self.0, after.unwrap_or(""))
    }
}

fn check_kind(kind: &str) -> Result<(), NameError> {
    let bytes = kind.as_bytes();
    if matches!(bytes, [b'a'..=b'z', ..])
        && bytes.len() <= MAX_KIND
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    {
        Ok(())
    } else {
        Err(NameError { part: "kind", expected: "1 to 32 of a-z, 0-9 and `-`, a letter first" })
    }
}

fn check_key(key: &str) -> Result<(), NameError> {
    let bytes = key.as_bytes();
    let edge = |b: Option<&u8>| matches!(b, Some(b'a'..=b'z' | b'0'..=b'9'));
    if edge(bytes.first())
        && edge(bytes.last())
        && bytes.len() <= MAX_KEY
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && !key.contains("..")
    {
        Ok(())
    } else {
        Err(NameError {
            part: "key",
            expected: "1 to 128 of a-z, 0-9, `-`, `_` and `.`, a letter or digit first and last, no `..`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clinic() -> TenantId {
        TenantId::new("northgate").expect("valid")
    }

    // proves CLM-16
    #[test]
    fn traversal_and_encoding_attacks_are_no_names() {
        let long = "a".repeat(MAX_KEY + 1);
        let rows: &[(&str, &str)] = &[
            ("another tenant by traversal", "../t:southgate:key:x"),
            ("another tenant by prefix", "t:southgate:key:x"),
            ("a second colon", "a:b"),
            ("parent", ".."),
            ("parent in the middle", "a..b"),
            ("hidden", ".a"),
            ("slash", "a/b"),
            ("backslash", "a\\b"),
            ("percent-encoded dots", "%2e%2e"),
            ("percent-encoded colon", "a%3ab"),
            ("NUL at the end", "a\0"),
            ("NUL in the middle", "a\0b"),
            ("newline", "a\nb"),
            ("space", "a b"),
            ("upper case", "Ab"),
            ("full-width colon", "a\u{ff1a}b"),
            ("right-to-left override", "a\u{202e}b"),
            ("overlong", &long),
            ("empty", ""),
            ("like wildcard", "a%"),
            ("glob", "a*"),
            ("leading dash, an option to some tools", "-a"),
        ];
        for (attack, key) in rows {
            assert!(ObjectName::tenant(&clinic(), "key", key).is_err(), "{attack}");
            assert!(ObjectName::platform("key", key).is_err(), "{attack}");
        }
        let error = ObjectName::tenant(&clinic(), "key", "canary-7f3a:x").expect_err("a colon");
        assert!(!format!("{error} {error:?}").contains("canary"), "the text of a stranger is not repeated");
    }

    #[test]
    fn a_kind_is_checked_too() {
        for bad in ["", "Key", "key:x", "9key", "-k", "a_b", "a.b", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"] {
            assert!(ObjectName::tenant(&clinic(), bad, "a").is_err(), "{bad}");
            assert!(Prefix::platform(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_allowed_at_its_edges() {
        let longest = "a".repeat(MAX_KEY);
        for good in ["a", "0", "a-b_c.d", "018f4e3a-7b1c-7def-8abc-0123456789ab", &longest] {
            assert!(ObjectName::tenant(&clinic(), "key", good).is_ok(), "{good}");
        }
        let tenant = TenantId::new(&"t".repeat(63)).expect("valid");
        let name = ObjectName::tenant(&tenant, "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", &longest).expect("the longest name");
        assert!(name.as_str().len() <= 255, "a name is a file name too");
    }

    #[test]
    fn debug_hides_the_key() {
        let name = ObjectName::tenant(&clinic(), "lockout", "dr.adeyemi").expect("valid");
        assert_eq!(format!("{name:?}"), "ObjectName(t:northgate:lockout:…)");
    }

    proptest::proptest! {
        /// No key, however made, gives a name outside its tenant and kind.
        #[test]
        fn a_name_stays_under_its_prefix(key in ".{0,140}") {
            if let Ok(name) = ObjectName::tenant(&clinic(), "key", &key) {
                let rest = name.as_str().strip_prefix("t:northgate:key:").expect("the prefix");
                proptest::prop_assert!(!rest.contains([':', '/', '%', '\0']));
                proptest::prop_assert_eq!(name.as_str().matches(':').count(), 3);
            }
        }

        /// What a store gives back is the name that was stored, and no other text is one.
        #[test]
        fn a_stored_name_is_a_name(text in "([pt]:){0,2}[a-z.:-]{0,12}:[a-z:.]{0,8}", key in "[a-z0-9._-]{0,20}") {
            for name in [ObjectName::tenant(&clinic(), "key", &key), ObjectName::platform("key", &key)].into_iter().flatten() {
                proptest::prop_assert_eq!(ObjectName::stored(name.as_str()), Some(name.clone()));
                proptest::prop_assert_eq!(name.kind(), "key");
            }
            if let Some(name) = ObjectName::stored(&text) {
                let parts: Vec<_> = text.split(':').collect();
                let again = match parts[..] {
                    ["p", _, key] => ObjectName::platform("key", key),
                    ["t", tenant, _, key] => ObjectName::tenant(&TenantId::new(tenant).unwrap(), "key", key),
                    _ => panic!("{text} is no name"),
                };
                proptest::prop_assert!(again.is_ok() && name.as_str() == text);
            }
        }

        /// No `after`, however made, moves a page outside its prefix.
        #[test]
        fn a_page_stays_under_its_prefix(after in ".{0,140}") {
            let prefix = Prefix::tenant(&clinic(), "key").expect("valid");
            let (start, end) = (prefix.start(Some(&after)), prefix.end());
            proptest::prop_assert!(start.as_str() >= prefix.as_str());
            proptest::prop_assert!(start < end);
        }
    }
}
