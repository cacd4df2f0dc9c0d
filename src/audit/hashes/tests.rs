#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tlog_tiles::tlog;

use super::{position::Node, *};
use crate::{audit::proof::leaf_hash, clock::SystemClock};

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.hashes");
    (dir, path)
}

fn leaf(n: u64) -> Hash {
    leaf_hash(&n.to_be_bytes())
}

fn leaves(range: std::ops::Range<u64>) -> Vec<Hash> {
    range.map(leaf).collect()
}

/// A file with so many leaves, closed.
fn written(size: u64) -> (TempDir, PathBuf, Vec<u8>) {
    let (dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    file.append(&leaves(0..size)).unwrap();
    file.sync().unwrap();
    drop(file);
    let bytes = fs::read(&path).unwrap();
    (dir, path, bytes)
}

/// The heads of 0 to `size` leaves, by the tree that the ledger keeps.
fn heads(size: u64) -> Vec<Head> {
    let mut grown = tree::Tree::default();
    let mut heads = vec![Head::of(&grown)];
    for n in 0..size {
        grown.push(leaf(n));
        heads.push(Head::of(&grown));
    }
    heads
}

/// Somebody else's implementation (`tlog_tiles`, after Go's `sumdb/tlog`), over the same file.
struct Theirs<'a>(&'a [u8]);

impl tlog::HashReader for Theirs<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let at = |index: &u64| 32 + 32 * *index as usize;
        Ok(indexes.iter().map(|i| tlog::Hash(self.0[at(i)..at(i) + 32].try_into().unwrap())).collect())
    }
}

