//! Guarded keys, a subject's keys and an erased subject's tombstone have one form each in the store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::keys::fuzz_record;

// The comparison of what was printed stands in `fuzz_record`, where the types are.
fuzz_target!(|data: &[u8]| {
    let _ = fuzz_record(data);
});
