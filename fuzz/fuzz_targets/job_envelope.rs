//! A job's envelope has one spelling; what its payload says, it says again when printed and read.
#![no_main]

use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use tower_ward::access::fuzz_envelope;

// The comparison stands in `fuzz_envelope`, where the types are. An envelope's text, and one around any payload.
fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        let _ = fuzz_envelope(text);
    }
    let _ = fuzz_envelope(&format!("twj1.{}.{}", BASE64URL_NOPAD.encode(data), BASE64URL_NOPAD.encode(&[7; 32])));
});
