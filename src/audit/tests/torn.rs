//! What a crash or a failing disk leaves, and going on from there.

use super::*;
use crate::audit::{
    ledger::segment::{self, BATCH, BatchHeader, HEADER, SECTOR},
    verify,
};

/// A ledger of ten batches, and where the last of them stands.
async fn written() -> (TempDir, Vec<u8>, usize, usize) {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    for n in 0..10 {
        let subjects = vec![subject(n); 40];
        trail.door(door(&subjects)).unwrap();
        trail.settled().await.unwrap();
    }
    std::mem::forget((trail, closer));
    let bytes = std::fs::read(segment::path(dir.path(), 0)).unwrap();
    let mut at = HEADER;
    loop {
        let header = BatchHeader::from_bytes(bytes[at..at + BATCH].try_into().unwrap()).unwrap();
        let end = at + BATCH + header.length as usize;
        if header.first == 9 {
            return (dir, bytes, at, end);
        }
        at = end;
    }
}

fn sector_before(at: usize) -> usize {
    at - at % SECTOR as usize
}

/// Whatever sectors of the last batch did not reach the disk, that batch is dropped and no other, and the ledger goes on.
#[tokio::test]
async fn a_torn_last_batch_is_dropped() {
    let (_dir, original, start, end) = written().await;
    let sectors: Vec<_> = (sector_before(start)..end).step_by(SECTOR as usize).collect();
    assert!(sectors.len() >= 4 && sectors.len() < 10, "{}", sectors.len());
    for lost in 1..1_u32 << sectors.len() {
        let mut bytes = original.clone();
        for (n, &sector) in sectors.iter().enumerate() {
            if lost & 1 << n != 0 {
                let range = sector.max(start)..(sector + SECTOR as usize).min(end);
                bytes[range].fill(0);
            }
        }
        let all = lost == (1 << sectors.len()) - 1;
        let dir = TempDir::new().unwrap();
        std::fs::write(segment::path(dir.path(), 0), &bytes).unwrap();
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.records(), report.torn().is_some()), (9, !all), "lost {lost:b}");
        let ledger = open(dir.path());
        assert_eq!(ledger.head().size(), 9);
        // Shorter than what was torn: nothing of that may be left behind it.
        let (trail, closer) = trail(&ledger, "clinic-a");
        trail.door(door(&[])).unwrap();
        trail.settled().await.unwrap();
        std::mem::forget((trail, closer));
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.records(), report.torn()), (10, None), "lost {lost:b}");
    }
}

/// The same hole in a batch that is not the last is no crash: each batch is durable before the next is written.
#[tokio::test]
async fn a_hole_before_the_last_batch_is_an_attack() {
    let (_dir, original, start, _) = written().await;
    for sector in (sector_before(HEADER)..sector_before(start)).step_by(SECTOR as usize) {
        let mut bytes = original.clone();
        bytes[sector.max(HEADER)..sector + SECTOR as usize].fill(0);
        let dir = TempDir::new().unwrap();
        std::fs::write(segment::path(dir.path(), 0), &bytes).unwrap();
        assert!(verify(dir.path()).is_err(), "sector at {sector}");
    }
}

/// What a write that failed has left is void once the next segment begins below it, whether it is whole or not.
#[tokio::test]
async fn what_a_failed_write_left_is_void() {
    let (dir, original, start, end) = written().await;
    let second = segment::Header {
        number: 1,
        size: SIZE,
        first: 9,
        rewritten: 0,
        root: BatchHeader::from_bytes(original[start..start + BATCH].try_into().unwrap()).unwrap().root,
    };
    for (name, left) in [("whole", end), ("torn", start + 700), ("nothing", start)] {
        let dir = TempDir::new().unwrap();
        let mut bytes = original.clone();
        bytes[left..].fill(0);
        std::fs::write(segment::path(dir.path(), 0), &bytes).unwrap();
        drop(segment::Segment::create(dir.path(), &second).unwrap());
        let ledger = open(dir.path());
        assert_eq!(ledger.head().size(), 9, "{name}");
        let (trail, closer) = trail(&ledger, "clinic-a");
        trail.door(door(&[subject(77)])).unwrap();
        trail.settled().await.unwrap();
        std::mem::forget((trail, closer));
        let records = records(dir.path());
        assert_eq!((records.len(), records[9].subjects()), (10, &[subject(77)][..]), "{name}");
        assert_eq!(ledger.danger_timeline(&tenant("clinic-a"), subject(9), None, 10).unwrap().records, [], "{name}");
        assert_eq!(
            ledger.danger_timeline(&tenant("clinic-a"), subject(77), None, 10).unwrap().records.len(),
            1,
            "{name}"
        );
    }
    drop(dir);
}

#[tokio::test]
async fn an_unfinished_segment_is_none() {
    let (_dir, original, _, _) = written().await;
    let dir = TempDir::new().unwrap();
    std::fs::write(segment::path(dir.path(), 0), &original).unwrap();
    std::fs::write(dir.path().join("ledger.new"), b"half a segment").unwrap();
    assert_eq!(verify(dir.path()).unwrap().records(), 10);
    assert_eq!(open(dir.path()).head().size(), 10);
}
