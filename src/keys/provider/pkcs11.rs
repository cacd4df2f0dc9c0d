//! A key-encryption key on a token that PKCS#11 leads to: an HSM, a smart card, SoftHSM.

mod calls;
mod cipher;
mod facts;
mod fault;
mod module;
mod options;
#[cfg(test)]
mod tests;
mod token;

use std::{fmt, sync::Arc};

use super::{
    KeyBytes, KeyContext, KeyDescription, KeyProvider, ProviderError,
    ProviderErrorKind::{Denied, Mismatch},
};
use crate::{
    keys::source::{environment, read_secret},
    secret::{ExposeSecret as _, Secret},
    store::BoxFuture,
};
use calls::Calls;
use facts::Facts;
use fault::{Fault, NOT_WRAPPED, Then};
use module::Module;
pub use options::Pkcs11Options;
use token::Token;

/// The longest PIN that is read. Tokens take fewer bytes.
const PIN: usize = 256;

/// A key-encryption key on a token, used through PKCS#11 with `CKM_AES_GCM`. Cheap to clone; clones share their
/// sessions.
///
/// What is decided, in this order:
///
/// 1. [`open`](Self::open) refuses settings that can never fit, reads the PIN from its
///    [`KeySource`](crate::keys::KeySource), and loads the module, once in a process.
/// 2. The token is the one of the label, in whatever slot it is. None is
///    [`Unavailable`](crate::keys::ProviderErrorKind::Unavailable); two are [`Denied`].
/// 3. The PIN is tried once. A token that says no is not asked again until the key is opened anew, and one that says
///    that the next wrong PIN locks it is not asked at all.
/// 4. The key is the one secret key of the label. None, two, or one that is not AES-256, private, sensitive, not
///    extractable and allowed to encrypt and decrypt is `Denied`, and the error names the attribute. It must open what
///    it has sealed.
/// 5. A wrapped key is 61 bytes: format 1, an IV of 12 bytes, ciphertext, and a tag of 16 bytes, with
///    [`KeyContext::to_bytes`] as associated data. Bytes of another form are a [`Mismatch`], and the token is not
///    asked.
/// 6. What the token then says is read by one table. It is a `Mismatch` if the tag does not fit, and an answer that may
///    also come from a broken token is believed only after the same session has opened what it sealed. A key is gone
///    only if the token is there and does not list it.
/// 7. A session that ends, or a token that was taken out, makes the next call look for it anew: it is logged in to
///    again, and the key is found and checked again.
/// 8. Each call runs on a thread that it may block, and ends for the caller after the time-out. One that hangs holds up
///    no other; while too many do, calls are refused at once.
///
/// # Deployment caveat
///
/// The module is the token maker's code in this process, with all its rights: let root own it and its folders. A
/// process is logged in to a token as a whole, so keep other code of it away from the same module: what logs out or
/// stops it interrupts every call, and while it is logged in, a second provider's PIN is not checked. A call that hangs
/// for ever keeps the module from being restarted, and with it a token that was taken out from being found again: that
/// takes a new process. Make the key private and not extractable, on a token that has a backup of its own; with OpenSC:
///
/// ```text
/// pkcs11-tool --module MODULE --token-label clinic --login \
///     --keygen --key-type AES:32 --label kek-2026 --private --sensitive --usage-decrypt
/// ```
///
/// # Example
///
/// ```
/// use tower_ward::{
///     keys::{
///         KeyBytes, KeyContext, KeyDescription, KeyProvider, MAX_WRAPPED, Pkcs11Options, Pkcs11Provider,
///         ProviderError, ProviderErrorKind,
///     },
///     secret::{ExposeSecret, Secret},
/// };
///
/// /// Opens the key when the program starts, and shows that it works.
/// async fn start(options: Pkcs11Options) -> Result<Pkcs11Provider, ProviderError> {
///     let kek = Pkcs11Provider::open(options).await?;
///     let about: KeyDescription = kek.describe().await?;
///     assert!(about.enabled && about.confined);
///
///     let key: KeyBytes = Secret::new(Box::new([7; 32]));
///     let wrapped = kek.wrap(&key, &KeyContext::platform()).await?;
///     assert!(wrapped.len() <= MAX_WRAPPED);
///     assert_eq!(kek.unwrap(&wrapped, &KeyContext::platform()).await?.expose_secret(), &[7; 32]);
///     Ok(kek)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A module that is not there stops the start, and so does a PIN that is not there.
/// # let folder = tempfile::tempdir()?;
/// # let pin = folder.path().join("pin");
/// # std::fs::write(&pin, "1234")?;
/// # #[cfg(unix)] std::fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
/// # let source = format!("file:{}", pin.display());
/// # let source = source.as_str();
/// for (pin, word, kind) in [
///     (source, "`module`", ProviderErrorKind::Unavailable),
///     ("env:TOKEN_PIN", "`pin`", ProviderErrorKind::Denied),
/// ] {
///     let options = Pkcs11Options::new("/nowhere/libhsm.so", "clinic", "kek-2026", pin.parse()?);
///     let error = start(options).await.unwrap_err();
///     assert_eq!(error.kind(), kind);
///     assert!(error.to_string().starts_with("pkcs11:clinic/kek-2026: "));
///     assert!(error.to_string().contains(word));
/// }
/// # Ok(()) }
/// ```
///
/// # Security
///
/// Who steals the disk or a backup of this machine does not have the key, and needs the token and its PIN to open what
/// it wrapped. Promised: the key is never asked for and cannot be given; no error or `Debug` holds the PIN or a key;
/// what was wrapped in one context is refused in every other; a key that comes back is wiped when dropped. Not
/// promised: that who controls this process cannot ask the token as this process does; secrecy from the module, which
/// sees the PIN and every key that it wraps; what the module, or the library that calls it, leaves in memory when a
/// call fails; that GCM commits to the key (it does not: the keyring's records do). The IV is random: wrap at most 2^32
/// keys under one key (SP 800-38D §8.3).
#[derive(Clone)]
pub struct Pkcs11Provider {
    calls: Calls,
    token: Arc<Token>,
}

