//! What a token says of a key, and what no key may be.

use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectHandle},
    session::Session,
};

use super::fault::Fault;
use crate::clock::Timestamp;

/// A key's attributes; `None` where the token tells nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) aes: Option<bool>,
    pub(super) length: Option<u64>,
    pub(super) private: Option<bool>,
    pub(super) sensitive: Option<bool>,
    pub(super) extractable: Option<bool>,
    pub(super) encrypt: Option<bool>,
    pub(super) decrypt: Option<bool>,
    pub(super) created: Option<Timestamp>,
}

impl Facts {
    pub(super) fn of(session: &Session, key: ObjectHandle) -> Result<Self, Fault> {
        const ASKED: [AttributeType; 7] = [
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
        ];
        let mut facts = Self::default();
        for attribute in session.get_attributes(key, &ASKED)? {
            match attribute {
                Attribute::KeyType(kind) => facts.aes = Some(kind == KeyType::AES),
                Attribute::ValueLen(length) => facts.length = Some(*length),
                Attribute::Private(is) => facts.private = Some(is),
                Attribute::Sensitive(is) => facts.sensitive = Some(is),
                Attribute::Extractable(is) => facts.extractable = Some(is),
                Attribute::Encrypt(is) => facts.encrypt = Some(is),
                Attribute::Decrypt(is) => facts.decrypt = Some(is),
                _ => {}
            }
        }
        // By itself: a token may hold a date that is none, and that is no reason to refuse its key.
        facts.created = session.get_attributes(key, &[AttributeType::StartDate]).ok().and_then(|found| start(&found));
        Ok(facts)
    }

    /// Why such a key is not used.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.aes != Some(true) || self.length != Some(32) {
            return Some("the key is not AES-256 (`CKA_KEY_TYPE`, `CKA_VALUE_LEN`): make one of 32 bytes");
        }
        if self.private != Some(true) {
            return Some("the key can be used without the PIN (`CKA_PRIVATE` is false): make one that is private");
        }
        if self.sensitive != Some(true) {
            return Some("the token would show the key (`CKA_SENSITIVE` is false): make one that is sensitive");
        }
        if self.extractable != Some(false) {
            return Some("the key can leave the token (`CKA_EXTRACTABLE` is not false): make one that cannot");
        }
        if self.encrypt != Some(true) {
            return Some("the key may not encrypt (`CKA_ENCRYPT` is false): set it, or make another key");
        }
        if self.decrypt != Some(true) {
            return Some("the key may not decrypt (`CKA_DECRYPT` is false): set it, or make another key");
        }
        None
    }
}

pub(super) fn start(found: &[Attribute]) -> Option<Timestamp> {
    let [Attribute::StartDate(date)] = found else { return None };
    let [year, month, day] =
        [&date.year[..], &date.month, &date.day].map(|digits| std::str::from_utf8(digits).unwrap_or_default());
    format!("{year}-{month}-{day}T00:00:00Z").parse().ok()
}
