//! HMAC-SHA-256 of one message after another under one key.

use hmac::Mac as _;

use super::derive::{Mac, mac};

/// HMAC-SHA-256 (RFC 2104), keyed once: each message begins with a copy of the keyed state, which is wiped after it.
pub(crate) struct IndexMac(Mac);

impl IndexMac {
    pub(crate) fn keyed(key: &[u8; 32]) -> Self {
        Self(mac(key))
    }

    pub(crate) fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }
}
