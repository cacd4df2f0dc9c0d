//! A key-encryption key in the transit engine of a Vault or OpenBao server. [`TransitProvider`] says what is decided.

mod answer;
mod exchange;
mod options;
mod token;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Method;

pub use self::options::{TransitError, TransitOptions};
use self::{
    answer::{KeyState, Outcome, Question, verdict},
    exchange::{Answer, Fault},
    options::Checked,
    token::TokenSource,
};
use crate::{
    clock::Timestamp,
    entropy,
    keys::{KeyBytes, KeyContext, KeyDescription, KeyProvider, ProviderError, ProviderErrorKind, derive::push_part},
    secret::{self, ExposeSecret as _, Secret},
    store::BoxFuture,
    trace,
};

/// A key-encryption key in the transit engine of a Vault or OpenBao server.
///
/// What is decided, in this order:
///
/// 1. [`open`](TransitProvider::open) checks every setting before it asks anybody. The address is `https` and the
///    authority that signed its certificate is named; plain `http` needs
///    [`danger_plain_http`](TransitOptions::danger_plain_http) and a loopback address in digits.
/// 2. It then asks what the key is: one that is exportable, or not of type `aes256-gcm96`, is refused. A token that may
///    not read the key (403) is no reason to refuse; a key that is not there is.
/// 3. It wraps a random key and unwraps it in the same context, which gives the key, and in another, which must not.
/// 4. A question goes to the one address, over a connection of its own, with TLS 1.2 or 1.3. No redirect is followed,
///    no proxy asked, nothing tried again; all of it ends within [`timeout`](TransitOptions::with_timeout).
/// 5. When the answer is 403, the token is read again from its file or credential. If another one stands there, the
///    question is asked with that, once.
/// 6. [`wrap`](KeyProvider::wrap) sends key and context, and keeps the answer's `vault:v<version>:<base64>` as it
///    stands, if it is the one spelling of 60 bytes. [`unwrap`](KeyProvider::unwrap) does not ask for anything else.
/// 7. What an answer means stands in one table, below. An answer is JSON of at most 64 KiB, and a key in it 32 bytes.
///    What the table does not know is [`Unavailable`](ProviderErrorKind::Unavailable).
///
/// | answer | kind |
/// |---|---|
/// | no such key, a deleted one, a version below `min_decryption_version`; 403, 404 | [`Denied`](ProviderErrorKind::Denied) |
/// | not authentic, or no ciphertext of such a key | [`Mismatch`](ProviderErrorKind::Mismatch) |
/// | 429, 472, 473, 5xx, a redirect; no connection, no trust, no time | [`Unavailable`](ProviderErrorKind::Unavailable) |
/// | a success without what was asked for | [`Garbled`](ProviderErrorKind::Garbled) |
///
/// A 403 or 404 that is not in the server's own form, as of a proxy, says nothing of the key.
///
/// # Deployment caveat
///
/// Give each clinic platform a mount or a key of its own, and its token this policy and no other:
///
/// ```text
/// path "transit/encrypt/clinic-kek" { capabilities = ["update"] }
/// path "transit/decrypt/clinic-kek" { capabilities = ["update"] }
/// path "transit/keys/clinic-kek"    { capabilities = ["read"] }
/// ```
///
/// Not `create`: with it, a name that is misspelt makes a new key. Without the last line everything but
/// [`describe`](KeyProvider::describe) works, and what kind of key it is stays unchecked. Let an agent renew the token
/// in a file of mode 0600, written aside and moved into place. Enable an audit device; `bao secrets tune
/// -audit-non-hmac-request-keys=associated_data transit` makes it show whose key was asked for, in base64. A server
/// that loses the key loses everything wrapped under it: back up its storage. `deletion_allowed` and
/// `allow_plaintext_backup` on the key are reported by an event when it is opened.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use tower_ward::keys::{KeyProvider, TransitError, TransitOptions, TransitProvider};
///
/// async fn kek(address: &str, key: &str) -> Result<Arc<dyn KeyProvider>, Box<dyn std::error::Error>> {
///     let options = TransitOptions::new(address, key, "file:/run/vault/token".parse()?);
///     Ok(Arc::new(TransitProvider::open(options.with_ca_file("/etc/clinic/vault-ca.pem")).await?))
/// }
///
/// // Refused before anybody is asked.
/// let plain = kek("http://vault.clinic.example:8200", "clinic-kek").await.unwrap_err();
/// assert!(plain.to_string().starts_with("transit setting `address` is plain `http`"));
/// let elsewhere = kek("https://vault.clinic.example:8200", "../sys/seal").await.unwrap_err();
/// assert!(matches!(elsewhere.downcast_ref(), Some(TransitError::Setting { setting: "key", .. })));
/// # Ok(()) }
/// ```
///
/// # Security
///
/// The attacker reads and writes what is stored, and stands in the network between us and the server. Promised: the
/// key-encryption key never comes here; nobody without a certificate of the named authority learns the token or a key;
/// what was wrapped in one context is refused in another; no error, `Debug` or event holds the token, a key, or what
/// the server says of them. The token and the texts that hold a key are wiped here; the buffers of the HTTP and TLS
/// libraries are not. Not promised: a server that lies gives a wrong key, which this cannot see and the keyring's
/// commitment does; a stolen token unwraps until it is revoked, so bind it to our address; which clinic's key is asked
/// for, and when, the server knows.
pub struct TransitProvider {
    settings: Checked,
    token: TokenSource,
}

