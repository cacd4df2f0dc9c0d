//! A token, or a header and claims that are signed for the occasion: whoever is accepted is named by a token minted anew.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::identity::fuzz_token;

// The comparison stands in `fuzz_token`, where the key is. Nobody signs a token without a newline here.
fuzz_target!(|text: &str| assert!(!fuzz_token(text) || text.contains('\n')));
