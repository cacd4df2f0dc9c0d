//! A proof prints as the text that it was read from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::audit::fuzz_proof;

fuzz_target!(|text: &str| {
    if let Some(printed) = fuzz_proof(text) {
        assert_eq!(printed, text);
        assert!(printed.len() <= 65 * 45 + 64, "a path is bounded");
    }
});
