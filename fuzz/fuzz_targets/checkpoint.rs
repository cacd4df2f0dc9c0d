//! A checkpoint prints as the bytes that it was read from, and a key as its text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tower_ward::audit::{CheckpointVerifier, VerifierKey, fuzz_checkpoint};

// The keys of the seed that verifies; nobody has their private halves.
static VERIFIER: LazyLock<CheckpointVerifier> = LazyLock::new(|| {
    let keys: Vec<VerifierKey> = include_str!("../../tests/vectors/checkpoint/sigsum.keys")
        .lines()
        .map(|line| line.parse().expect("a key"))
        .collect();
    let log = CheckpointVerifier::new(keys[0].clone()).expect("a log's key");
    keys[1..].iter().fold(log, |log, witness| log.add_witness(witness.clone()).expect("a witness's key"))
});

fuzz_target!(|data: &[u8]| {
    let printed = fuzz_checkpoint(data);
    if let Some(printed) = &printed {
        assert_eq!(printed.as_bytes(), data);
    }
    if let Ok(signed) = VERIFIER.verify(data) {
        assert!(printed.is_some(), "what verifies can be read");
        assert_eq!(signed.head().size(), 381_382, "no other head was signed");
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(key) = text.parse::<VerifierKey>()
    {
        assert_eq!(key.to_string(), text);
    }
});
