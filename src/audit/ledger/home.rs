//! Where records are kept: what a batch is, and the folder of segments that is the ledger's home without a server.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    LedgerError,
    archive::{self, Archive, Index},
    retention::{self, Dropping, Drops},
    scan::{Agreement, ScanError, Scanned, scan},
    segment::{self, BATCH, BatchHeader, FRAME, HEADER, Header, Segment},
    tree::{self, Head, Tree},
};
use crate::audit::record::{Hash, Record, Stream};
#[cfg(feature = "checkpoint")]
use crate::audit::{CheckpointSigner, record::Kind};

/// The end of one chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

/// The end of everything: what the next record's place follows from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub(crate) tree: Tree,
    /// The hash of the last record, whosever.
    pub(crate) last: Option<Hash>,
    pub(crate) chains: HashMap<Stream, Link>,
}

/// Records that become durable together: the frames of one batch, as [`Sink`](super::Sink)s get them.
#[derive(Debug, Clone)]
pub struct Batch {
    before: Head,
    after: Head,
    count: u32,
    frames: Vec<u8>,
}

impl Batch {
    /// The ledger before the first record.
    #[must_use]
    pub fn before(&self) -> Head {
        self.before
    }

    /// The ledger after the last record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.after
    }

    /// How many records: one or more.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no batch is empty")]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// The canonical bytes of each record, the one with the index `before().size()` first; of one that retention has dropped
    /// since, those of what is [left](crate::audit::Dropped) of it.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.frames[..];
        std::iter::from_fn(move || {
            let (record, after) = segment::unframe(rest)?;
            rest = after;
            Some(record)
        })
    }
}

/// A batch being filled.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Room for the batch's header, then frames.
    bytes: Vec<u8>,
    text: String,
    records: Vec<Record>,
    hashes: Vec<Hash>,
    before: Head,
    /// What the places were, for the case that somebody else was first.
    undo: Option<Undo>,
    /// Signs prune records, once they have their place.
    #[cfg(feature = "checkpoint")]
    pub(crate) signer: Option<CheckpointSigner>,
    /// Of the last queued record in it.
    pub(crate) ticket: u64,
}

#[derive(Debug)]
struct Undo {
    tree: Tree,
    last: Option<Hash>,
    chains: Vec<(Stream, Option<Link>)>,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(64 * 1024),
            text: String::with_capacity(1024),
            records: Vec::new(),
            hashes: Vec::new(),
            before: Head::of(&Tree::default()),
            undo: None,
            #[cfg(feature = "checkpoint")]
            signer: None,
            ticket: 0,
        }
    }

    /// Empties it.
    pub(crate) fn begin(&mut self, head: Head) {
        self.records.clear();
        self.undo = None;
        self.restart(head);
    }

    fn restart(&mut self, head: Head) {
        self.bytes.clear();
        self.bytes.resize(BATCH, 0);
        self.hashes.clear();
        self.before = head;
    }

    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// Bytes, the header's included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn before(&self) -> Head {
        self.before
    }

    /// The hash of the record before the first.
    #[cfg(feature = "postgres")]
    pub(crate) fn follows(&self) -> Option<Hash> {
        self.undo.as_ref().and_then(|undo| undo.last)
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The leaf hash of each record.
    pub(crate) fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Gives the record its place, encodes and hashes it.
    pub(crate) fn add(&mut self, mut record: Record, places: &mut Places) {
        self.place(&mut record, places);
        self.records.push(record);
    }

    fn place(&mut self, record: &mut Record, places: &mut Places) {
        let undo =
            self.undo.get_or_insert_with(|| Undo { tree: places.tree.clone(), last: places.last, chains: Vec::new() });
        record.index = places.tree.size();
        let link = places.chains.get(&record.stream).copied();
        (record.sequence, record.previous) = link.map_or((0, [0; 32]), |link| (link.sequence + 1, link.hash));
        #[cfg(feature = "checkpoint")]
        if let Some(signer) = self.signer.as_ref().filter(|_| record.kind == Kind::Pruned) {
            record.signature = Some(signer.sign_line(&record.signed_text()).into());
        }
        self.text.clear();
        record.write_to(&mut self.text);
        let bytes = self.text.as_bytes();
        // What cannot be read back would stop the next start.
        debug_assert!(Record::from_bytes(bytes).is_ok(), "every field of a record is bounded where it is set");
        let hash = tree::leaf(bytes);
        self.bytes.extend_from_slice(&segment::frame(bytes));
        self.bytes.extend_from_slice(bytes);
        self.hashes.push(hash);
        places.tree.push(hash);
        places.last = Some(hash);
        undo.chains.push((record.stream.clone(), link));
        places.chains.insert(record.stream.clone(), Link { sequence: record.sequence, hash });
    }

    /// Takes the records back to where they were not placed yet.
    pub(crate) fn unplace(&mut self, places: &mut Places) {
        let Some(undo) = self.undo.take() else { return };
        (places.tree, places.last) = (undo.tree, undo.last);
        for (stream, link) in undo.chains.into_iter().rev() {
            match link {
                Some(link) => places.chains.insert(stream, link),
                None => places.chains.remove(&stream),
            };
        }
    }

    /// Whether its records have their places.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_placed(&self) -> bool {
        self.undo.is_some()
    }

    /// Places all records anew, after [`unplace`](Self::unplace) and whatever others had written since.
    pub(crate) fn replace(&mut self, places: &mut Places) {
        self.restart(Head::of(&places.tree));
        let mut records = std::mem::take(&mut self.records);
        for record in &mut records {
            self.place(record, places);
        }
        self.records = records;
    }

    /// The canonical bytes of each record.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[BATCH..];
        std::iter::from_fn(move || {
            let (record, after) = segment::unframe(rest)?;
            rest = after;
            Some(record)
        })
    }

    /// A copy for the sinks.
    pub(crate) fn to_batch(&self, after: Head) -> Arc<Batch> {
        let count = u32::try_from(self.records.len()).expect("a batch is far below 4 billion records");
        Arc::new(Batch { before: self.before, after, count, frames: self.bytes[BATCH..].to_vec() })
    }
}

