//! Bodies that go out of a folder: segments are written anew beside the old ones.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::{Dropping, Drops};
use crate::audit::{
    ledger::{
        LedgerError,
        open::io as io_error,
        reader::{self, Found, Reader},
        segment::{self, BATCH, BatchHeader, FRAME, HEADER, Header},
        tree,
    },
    record::{Dropped, Record},
    verify::{Fault, VerifyError},
};

/// A segment that is being written anew. No reader looks at it.
pub(crate) const UNFINISHED: &str = "ledger.pruned";

/// How often a segment is written anew because a hold came.
const TRIES: usize = 3;

/// Drops bodies of all segments but the last, which is being written.
pub(crate) fn drop_in_folder(dir: &Path, drops: &Drops<'_>) -> Result<Dropping, LedgerError> {
    let numbers = reader::segments(dir).map_err(io_error("list"))?;
    let mut done = Dropping::default();
    for (place, &number) in numbers.iter().enumerate() {
        if !(drops.wanted)() {
            break;
        }
        let until = match numbers.get(place + 1) {
            Some(&next) => Some(open(dir, next)?.header.first),
            None => None,
        };
        if count(dir, number, until, drops)? == 0 {
            continue;
        }
        if until.is_none() && drops.closed != Some(number) {
            done.open = Some(number);
            continue;
        }
        // A hold that comes while the segment is written is not overtaken by it.
        for _ in 0..TRIES {
            let before = (drops.changes)();
            let Some(written) = fill(dir, number, until, drops)? else { break };
            if (drops.changes)() == before {
                done.dropped += written.keep(dir, number)?;
                break;
            }
        }
    }
    Ok(done)
}

fn open(dir: &Path, number: u32) -> Result<Reader, LedgerError> {
    let opened = Reader::open(dir, number).map_err(io_error("read"))?;
    opened.map_err(|fault| VerifyError::new(0, fault).into())
}

/// Takes a batch and its frames.
type Take<'a> = dyn FnMut(&BatchHeader, &[u8]) -> Result<(), LedgerError> + 'a;

/// Hands out the batches of a segment, up to where the next one begins; `None` if that was broken off.
fn batches(
    dir: &Path,
    number: u32,
    until: Option<u64>,
    drops: &Drops<'_>,
    batch: &mut Take<'_>,
) -> Result<Option<Header>, LedgerError> {
    let mut reader = open(dir, number)?;
    let mut index = reader.header.first;
    while until != Some(index) {
        if !(drops.wanted)() {
            return Ok(None);
        }
        match reader.next(index, until.is_none()).map_err(io_error("read"))? {
            Found::Batch(found) => {
                batch(&found, reader.frames())?;
                index += u64::from(found.count);
            }
            Found::End | Found::Torn(_) if until.is_none() => break,
            Found::Broken(fault) => return Err(VerifyError::new(index, fault).into()),
            Found::End | Found::Torn(_) | Found::OtherIndex(_) => {
                return Err(VerifyError::new(index, Fault::Deleted).into());
            }
        }
    }
    Ok(Some(reader.header))
}

/// The records of a batch, with what is left of those that go.
fn entries(
    found: &BatchHeader,
    mut frames: &[u8],
    drops: &Drops<'_>,
    entry: &mut dyn FnMut(&[u8], Option<Dropped>),
) -> Result<(), LedgerError> {
    let mut index = found.first;
    while let Some((bytes, rest)) = segment::unframe(frames) {
        let mut left = None;
        if !Dropped::is(bytes) {
            let record = Record::from_bytes(bytes).ok().filter(|record| record.index == index);
            let record = record.ok_or(VerifyError::new(index, Fault::Edited))?;
            if drops.covers(&record.stream, record.sequence) {
                let (sequence, hash) = (record.sequence, tree::leaf(bytes));
                left = Some(Dropped { index, stream: record.stream, sequence, hash });
            }
        }
        entry(bytes, left);
        frames = rest;
        index += 1;
    }
    Ok(())
}

/// How many bodies may go.
fn count(dir: &Path, number: u32, until: Option<u64>, drops: &Drops<'_>) -> Result<u64, LedgerError> {
    let mut count = 0;
    batches(dir, number, until, drops, &mut |found, frames| {
        entries(found, frames, drops, &mut |_, left| count += u64::from(left.is_some()))
    })?;
    Ok(count)
}

/// A segment that was written anew, and has no name yet. Removed unless it is kept.
struct Written {
    unfinished: PathBuf,
    dropped: u64,
}

impl Written {
    /// Gives it the name of the old one.
    fn keep(self, dir: &Path, number: u32) -> Result<u64, LedgerError> {
        std::fs::rename(&self.unfinished, segment::path(dir, number)).map_err(io_error("rename a segment"))?;
        segment::sync_dir(dir).map_err(io_error("sync"))?;
        Ok(self.dropped)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // It holds nothing that the old one does not, and would keep the space it took. If it has its name, it is not here.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// Writes the segment anew, whole and synced; `None` if nobody wants it any more.
fn fill(dir: &Path, number: u32, until: Option<u64>, drops: &Drops<'_>) -> Result<Option<Written>, LedgerError> {
    let unwritable = io_error("write a segment anew");
    let mut written = Written { unfinished: dir.join(UNFINISHED), dropped: 0 };
    let mut options = OpenOptions::new();
    let file = segment::private(options.read(true).write(true).create(true).truncate(true)).open(&written.unfinished);
    let mut out = Output { file: file.map_err(&unwritable)?, offset: HEADER as u64 };
    out.file.write_all(&[0; HEADER]).map_err(&unwritable)?;
    let mut dropped = 0;
    let header = batches(dir, number, until, drops, &mut |found, frames| {
        let mut batch = vec![0; BATCH];
        entries(found, frames, drops, &mut |bytes, left| {
            dropped += u64::from(left.is_some());
            let left = left.map(|left| left.to_bytes());
            let bytes = left.as_deref().unwrap_or(bytes);
            batch.extend_from_slice(&segment::frame(bytes));
            batch.extend_from_slice(bytes);
        })?;
        out.batch(found, batch).map_err(&unwritable)
    })?;
    let Some(header) = header else { return Ok(None) };
    let size = out.offset;
    let header = Header { size, rewritten: header.rewritten.wrapping_add(1), ..header };
    out.finish(&header).map_err(&unwritable)?;
    written.dropped = dropped;
    Ok(Some(written))
}

struct Output {
    file: File,
    offset: u64,
}

impl Output {
    fn batch(&mut self, found: &BatchHeader, mut bytes: Vec<u8>) -> io::Result<()> {
        debug_assert!(bytes.len() > BATCH + FRAME, "no batch is empty");
        let place = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let header = BatchHeader {
            offset: u32::try_from(self.offset).map_err(place)?,
            length: u32::try_from(bytes.len() - BATCH).map_err(place)?,
            ..found.clone()
        };
        bytes[..BATCH].copy_from_slice(&header.to_bytes());
        self.file.write_all(&bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, header: &Header) -> io::Result<()> {
        self.file.set_len(header.size)?;
        self.file.rewind()?;
        self.file.write_all(&header.to_bytes())?;
        self.file.sync_all()
    }
}
