//! The keys that sign access tokens: Ed25519, made once, wrapped under a key derived from the root key.
//!
//! They are stored as `p:identity:signing-keys`: a list, newest first, so that a rotation adds a key and the tokens of
//! the one before stay valid until they expire. The key's name, its `kid`, is the SHA-256 of the public key, so a
//! wrapped key that opens to another one is found out.

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    account::{encode, load},
    error::{Fault, IdentityError},
};
use crate::{
    clock::{Clock, Timestamp},
    codec::{base64url, unbase64url},
    entropy,
    keys::Keyring,
    store::{Durable, ObjectName},
};

const VERSION: u8 = 1;
const WHAT: &str = "signing key";
const WRAP_LABEL: &str = "tower-ward/v1/signing-key-wrap";
const MAX_KEYS: usize = 16;

/// A key that signs, opened.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) public: [u8; 32],
    pub(crate) pkcs8: Zeroizing<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    v: u8,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    kid: String,
    created: Timestamp,
    /// Base64url of the IV and the wrapped PKCS#8 document.
    wrapped: String,
}

/// Loads the keys, newest first; makes the first one where there is none.
pub(crate) async fn open(
    store: &dyn Durable,
    keyring: &Keyring,
    clock: &dyn Clock,
) -> Result<Vec<SigningKey>, IdentityError> {
    let name = ObjectName::platform("identity", "signing-keys").map_err(Fault::from)?;
    let wrap = cipher(keyring)?;
    if let Some(keys) = read(store, &name, &wrap).await? {
        return Ok(keys);
    }
    let (key, stored) = make(&wrap, clock)?;
    let value = encode(&StoredKeys { v: VERSION, keys: vec![stored] }, WHAT)?;
    if store.insert_new(&name, &value, None).await.map_err(Fault::from)? {
        return Ok(vec![key]);
    }
    // Another process made one in between: its key counts.
    Ok(read(store, &name, &wrap).await?.ok_or(CORRUPT)?)
}

async fn read(
    store: &dyn Durable,
    name: &ObjectName,
    wrap: &Aes256Gcm,
) -> Result<Option<Vec<SigningKey>>, IdentityError> {
    let Some((stored, _)) = load::<StoredKeys>(store, name, WHAT).await? else {
        return Ok(None);
    };
    if stored.v != VERSION || !(1..=MAX_KEYS).contains(&stored.keys.len()) {
        return Err(CORRUPT.into());
    }
    stored.keys.iter().map(|key| unwrap(wrap, key)).collect::<Result<_, _>>().map(Some)
}

fn make(wrap: &Aes256Gcm, clock: &dyn Clock) -> Result<(SigningKey, StoredKey), Fault> {
    let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).map_err(|_| MAKER)?;
    let key = parse(Zeroizing::new(document.as_ref().to_vec())).ok_or(MAKER)?;
    let mut iv = [0; 12];
    entropy::fill(&mut iv);
    let payload = Payload { msg: &key.pkcs8, aad: &aad(&key.kid) };
    let sealed = wrap.encrypt(&Nonce::from(iv), payload).map_err(|_| MAKER)?;
    let wrapped = base64url(&[&iv[..], &sealed].concat());
    let stored = StoredKey { kid: key.kid.clone(), created: clock.now(), wrapped };
    Ok((key, stored))
}

fn unwrap(wrap: &Aes256Gcm, stored: &StoredKey) -> Result<SigningKey, IdentityError> {
    let bytes = unbase64url(&stored.wrapped).filter(|bytes| (28..=512).contains(&bytes.len())).ok_or(CORRUPT)?;
    let (iv, sealed) = bytes.split_first_chunk::<12>().ok_or(CORRUPT)?;
    let payload = Payload { msg: sealed, aad: &aad(&stored.kid) };
    let pkcs8 = wrap.decrypt(&Nonce::from(*iv), payload).map_err(|_| IdentityError::WrongRoot)?;
    let key = parse(Zeroizing::new(pkcs8)).ok_or(CORRUPT)?;
    if key.kid != stored.kid {
        return Err(CORRUPT.into());
    }
    Ok(key)
}

pub(super) fn parse(pkcs8: Zeroizing<Vec<u8>>) -> Option<SigningKey> {
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
    let public: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
    Some(SigningKey { kid: kid(&public), public, pkcs8 })
}

/// The RFC 7638 thumbprint of the key as a JWK (RFC 8037 §2).
fn kid(public: &[u8; 32]) -> String {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(public));
    base64url(&Sha256::digest(jwk))
}

fn aad(kid: &str) -> Vec<u8> {
    [b"tower-ward/v1/signing-key\0", kid.as_bytes()].concat()
}

fn cipher(keyring: &Keyring) -> Result<Aes256Gcm, Fault> {
    Aes256Gcm::new_from_slice(keyring.derive(WRAP_LABEL).as_ref()).map_err(|_| MAKER)
}

const CORRUPT: Fault = Fault::Corrupt { what: WHAT };
const MAKER: Fault = Fault::Worker { what: "maker of signing keys" };
