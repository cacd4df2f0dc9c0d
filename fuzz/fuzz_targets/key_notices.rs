//! What processes tell each other of keys has one form in the store.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = tower_ward::keys::fuzz_notices(data);
});
