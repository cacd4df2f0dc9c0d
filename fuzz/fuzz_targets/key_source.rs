//! The name of a key's source has one spelling, and a key given in its place is never repeated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::keys::KeySource;

fuzz_target!(|text: &str| {
    match text.parse::<KeySource>() {
        Ok(source) => {
            assert_eq!(source.to_string(), text);
            assert_eq!(source.to_string().parse(), Ok(source));
            assert!(!text.contains("tower-ward-key-v1:"));
        }
        Err(error) => assert!(error.to_string().starts_with("key source: ")),
    }
});
