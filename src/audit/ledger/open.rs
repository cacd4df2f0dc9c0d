//! Opening a ledger: taking the folder, reading what is there, starting the writer.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};

#[cfg(feature = "checkpoint")]
use super::evidence::{Evidence, Rebuilt, Signatures, kept};
#[cfg(feature = "checkpoint")]
use super::retention::Anchor;
use super::{
    Erasures, Inner, Ledger, LedgerError, LedgerOptions, MAX_UNSETTLED, Order, Shared, Unsettled,
    gate::Gate,
    home::{Folder, FolderRecords, Home, Records},
    note_erasure,
    refusals::Refusals,
    retention::UNFINISHED,
    scan::{ScanError, Scanned},
    seats::Seats,
    segment,
    sink::{self, Held, Mirrors, Named, Sinks},
    timeline::Readers,
    tree::Head,
    writer::Writer,
};
#[cfg(feature = "checkpoint")]
use crate::audit::{hashes::HashFile, verify::judge};
#[cfg(feature = "checkpoint")]
use crate::clock::Timestamp;
use crate::{
    audit::{
        record::{AttemptId, Kind, Outcome, Record, Stream},
        verify::{Fault, VerifyError},
    },
    clock::SharedClock,
    trace,
};

/// The file whose lock says that a process writes this ledger.
pub(crate) const LOCK: &str = "ledger.lock";
/// The file of hashes in a ledger's folder.
const HASHES: &str = "ledger.hashes";

impl Ledger {
    /// Opens the ledger in `dir`, making it if there is none, and starts its writer.
    ///
    /// Reads and checks every record that is there (about a second for each million). A last batch that a crash cut
    /// off, and so was never acknowledged, is dropped; anything else that is not as it was written is an error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_ward::{audit::{Ledger, LedgerError, LedgerOptions}, clock::SystemClock};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let dir = folder.path();
    /// let options = LedgerOptions::new().with_segment_size(128 * 1024);
    /// let ledger = Ledger::open(dir, options.clone(), SystemClock::shared())?;
    /// // One process writes a folder, and settings are refused before anything is written.
    /// let second = Ledger::open(dir, options.clone(), SystemClock::shared());
    /// assert!(matches!(second, Err(LedgerError::Locked)));
    /// let tiny = Ledger::open(dir, options.with_segment_size(1), SystemClock::shared());
    /// assert!(matches!(tiny, Err(LedgerError::Setting { setting: "segment_size", .. })));
    /// ledger.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If a setting is out of range, the folder cannot be written, another process writes it, or what it holds is not
    /// as it was written.
    pub fn open(dir: &Path, options: LedgerOptions, clock: SharedClock) -> Result<Self, LedgerError> {
        Self::open_with(dir, Sinks::new(), options, clock)
    }

    /// The same with sinks, which get every record besides the folder: see [`Sink`](super::Sink).
    ///
    /// What a sink that holds a copy lacks, it is given: a required one before this returns, the others after.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); and if a required sink does not work, or one holds more than the folder or something else.
    pub fn open_with(
        dir: &Path,
        sinks: Sinks,
        options: LedgerOptions,
        clock: SharedClock,
    ) -> Result<Self, LedgerError> {
        let (ledger, writer) = Self::prepare_with(dir, sinks, options, clock)?;
        ledger.start(writer)?;
        Ok(ledger)
    }

    /// A ledger whose writer has not started: what is recorded stays in the queue.
    #[cfg(test)]
    pub(crate) fn prepare(
        dir: &Path,
        options: LedgerOptions,
        clock: SharedClock,
    ) -> Result<(Self, Writer), LedgerError> {
        Self::prepare_with(dir, Sinks::new(), options, clock)
    }

    fn prepare_with(
        dir: &Path,
        sinks: Sinks,
        options: LedgerOptions,
        clock: SharedClock,
    ) -> Result<(Self, Writer), LedgerError> {
        options.check()?;
        make_dir(dir).map_err(io("make"))?;
        let lock = take(dir)?;
        forget_unfinished(dir)?;
        let archive: Arc<dyn Records> = Arc::new(FolderRecords(dir.to_owned()));
        let read = Read::all(archive, sinks, Some(&dir.join(HASHES)), &options)?;
        if let Some(bytes) = read.scanned.torn {
            trace::event!(warn, bytes = bytes, "dropped a batch that a crash cut off before it was acknowledged");
        }
        let home = Folder::resume(dir, options.segment_size, &read.scanned).map_err(io("write the last segment"))?;
        read.into_ledger(Box::new(home), Some(lock), options, clock)
    }

