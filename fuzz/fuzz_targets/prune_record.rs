//! What retention leaves has one spelling, holds where it was signed alone, and explains each body that is missing.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tower_ward::{
    audit::{CheckpointSigner, CheckpointVerifier, Dropped, MAX_RECORD, Record, verify_chain},
    id::TenantId,
    secret::Secret,
};

// The key that signed the one prune record among the seeds.
static VERIFIER: LazyLock<CheckpointVerifier> = LazyLock::new(|| {
    let seed = Secret::new(Box::new(*b"a key of the fuzz target alone!!"));
    let signer = CheckpointSigner::from_seed("fuzz.example/ledger", seed).expect("a key");
    CheckpointVerifier::new(signer.verifier_key().clone()).expect("a log's key")
});

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let (mut prunes, mut dropped) = (Vec::new(), Vec::new());
    for line in &lines {
        if let Ok(left) = Dropped::from_bytes(line) {
            assert_eq!(left.to_bytes(), *line);
            assert!(Record::from_bytes(line).is_err());
            dropped.push(left.sequence());
        }
        let Ok(record) = Record::from_bytes(line) else { continue };
        assert_eq!(record.to_bytes(), *line);
        assert!(line.len() <= MAX_RECORD);
        if VERIFIER.verify_prune(&record).is_ok() {
            let place = (record.index(), record.sequence());
            assert_eq!(
                (place, record.prune().map(|prune| (prune.from(), prune.below()))),
                SIGNED,
                "no other was signed"
            );
        }
        if let Some(prune) = record.prune() {
            assert!(prune.from() < prune.below() && prune.below() <= record.sequence());
            assert!(!prune.covers(prune.below()) && !prune.covers(record.sequence()));
            prunes.push(prune.clone());
        }
    }
    let tenant = TenantId::new("harbour").expect("a clinic");
    if let Ok(chain) = verify_chain(&tenant, lines.iter().copied()) {
        assert_eq!(chain.records(), lines.len() as u64);
        // Some prune record speaks of each.
        assert!(dropped.iter().all(|sequence| prunes.iter().any(|prune| prune.covers(*sequence))));
    }
});

/// Index, number in the chain, and what it is about.
const SIGNED: ((u64, u64), Option<(u64, u64)>) = ((11, 9), Some((0, 7)));