#[test]
fn the_bytes_are_those_that_another_implementation_stores() {
    let (_dir, _path, bytes) = written(300);
    assert_eq!(bytes[..32], *b"TWHASHES\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let mut stored = Vec::new();
    for n in 0..300 {
        let new = tlog::stored_hashes(n, &n.to_be_bytes(), &Theirs(&[&[0; 32][..], &stored].concat())).unwrap();
        stored.extend(new.iter().flat_map(|hash| hash.0));
        assert_eq!(position::end(n + 1), 32 + 32 * tlog::stored_hash_count(n + 1));
    }
    assert_eq!(bytes[32..], stored);
    for level in 0..30 {
        for n in [0, 1, 2, 3, 1000, 1 << 20] {
            let at = 32 + 32 * tlog::stored_hash_index(level, n);
            assert_eq!(Node { level: level.into(), n }.offset(), at, "level {level}, {n}");
        }
    }
}

#[test]
fn another_implementation_makes_and_checks_the_same_proofs() {
    let (_dir, path, bytes) = written(130);
    let reader = HashReader::open(&path).unwrap();
    let theirs = Theirs(&bytes);
    for size in 1..=130 {
        let head = reader.head_at(size).unwrap();
        let root = tlog::Hash(*head.root());
        assert_eq!(root, tlog::tree_hash(size, &theirs).unwrap());
        for at in 0..size {
            let ours = reader.inclusion(at, size).unwrap();
            let path: Vec<_> = ours.path().iter().map(|hash| tlog::Hash(*hash)).collect();
            assert_eq!(path, tlog::prove_record(size, at, &theirs).unwrap(), "{at} of {size}");
            tlog::check_record(&path, size, root, at, tlog::record_hash(&at.to_be_bytes())).unwrap();
            let ours = reader.consistency(at + 1, size).unwrap();
            let path: Vec<_> = ours.path().iter().map(|hash| tlog::Hash(*hash)).collect();
            assert_eq!(path, tlog::prove_tree(size, at + 1, &theirs).unwrap(), "{} to {size}", at + 1);
        }
    }
}

#[test]
fn every_head_is_the_one_that_the_ledgers_tree_has() {
    let (_dir, path, _) = written(520);
    let reader = HashReader::open(&path).unwrap();
    for (size, head) in heads(520).iter().enumerate() {
        assert_eq!(reader.head_at(size as u64).unwrap(), *head);
    }
    assert_eq!(reader.size(), 520);
    for n in 0..520 {
        assert_eq!(reader.leaf(n).unwrap(), leaf(n));
    }
    assert!(matches!(reader.leaf(520), Err(HashError::Beyond)));
    assert!(matches!(reader.head_at(521), Err(HashError::Beyond)));
    assert!(matches!(reader.inclusion(0, 521), Err(HashError::Beyond)));
    assert!(matches!(reader.inclusion_in(0, &Head::new(u64::MAX, [0; 32])), Err(HashError::Beyond)));
    assert!(matches!(reader.consistency(1, 521), Err(HashError::Beyond)));
    assert!(matches!(reader.consistency(0, 5), Err(HashError::Proof(ProofError::Order))));
    assert!(matches!(reader.consistency(6, 5), Err(HashError::Proof(ProofError::Order))));
}

#[test]
fn in_pieces_and_at_once_give_the_same_file() {
    let (_dir, _path, at_once) = written(200);
    let (_dir2, path) = place();
    let mut from = 0;
    for (round, piece) in [1_u64, 1, 2, 0, 7, 60, 129].into_iter().enumerate() {
        // Each time by a new handle: nothing is kept but the file.
        let mut file = HashFile::open(&path).unwrap();
        assert_eq!(file.size(), from, "round {round}");
        file.append(&leaves(from..from + piece)).unwrap();
        from += piece;
    }
    assert_eq!(fs::read(&path).unwrap(), at_once);
}

#[test]
fn more_than_one_write_carries_is_appended_whole() {
    let (_dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    file.append(&leaves(0..65_536 * 2 + 5)).unwrap();
    let head = *heads(65_536 * 2 + 5).last().unwrap();
    assert_eq!(file.reader().head_at(file.size()).unwrap(), head);
    assert_eq!(file.reader().sound(0).unwrap(), head.size);
}

/// Cut off at any byte, the file has the leaves that are wholly there, and goes on as if nothing had been.
#[test]
fn a_torn_tail_is_cut_off() {
    let (_dir, _path, bytes) = written(21);
    for length in 32..=bytes.len() {
        let (_dir, path) = place();
        fs::write(&path, &bytes[..length]).unwrap();
        let mut file = HashFile::open(&path).unwrap();
        let size = file.size();
        let end = position::end(size) as usize;
        assert!(end <= length && (size == 21 || position::end(size + 1) as usize > length), "{length}");
        assert_eq!(fs::read(&path).unwrap(), bytes[..end], "{length}");
        file.append(&leaves(size..21)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "{length}");
    }
}

#[test]
fn a_file_that_begins_otherwise_is_refused_and_left_alone() {
    let (_dir, _path, good) = written(3);
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("nothing".to_owned(), Vec::new()),
        ("half a header".to_owned(), good[..31].to_vec()),
        ("a ledger's segment".to_owned(), [b"TWLEDGER", &good[8..]].concat()),
    ];
    for bit in 0..256 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        cases.push((format!("bit {bit} of the header"), bytes));
    }
    for (name, bytes) in cases {
        let (_dir, path) = place();
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(HashFile::open(&path), Err(HashError::Header)), "{name}");
        assert!(matches!(HashReader::open(&path), Err(HashError::Header)), "{name}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
    }
    let (_dir, path) = place();
    assert!(matches!(HashReader::open(&path), Err(HashError::Io { doing: "open", .. })));
    assert!(!path.exists(), "a reader makes no file");
}

/// A ledger's folder has files of its own, and a crash may have left a file of hashes that never got its name.
#[test]
fn making_the_file_touches_no_other() {
    let (dir, path) = place();
    fs::write(dir.path().join("ledger.new"), b"a segment being made").unwrap();
    fs::write(dir.path().join("ledger.hashes.new"), b"TWHASH").unwrap();
    drop(HashFile::open(&path).unwrap());
    assert_eq!(fs::read(dir.path().join("ledger.new")).unwrap(), b"a segment being made");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ledger.hashes", "ledger.new"]);
}

