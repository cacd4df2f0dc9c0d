//! Which key of which token, and how long it is waited for.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use super::{
    super::ProviderErrorKind::Denied,
    fault::{Fault, Then},
};
use crate::keys::KeySource;

/// `CK_TOKEN_INFO` has this much room for a label.
const TOKEN_LABEL: usize = 32;
/// Longer than any token takes.
const KEY_LABEL: usize = 255;

/// Which key of which token [`Pkcs11Provider`](super::Pkcs11Provider) uses.
///
/// ```
/// use std::{num::NonZeroUsize, time::Duration};
/// use tower_ward::keys::Pkcs11Options;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pin = "credential:token-pin".parse()?;
/// let options = Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so", "clinic", "kek-2026", pin)
///     .with_key_id(*b"\x20\x26")
///     .with_timeout(Duration::from_secs(2))
///     .with_sessions(NonZeroUsize::new(8).ok_or("none")?);
/// assert!(!format!("{options:?}").contains("PIN"), "it holds the name of the PIN's source, not the PIN");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Pkcs11Options {
    pub(super) module: PathBuf,
    pub(super) token: String,
    pub(super) key: String,
    pub(super) id: Option<Vec<u8>>,
    pub(super) pin: KeySource,
    pub(super) timeout: Duration,
    pub(super) sessions: NonZeroUsize,
}

impl Pkcs11Options {
    /// The secret key of the label `key` (`CKA_LABEL`) on the token of the label `token`, through the PKCS#11 library
    /// at the absolute path `module`. `pin` says where the user's PIN stands: one line of at most 256 bytes.
    ///
    /// A slot's number is no setting: it changes when tokens are moved, and with SoftHSM at every start.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>, token: impl Into<String>, key: impl Into<String>, pin: KeySource) -> Self {
        const SESSIONS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
        Self {
            module: module.into(),
            token: token.into(),
            key: key.into(),
            id: None,
            pin,
            timeout: Duration::from_secs(5),
            sessions: SESSIONS,
        }
    }

    /// Takes of the keys with the label only the one with this `CKA_ID`.
    #[must_use]
    pub fn with_key_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How long a call may take, waiting for a session included. 5 s unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many sessions are open, and calls made, at once. 4 unless set; a token may have room for few.
    #[must_use]
    pub fn with_sessions(mut self, sessions: NonZeroUsize) -> Self {
        self.sessions = sessions;
        self
    }

    /// What errors and descriptions call the key.
    pub(super) fn name(&self) -> Arc<str> {
        format!("pkcs11:{}/{}", self.token.escape_debug(), self.key.escape_debug()).into()
    }

    /// Refuses what could never be found.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let refused = |what| Err(Fault::new(Denied, Then::Close, what));
        if !self.module.is_absolute() {
            return refused(
                "`module` is no absolute path: a name alone is looked for in folders that others may choose",
            );
        }
        if !is_label(&self.token, TOKEN_LABEL) {
            return refused("`token` is no token's label: 1 to 32 bytes, no control characters, no space at its end");
        }
        if !is_label(&self.key, KEY_LABEL) {
            return refused("`key` is no key's label: 1 to 255 bytes, no control characters, no space at its end");
        }
        if self.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > KEY_LABEL) {
            return refused("`with_key_id` was given no key's identifier: 1 to 255 bytes");
        }
        if self.timeout.is_zero() {
            return refused("`with_timeout` was given no time at all");
        }
        Ok(())
    }
}

fn is_label(label: &str, most: usize) -> bool {
    // PKCS#11 pads with spaces, so that none at the end of a label can be told from the padding.
    (1..=most).contains(&label.len()) && !label.ends_with(' ') && !label.contains(char::is_control)
}
