//! The root key: its text, and what no root key may look like.

use std::{ffi::OsString, fmt, path::Path};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    KeySource, KeySourceError,
    derive::{Aead, aead, derive, label, push_part},
    in_place::InPlace,
    provider::{KeyBytes, KeyContext, KeyDescription, KeyProvider, ProviderError, ProviderErrorKind},
    source::{KeySourceErrorKind as Kind, environment, read},
};
use crate::{
    codec, entropy,
    secret::{ExposeSecret, Secret, SecretString},
    store::BoxFuture,
};

/// What the text of a key begins with, so that a person, a program and a secret scanner recognise it.
pub(super) const PREFIX: &str = "tower-ward-key-v1:";
const BODY: usize = 43;
/// The length of a key's text.
pub(super) const ENCODED: usize = PREFIX.len() + BODY;
/// 32 random bytes have 30 distinct values on average, and fewer than this in less than one of 10^10 keys.
const MIN_DISTINCT: usize = 16;

/// A key-encryption key that this process holds: wraps every tenant's key.
///
/// Its text is `tower-ward-key-v1:` and 43 characters of base64url without padding (RFC 4648 §5). It does not print,
/// is not compared, and is wiped when dropped.
///
/// ```
/// use tower_ward::{keys::RootKey, secret::ExposeSecret};
///
/// let key = RootKey::generate();
/// let text = key.encode();
/// assert_eq!(RootKey::decode(text.expose_secret(), "the safe")?.fingerprint(), key.fingerprint());
///
/// let error = RootKey::decode("correct horse battery staple", "the safe").unwrap_err();
/// assert!(error.to_string().starts_with("the safe: "));
/// assert!(!error.to_string().contains("horse"));
/// # Ok::<(), tower_ward::keys::KeySourceError>(())
/// ```
pub struct RootKey(Secret<[u8; 32]>);

impl RootKey {
    /// Reads the key from its source.
    ///
    /// # Errors
    ///
    /// If it is not there, its file is open to others, its text is malformed, or it looks made up. The error names the
    /// source and never the text.
    pub fn load(source: &KeySource) -> Result<Self, KeySourceError> {
        Self::load_in(source, &environment)
    }

    pub(super) fn load_in(
        source: &KeySource,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, KeySourceError> {
        let text = read(source, environment)?;
        Self::decode_kind(&text).map_err(|kind| KeySourceError::new(source.to_string(), kind))
    }

    /// A new random key, from the operating system's generator.
    #[must_use]
    pub fn generate() -> Self {
        loop {
            let key = Secret::init_with_mut(|bytes: &mut [u8; 32]| entropy::fill_key(bytes));
            // A key that `decode` would refuse must not be handed out, however rare it is.
            if weakness(key.expose_secret()).is_none() {
                return Self(key);
            }
        }
    }

    /// The text of the key. Show it only to who asked for it.
    #[must_use]
    pub fn encode(&self) -> SecretString {
        let body = Zeroizing::new(codec::base64url(self.0.expose_secret()));
        let mut text = String::with_capacity(ENCODED);
        text.push_str(PREFIX);
        text.push_str(&body);
        text.into()
    }

    /// Reads the text of a key; `source` says in errors where it came from.
    ///
    /// # Errors
    ///
    /// If the text has another form than [`encode`](RootKey::encode) gives, or the key looks made up.
    pub fn decode(text: &str, source: &str) -> Result<Self, KeySourceError> {
        Self::decode_kind(text).map_err(|kind| KeySourceError::new(source.to_owned(), kind))
    }

    /// Writes the key's text to a new file for its owner alone, and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// If the file is there already (a key is never overwritten) or cannot be written.
    pub fn write_new_file(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write as _;

        let mut options = std::fs::OpenOptions::new();
        // `create_new` follows no symbolic link.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let text = self.encode();
        let written = file
            .write_all(text.expose_secret().as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a key must not be mistaken for one.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        // The name is durable only with its folder.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    }

    /// Names the key without telling anything of it: the first 8 bytes of a hash, in hex. For comparing by eye which
    /// key two machines hold.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let committed = self.derive(label::ROOT_FINGERPRINT, &[]);
        codec::hex(&Sha256::digest(&committed[..])[..8])
    }

    pub(super) fn derive(&self, label: &'static str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        derive(self.0.expose_secret(), label, parts)
    }

    fn decode_kind(text: &str) -> Result<Self, Kind> {
        if text.is_empty() {
            return Err(Kind::Empty);
        }
        if text.trim() != text {
            return Err(Kind::Whitespace);
        }
        let body = text.strip_prefix(PREFIX).ok_or(Kind::Prefix)?;
        if body.len() < BODY {
            return Err(Kind::Short);
        }
        if body.len() > BODY {
            return Err(Kind::Long);
        }
        let bytes = Zeroizing::new(codec::unbase64url(body).ok_or(Kind::Encoding)?);
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| Kind::Encoding)?;
        match weakness(bytes) {
            Some(kind) => Err(kind),
            None => Ok(Self(Secret::init_with_mut(|key: &mut [u8; 32]| key.copy_from_slice(bytes)))),
        }
    }
}

/// What it wraps is IV (12), ciphertext (32) and tag (16): AES-256-GCM under HKDF(root, `tower-ward/v1/wrap`).
const WRAPPED: usize = 12 + 32 + 16;

impl RootKey {
    fn wrapping(&self) -> Aead {
        aead(&self.derive(label::WRAP, &[]))
    }

