//! A ledger is verified without a panic whatever stands in it, and of one that verifies no byte changes unnoticed.
//!
//! The input: a byte that says whether to repair checksums, two that say which byte to change, one that says how, and
//! then the segment's first bytes; the rest of the file is zeros, as its writer leaves it. A run is slow, for it reads
//! the whole file three times: the form of a segment is fuzzed in `ledger_segment`.
#![no_main]

use std::{fs, path::PathBuf, process, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tower_ward::audit::verify;

/// The smallest segment there is.
const SIZE: usize = 128 * 1024;
const HEADER: usize = 128;
const BATCH: usize = 64;
const FRAME: usize = 8;

/// One folder a process, and one file in it.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("tower-ward-fuzz-{}", process::id()));
    fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
    folder
});

fuzz_target!(|data: &[u8]| {
    let [repair, high, low, flip, segment @ ..] = data else { return };
    let mut bytes = segment.to_vec();
    bytes.resize(SIZE, 0);
    if repair & 1 == 1 {
        repair_checksums(&mut bytes);
    }
    let write = |bytes: &[u8]| fs::write(FOLDER.join("ledger-000000.seg"), bytes).expect("the folder is writable");

    write(&bytes);
    let report = verify(&FOLDER);
    assert_eq!(verify(&FOLDER), report);
    let Ok(report) = report else { return };

    let at = usize::from(u16::from_be_bytes([*high, *low])) % segment.len().max(1);
    if *flip != 0 && report.torn().is_none() {
        bytes[at] ^= flip;
        write(&bytes);
        assert_ne!(verify(&FOLDER), Ok(report), "byte {at} was changed");
    }
});

/// What a fuzzer does not guess: the checksum of the header, of each batch, and of each record.
fn repair_checksums(bytes: &mut [u8]) {
    checksum(&mut bytes[..HEADER]);
    let mut at = HEADER;
    while let Some(batch) = bytes.get_mut(at..at + BATCH).filter(|batch| batch.iter().any(|byte| *byte != 0)) {
        checksum(batch);
        let mut left = read(batch, 24);
        at += BATCH;
        while left > FRAME
            && let Some(frame) = bytes.get_mut(at..at + FRAME)
        {
            let length = read(frame, 0);
            let Some(record) = bytes.get(at + FRAME..(at + FRAME).saturating_add(length)) else { return };
            let mut crc = crc32fast::Hasher::new();
            crc.update(&bytes[at..at + 4]);
            crc.update(record);
            bytes[at + 4..at + FRAME].copy_from_slice(&crc.finalize().to_be_bytes());
            at += FRAME + length;
            left = left.saturating_sub(FRAME + length);
        }
    }
}

/// The last four bytes are the checksum of those before.
fn checksum(part: &mut [u8]) {
    if let Some((body, crc)) = part.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_be_bytes();
    }
}

fn read(bytes: &[u8], at: usize) -> usize {
    let word: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(word) as usize
}
