//! What holds a key-encryption key (KEK): this process, an HSM or a KMS.
//!
//! A [`KeyProvider`] wraps and unwraps 32-byte keys under a key that, but for [`RootKey`](super::RootKey), it never gives
//! out. What is decided, in this order:
//!
//! 1. Every call carries a [`KeyContext`]: whose key it is and what for. It is authenticated, not secret; the provider's own
//!    log shows it. What was wrapped in one context is refused in every other.
//! 2. An answer is *definite* ([`Denied`](ProviderErrorKind::Denied), [`Mismatch`](ProviderErrorKind::Mismatch)) or it says
//!    nothing ([`Unavailable`](ProviderErrorKind::Unavailable), [`Garbled`](ProviderErrorKind::Garbled)). A definite one cuts
//!    access at once; after the other kind a key that is open already is used until it is too old.
//! 3. What is not clearly one or the other is no answer, and no key.
//! 4. A provider's word is not believed: a record carries a commitment to the key inside, and what comes back is compared
//!    with it.

#[cfg(feature = "aws-kms")]
pub(super) mod aws_kms;
#[cfg(feature = "pkcs11")]
pub(super) mod pkcs11;
#[cfg(feature = "transit")]
mod transit;

use std::{fmt, sync::Arc};

#[cfg(feature = "transit")]
#[doc(hidden)]
pub use self::transit::fuzz_answer as fuzz_transit_answer;
#[cfg(feature = "transit")]
pub use self::transit::{TransitError, TransitOptions, TransitProvider};
use crate::{clock::Timestamp, id::TenantId, secret::Secret, store::BoxFuture};

/// A key that is wrapped.
pub type KeyBytes = Secret<[u8; 32]>;

/// The longest wrapped key that a provider may give, in bytes. AWS KMS gives up to 6,144 for its longest plaintext, and
/// less than 300 for 32 bytes.
pub const MAX_WRAPPED: usize = 4096;

/// Wraps and unwraps keys under one key-encryption key.
///
/// One value stands for one KEK. Implementations retry nothing by themselves, and end every call within a time-out of their
/// own, 5 s by default: the [`Keyring`](super::Keyring) decides when to ask again.
///
/// One of your own says clearly what is a no and what is no answer:
///
/// ```
/// use tower_ward::{
///     keys::{KeyBytes, KeyContext, KeyDescription, KeyProvider, ProviderError, ProviderErrorKind, RootKey},
///     store::BoxFuture,
/// };
///
/// /// A key in a box that its owner can lock.
/// #[derive(Debug)]
/// struct Locker { key: RootKey, open: bool }
///
/// impl Locker {
///     fn look(&self) -> Result<&RootKey, ProviderError> {
///         let locked = || ProviderError::new(ProviderErrorKind::Denied, "locker:7", "it is locked: ask its owner");
///         self.open.then_some(&self.key).ok_or_else(locked)
///     }
/// }
///
/// impl KeyProvider for Locker {
///     fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
///         Box::pin(async move { self.look()?.wrap(key, context).await })
///     }
///     fn unwrap<'a>(&'a self, blob: &'a [u8], context: &'a KeyContext) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
///         Box::pin(async move { self.look()?.unwrap(blob, context).await })
///     }
///     fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
///         Box::pin(async { self.look().map(|_| KeyDescription::new("locker", "locker:7")) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ProviderError> {
/// let mut locker = Locker { key: RootKey::generate(), open: true };
/// let (key, context) = (KeyBytes::new(Box::new([7; 32])), KeyContext::platform());
/// let wrapped = locker.wrap(&key, &context).await?;
/// assert!(locker.unwrap(&wrapped, &context).await.is_ok());
/// locker.open = false;
/// let refused = locker.unwrap(&wrapped, &context).await.unwrap_err();
/// assert!(refused.kind().is_definite());
/// assert_eq!(refused.to_string(), "locker:7: it is locked: ask its owner");
/// # Ok(()) }
/// ```
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// Wraps a key, bound to its context.
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>>;

    /// Unwraps what [`wrap`](KeyProvider::wrap) gave for the same context.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>>;

    /// Which key it is, and whether it can be used, as the provider says now.
    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>>;
}

/// What a wrapped key is bound to, beside its KEK. The same names go to every provider, so that its log can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyContext {
    tenant: Option<TenantId>,
    purpose: &'static str,
}

impl KeyContext {
    /// The key of a tenant.
    #[must_use]
    pub const fn tenant(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), purpose: "tenant-key" }
    }

    /// The platform's own secret.
    #[must_use]
    pub const fn platform() -> Self {
        Self { tenant: None, purpose: "platform-secret" }
    }

    /// Names and values, in the order of the names: `tower-ward-purpose`, and `tower-ward-tenant` if there is one.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let tenant = self.tenant.as_ref().map(|tenant| ("tower-ward-tenant", tenant.as_str()));
        std::iter::once(("tower-ward-purpose", self.purpose)).chain(tenant)
    }

    /// The same as bytes, for a provider that takes associated data: of each name and each value its length in two bytes,
    /// big-endian, and then its text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        for (name, value) in self.pairs() {
            super::derive::push_part(&mut out, name.as_bytes());
            super::derive::push_part(&mut out, value.as_bytes());
        }
        out
    }
}

/// A provider did not do as asked.
///
/// Its text names the key as the provider knows it, and says what to do. It holds nothing that was to be wrapped, and no
/// PIN, token or password.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{key}: {what}")]
pub struct ProviderError {
    kind: ProviderErrorKind,
    key: Arc<str>,
    what: &'static str,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What follows from a [`ProviderError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderErrorKind {
    /// Definite: this key may not be used, or not by us. It is disabled, deleted or revoked; or the PIN, token or
    /// permission with which we ask is not accepted.
    Denied,
    /// Definite: the bytes were not wrapped by this key in this context.
    Mismatch,
    /// No answer, or one that says to ask later: a time-out, a network that is down, a token that was taken out, throttling.
    Unavailable,
    /// An answer that the provider's protocol does not know.
    Garbled,
}

impl ProviderErrorKind {
    /// Whether the provider has decided, so that asking again changes nothing.
    #[must_use]
    pub const fn is_definite(self) -> bool {
        matches!(self, Self::Denied | Self::Mismatch)
    }
}

impl ProviderError {
    /// An error of the key that the provider calls `key`; `what` is a fixed sentence that says what is wrong and what to do.
    #[must_use]
    pub fn new(kind: ProviderErrorKind, key: impl Into<Arc<str>>, what: &'static str) -> Self {
        Self { kind, key: key.into(), what, source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What follows from it.
    #[must_use]
    pub const fn kind(&self) -> ProviderErrorKind {
        self.kind
    }

    /// The key, as the provider calls it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Which key a provider holds, as the provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The kind of provider: `local`, `pkcs11`, `transit` or `aws-kms`, or the name of one of the application's own.
    pub provider: &'static str,
    /// The key, as the provider calls it: a token and label, a mount and name, an ARN.
    pub key: String,
    /// Its newest version, where the provider counts them.
    pub version: Option<String>,
    /// When the key, or its newest version, was made, where the provider knows.
    pub created: Option<Timestamp>,
    /// Whether the provider says that it can be used.
    pub enabled: bool,
    /// Whether the provider says that the key cannot leave it.
    pub confined: bool,
}

impl KeyDescription {
    /// A key that is enabled, may leave its provider, and of which nothing else is known.
    #[must_use]
    pub fn new(provider: &'static str, key: impl Into<String>) -> Self {
        Self { provider, key: key.into(), version: None, created: None, enabled: true, confined: false }
    }
}
