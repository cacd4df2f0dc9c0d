//! A sealed field has one form: what parses prints as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::field::format::reprint;

fuzz_target!(|data: &[u8]| {
    if let Some(printed) = reprint(data) {
        assert_eq!(printed, data);
        // Version, suite, epoch, the shortest IV, the tag.
        assert!(data.len() >= 2 + 4 + 12 + 16);
    }
});
