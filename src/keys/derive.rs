//! The primitives, under one name each, and the one way to derive.

use hmac::KeyInit;
use zeroize::Zeroizing;

use super::in_place::InPlace;

/// Suite 1, and what wraps keys.
#[cfg(not(feature = "aws-lc"))]
pub(crate) type Aead = aes_gcm::Aes256Gcm;
/// Suite 1, and what wraps keys.
#[cfg(feature = "aws-lc")]
pub(crate) type Aead = super::in_place::AwsLc;
/// Suite 2. Its cipher is made anew for each value, which aws-lc does more slowly.
pub(crate) type WideAead = xaes_256_gcm::Xaes256Gcm;
/// What a record is signed with.
pub(super) type Mac = hmac::Hmac<sha2::Sha256>;
/// Every derivation.
pub(super) type Kdf = hkdf::Hkdf<sha2::Sha256>;

/// What a key is derived for. No two constants share a text, and each stands first in its derivation's info.
pub(super) mod label {
    pub(crate) const ROOT_FINGERPRINT: &str = "tower-ward/v1/root-fingerprint";
    pub(crate) const PLATFORM_USE: &str = "tower-ward/v1/platform-use";
    pub(crate) const WRAP: &str = "tower-ward/v1/wrap";
    pub(crate) const WRAPPED_KEY: &str = "tower-ward/v1/wrapped-key";
    pub(crate) const KEY_COMMITMENT: &str = "tower-ward/v1/key-commitment";
    pub(crate) const RECORD_MAC: &str = "tower-ward/v1/record-mac";
    pub(crate) const RECORD: &str = "tower-ward/v1/record";
    pub(crate) const SUBJECT_FIELD: &str = "tower-ward/v1/subject-field";
    pub(crate) const TENANT_FIELD: &str = "tower-ward/v1/tenant-field";
    pub(crate) const BLIND_INDEX: &str = "tower-ward/v1/blind-index";
    pub(crate) const SUBJECT_LEDGER: &str = "tower-ward/v1/subject-ledger";
    pub(crate) const TENANT_LEDGER: &str = "tower-ward/v1/tenant-ledger";
    pub(crate) const LEDGER_DIFF: &str = "tower-ward/v1/ledger-diff";
    pub(crate) const LEDGER_COMMITMENT: &str = "tower-ward/v1/ledger-commitment";
    pub(crate) const WRAPPED_LEDGER_KEY: &str = "tower-ward/v1/wrapped-ledger-key";

    #[cfg(test)]
    pub(crate) const ALL: [&str; 15] = [
        ROOT_FINGERPRINT,
        PLATFORM_USE,
        WRAP,
        WRAPPED_KEY,
        KEY_COMMITMENT,
        RECORD_MAC,
        RECORD,
        SUBJECT_FIELD,
        TENANT_FIELD,
        BLIND_INDEX,
        SUBJECT_LEDGER,
        TENANT_LEDGER,
        LEDGER_DIFF,
        LEDGER_COMMITMENT,
        WRAPPED_LEDGER_KEY,
    ];
}

/// Appends `part` after its length, two bytes, so that no two lists of parts give the same bytes.
pub(super) fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).expect("labels, classes, names and identifiers are shorter than 64 KiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

/// HKDF-SHA256 (RFC 5869) of a uniformly random key, without salt, with the length-prefixed `parts` as info.
pub(super) fn derive(key: &[u8; 32], label: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut info = Vec::with_capacity(128);
    push_part(&mut info, label.as_bytes());
    for part in parts {
        push_part(&mut info, part);
    }
    let mut out = Zeroizing::new([0; 32]);
    Kdf::new(None, key).expand(&info, &mut *out).expect("32 bytes are less than 255 blocks");
    out
}

pub(super) fn aead(key: &[u8; 32]) -> Aead {
    Aead::keyed(key)
}

pub(super) fn wide_aead(key: &[u8; 32]) -> WideAead {
    WideAead::keyed(key)
}

pub(super) fn mac(key: &[u8; 32]) -> Mac {
    Mac::new_from_slice(key).expect("HMAC takes a key of any length")
}