    pub(crate) fn start(&self, writer: Writer) -> Result<(), LedgerError> {
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(io("start the writer"))?;
        // Nobody else sets it.
        let _ = self.inner.shared.writer.set(thread.thread().clone());
        Ok(())
    }
}

/// A ledger that was read to its end and checked, and is to be gone on with.
pub(super) struct Read {
    archive: Arc<dyn Records>,
    sinks: Vec<Named>,
    held: Vec<Held>,
    pub(super) scanned: Scanned,
    pub(super) unsettled: HashMap<AttemptId, Unsettled>,
    erasures: Erasures,
    /// When the last record was made.
    #[cfg(feature = "checkpoint")]
    newest: Option<Timestamp>,
    #[cfg(feature = "checkpoint")]
    hashes: Option<HashFile>,
}

impl Read {
    /// Reads all of it, and brings the file of hashes up to it.
    pub(super) fn all(
        archive: Arc<dyn Records>,
        sinks: Sinks,
        hashes: Option<&Path>,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        #[cfg(not(feature = "checkpoint"))]
        let _ = hashes;
        let mut sinks = sinks.check()?;
        let mut heads = Vec::new();
        let held = sink::ask(&mut sinks, &mut heads)?;
        #[cfg(feature = "checkpoint")]
        let (of_sinks, mut hashes) = (heads.len(), hashes.map(Rebuilt::open).transpose()?);
        #[cfg(feature = "checkpoint")]
        let keys = options.keys()?;
        #[cfg(feature = "checkpoint")]
        let mut signatures = Signatures::new(keys.as_ref());
        #[cfg(feature = "checkpoint")]
        let mut newest = None;
        #[cfg(feature = "checkpoint")]
        {
            if let Some(keys) = &keys {
                heads.extend(kept(archive.checkpoint().map_err(io("read the checkpoint"))?.as_deref(), keys)?);
            }
            heads.extend(hashes.as_ref().map(Rebuilt::head));
        }
        let (mut unsettled, mut erasures) = (HashMap::new(), Erasures::new());
        let mut too_many = false;
        let scanned = archive
            .check(false, options.tenants, &heads, &mut |entry| {
                #[cfg(feature = "checkpoint")]
                {
                    signatures.look(entry);
                    newest = entry.record.map(Record::at).or(newest);
                    if let Some(hashes) = &mut hashes {
                        hashes.visit(entry.index, entry.hash);
                    }
                }
                let Some(record) = entry.record else { return };
                too_many |= !note_attempt(&mut unsettled, record);
                note_erasure(&mut erasures, record);
            })
            .map_err(read_error)?;
        #[cfg(feature = "checkpoint")]
        signatures.finish()?;
        if too_many {
            return Err(LedgerError::TooManyUnsettled { max: MAX_UNSETTLED });
        }
        #[cfg(feature = "checkpoint")]
        let hashes = {
            let rest = scanned.known.len() - usize::from(hashes.is_some());
            judge(&heads[of_sinks..rest], &scanned.known[of_sinks..rest], scanned.places.tree.size())?;
            hashes.map(|hashes| hashes.finish(scanned.known[rest], &*archive)).transpose()?
        };
        Ok(Self {
            archive,
            sinks,
            held,
            scanned,
            unsettled,
            erasures,
            #[cfg(feature = "checkpoint")]
            newest,
            #[cfg(feature = "checkpoint")]
            hashes,
        })
    }

