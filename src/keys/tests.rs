//! Sources, root keys and the keyring.

mod copies;
mod keyring;
mod provided;
mod sources;

use super::{KeySource, KeySourceError, RootKey};
use crate::codec::base64url;

/// A key that no rule refuses, so that each row below fails for its own reason.
fn sound() -> [u8; 32] {
    let mut i = 0u8;
    [(); 32].map(|()| {
        i += 1;
        i.wrapping_mul(0x9d).wrapping_add(i.wrapping_mul(i) ^ 0x5c)
    })
}

fn text_of(key: &[u8]) -> String {
    format!("tower-ward-key-v1:{}", base64url(key))
}

fn load(text: &str) -> Result<RootKey, KeySourceError> {
    RootKey::load_in(&KeySource::Env("WARD_KEY".to_owned()), &|_| Some(text.into()))
}
