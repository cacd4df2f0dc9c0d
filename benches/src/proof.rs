//! Proofs from the file of hashes.

use std::time::Instant;

use tower_ward::audit::{HashFile, leaf_hash};

use crate::{
    bench::Bench,
    ratio::{Row, Target, median, time},
};

/// One inclusion proof, checked, among so many leaves, against the millisecond that it may take.
pub(crate) fn row(bench: &Bench, leaves: u64) -> Row {
    const MOST: f64 = 1e6;
    let mut file = HashFile::open(&bench.folder.path().join("hashes")).expect("a file of hashes");
    for from in (0..leaves).step_by(65_536) {
        let chunk: Vec<_> = (from..leaves.min(from + 65_536)).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        file.append(&chunk).expect("room");
    }
    file.sync().expect("synced");
    let reader = file.reader();
    let head = reader.head_at(leaves).expect("a head");
    let times = (0..2_001_u64).map(|n| {
        let index = (n * 7_919_333 + 17) % leaves;
        let start = Instant::now();
        std::hint::black_box(reader.inclusion_in(index, &head).expect("a proof"));
        start.elapsed().as_secs_f64() * 1e9
    });
    let took = median(times);
    Row {
        what: format!("inclusion proof among {leaves} leaves / 1 ms"),
        floor: time(MOST),
        ours: time(took),
        ratio: took / MOST,
        target: Target::AtMost(1.0),
    }
}
