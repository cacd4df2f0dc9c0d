//! What the server's answers mean, and the shapes that its protocol has.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::exchange::{Answer, Fault};
use crate::{
    keys::{
        KeyBytes, ProviderErrorKind,
        ProviderErrorKind::{Denied, Garbled, Mismatch, Unavailable},
    },
    secret::{ExposeSecret as _, Secret},
};

/// What came of a question that did not end well.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// There is no answer, or none that is whole.
    None(&'a Fault),
    /// An answer of this status, and what it says, if it says so in the form of the protocol.
    Refused(u16, Option<&'a str>),
    /// An answer that should have brought what was asked for, and did not.
    Nonsense,
    /// Not asked: what should be unwrapped is nothing that the engine gives.
    NotWrapped,
}

/// What follows from an outcome, and the sentence that says so. The one place where that is decided:
///
/// | outcome | kind |
/// |---|---|
/// | not of the engine's form, and so not asked | `Mismatch` |
/// | no connection, no TLS, a certificate that is not accepted, a time-out, a connection that ends too early | `Unavailable` |
/// | bytes that are not HTTP | `Garbled` |
/// | 2xx without what was asked for: no JSON, too long, a field missing, no base64, not 32 bytes | `Garbled` |
/// | 3xx: the token would go elsewhere | `Unavailable` |
/// | 400, no such key, a key that was deleted, a version that the key's policy disallows | `Denied` |
/// | 400, a version that the key has not reached: a standby that lags, or a key that was made anew | `Unavailable` |
/// | 400, not authentic, no ciphertext of this key | `Mismatch` |
/// | 403, the token or its policy | `Denied` |
/// | 404, no such key or mount | `Denied` |
/// | 429, throttled; 472 and 473, a standby; 503, sealed; any other 5xx | `Unavailable` |
/// | a 4xx that is not in the protocol's form (a proxy's, for one), and all else | `Unavailable` |
pub(super) fn verdict(outcome: Outcome<'_>) -> (ProviderErrorKind, &'static str) {
    let (status, said) = match outcome {
        Outcome::NotWrapped => {
            return (Mismatch, "what is to be unwrapped was not wrapped by a transit key of this type");
        }
        Outcome::Nonsense => {
            return (Garbled, "the answer is not that of a transit engine: check `address` and `mount`");
        }
        Outcome::None(fault) => return no_answer(fault),
        Outcome::Refused(status, said) => (status, said),
    };
    let says = |words: &str| said.is_some_and(|said| said.contains(words));
    match status {
        200..=299 => (Garbled, "the answer is not that of a transit engine: check `address` and `mount`"),
        300..=399 => (
            Unavailable,
            "the server sends us elsewhere, where the token is not to go: set `address` to the active node",
        ),
        400 if says("encryption key not found") => (Denied, "there is no such key: restore it, or correct `key`"),
        400 if says("soft-deleted key") => (Denied, "the key is deleted: restore it while the server still can"),
        400 if says("disallowed by policy (too old)") => {
            (Denied, "the key's version is disabled: lower the key's `min_decryption_version`, if that was not meant")
        }
        400 if says("version is too new") => (
            Unavailable,
            "the server does not know this version of the key: ask the active node, or restore the key from its backup",
        ),
        400 if says("message authentication failed") || says("invalid ciphertext") => {
            (Mismatch, "the bytes were not wrapped by this key in this context, or were changed since")
        }
        403 if said.is_some() => (
            Denied,
            "the server does not permit it: renew the token, and let its policy `update` this key's encrypt and decrypt",
        ),
        404 if said.is_some() => (Denied, "there is no such key: restore it, or correct `mount` and `key`"),
        429 => (Unavailable, "the server throttles us: raise its rate limit"),
        472 | 473 => (Unavailable, "the server is a standby that does not serve: set `address` to the active node"),
        503 => (Unavailable, "the server is sealed or under maintenance: unseal it"),
        500..=599 => (Unavailable, "the server failed: read its log"),
        _ => (Unavailable, "the server's answer says neither yes nor no: read its log, and what stands between"),
    }
}

fn no_answer(fault: &Fault) -> (ProviderErrorKind, &'static str) {
    match fault {
        Fault::Connect(_) => (Unavailable, "the server cannot be reached: check `address`, and that it runs"),
        Fault::Certificate(_) => (
            Unavailable,
            "the server's certificate is not accepted: check `ca_file`, the name in `address`, and the expiry",
        ),
        Fault::Tls(_) => {
            (Unavailable, "there is no TLS connection: check that TLS 1.2 or later is served at `address`")
        }
        Fault::Http(error) if error.is_parse() => {
            (Garbled, "the answer is not that of a transit engine: check `address` and `mount`")
        }
        Fault::Http(_) => (Unavailable, "the connection ended before the answer did: read the server's log"),
        Fault::TimedOut => (Unavailable, "there was no answer within `timeout`: check the server and the way there"),
    }
}

/// What an answer other than 200 says.
///
/// It decides by [`verdict`] and goes nowhere else: the server may quote what it was sent.
pub(super) fn errors(answer: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }

    let errors: Errors = serde_json::from_slice(answer.json.as_deref()?).ok()?;
    Some(errors.errors.join("\n"))
}

