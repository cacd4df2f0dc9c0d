//! Many records.

use super::*;
use crate::{audit::verify, clock::SystemClock};

/// With `TOWER_WARD_LONG=ledger` a million of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_ledger_verifies_and_opens_again() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "ledger");
    let rounds: u64 = if long { 1_000_000 / 64 } else { 20_000 / 64 };
    let dir = TempDir::new().unwrap();
    let options = LedgerOptions::new().with_segment_size(if long { 16 * 1024 * 1024 } else { 1024 * 1024 });
    let ledger = Ledger::open(dir.path(), options.clone(), SystemClock::shared()).unwrap();
    let names: Vec<_> = (0..50).map(|n| format!("clinic-{n}")).collect();
    for round in 0..rounds {
        let (trail, closer) = trail(&ledger, &names[(round % 50) as usize]);
        for _ in 0..63 {
            trail.door(door(&[subject((round % 251) as u8)])).unwrap();
        }
        trail.settled().await.unwrap();
        drop(closer);
    }
    ledger.shutdown().await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.records(), report.tenants(), report.head()), (rounds * 64, 50, ledger.head()));
    let again = Ledger::open(dir.path(), options, SystemClock::shared()).unwrap();
    assert_eq!(again.head(), report.head());
    again.shutdown().await;
}