impl Pkcs11Provider {
    /// Finds the key, checks it and logs in.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the settings, the PIN or the key will not do;
    /// [`Unavailable`](crate::keys::ProviderErrorKind::Unavailable) if the module or the token is not there or does not
    /// answer; [`Garbled`](crate::keys::ProviderErrorKind::Garbled) if `module` is no PKCS#11 module. The text names the
    /// setting.
    pub async fn open(options: Pkcs11Options) -> Result<Self, ProviderError> {
        let name = options.name();
        options.check().map_err(|fault| fault.of(&name))?;
        let pin = read_secret(&options.pin, PIN, &environment).map_err(|error| {
            let what = "the PIN cannot be had from where `pin` says";
            Fault::new(Denied, Then::Close, what).with_source(error).of(&name)
        })?;
        let calls = Calls::new(name, options.timeout, options.sessions.get());
        let open = move |deadline: &module::Deadline| {
            let token = Token::new(Module::load(&options.module)?, options, pin);
            token.call(deadline, |live| cipher::usable(live).and_then(|()| cipher::probe(live)))?;
            Ok(Arc::new(token))
        };
        let token = calls.run(open).await?;
        Ok(Self { calls, token })
    }
}

impl KeyProvider for Pkcs11Provider {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        let (token, aad) = (Arc::clone(&self.token), context.to_bytes());
        let key: KeyBytes = Secret::init_with_mut(|copy: &mut [u8; 32]| copy.copy_from_slice(key.expose_secret()));
        Box::pin(self.calls.run(move |deadline| token.call(deadline, |live| cipher::wrap(live, &key, &aad))))
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        let Some(blob) = cipher::parse(wrapped) else {
            let refused = Fault::new(Mismatch, Then::Keep, NOT_WRAPPED).of(&self.calls.name);
            return Box::pin(std::future::ready(Err(refused)));
        };
        let (token, aad) = (Arc::clone(&self.token), context.to_bytes());
        Box::pin(self.calls.run(move |deadline| token.call(deadline, |live| cipher::unwrap(live, &blob, &aad))))
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        let token = Arc::clone(&self.token);
        Box::pin(async {
            let facts =
                self.calls.run(move |deadline| token.call(deadline, |live| Facts::of(&live.session, live.key))).await?;
            Ok(KeyDescription {
                created: facts.created,
                enabled: facts.encrypt == Some(true) && facts.decrypt == Some(true),
                confined: facts.sensitive == Some(true) && facts.extractable == Some(false),
                ..KeyDescription::new("pkcs11", &*self.calls.name)
            })
        })
    }
}

impl fmt::Debug for Pkcs11Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pkcs11Provider").field(&self.calls.name).finish_non_exhaustive()
    }
}