/// Where a ledger's records are first made durable. One writer's, on its own thread.
pub(crate) trait Home: Send + std::fmt::Debug {
    /// Makes the batch durable. Where somebody else wrote meanwhile, places its records anew. After an error nothing of
    /// it is there, or it is found there by the next try.
    fn store(&mut self, draft: &mut Draft, places: &mut Places) -> Result<(), HomeError>;

    /// Keeps a signed checkpoint of what is there.
    fn keep_checkpoint(&mut self, note: &str, head: Head) -> Result<(), HomeError>;

    /// How often to be [refreshed](Self::refresh) while there is nothing to write.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Shows others that this node lives, and learns what they wrote.
    fn refresh(&mut self, _: &mut Places) -> Result<(), HomeError> {
        Ok(())
    }

    /// Writes no more into the part that it writes into now, so that bodies there can be dropped.
    fn close_part(&mut self) {}
}

/// Why a batch could not be made durable. For the trace alone: whoever waits is told that the ledger is unavailable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[cfg(feature = "postgres")]
    #[error("record {index} is held otherwise than this process wrote it: somebody changed the table")]
    Changed { index: u64 },
}

/// All records of a ledger.
pub(crate) trait Records: Send + Sync + std::fmt::Debug {
    /// Reads and checks every record, and says of each of the heads that are known from elsewhere whether the ledger was
    /// so once. `written` says that a writer may be at work.
    fn check(&self, written: bool, most: usize, known: &[Head], visit: &mut Visit<'_>) -> Result<Scanned, ScanError>;

    /// The newest signed checkpoint that stands beside the records.
    fn checkpoint(&self) -> io::Result<Option<String>>;

    /// Says that retention runs, to all who write this ledger, until the answer is dropped; `None` if it runs already.
    fn turn(&self) -> Result<Option<Box<dyn std::any::Any>>, LedgerError> {
        Ok(Some(Box::new(())))
    }

    /// Drops the bodies that may go, of closed parts of the ledger alone: see [`Drops`].
    fn drop_bodies(&self, drops: &Drops<'_>) -> Result<Dropping, LedgerError>;

    /// The first `end` records, all of which are durable, to be read in parts.
    fn archive<'a>(&'a self, end: u64, index: &'a Index) -> Box<dyn Archive + 'a>;

    /// Whether the ledger once was so.
    fn agrees(&self, head: Head) -> Result<Agreement, ScanError> {
        Ok(self.check(true, usize::MAX, &[head], &mut |_| ())?.known[0])
    }

    /// Hands out what stands from the record `from` on and before `until`, in batches and in order, until one is refused.
    fn batches(&self, from: u64, until: u64, hand: &mut dyn FnMut(&Batch) -> bool) -> Result<(), ScanError> {
        let (mut gather, mut wanted) = (Gather::default(), true);
        self.check(true, usize::MAX, &[], &mut |entry| {
            if entry.index < from {
                gather.skip(entry.hash);
            } else if wanted
                && entry.index < until
                && let Some(batch) = gather.add(entry.bytes, entry.hash)
            {
                wanted = hand(&batch);
            }
        })?;
        if wanted && let Some(batch) = gather.take() {
            hand(&batch);
        }
        Ok(())
    }
}

/// What stands in one place of a ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) index: u64,
    pub(crate) stream: &'a Stream,
    pub(crate) sequence: u64,
    /// `None` if retention has dropped it.
    pub(crate) record: Option<&'a Record>,
    /// The canonical bytes of the record, or of what is left of it.
    pub(crate) bytes: &'a [u8],
    /// The leaf hash of the record.
    pub(crate) hash: &'a Hash,
}

/// Is shown each entry, in order.
pub(crate) type Visit<'v> = dyn FnMut(Entry<'_>) + 'v;

