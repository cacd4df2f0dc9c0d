//! No answer of a transit server does more than be refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = tower_ward::keys::fuzz_transit_answer(data);
});