    fn name(&self) -> String {
        format!("local:{}", self.fingerprint())
    }

    fn wrap_now(&self, key: &KeyBytes, context: &KeyContext) -> Vec<u8> {
        let mut out = vec![0; WRAPPED];
        let (iv, body) = out.split_first_chunk_mut::<12>().expect("60 bytes");
        entropy::fill(iv);
        let (body, tag) = body.split_last_chunk_mut::<16>().expect("48 bytes");
        body.copy_from_slice(key.expose_secret());
        let made = self.wrapping().seal(iv, &associated(context), body).expect("32 bytes are within AES-GCM's limits");
        tag.copy_from_slice(&made);
        out
    }

    fn unwrap_now(&self, wrapped: &[u8], context: &KeyContext) -> Option<KeyBytes> {
        let (iv, rest) = wrapped.split_first_chunk::<12>()?;
        let (body, tag) = rest.split_last_chunk::<16>()?;
        let body: &[u8; 32] = body.try_into().ok()?;
        let mut opened = None;
        let key = Secret::init_with_mut(|key: &mut [u8; 32]| {
            key.copy_from_slice(body);
            opened = self.wrapping().open(iv, &associated(context), key, tag).ok();
        });
        opened.map(|()| key)
    }
}

fn associated(context: &KeyContext) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    push_part(&mut out, label::WRAPPED_KEY.as_bytes());
    out.extend_from_slice(&context.to_bytes());
    out
}

impl KeyProvider for RootKey {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(std::future::ready(Ok(self.wrap_now(key, context))))
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        let opened = self.unwrap_now(wrapped, context).ok_or_else(|| {
            let what = "it did not wrap this key: compare with `ward keys check` which key this machine holds";
            ProviderError::new(ProviderErrorKind::Mismatch, self.name(), what)
        });
        Box::pin(std::future::ready(opened))
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        Box::pin(std::future::ready(Ok(KeyDescription::new("local", self.name()))))
    }
}

#[cfg(test)]
impl RootKey {
    /// The key of these bytes, whatever they look like.
    pub(super) fn decode_for_test(bytes: [u8; 32]) -> Self {
        Self(Secret::new(Box::new(bytes)))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey([REDACTED])")
    }
}

/// What a made-up key gives away. No test tells a bad generator from a good one; these catch placeholders, counters,
/// copied halves and passwords.
fn weakness(key: &[u8; 32]) -> Option<Kind> {
    if key.iter().all(|b| *b == 0) {
        return Some(Kind::AllZero);
    }
    if key.iter().all(|b| *b == key[0]) {
        return Some(Kind::RepeatedByte);
    }
    let step = key[1].wrapping_sub(key[0]);
    if key.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        return Some(Kind::Sequential);
    }
    if (2..=16).any(|period| key.iter().zip(&key[period..]).all(|(a, b)| a == b)) {
        return Some(Kind::RepeatedPattern);
    }
    if key.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return Some(Kind::Text);
    }
    let mut seen = [false; 256];
    for byte in key {
        seen[usize::from(*byte)] = true;
    }
    (seen.iter().filter(|seen| **seen).count() < MIN_DISTINCT).then_some(Kind::LowVariety)
}
