//! Key-encryption keys by name.

use std::{fmt, str::FromStr, sync::Arc};

use super::{KeyProvider, RootKey};

const MAX: usize = 63;

/// A text is no name of a key-encryption key. The text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a key-encryption key: expected 1 to {MAX} of a-z, 0-9 and `-`, a letter first")]
pub struct KekIdError;

/// The name under which a key-encryption key stands in records, such as `hsm-2026`: 1 to 63 of `a-z 0-9 -`, a letter first.
///
/// The application chooses it. Another key needs another name: a record says under which one it was wrapped, and no other
/// is tried.
///
/// ```
/// use tower_ward::keys::KekId;
///
/// assert_eq!("hsm-2026".parse::<KekId>()?.as_str(), "hsm-2026");
/// assert!("HSM 2026".parse::<KekId>().is_err());
/// # Ok::<(), tower_ward::keys::KekIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(Arc<str>);

impl KekId {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// If it has another form than the type's documentation says.
    pub fn new(text: &str) -> Result<Self, KekIdError> {
        Self::from_bytes(text.as_bytes()).ok_or(KekIdError)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let good = matches!(bytes, [b'a'..=b'z', ..])
            && bytes.len() <= MAX
            && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        good.then(|| str::from_utf8(bytes).ok()).flatten().map(|text| Self(text.into()))
    }
}

impl FromStr for KekId {
    type Err = KekIdError;

    fn from_str(text: &str) -> Result<Self, KekIdError> {
        Self::new(text)
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekId({})", self.0)
    }
}

/// A key-encryption key: its name in records, and what holds it.
///
/// A [`RootKey`] is one by itself, under the name `root`:
///
/// ```
/// use tower_ward::keys::{Kek, KekId, RootKey};
///
/// let root: Kek = RootKey::generate().into();
/// assert_eq!(root.id().as_str(), "root");
/// // The one that takes its place has another name.
/// let next = Kek::new(KekId::new("root-2027")?, RootKey::generate());
/// assert_ne!(next.id(), root.id());
/// # Ok::<(), tower_ward::keys::KekIdError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kek {
    id: KekId,
    provider: Arc<dyn KeyProvider>,
}

impl Kek {
    /// A key that this provider holds, under this name.
    #[must_use]
    pub fn new(id: KekId, provider: impl KeyProvider + 'static) -> Self {
        Self { id, provider: Arc::new(provider) }
    }

    /// The name.
    #[must_use]
    pub const fn id(&self) -> &KekId {
        &self.id
    }

    /// What holds the key.
    #[must_use]
    pub fn provider(&self) -> &dyn KeyProvider {
        &*self.provider
    }

    pub(super) fn into_provider(self) -> Arc<dyn KeyProvider> {
        self.provider
    }
}

impl From<RootKey> for Kek {
    fn from(root: RootKey) -> Self {
        Self::new(KekId("root".into()), root)
    }
}