/// A folder of segments, being written.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    size: u64,
    /// `None` after a failed write, or once it is closed: nothing more is written there.
    segment: Option<Segment>,
    number: u32,
}

impl Folder {
    /// Goes on where the reading of the folder ended.
    pub(crate) fn resume(dir: &Path, size: u64, scanned: &Scanned) -> io::Result<Self> {
        let segment = match &scanned.last {
            Some(last) => {
                let batch = last.batch.as_ref().map(|(at, bytes)| (*at, &bytes[..]));
                Segment::resume(dir, &last.header, batch, last.offset)?
            }
            None => {
                let head = Head::of(&scanned.places.tree);
                Segment::create(dir, &Header { number: 0, size, first: head.size, root: head.root, rewritten: 0 })?
            }
        };
        Ok(Self { dir: dir.to_owned(), size, number: segment.number(), segment: Some(segment) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes frames behind room for a header, in one write and one sync.
    pub(crate) fn append(&mut self, bytes: &mut [u8], count: usize, before: Head) -> io::Result<()> {
        let full = self.segment.as_ref().is_none_or(|segment| !segment.fits(bytes.len()));
        if full {
            // The header makes void whatever a failed write left in the segment before.
            // A copy may have smaller segments than the ledger has batches.
            let size = self.size.max((HEADER + bytes.len()) as u64);
            let header = Header { number: self.number + 1, size, first: before.size, root: before.root, rewritten: 0 };
            self.segment = None;
            self.segment = Some(Segment::create(&self.dir, &header)?);
            self.number += 1;
        }
        let segment = self.segment.as_mut().expect("it was made above");
        let header = BatchHeader {
            segment: segment.number(),
            offset: u32::try_from(segment.offset()).expect("a segment is at most 1 GiB"),
            first: before.size,
            count: u32::try_from(count).expect("a batch is far below 4 billion records"),
            length: u32::try_from(bytes.len() - BATCH).expect("a batch is far below 4 GiB"),
            root: before.root,
        };
        bytes[..BATCH].copy_from_slice(&header.to_bytes());
        let stored = segment.append(bytes);
        if stored.is_err() {
            self.segment = None;
        }
        stored
    }

    /// The same with a batch that another ledger wrote.
    pub(crate) fn append_batch(&mut self, batch: &Batch) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(BATCH + batch.frames.len());
        bytes.resize(BATCH, 0);
        bytes.extend_from_slice(&batch.frames);
        self.append(&mut bytes, batch.count as usize, batch.before)
    }
}

impl Home for Folder {
    fn store(&mut self, draft: &mut Draft, _: &mut Places) -> Result<(), HomeError> {
        let (count, before) = (draft.count(), draft.before);
        Ok(self.append(&mut draft.bytes, count, before)?)
    }

    fn keep_checkpoint(&mut self, note: &str, _: Head) -> Result<(), HomeError> {
        Ok(segment::write_checkpoint(&self.dir, note)?)
    }

    fn close_part(&mut self) {
        self.segment = None;
    }
}

/// A folder of segments, to be read.
#[derive(Debug)]
pub(crate) struct FolderRecords(pub(crate) PathBuf);

impl Records for FolderRecords {
    fn check(&self, written: bool, most: usize, known: &[Head], visit: &mut Visit<'_>) -> Result<Scanned, ScanError> {
        scan(&self.0, written, most, known, visit)
    }

    fn checkpoint(&self) -> io::Result<Option<String>> {
        segment::read_checkpoint(&self.0)
    }

    fn drop_bodies(&self, drops: &Drops<'_>) -> Result<Dropping, LedgerError> {
        retention::drop_in_folder(&self.0, drops)
    }

    fn archive<'a>(&'a self, end: u64, index: &'a Index) -> Box<dyn Archive + 'a> {
        Box::new(archive::Folder::new(&self.0, end, index))
    }
}

/// Puts records that are read one by one together into batches.
#[derive(Debug, Default)]
struct Gather {
    tree: Tree,
    before: Option<Head>,
    count: u32,
    frames: Vec<u8>,
}

impl Gather {
    const ENOUGH: usize = 64 * 1024;

    /// A record that nobody asked for.
    fn skip(&mut self, hash: &Hash) {
        self.tree.push(*hash);
    }

    /// The next record; the batch before it once there is enough for one.
    fn add(&mut self, record: &[u8], hash: &Hash) -> Option<Batch> {
        let full = self.frames.len() + FRAME + record.len() > Self::ENOUGH;
        let batch = if full { self.take() } else { None };
        self.before.get_or_insert_with(|| Head::of(&self.tree));
        self.frames.extend_from_slice(&segment::frame(record));
        self.frames.extend_from_slice(record);
        self.tree.push(*hash);
        self.count += 1;
        batch
    }

    /// What is there.
    fn take(&mut self) -> Option<Batch> {
        let before = self.before.take()?;
        let count = std::mem::take(&mut self.count);
        Some(Batch { before, after: Head::of(&self.tree), count, frames: std::mem::take(&mut self.frames) })
    }
}