/// What is in an answer. Borrowed from it, so that no copy of a key is left behind; a text with an escape in it, which
/// could not be borrowed, is none of the protocol's.
fn data<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Option<T> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        data: T,
    }

    // The error is dropped: it may quote what it did not expect.
    let envelope: Envelope<T> = serde_json::from_slice(answer.json.as_deref()?).ok()?;
    Some(envelope.data)
}

/// The wrapped key in an answer.
pub(super) fn ciphertext(answer: &Answer) -> Option<&str> {
    #[derive(Deserialize)]
    struct Encrypted<'a> {
        ciphertext: &'a str,
    }

    let data: Encrypted<'_> = data(answer)?;
    is_wrapped_key(data.ciphertext).then_some(data.ciphertext)
}

/// The key in an answer.
pub(super) fn plaintext(answer: &Answer) -> Option<KeyBytes> {
    #[derive(Deserialize)]
    struct Decrypted<'a> {
        plaintext: &'a str,
    }

    let data: Decrypted<'_> = data(answer)?;
    let text = data.plaintext.as_bytes();
    // 44 characters are 31 to 33 bytes, which is what the buffer holds.
    if text.len() != 44 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 33]);
    let length = BASE64.decode_mut(text, &mut *bytes).ok()?;
    (length == 32).then(|| Secret::init_with_mut(|key: &mut [u8; 32]| key.copy_from_slice(&bytes[..32])))
}

/// What the server says of the key.
#[derive(Deserialize)]
pub(super) struct KeyState {
    #[serde(rename = "type")]
    kind: String,
    pub(super) exportable: bool,
    pub(super) allow_plaintext_backup: bool,
    pub(super) deletion_allowed: bool,
    pub(super) latest_version: u64,
    keys: BTreeMap<String, serde_json::Value>,
    supports_encryption: bool,
    supports_decryption: bool,
    /// Not every server knows it.
    #[serde(default)]
    soft_deleted: bool,
}

impl KeyState {
    pub(super) fn read(answer: &Answer) -> Option<Self> {
        data(answer)
    }

    pub(super) fn is_aes256_gcm96(&self) -> bool {
        self.kind == "aes256-gcm96"
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.supports_encryption && self.supports_decryption && !self.soft_deleted
    }

    /// When the newest version was made, in seconds since 1970.
    pub(super) fn created(&self) -> Option<i64> {
        self.keys.get(&self.latest_version.to_string())?.as_i64()
    }
}

/// Whether it is what the engine gives for 32 bytes under AES-256-GCM: `vault:v`, the version in its one spelling, `:`,
/// and the base64 of IV, ciphertext and tag.
///
/// The server itself takes `v0` for `v1`: here that is no twin, but refused.
pub(super) fn is_wrapped_key(text: &str) -> bool {
    let Some((version, body)) = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let mut buffer = [0; SEALED];
    // The text's length first, because it is the buffer's; then that of what it spells, because of the padding.
    version.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == version)
        && body.len() == SEALED / 3 * 4
        && BASE64.decode_mut(body.as_bytes(), &mut buffer).is_ok_and(|length| length == SEALED)
}

/// IV, 32 bytes, and tag.
const SEALED: usize = 12 + 32 + 16;

/// A question in JSON, wiped when the last of who holds it lets go. The values are base64, or what [`is_wrapped_key`]
/// lets through: they need no escape.
pub(super) struct Question(Zeroizing<String>);

impl Question {
    pub(super) fn wrap(key: &KeyBytes, context: &[u8]) -> Bytes {
        Self::new(context).field("plaintext", |out| BASE64.encode_append(key.expose_secret(), out)).end()
    }

    pub(super) fn unwrap(wrapped: &str, context: &[u8]) -> Bytes {
        Self::new(context).field("ciphertext", |out| out.push_str(wrapped)).end()
    }

    /// The context goes twice. As `associated_data` every key is bound to it. A key that is made with `derived` asks
    /// for `context` too, and one that is not does not look at it.
    fn new(context: &[u8]) -> Self {
        // With all its room from the start: growing would leave copies behind.
        let mut text = String::with_capacity(256 + 2 * BASE64.encode_len(context.len()));
        text.push('{');
        let bind = |out: &mut String| BASE64.encode_append(context, out);
        Self(Zeroizing::new(text)).field("associated_data", bind).field("context", bind)
    }

    fn field(mut self, name: &str, value: impl FnOnce(&mut String)) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        for part in ["\"", name, "\":\""] {
            self.0.push_str(part);
        }
        value(&mut self.0);
        self.0.push('"');
        self
    }

    fn end(mut self) -> Bytes {
        self.0.push('}');
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Question {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What a server sends is in the integration tests; here, what no test outside can see.
    #[test]
    fn a_transit_question_never_grows_out_of_its_buffer() {
        let key = Secret::new(Box::new([0xff; 32]));
        let wrapped = format!("vault:v{}:{}", u32::MAX, BASE64.encode(&[7; SEALED]));
        assert!(is_wrapped_key(&wrapped), "the longest there is");
        for length in [0, 1, 2, 47, 300] {
            let context = vec![7; length];
            let room = Question::new(&[]).0.capacity() + 2 * BASE64.encode_len(length);
            for body in [Question::wrap(&key, &context), Question::unwrap(&wrapped, &context)] {
                assert!(body.len() <= room, "{length}: {} of {room}", body.len());
                let json: serde_json::Value = serde_json::from_slice(&body).expect("a question is JSON");
                assert_eq!(json["associated_data"], json["context"]);
            }
        }
    }
}