#[test]
fn one_handle_writes_and_its_readers_do_not_hold_the_file() {
    let (_dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    file.append(&leaves(0..2)).unwrap();
    assert!(matches!(HashFile::open(&path), Err(HashError::Locked)));
    let reader = file.reader();
    drop(file);
    let mut again = HashFile::open(&path).unwrap();
    again.append(&leaves(2..3)).unwrap();
    assert_eq!((reader.size(), again.reader().size()), (2, 3));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Whatever byte is changed: a proof for the head that was signed is the right one, or there is none.
#[test]
fn a_damaged_file_gives_an_error_and_never_a_wrong_proof() {
    const SIZE: u64 = 13;
    let (_dir, path, bytes) = written(SIZE);
    let heads = heads(SIZE);
    let (mut refused, mut given) = (0, 0);
    for at in (32..bytes.len()).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let reader = HashReader::open(&path).unwrap();
        for size in 1..=SIZE {
            let head = &heads[size as usize];
            for index in 0..size {
                match reader.inclusion_in(index, head) {
                    Ok(proof) => {
                        assert_eq!(proof.verify(&leaf(index), head), Ok(()), "byte {at}, {index} of {size}");
                        given += 1;
                    }
                    Err(HashError::Damaged) => refused += 1,
                    Err(other) => panic!("byte {at}, {index} of {size}: {other:?}"),
                }
                // Without a head, what is given at least agrees with the file's own.
                if let Ok(proof) = reader.inclusion(index, size) {
                    let own = reader.head_at(size).unwrap();
                    assert_eq!(proof.verify(&reader.leaf(index).unwrap(), &own), Ok(()));
                }
                let old = &heads[index as usize + 1];
                match reader.consistency_between(old, head) {
                    Ok(proof) => assert_eq!(proof.verify(old, head), Ok(())),
                    Err(HashError::Damaged) => refused += 1,
                    Err(other) => panic!("byte {at}, {} to {size}: {other:?}", index + 1),
                }
            }
        }
    }
    assert!(refused > 1_000 && given > 1_000, "{refused} refused, {given} given");
}

/// A head that was not signed over this file is proved by nothing in it.
#[test]
fn a_head_of_another_ledger_is_refused() {
    let (_dir, path, _) = written(9);
    let reader = HashReader::open(&path).unwrap();
    let (old, new) = (reader.head_at(4).unwrap(), reader.head_at(9).unwrap());
    let other = |head: Head| Head::new(head.size, leaf(77));
    assert!(matches!(reader.inclusion_in(3, &other(new)), Err(HashError::Damaged)));
    assert!(matches!(reader.consistency_between(&other(old), &new), Err(HashError::Damaged)));
    assert!(matches!(reader.consistency_between(&old, &other(new)), Err(HashError::Damaged)));
    assert!(matches!(reader.consistency_between(&new, &other(new)), Err(HashError::Damaged)));
    assert!(reader.consistency_between(&old, &new).is_ok());
}

#[test]
fn what_never_reached_the_disk_is_found() {
    let (_dir, path, bytes) = written(21);
    for hash in 0..(bytes.len() - 32) / 32 {
        let at = 32 + 32 * hash;
        let mut holed = bytes.clone();
        holed[at..at + 32].fill(0);
        fs::write(&path, &holed).unwrap();
        let reader = HashReader::open(&path).unwrap();
        let sound = reader.sound(0).unwrap();
        // The leaf that this hash belongs to, or is completed by.
        let (level, n) = tlog::split_stored_hash_index(hash as u64);
        let of = ((n + 1) << level) - 1;
        // A leaf is missed where it has a sibling: at the latest by the next one.
        let last = (level, of) == (0, 20);
        assert_eq!(
            sound,
            if last {
                21
            } else if level == 0 {
                of | 1
            } else {
                of
            },
            "hash {hash}"
        );
        assert_eq!(reader.head_at(21).unwrap() != heads(21)[21], [30, 37, 38].contains(&hash), "hash {hash}");
    }
    let (_dir, path, bytes) = written(300);
    let reader = HashReader::open(&path).unwrap();
    for from in 0..=300 {
        assert_eq!(reader.sound(from).unwrap(), 300);
    }
    assert!(matches!(reader.sound(301), Err(HashError::Beyond)));
    drop(bytes);
}

#[test]
fn a_cut_file_goes_on_from_there() {
    let (_dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    file.append(&leaves(0..50)).unwrap();
    let reader = file.reader();
    assert!(matches!(file.truncate(51), Err(HashError::Beyond)));
    for size in (0..=50).rev().step_by(7) {
        file.truncate(size).unwrap();
        assert_eq!((file.size(), reader.size()), (size, size));
        assert!(matches!(reader.leaf(size), Err(HashError::Beyond)));
        assert_eq!(fs::metadata(&path).unwrap().len(), position::end(size));
    }
    file.append(&leaves(file.size()..50)).unwrap();
    assert_eq!(reader.head_at(50).unwrap(), heads(50)[50]);
    file.truncate(20).unwrap();
    file.append(&leaves(1000..1030)).unwrap();
    assert_ne!(reader.head_at(50).unwrap(), heads(50)[50]);
    assert_eq!(reader.inclusion(30, 50).unwrap().verify(&leaf(1010), &reader.head_at(50).unwrap()), Ok(()));
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let (_dir, path, bytes) = written(11);
    // A handle that may not write, as a disk that does not.
    let shared = reader::Shared::new(fs::File::open(&path).unwrap()).unwrap();
    let peaks = shared.peaks(11).unwrap();
    let mut file = HashFile { shared: std::sync::Arc::new(shared), peaks: peaks.clone() };
    for _ in 0..2 {
        assert!(matches!(file.append(&leaves(11..14)), Err(HashError::Io { doing: "write", .. })));
        assert_eq!((file.size(), &file.peaks), (11, &peaks));
    }
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn readers_prove_while_it_grows() {
    const SIZE: u64 = 6_000;
    let (_dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    file.append(&leaves(0..1)).unwrap();
    let reader = file.reader();
    std::thread::scope(|scope| {
        for start in 0..3_u64 {
            let reader = reader.clone();
            scope.spawn(move || {
                let (mut at, mut proofs) = (start, 0_u64);
                while proofs < 50 || reader.size() < SIZE {
                    let size = reader.size();
                    at = (at * 31 + 7) % size;
                    let head = reader.head_at(size).unwrap();
                    assert_eq!(reader.inclusion(at, size).unwrap().verify(&leaf(at), &head), Ok(()));
                    proofs += 1;
                }
            });
        }
        let mut at = 1;
        while at < SIZE {
            let next = SIZE.min(at + 1 + at % 37);
            file.append(&leaves(at..next)).unwrap();
            at = next;
        }
    });
    assert_eq!(file.size(), SIZE);
}

/// With `TOWER_WARD_LONG=ledger` ten million leaves.
#[test]
fn a_long_file_of_hashes_proves_within_a_millisecond() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "ledger");
    let size: u64 = if long { 10_000_000 } else { 100_000 };
    let (_dir, path) = place();
    let mut file = HashFile::open(&path).unwrap();
    for from in (0..size).step_by(10_000) {
        file.append(&leaves(from..size.min(from + 10_000))).unwrap();
    }
    file.sync().unwrap();
    let (reader, clock) = (file.reader(), SystemClock::shared());
    let head = reader.head_at(size).unwrap();
    let mut took = Vec::new();
    for n in 0..1_001 {
        let at = (n * 7_919_333 + 17) % size;
        let before = clock.monotonic();
        let proof = reader.inclusion_in(at, &head).unwrap();
        took.push(clock.monotonic() - before);
        assert_eq!(proof.verify(&leaf(at), &head), Ok(()));
    }
    took.sort();
    // The median: what a neighbour does to the processor meanwhile is in a few of them.
    assert!(took[500] <= std::time::Duration::from_millis(1), "{:?} among {size} leaves", took[500]);
    println!("an inclusion proof among {size} leaves: median {:?}, worst {:?}", took[500], took[1_000]);
}
