//! Reading the segments of a ledger, batch by batch.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::segment::{self, BATCH, BATCH_MAGIC, BatchHeader, HEADER, Header, MAX_BATCH, SECTOR};
use crate::audit::verify::Fault;

/// The numbers of the segments in a folder, in order. Other files are none of the ledger's.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(segment::number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// One segment, read from its start.
#[derive(Debug)]
pub(crate) struct Reader {
    file: BufReader<File>,
    pub(crate) header: Header,
    /// Bytes that the file really has.
    length: u64,
    /// Of the next batch.
    pub(crate) offset: u64,
    /// The bytes of the last batch, its header first.
    pub(crate) batch: Vec<u8>,
}

/// What stands at the next place.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, up to the end of the segment.
    End,
    /// A batch in its place, its frames intact; its bytes are in [`Reader::batch`].
    Batch(BatchHeader),
    /// A batch that was cut off while it was written: so much of it is there, and nothing after it.
    Torn(u64),
    /// A batch that begins with another index than the one expected.
    OtherIndex(u64),
    /// Something else. What is intact of it is in [`Reader::batch`].
    Broken(Fault),
}

impl Reader {
    /// Opens a segment; `Ok(Err)` says what is wrong with its header.
    pub(crate) fn open(dir: &Path, number: u32) -> io::Result<Result<Self, Fault>> {
        let file = File::open(segment::path(dir, number))?;
        let length = file.metadata()?.len();
        if length < HEADER as u64 {
            return Ok(Err(Fault::Truncated));
        }
        let mut file = BufReader::with_capacity(256 * 1024, file);
        let mut bytes = [0; HEADER];
        file.read_exact(&mut bytes)?;
        Ok(match Header::from_bytes(&bytes) {
            Some(header) if header.number == number => {
                Ok(Self { file, header, length, offset: HEADER as u64, batch: Vec::new() })
            }
            _ => Err(Fault::Edited),
        })
    }

    /// Goes on at this place, where a batch begins.
    pub(crate) fn go_to(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }

    /// The frames of the last batch.
    pub(crate) fn frames(&self) -> &[u8] {
        self.batch.get(BATCH..).unwrap_or_default()
    }

