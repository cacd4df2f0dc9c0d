//! A record of the ledger has one spelling, so it has one hash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::audit::{MAX_RECORD, Record};

fuzz_target!(|data: &[u8]| {
    let Ok(record) = Record::from_bytes(data) else { return };
    let printed = record.to_bytes();
    assert_eq!(printed, data);
    assert_eq!(Record::from_bytes(&printed), Ok(record));
    assert!(printed.len() <= MAX_RECORD);
});
