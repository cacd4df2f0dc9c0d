//! A wrapped key, a root's check value and an erased key's tombstone have one form in the store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::keys::fuzz_record;

// The comparison of what was printed stands in `fuzz_record`, where the types are.
fuzz_target!(|data: &[u8]| {
    let is_record = fuzz_record(data);
    assert!(!is_record || [34, 42, 102].contains(&data.len()));
});
