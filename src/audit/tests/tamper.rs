//! What somebody who can write the files may do, and what the ledger's own files tell of it.
//!
//! A first table is of an attacker who edits bytes, a second of one who also mends lengths and checksums, a third of one
//! who computes everything anew; `docs/ledger.md` says the same in prose.

use super::*;
use crate::audit::{
    Fault, LedgerError, VerifyError,
    ledger::{
        segment::{self, BATCH, BatchHeader, HEADER},
        tree::{Tree, leaf},
    },
    verify,
};

/// Forty records, four to a batch, of the tenants a, b, c in turn.
const RECORDS: usize = 40;
const TENANTS: [&str; 3] = ["clinic-a", "clinic-b", "clinic-c"];

type Batch = (BatchHeader, Vec<Vec<u8>>);

fn written() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (ledger, writer) =
        Ledger::prepare(dir.path(), options().with_batch(4.try_into().unwrap()), clock().shared()).unwrap();
    let trails = TENANTS.map(|name| trail(&ledger, name));
    for n in 0..RECORDS {
        trails[n % 3].0.door(door(&[subject(n as u8)])).unwrap();
    }
    // No ends: they would follow.
    std::mem::forget(trails);
    ledger.start(writer).unwrap();
    while ledger.head().size() < RECORDS as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    dir
}

fn file(dir: &Path) -> std::path::PathBuf {
    segment::path(dir, 0)
}

fn batches(bytes: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut at = HEADER;
    while let Some(header) = BatchHeader::from_bytes(bytes[at..at + BATCH].try_into().unwrap()) {
        let end = at + BATCH + header.length as usize;
        let mut frames = &bytes[at + BATCH..end];
        let mut records = Vec::new();
        while let Some((record, rest)) = segment::unframe(frames) {
            records.push(record.to_vec());
            frames = rest;
        }
        batches.push((header, records));
        at = end;
    }
    batches
}

/// Writes the batches with lengths, counts, places and checksums that fit; everything else is as it stands in them.
fn mended(original: &[u8], batches: &[Batch]) -> Vec<u8> {
    let mut out = original[..HEADER].to_vec();
    for (header, records) in batches {
        let frames: Vec<u8> = records.iter().flat_map(|r| [&segment::frame(r)[..], r].concat()).collect();
        let header = BatchHeader {
            offset: out.len() as u32,
            count: records.len() as u32,
            length: frames.len() as u32,
            ..header.clone()
        };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&frames);
    }
    out.resize(original.len(), 0);
    out
}

/// Where the frame of a record stands in the file.
fn place(bytes: &[u8], index: usize) -> std::ops::Range<usize> {
    let mut at = HEADER;
    for (header, records) in batches(bytes) {
        let mut start = at + BATCH;
        for (n, record) in records.iter().enumerate() {
            let end = start + 8 + record.len();
            if header.first as usize + n == index {
                return start..end;
            }
            start = end;
        }
        at = start;
    }
    panic!("no record {index}");
}

/// The whole batch that a record begins.
fn batch_place(bytes: &[u8], index: usize) -> std::ops::Range<usize> {
    let start = place(bytes, index).start - BATCH;
    let next = batches(bytes).iter().map(|b| b.0.first as usize).find(|&first| first > index).unwrap_or(RECORDS);
    let end = if next == RECORDS { place(bytes, RECORDS - 1).end } else { place(bytes, next).start - BATCH };
    start..end
}

fn replace(text: &mut Vec<u8>, from: &str, to: &str) {
    let changed = String::from_utf8(text.clone()).unwrap().replacen(from, to, 1);
    assert_ne!(changed.as_bytes(), &text[..], "`{from}` stands in the record");
    *text = changed.into_bytes();
}

/// Both the verifier and the next start refuse, and say the same.
fn finds(name: &str, tampered: &[u8], index: u64, kind: Fault) {
    let dir = TempDir::new().unwrap();
    std::fs::write(file(dir.path()), tampered).unwrap();
    let expected = VerifyError::new(index, kind);
    assert_eq!(verify(dir.path()).map(|r| r.records()), Err(expected), "{name}");
    match Ledger::open(dir.path(), options(), clock().shared()) {
        Err(LedgerError::Damaged(error)) => assert_eq!(error, expected, "{name}"),
        other => panic!("{name}: {other:?}"),
    }
}