    /// What is wrong with the length of the file, which is fixed when it is made.
    pub(crate) fn wrong_length(&self) -> Option<Fault> {
        match self.length.cmp(&self.header.size) {
            std::cmp::Ordering::Less => Some(Fault::Truncated),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Fault::Inserted),
        }
    }

    /// Reads the next batch, which should begin with the record `expected`.
    ///
    /// `written` says that a writer may be at work: then a last batch that is not whole is always a torn one.
    pub(crate) fn next(&mut self, expected: u64, written: bool) -> io::Result<Found> {
        let found = self.look(expected, written)?;
        if !written || matches!(found, Found::Batch(_)) {
            return Ok(found);
        }
        // The buffer may hold what stood there before the writer came by.
        self.file.seek(SeekFrom::Start(self.offset))?;
        self.look(expected, written)
    }

    fn look(&mut self, expected: u64, written: bool) -> io::Result<Found> {
        self.batch.clear();
        let end = self.length.min(self.header.size);
        let room = end.saturating_sub(self.offset);
        if room < BATCH as u64 {
            return Ok(self.wrong_length().map_or(Found::End, Found::Broken));
        }
        self.batch.resize(BATCH, 0);
        self.file.read_exact(&mut self.batch)?;
        if segment::is_zero(&self.batch) {
            let (last, later) = self.ahead()?;
            return Ok(match (last, later) {
                // A hole before what was written later.
                (_, true) => Found::Broken(Fault::Deleted),
                (None, _) => self.wrong_length().map_or(Found::End, Found::Broken),
                (Some(last), _) => Found::Torn(last - self.offset),
            });
        }
        let mut head = [0; BATCH];
        head.copy_from_slice(&self.batch);
        let Some(batch) = BatchHeader::from_bytes(&head) else {
            return self.torn_or(Fault::Edited, written);
        };
        if batch.first != expected {
            return Ok(Found::OtherIndex(batch.first));
        }
        let length = batch.length as usize;
        let placed = batch.segment == self.header.number && u64::from(batch.offset) == self.offset && batch.count > 0;
        if !placed || length > MAX_BATCH {
            return Ok(Found::Broken(Fault::Edited));
        }
        let available = length.min(usize::try_from(room).unwrap_or(usize::MAX) - BATCH);
        self.batch.resize(BATCH + available, 0);
        self.file.read_exact(&mut self.batch[BATCH..])?;
        if available < length {
            return Ok(Found::Broken(self.wrong_length().unwrap_or(Fault::Edited)));
        }
        if intact(self.frames()) != (batch.count, true) {
            return self.torn_or(Fault::Edited, written);
        }
        self.offset += self.batch.len() as u64;
        Ok(Found::Batch(batch))
    }

    /// A batch that is not whole: torn if a crash can explain it, which leaves at least one sector as it was before,
    /// all zeros, and nothing after the batch.
    fn torn_or(&mut self, fault: Fault, written: bool) -> io::Result<Found> {
        let (last, later) = self.ahead()?;
        let mut at = self.offset;
        let mut explained = written;
        let mut rest = &self.batch[..];
        while !rest.is_empty() && !explained {
            let sector = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX).min(rest.len());
            explained = segment::is_zero(&rest[..sector]);
            at += sector as u64;
            rest = &rest[sector..];
        }
        let end = last.unwrap_or(self.offset).max(self.offset);
        Ok(if explained && !later { Found::Torn(end - self.offset) } else { Found::Broken(fault) })
    }

    /// Where the last byte after the start of this batch stands that is not zero, and whether a later batch begins
    /// there. A batch is only written once the one before it is durable, so a later one says that this one was.
    fn ahead(&mut self) -> io::Result<(Option<u64>, bool)> {
        let mut last = None;
        let mut later = false;
        let mut at = self.offset;
        let mut chunk: Vec<u8> = Vec::new();
        self.file.seek(SeekFrom::Start(at))?;
        loop {
            // The end of the chunk before is kept, for a batch header that straddles two.
            let kept = chunk.len().min(BATCH - 1);
            chunk.drain(..chunk.len() - kept);
            let start = at - kept as u64;
            let read = self.file.by_ref().take(64 * 1024).read_to_end(&mut chunk)?;
            if read == 0 {
                return Ok((last, later));
            }
            at += read as u64;
            if segment::is_zero(&chunk) {
                continue;
            }
            if let Some(place) = chunk.iter().rposition(|&b| b != 0) {
                last = Some(start + place as u64 + 1);
            }
            for place in (0..chunk.len().saturating_sub(BATCH - 1)).filter(|&p| chunk[p..].starts_with(&BATCH_MAGIC)) {
                let mut head = [0; BATCH];
                head.copy_from_slice(&chunk[place..place + BATCH]);
                later |= start + place as u64 > self.offset && BatchHeader::from_bytes(&head).is_some();
            }
        }
    }

    /// Whether the canonical start of the record with this index stands anywhere from this batch on.
    pub(crate) fn holds(&mut self, index: u64) -> io::Result<bool> {
        // No text in a record can hold it: its quotes would be escaped.
        let start = format!(r#"{{"v":1,"index":{index},"#);
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(self.offset))?;
        loop {
            let kept = rest.len().min(start.len() - 1);
            rest.drain(..rest.len() - kept);
            if self.file.by_ref().take(64 * 1024).read_to_end(&mut rest)? == 0 {
                return Ok(false);
            }
            if rest.windows(start.len()).any(|window| window == start.as_bytes()) {
                return Ok(true);
            }
        }
    }
}

/// How many frames are intact from the start, and whether they fill the bytes.
fn intact(mut frames: &[u8]) -> (u32, bool) {
    let mut count = 0;
    while let Some((_, rest)) = segment::unframe(frames) {
        frames = rest;
        count += 1;
    }
    (count, frames.is_empty())
}
