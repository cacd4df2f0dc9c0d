//! A root key has one text, and a refusal repeats nothing of what was given.
#![no_main]

use std::{collections::BTreeSet, sync::Mutex};

use libfuzzer_sys::fuzz_target;
use tower_ward::{keys::RootKey, secret::ExposeSecret};

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fuzz_target!(|text: &str| {
    match RootKey::decode(text, "the fuzzer") {
        Ok(key) => {
            let printed = key.encode();
            assert_eq!(printed.expose_secret(), text);
            let again = RootKey::decode(printed.expose_secret(), "the fuzzer").expect("a key's text is a key");
            assert_eq!(again.fingerprint(), key.fingerprint());
        }
        // As many sentences as there are kinds, however many keys are tried.
        Err(error) => {
            let mut seen = SEEN.lock().expect("nobody panicked");
            seen.insert(error.to_string());
            assert!(seen.len() <= 16, "{seen:?}");
        }
    }
});