impl TransitProvider {
    /// Checks the settings, the token, the key, and that the server binds what it wraps to its context.
    ///
    /// # Errors
    ///
    /// [`TransitError`] lists what it does not open with. While the server is down that is
    /// [`Provider`](TransitError::Provider) with the kind [`Unavailable`](ProviderErrorKind::Unavailable).
    pub async fn open(options: TransitOptions) -> Result<Self, TransitError> {
        let (settings, source) = options.check()?;
        let token = TokenSource::open(source).await.map_err(TransitError::Token)?;
        let provider = Self { settings, token };
        provider.check_key().await?;
        provider.check_binding().await?;
        Ok(provider)
    }

    async fn check_key(&self) -> Result<(), TransitError> {
        let answer = self.ask(Method::GET, &self.settings.key, Bytes::new()).await?;
        if answer.status == 403 {
            // It may be that only the description is not ours to see; what follows tells.
            return Ok(());
        }
        let state = self.state(&answer)?;
        let key = self.settings.name.to_string();
        if !state.is_aes256_gcm96() {
            return Err(TransitError::KeyType { key });
        }
        if state.exportable {
            return Err(TransitError::Exportable { key });
        }
        if state.deletion_allowed || state.allow_plaintext_backup {
            trace::event!(
                warn,
                key = %key,
                deletion_allowed = state.deletion_allowed,
                allow_plaintext_backup = state.allow_plaintext_backup,
                "the transit key can be deleted, or read from a backup"
            );
        }
        Ok(())
    }

    /// An older server does not know `associated_data`, and says nothing of it.
    async fn check_binding(&self) -> Result<(), TransitError> {
        let context = |which: &str| {
            let mut context = Vec::new();
            push_part(&mut context, b"tower-ward-purpose");
            push_part(&mut context, which.as_bytes());
            context
        };
        let key = Secret::init_with_mut(|key: &mut [u8; 32]| entropy::fill_key(key));
        let wrapped = self.encrypt(&key, &context("probe")).await?;
        let unwrapped = self.decrypt(&wrapped, &context("probe")).await?;
        if !secret::equal(key.expose_secret(), unwrapped.expose_secret()) {
            return Err(self.failure(Outcome::Nonsense).into());
        }
        match self.decrypt(&wrapped, &context("probe-of-another")).await {
            Err(error) if error.kind() == ProviderErrorKind::Mismatch => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(TransitError::Unbound { key: self.settings.name.to_string() }),
        }
    }

