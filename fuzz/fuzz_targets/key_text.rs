//! A root key has one text, and a refusal repeats nothing of what was given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::{keys::RootKey, secret::ExposeSecret};

fuzz_target!(|text: &str| {
    match RootKey::decode(text, "the fuzzer") {
        Ok(key) => {
            let printed = key.encode();
            assert_eq!(printed.expose_secret(), text);
            let again = RootKey::decode(printed.expose_secret(), "the fuzzer").expect("a key's text is a key");
            assert_eq!(again.fingerprint(), key.fingerprint());
        }
        // Sentences are fixed; eight characters of a key would be a fifth of it.
        Err(error) => {
            let sentence = error.to_string();
            let body = text.strip_prefix("tower-ward-key-v1:").unwrap_or_default().as_bytes();
            assert!(!body.windows(8).any(|part| sentence.as_bytes().windows(8).any(|said| said == part)));
        }
    }
});