    pub(super) fn into_ledger(
        self,
        home: Box<dyn Home>,
        lock: Option<File>,
        options: LedgerOptions,
        clock: SharedClock,
    ) -> Result<(Ledger, Writer), LedgerError> {
        #[cfg(feature = "checkpoint")]
        let (evidence, newest) = (Evidence::new(self.hashes, options.signer.clone()), self.newest);
        let Self { archive, sinks, held, scanned, unsettled, erasures, .. } = self;
        let Scanned { places, known, .. } = scanned;
        let head = Head::of(&places.tree);
        let mirrors = Mirrors::start(sinks, &held, &known, head, &archive)?;
        let streams: HashSet<Stream> =
            places.chains.keys().filter(|stream| **stream != Stream::Platform).cloned().collect();
        let (queue, receiver) = mpsc::channel(options.queue);
        let shared = Arc::new(Shared {
            records: archive,
            gate: Gate::default(),
            order: Mutex::new(Order { ticket: 0, streams }),
            refusals: Mutex::new(Refusals::new(options.refusal_peers)),
            lost: AtomicU64::new(0),
            seats: Seats::default(),
            readers: Readers::default(),
            head: Mutex::new(head),
            lock: Mutex::new(lock.map(Arc::new)),
            writer: OnceLock::new(),
            stop: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
            errands: Mutex::default(),
            sinks: OnceLock::from(mirrors.states()),
            #[cfg(feature = "checkpoint")]
            pruned: Mutex::default(),
            late: Mutex::default(),
            #[cfg(feature = "checkpoint")]
            pruning: AtomicBool::new(false),
            dropping: watch::Sender::new(false),
            #[cfg(feature = "checkpoint")]
            anchor: Anchor { wall: clock.now(), monotonic: clock.monotonic(), newest },
            #[cfg(feature = "checkpoint")]
            hashes: evidence.reader(),
            #[cfg(feature = "checkpoint")]
            checkpoint: watch::Sender::new(None),
            options,
            clock,
        });
        let writer = Writer {
            queue: receiver,
            shared: Arc::clone(&shared),
            home,
            places,
            mirrors,
            #[cfg(feature = "checkpoint")]
            evidence,
            grace: 0,
        };
        let (unsettled, erasures) = (Mutex::new(unsettled), Mutex::new(erasures));
        Ok((Ledger { inner: Arc::new(Inner { queue, shared, unsettled, erasures }) }, writer))
    }
}

pub(super) fn read_error(error: ScanError) -> LedgerError {
    match error {
        ScanError::Fault(error) => LedgerError::Damaged(error),
        ScanError::Missing(..) | ScanError::Overtaken => overtaken().into(),
        ScanError::TooManyTenants => LedgerError::TooManyTenants,
    }
}

/// Bodies were dropped while somebody read: to be asked again.
pub(crate) fn overtaken() -> VerifyError {
    VerifyError::new(0, Fault::Unreadable(std::io::ErrorKind::Interrupted))
}

pub(super) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> LedgerError {
    move |source| LedgerError::Io { doing, source }
}

/// Keeps the changes whose outcome is not known; `false` if there are too many.
fn note_attempt(unsettled: &mut HashMap<AttemptId, Unsettled>, record: &Record) -> bool {
    match (record.kind, record.outcome) {
        (Kind::Attempt, _) => unsettled.extend(Unsettled::of(record).map(|found| (found.attempt, found))),
        (Kind::Outcome, Some(Outcome::Committed | Outcome::RolledBack)) => {
            if let Some(attempt) = &record.attempt {
                unsettled.remove(attempt);
            }
        }
        _ => {}
    }
    // Beyond the bound none is kept: the ledger will not open.
    if unsettled.len() > MAX_UNSETTLED {
        unsettled.clear();
        return false;
    }
    true
}

/// Removes what a crash left of a segment that was being written anew.
pub(super) fn forget_unfinished(dir: &Path) -> Result<(), LedgerError> {
    match std::fs::remove_file(dir.join(UNFINISHED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove an unfinished segment")(error)),
        _ => Ok(()),
    }
}

/// Takes the folder for this process.
pub(super) fn take(dir: &Path) -> Result<File, LedgerError> {
    let file = segment::private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(dir.join(LOCK))
        .map_err(io("open the lock file"))?;
    // A verifier holds it for a moment, to learn whether anybody writes.
    for _ in 0..5 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(source)) => return Err(LedgerError::Io { doing: "lock", source }),
        }
    }
    Err(LedgerError::Locked)
}

/// Whether a process writes the ledger in this folder.
pub(crate) fn is_written(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

pub(super) fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    let new = !dir.exists();
    builder.create(dir)?;
    match dir.parent() {
        Some(parent) if new && !parent.as_os_str().is_empty() => segment::sync_dir(parent),
        _ => Ok(()),
    }
}