// proves CLA-18
#[test]
fn an_edited_file_is_found_out() {
    let dir = written();
    let original = std::fs::read(file(dir.path())).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records(), RECORDS as u64);
    let inside = |index: usize| place(&original, index).start + 100;
    let p17 = place(&original, 17);
    let p18 = place(&original, 18);
    let batch16 = batch_place(&original, 16);
    let batch20 = batch_place(&original, 20);
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    let cut = |range: std::ops::Range<usize>| {
        move |bytes: &mut Vec<u8>| {
            bytes.extend(vec![0; range.len()]);
            bytes.drain(range);
        }
    };
    let zero = |range: std::ops::Range<usize>| move |bytes: &mut Vec<u8>| bytes[range].fill(0);
    let swap = |a: std::ops::Range<usize>, b: std::ops::Range<usize>| {
        move |bytes: &mut Vec<u8>| {
            let swapped = [&bytes[b.clone()], &bytes[a.clone()]].concat();
            bytes.splice(a.start..b.end, swapped);
        }
    };
    let twice = |range: std::ops::Range<usize>| {
        move |bytes: &mut Vec<u8>| {
            let size = bytes.len();
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, copy);
            bytes.truncate(size);
        }
    };
    type Attack<'a> = Box<dyn FnOnce(&mut Vec<u8>) + 'a>;
    let rows: Vec<(&str, Attack<'_>, u64, Fault)> = vec![
        ("a byte of a record", Box::new(flip(inside(17))), 17, Fault::Edited),
        ("a byte of the first record", Box::new(flip(inside(0))), 0, Fault::Edited),
        ("a byte of the last record", Box::new(flip(inside(39))), 39, Fault::Edited),
        ("a checksum", Box::new(flip(p17.start + 4)), 17, Fault::Edited),
        ("a length", Box::new(flip(p17.start + 3)), 17, Fault::Edited),
        ("the start of a batch", Box::new(flip(batch16.start + 20)), 16, Fault::Edited),
        ("the start of the last batch", Box::new(flip(batch_place(&original, 36).start + 20)), 36, Fault::Edited),
        ("the start of the file", Box::new(flip(40)), 0, Fault::Edited),
        ("the padding of the start", Box::new(flip(100)), 0, Fault::Edited),
        ("a record cut out", Box::new(cut(p17.clone())), 17, Fault::Deleted),
        ("a batch cut out", Box::new(cut(batch16.clone())), 16, Fault::Deleted),
        ("the middle cut out", Box::new(cut(p17.start + 50..place(&original, 26).start + 60)), 17, Fault::Edited),
        ("a record zeroed", Box::new(zero(p17.clone())), 17, Fault::Edited),
        ("a batch zeroed", Box::new(zero(batch16.clone())), 16, Fault::Deleted),
        ("the first batch zeroed", Box::new(zero(batch_place(&original, 0))), 0, Fault::Deleted),
        ("two records swapped", Box::new(swap(p17.clone(), p18.clone())), 17, Fault::Reordered),
        ("two batches swapped", Box::new(swap(batch16.clone(), batch20)), 16, Fault::Reordered),
        ("a record twice", Box::new(twice(p17.clone())), 17, Fault::Inserted),
        ("a batch twice", Box::new(twice(batch16)), 20, Fault::Inserted),
        ("the file cut short", Box::new(|b: &mut Vec<u8>| b.truncate(inside(30))), 30, Fault::Truncated),
        ("the empty end cut off", Box::new(|b: &mut Vec<u8>| b.truncate(b.len() - 1)), 40, Fault::Truncated),
        ("all but the start cut off", Box::new(|b: &mut Vec<u8>| b.truncate(HEADER)), 0, Fault::Truncated),
        ("nothing left", Box::new(Vec::clear), 0, Fault::Truncated),
        ("bytes after the end", Box::new(|b: &mut Vec<u8>| b.push(1)), 40, Fault::Inserted),
    ];
    for (name, attack, index, kind) in rows {
        let mut bytes = original.clone();
        attack(&mut bytes);
        finds(name, &bytes, index, kind);
    }
}

