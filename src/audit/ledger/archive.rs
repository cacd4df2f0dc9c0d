//! Where records are read back from: a folder of segments, or whatever else keeps them in order.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{
    LedgerError,
    open::{io as io_error, is_written},
    reader::{self, Found, Reader},
    segment::{self, Header},
};
use crate::audit::verify::{Fault, VerifyError};

/// A part of a ledger: the records from its first one up to the first one of the next part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its name. Names grow with the indexes.
    pub(crate) number: u32,
    /// The index of its first record.
    pub(crate) first: u64,
}

/// Takes a record by its index and its bytes, and says whether to go on.
pub(crate) type Visit<'a> = dyn FnMut(u64, &[u8]) -> Result<ControlFlow<()>, LedgerError> + 'a;

/// Records in their order, which are there for good: what was read once is the same the next time, or what retention has left
/// of it.
pub(crate) trait Archive: Send + Sync {
    /// How many records there are. Every index is below it.
    fn end(&self) -> u64;

    /// The parts, in order. A part without a record may have the first index of the next one.
    fn chunks(&self) -> Result<Vec<Chunk>, LedgerError>;

    /// Hands out the records of one part from `from` up to `until`, or what is left of them, one after another, until somebody
    /// breaks it off.
    /// `until` is neither beyond the part nor beyond the end: a record that is missing before it is an error.
    ///
    /// Memory is bounded by one batch, and time by the bytes between the two, and some hundred KiB.
    fn read(&self, chunk: &Chunk, from: u64, until: u64, visit: &mut Visit<'_>) -> Result<(), LedgerError>;
}

/// Segments whose places are remembered.
const MARKED: usize = 1_024;
/// Bytes between two places that are remembered: 4 KiB for a segment of 16 MiB.
const STRIDE: u64 = 64 * 1024;

/// What is remembered of segments, so that a page in the middle of one is not paid for with all that stands before it.
/// What is durable stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    firsts: BTreeMap<u32, u64>,
    /// Of each segment, as often as it was written anew, the first records of some batches, and where these begin.
    marks: BTreeMap<(u32, u32), Vec<(u64, u64)>>,
}

impl Index {
    fn with<R>(&self, step: impl FnOnce(&mut Known) -> R) -> R {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last place known at or before this record.
    fn mark(&self, segment: &Header, index: u64) -> Option<(u64, u64)> {
        self.with(|known| {
            let marks = known.marks.get(&(segment.number, segment.rewritten))?;
            let after = marks.partition_point(|(first, _)| *first <= index);
            marks.get(after.checked_sub(1)?).copied()
        })
    }

    fn note(&self, segment: &Header, found: Vec<(u64, u64)>) {
        self.with(|known| {
            let key = (segment.number, segment.rewritten);
            if known.marks.len() >= MARKED && !known.marks.contains_key(&key) {
                // The oldest, which are asked for least.
                known.marks.pop_first();
            }
            let marks = known.marks.entry(key).or_default();
            for (first, offset) in found {
                if marks.last().is_none_or(|last| offset >= last.1 + STRIDE) {
                    marks.push((first, offset));
                }
            }
        });
    }
}

/// The segments in a folder.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    dir: &'a Path,
    end: u64,
    index: &'a Index,
}

impl<'a> Folder<'a> {
    /// The first `end` records of the ledger in this folder, all of which are durable.
    pub(crate) fn new(dir: &'a Path, end: u64, index: &'a Index) -> Self {
        Self { dir, end, index }
    }
}

/// How many records the ledger in this folder holds now, whoever writes it; `None` if there is no ledger.
pub(crate) fn measure(dir: &Path) -> Result<Option<u64>, LedgerError> {
    let Some(&last) = reader::segments(dir).map_err(io_error("list"))?.last() else { return Ok(None) };
    let written = is_written(dir);
    let mut reader = open(dir, last)?;
    let mut end = reader.header.first;
    loop {
        match reader.next(end, written).map_err(io_error("read"))? {
            Found::Batch(batch) => end += u64::from(batch.count),
            Found::End | Found::Torn(_) => return Ok(Some(end)),
            Found::OtherIndex(_) => return Err(VerifyError::new(end, Fault::Deleted).into()),
            Found::Broken(fault) => return Err(VerifyError::new(end, fault).into()),
        }
    }
}

fn open(dir: &Path, number: u32) -> Result<Reader, LedgerError> {
    let opened = Reader::open(dir, number).map_err(io_error("read"))?;
    // Where its first record would stand nobody knows but the header.
    opened.map_err(|fault| VerifyError::new(0, fault).into())
}

impl Archive for Folder<'_> {
    fn end(&self) -> u64 {
        self.end
    }

    fn chunks(&self) -> Result<Vec<Chunk>, LedgerError> {
        let numbers = reader::segments(self.dir).map_err(io_error("list"))?;
        let mut chunks: Vec<Chunk> = Vec::with_capacity(numbers.len());
        for number in numbers {
            let first = match self.index.with(|known| known.firsts.get(&number).copied()) {
                Some(first) => first,
                None => {
                    let first = open(self.dir, number)?.header.first;
                    self.index.with(|known| known.firsts.insert(number, first));
                    first
                }
            };
            if let Some(before) = chunks.last().filter(|before| before.first > first) {
                return Err(VerifyError::new(before.first, Fault::Reordered).into());
            }
            chunks.push(Chunk { number, first });
        }
        Ok(chunks)
    }

    fn read(&self, chunk: &Chunk, from: u64, until: u64, visit: &mut Visit<'_>) -> Result<(), LedgerError> {
        let unreadable = io_error("read");
        let mut reader = open(self.dir, chunk.number)?;
        if reader.header.first != chunk.first {
            return Err(VerifyError::new(chunk.first, Fault::Edited).into());
        }
        let (mut index, offset) = self.index.mark(&reader.header, from).unwrap_or((chunk.first, reader.offset));
        reader.go_to(offset).map_err(&unreadable)?;
        let mut places = Vec::new();
        let result = loop {
            if index >= until {
                break Ok(());
            }
            let at = reader.offset;
            match reader.next(index, true).map_err(&unreadable)? {
                Found::Batch(_) => places.push((index, at)),
                Found::Broken(fault) => break Err(VerifyError::new(index, fault).into()),
                Found::End | Found::Torn(_) | Found::OtherIndex(_) => {
                    break Err(VerifyError::new(index, Fault::Deleted).into());
                }
            }
            let flow = records(reader.frames(), &mut index, from..until, visit);
            match flow {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.index.note(&reader.header, places);
        result
    }
}

/// The records of one batch, those outside the range left out.
fn records(
    mut frames: &[u8],
    index: &mut u64,
    range: std::ops::Range<u64>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, LedgerError> {
    while let Some((record, rest)) = segment::unframe(frames) {
        if range.contains(index) && visit(*index, record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        frames = rest;
        *index += 1;
    }
    Ok(ControlFlow::Continue(()))
}

/// Somebody hung up, so nobody reads on.
pub(crate) fn unwanted() -> LedgerError {
    io_error("read")(io::Error::other("nobody waits for it any more"))
}