    async fn encrypt(&self, key: &KeyBytes, context: &[u8]) -> Result<Vec<u8>, ProviderError> {
        let answer = self.ask(Method::POST, &self.settings.encrypt, Question::wrap(key, context)).await?;
        self.expect_ok(&answer)?;
        let text = answer::ciphertext(&answer).ok_or_else(|| self.failure(Outcome::Nonsense))?;
        Ok(text.as_bytes().to_vec())
    }

    async fn decrypt(&self, wrapped: &[u8], context: &[u8]) -> Result<KeyBytes, ProviderError> {
        let text = std::str::from_utf8(wrapped).ok().filter(|text| answer::is_wrapped_key(text));
        let text = text.ok_or_else(|| self.failure(Outcome::NotWrapped))?;
        let answer = self.ask(Method::POST, &self.settings.decrypt, Question::unwrap(text, context)).await?;
        self.expect_ok(&answer)?;
        answer::plaintext(&answer).ok_or_else(|| self.failure(Outcome::Nonsense))
    }

    async fn state_now(&self) -> Result<KeyState, ProviderError> {
        let answer = self.ask(Method::GET, &self.settings.key, Bytes::new()).await?;
        self.state(&answer)
    }

    fn state(&self, answer: &Answer) -> Result<KeyState, ProviderError> {
        self.expect_ok(answer)?;
        KeyState::read(answer).ok_or_else(|| self.failure(Outcome::Nonsense))
    }

    /// Asks, and once more if the token was renewed since it was read.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ProviderError> {
        let endpoint = &self.settings.endpoint;
        let asking = async {
            let used = self.token.current();
            let answer = endpoint.ask(method.clone(), path, &used, body.clone()).await?;
            if answer.status != 403 {
                return Ok(answer);
            }
            match self.token.renewed(&used).await {
                Some(renewed) => endpoint.ask(method, path, &renewed, body).await,
                None => Ok(answer),
            }
        };
        let asked = tokio::time::timeout(endpoint.timeout, asking).await.unwrap_or(Err(Fault::TimedOut));
        asked.map_err(|fault| self.failure(Outcome::None(&fault)).with_source(fault))
    }

    fn expect_ok(&self, answer: &Answer) -> Result<(), ProviderError> {
        match answer.status {
            200 => Ok(()),
            status => Err(self.failure(Outcome::Refused(status, answer::errors(answer).as_deref()))),
        }
    }

    fn failure(&self, outcome: Outcome<'_>) -> ProviderError {
        let (kind, what) = verdict(outcome);
        ProviderError::new(kind, Arc::clone(&self.settings.name), what)
    }
}

impl KeyProvider for TransitProvider {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(async move { self.encrypt(key, &context.to_bytes()).await })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        Box::pin(async move { self.decrypt(wrapped, &context.to_bytes()).await })
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        Box::pin(async {
            let state = self.state_now().await?;
            let mut description = KeyDescription::new("transit", &*self.settings.name);
            description.version = Some(state.latest_version.to_string());
            description.created = state.created().and_then(|seconds| Timestamp::from_second(seconds).ok());
            description.enabled = state.is_enabled();
            description.confined = !state.exportable && !state.allow_plaintext_backup;
            Ok(description)
        })
    }
}

impl fmt::Debug for TransitProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TransitProvider").field(&self.settings.name).finish()
    }
}

/// For the fuzz target: reads a body in every way that an answer is read. Whether it was a wrapped key.
///
/// # Panics
///
/// If what passes for a wrapped key is not one.
#[doc(hidden)]
#[must_use]
pub fn fuzz_answer(body: &[u8]) -> bool {
    let answer = Answer { status: 200, json: Some(body.to_vec().into()) };
    let _ = (answer::plaintext(&answer), answer::KeyState::read(&answer), answer::errors(&answer));
    let wrapped = answer::ciphertext(&answer);
    assert!(wrapped.is_none_or(|text| text.starts_with("vault:v") && text.is_ascii() && text.len() < 256));
    wrapped.is_some()
}