// proves CLA-18
#[test]
fn mended_checksums_do_not_help() {
    let dir = written();
    let original = std::fs::read(file(dir.path())).unwrap();
    let batches = batches(&original);
    assert_eq!(mended(&original, &batches), original, "the attacker's tool writes what the ledger writes");
    fn forged(bytes: &[u8]) -> Vec<u8> {
        let mut forged = bytes.to_vec();
        replace(&mut forged, r#""user":"01"#, r#""user":"02"#);
        forged
    }
    type Attack = fn(&mut Vec<Batch>);
    // Batch 4 holds 16 (b), 17 (c), 18 (a), 19 (b).
    let rows: [(&str, Attack, u64, Fault); 15] = [
        ("another user", |b| b[4].1[1] = forged(&b[4].1[1]), 17, Fault::Edited),
        ("another user in the first record", |b| b[0].1[0] = forged(&b[0].1[0]), 0, Fault::Edited),
        ("not canonical", |b| replace(&mut b[4].1[1], r#","user""#, r#", "user""#), 17, Fault::Edited),
        ("no record at all", |b| b[4].1[1] = b"{}".to_vec(), 17, Fault::Edited),
        (
            "another link",
            |b| {
                let record = &mut b[4].1[1];
                let at = record.windows(8).position(|w| w == br#""prev":""#).unwrap() + 8;
                record[at] = if record[at] == b'0' { b'1' } else { b'0' };
            },
            17,
            Fault::Edited,
        ),
        ("another sequence number", |b| replace(&mut b[4].1[1], r#""seq":5"#, r#""seq":6"#), 17, Fault::Edited),
        ("one deleted", |b| drop(b[4].1.remove(1)), 17, Fault::Deleted),
        ("a batch deleted", |b| drop(b.remove(4)), 16, Fault::Deleted),
        ("two swapped", |b| b[4].1.swap(1, 2), 17, Fault::Reordered),
        (
            "two swapped across batches",
            |b| {
                let (one, two) = (b[4].1[1].clone(), b[6].1[2].clone());
                (b[4].1[1], b[6].1[2]) = (two, one);
            },
            17,
            Fault::Reordered,
        ),
        (
            "one twice",
            |b| {
                let copy = b[4].1[1].clone();
                b[4].1.insert(2, copy);
            },
            17,
            Fault::Inserted,
        ),
        (
            "one forged before it",
            |b| {
                let copy = forged(&b[4].1[1]);
                b[4].1.insert(1, copy);
            },
            17,
            Fault::Inserted,
        ),
        (
            "one forged and unchained",
            |b| {
                let mut copy = forged(&b[4].1[1]);
                replace(&mut copy, r#""seq":5"#, r#""seq":9"#);
                b[4].1.insert(1, copy);
            },
            17,
            Fault::Inserted,
        ),
        ("into another tenant's chain", |b| replace(&mut b[4].1[1], "clinic-c", "clinic-b"), 17, Fault::Inserted),
        ("into a new tenant's chain", |b| replace(&mut b[4].1[1], "clinic-c", "clinic-x"), 17, Fault::Inserted),
    ];
    for (name, attack, index, kind) in rows {
        let mut changed = batches.clone();
        attack(&mut changed);
        finds(name, &mended(&original, &changed), index, kind);
    }
}

/// The chain of one tenant computed anew, with nothing else: the roots that later batches begin with still tell, as
/// closely as which batch.
#[test]
fn a_chain_computed_anew_does_not_help() {
    let dir = written();
    let original = std::fs::read(file(dir.path())).unwrap();
    let mut batches = batches(&original);
    replace(&mut batches[4].1[1], r#""user":"01"#, r#""user":"02"#);
    relink(&mut batches);
    finds("one chain anew", &mended(&original, &batches), 16, Fault::Edited);
}

/// An edit of the very last batch with everything mended, and a whole new ledger: local data cannot tell, a head kept
/// elsewhere does.
#[test]
fn a_ledger_computed_anew_is_told_only_by_a_head_kept_elsewhere() {
    let dir = written();
    let original = std::fs::read(file(dir.path())).unwrap();
    let kept = verify(dir.path()).unwrap().head();
    let anew = |change: fn(&mut Vec<Batch>)| {
        let mut batches = batches(&original);
        change(&mut batches);
        relink(&mut batches);
        reroot(&mut batches);
        let dir = TempDir::new().unwrap();
        std::fs::write(file(dir.path()), mended(&original, &batches)).unwrap();
        verify(dir.path()).unwrap().head()
    };
    assert_eq!(anew(|_| ()), kept, "the attacker's tool computes what the ledger computes");
    let edited = anew(|b| replace(&mut b[4].1[1], r#""user":"01"#, r#""user":"02"#));
    assert_eq!(edited.size(), kept.size());
    assert_ne!(edited.root(), kept.root());
    let last = anew(|b| replace(&mut b[9].1[3], r#""user":"01"#, r#""user":"02"#));
    assert_ne!(last.root(), kept.root());
    let cut = anew(|b| drop(b.pop()));
    assert_eq!(cut.size(), 36);
}

fn relink(batches: &mut [Batch]) {
    let mut ends: std::collections::HashMap<_, [u8; 32]> = std::collections::HashMap::new();
    for (_, records) in batches {
        for record in records {
            let mut parsed = Record::from_bytes(record).unwrap();
            parsed.previous = ends.get(&parsed.stream).copied().unwrap_or_default();
            *record = parsed.to_bytes();
            ends.insert(parsed.stream, leaf(record));
        }
    }
}

fn reroot(batches: &mut [Batch]) {
    let mut tree = Tree::default();
    for (header, records) in batches {
        header.root = tree.root();
        for record in &*records {
            tree.push(leaf(record));
        }
    }
}

#[test]
fn no_byte_of_the_records_can_be_changed() {
    let dir = written();
    let original = std::fs::read(file(dir.path())).unwrap();
    let end = place(&original, RECORDS - 1).end;
    let path = file(dir.path());
    // The writer is still there; it has nothing to write.
    for at in (0..end).step_by(61) {
        let mut bytes = original.clone();
        bytes[at] ^= 0x20;
        let other = TempDir::new().unwrap();
        std::fs::write(file(other.path()), &bytes).unwrap();
        assert!(verify(other.path()).is_err(), "byte {at}");
    }
    assert_eq!(std::fs::read(path).unwrap(), original);
}

#[tokio::test]
async fn segments_cannot_be_taken_away_or_exchanged() {
    let source = TempDir::new().unwrap();
    let ledger = open(source.path());
    while verify(source.path()).unwrap().segments() < 4 {
        let (trail, _closer) = trail(&ledger, "clinic-a");
        for n in 0..50 {
            trail.door(door(&[subject(n)])).unwrap();
        }
        trail.settled().await.unwrap();
    }
    ledger.shutdown().await;
    let firsts: Vec<u64> = (0..4)
        .map(|n| {
            u64::from_be_bytes(std::fs::read(segment::path(source.path(), n)).unwrap()[24..32].try_into().unwrap())
        })
        .collect();
    type Attack = fn(&Path);
    let rows: [(&str, Attack, Result<(), VerifyError>); 6] = [
        ("untouched", |_| (), Ok(())),
        ("the first", |d| std::fs::remove_file(segment::path(d, 0)).unwrap(), Err(VerifyError::new(0, Fault::Deleted))),
        (
            "the second",
            |d| std::fs::remove_file(segment::path(d, 1)).unwrap(),
            Err(VerifyError::new(firsts[1], Fault::Deleted)),
        ),
        (
            "the second and third exchanged",
            |d| {
                std::fs::rename(segment::path(d, 1), d.join("x")).unwrap();
                std::fs::rename(segment::path(d, 2), segment::path(d, 1)).unwrap();
                std::fs::rename(d.join("x"), segment::path(d, 2)).unwrap();
            },
            Err(VerifyError::new(firsts[1], Fault::Edited)),
        ),
        (
            "the second copied over the third",
            |d| assert!(std::fs::copy(segment::path(d, 1), segment::path(d, 2)).is_ok()),
            Err(VerifyError::new(firsts[2], Fault::Edited)),
        ),
        // Only a head kept elsewhere tells.
        ("the last", |d| std::fs::remove_file(segment::path(d, 3)).unwrap(), Ok(())),
    ];
    for (name, attack, expected) in rows {
        let dir = TempDir::new().unwrap();
        for n in 0..4 {
            std::fs::copy(segment::path(source.path(), n), segment::path(dir.path(), n)).unwrap();
        }
        attack(dir.path());
        assert_eq!(verify(dir.path()).map(|_| ()), expected, "{name}");
        match (Ledger::open(dir.path(), options(), clock().shared()), expected) {
            (Ok(_), Ok(())) => {}
            (Err(LedgerError::Damaged(error)), Err(expected)) => assert_eq!(error, expected, "{name}: opened"),
            (opened, _) => panic!("{name}: opened: {opened:?}"),
        }
    }
}

#[test]
fn an_empty_folder_is_no_good_ledger() {
    let dir = TempDir::new().unwrap();
    let nothing = VerifyError::new(0, Fault::Unreadable(std::io::ErrorKind::NotFound));
    assert_eq!(verify(dir.path()), Err(nothing));
    assert_eq!(verify(&dir.path().join("absent")), Err(nothing));
}
