//! A segment of the ledger has one form: header, batches and frames print as the bytes that they were read from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::audit::fuzz_segment;

fuzz_target!(|data: &[u8]| {
    let printed = fuzz_segment(data);
    assert!(data.starts_with(&printed));
});
