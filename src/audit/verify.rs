//! Checking a ledger.

use std::path::Path;

#[cfg(feature = "checkpoint")]
use super::ledger::Signatures;
use super::{
    ledger::{
        Cover, Entry, FolderRecords, Head, Records, is_written, overtaken,
        scan::{Agreement, ScanError, Scanned},
        tree,
    },
    record::{Dropped, Record},
};
use crate::id::TenantId;

/// How often bodies may be dropped while a ledger is read.
const RETRIES: usize = 3;
/// Tenants whose chain heads a verifier keeps in memory.
pub(crate) const MAX_TENANTS: usize = 1_000_000;

/// Reads the ledger in `dir` from its first record to its last and checks that it is as it was written.
///
/// One pass, with memory for one batch and one hash a tenant. The ledger may be in use: what is durable when the reader
/// comes by is read.
///
/// 1. Segments are numbered without a gap, whole, and begin with the index and root that the one before ends with.
/// 2. Each batch stands where its header says and begins with the root over everything before it.
/// 3. Each record is canonical, has the next index, and names its tenant's next sequence number and the hash of the
///    tenant's record before it.
/// 4. A last batch that is not whole is *torn*, and reported as such, if a crash can explain it; otherwise it is edited.
/// 5. Where the body of a record is missing, a prune record of its chain covers it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{
///     audit::{Action, Event, Fault, Head, Ledger, LedgerOptions, Report, RequestFacts, VerifyError, verify}, clock::SystemClock,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
/// let (trail, _closer) = ledger.begin(RequestFacts::new());
/// trail.record(Event::new(Action::Configuration).with_reason("as it was"))?;
/// trail.settled().await?;
/// # drop(_closer);
/// ledger.shutdown().await;
/// let kept: Head = ledger.head(); // to be kept elsewhere
/// let report: Report = verify(folder.path())?;
/// assert_eq!((report.head(), report.torn()), (kept, None));
///
/// for file in std::fs::read_dir(folder.path())? {
///     let path = file?.path();
///     let mut bytes = std::fs::read(&path)?;
///     if let Some(at) = bytes.windows(9).position(|text| text == b"as it was") {
///         bytes[at..at + 9].copy_from_slice(b"otherwise");
///         std::fs::write(path, bytes)?;
///     }
/// }
/// let error: VerifyError = verify(folder.path()).unwrap_err();
/// assert_eq!((error.index(), error.kind()), (0, Fault::Edited));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The first record that is not as it was written, and what is wrong, as far as the ledger's own files can tell.
///
/// # Security
///
/// Somebody who can write the files can cut off the end, or write a whole new ledger, and no local file can tell. Keep
/// [`Report::head`] elsewhere and compare: `docs/ledger.md` has the table.
pub fn verify(dir: &Path) -> Result<Report, VerifyError> {
    verify_with(dir, &Known::new())
}

/// The same with what is known of the ledger from elsewhere: heads that were kept, and the keys that sign its checkpoints.
///
/// 6. Each head that was kept is one that the ledger once had: with fewer records it was *rolled back*, with another root
///    *forked*, after the last head that still agrees.
/// 7. With keys, the ledger's own newest checkpoint is there, is signed by one of them, and is such a head too; and so is
///    each prune record.
///
/// [`Ledger::checkpoint`](super::Ledger::checkpoint) has an example.
///
/// # Errors
///
/// As [`verify`]. What the ledger's own files say is told first.
pub fn verify_with(dir: &Path, known: &Known) -> Result<Report, VerifyError> {
    let records = FolderRecords(dir.to_owned());
    let mut tries = 0..RETRIES;
    let (mut report, scanned) = loop {
        match known.check(&records, is_written(dir)) {
            Err(error) if error == overtaken() && tries.next().is_some() => {}
            done => break done?,
        }
    };
    let Some(last) = scanned.last else {
        // A wrong path must not look like a good ledger.
        return Err(VerifyError::new(0, Fault::Unreadable(std::io::ErrorKind::NotFound)));
    };
    (report.segments, report.torn) = (last.header.number + 1, scanned.torn);
    Ok(report)
}

/// What is known of a ledger from elsewhere, where whoever writes the ledger cannot change it.
///
/// ```
/// use tower_ward::audit::{Head, Known};
///
/// let kept: Head = "2:0707070707070707070707070707070707070707070707070707070707070707".parse()?;
/// let known = Known::new().add_head(kept);
/// assert!("2:07".parse::<Head>().is_err());
/// # Ok::<_, tower_ward::audit::HeadError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Known {
    heads: Vec<Head>,
    #[cfg(feature = "checkpoint")]
    keys: Option<super::CheckpointVerifier>,
}

impl Known {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A head that the ledger had: of a [verified checkpoint](super::VerifiedCheckpoint), or one that was written down.
    pub fn add_head(mut self, head: Head) -> Self {
        self.heads.push(head);
        self
    }

    /// Who signs the ledger's checkpoints.
    #[cfg(feature = "checkpoint")]
    pub fn with_keys(mut self, keys: super::CheckpointVerifier) -> Self {
        self.keys = Some(keys);
        self
    }

    pub(crate) fn check(&self, archive: &dyn Records, written: bool) -> Result<(Report, Scanned), VerifyError> {
        #[cfg_attr(not(feature = "checkpoint"), expect(unused_mut, reason = "only checkpoints add to it"))]
        let mut heads = self.heads.clone();
        #[cfg_attr(not(feature = "checkpoint"), expect(unused_mut, reason = "only checkpoints set it"))]
        let mut signed = None;
        // Read before the records: a ledger that is being written has at least what it has signed.
        #[cfg(feature = "checkpoint")]
        let kept = match &self.keys {
            None => Ok(None),
            Some(keys) => {
                let unreadable = |error: std::io::Error| VerifyError::new(0, Fault::Unreadable(error.kind()));
                super::ledger::kept(archive.checkpoint().map_err(unreadable)?.as_deref(), keys)
            }
        };
        #[cfg(feature = "checkpoint")]
        if let Ok(Some(head)) = kept {
            heads.push(head);
            signed = Some(head);
        }
        #[cfg(feature = "checkpoint")]
        let mut signatures = Signatures::new(self.keys.as_ref());
        let mut look = |_entry: Entry<'_>| {
            #[cfg(feature = "checkpoint")]
            signatures.look(_entry);
        };
        let scanned = archive.check(written, MAX_TENANTS, &heads, &mut look).map_err(|error| match error {
            ScanError::Fault(error) => error,
            ScanError::Missing(..) | ScanError::Overtaken => overtaken(),
            ScanError::TooManyTenants => VerifyError::new(0, Fault::TooManyTenants),
        })?;
        let head = Head::of(&scanned.places.tree);
        #[cfg(feature = "checkpoint")]
        signatures.finish()?;
        #[cfg(feature = "checkpoint")]
        if self.keys.is_some() && kept?.is_none() && head.size() > 0 {
            return Err(VerifyError::new(0, Fault::Unsigned));
        }
        judge(&heads, &scanned.known, head.size())?;
        let tenants = scanned.places.chains.keys().filter(|stream| **stream != super::Stream::Platform).count();
        let dropped = scanned.covers.values().map(|cover| cover.dropped().count(0, u64::MAX)).sum();
        Ok((Report { head, tenants, dropped, segments: 0, torn: None, signed }, scanned))
    }
}

/// Checks one clinic's records without those of any other: that there is each from its first on, as it was written.
///
/// `records` are the [canonical bytes](super::Record::to_bytes) of the clinic's records, in order; of one that retention has
/// dropped, those of what is [left](super::Dropped) of it. The errors' index is the
/// number in the clinic's own chain. That these are *all* records of the clinic is shown by an inclusion proof of the last
/// one, and by asking for the next.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{
///     audit::{Action, Chain, Event, Fault, Ledger, LedgerOptions, RequestFacts, verify_chain},
///     clock::SystemClock,
///     id::{SubjectId, TenantId},
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
/// let (harbour, patient) = (TenantId::new("harbour")?, SubjectId::generate(&SystemClock::new()));
/// for clinic in ["harbour", "meadow", "harbour"] {
///     let (trail, closer) = ledger.begin(RequestFacts::new());
///     trail.record(Event::new(Action::Export).with_tenant(TenantId::new(clinic)?).add_subject(patient))?;
///     trail.settled().await?;
/// #   drop(closer);
/// }
/// let pack: Vec<_> = ledger.danger_timeline(&harbour, patient, None, 10)?.records.iter().map(|r| r.to_bytes()).collect();
/// # ledger.shutdown().await;
/// let records = || pack.iter().map(Vec::as_slice);
/// // The ends of requests stand in the chain too, so two events alone are not all of it.
/// let found = verify_chain(&harbour, records()).unwrap_err();
/// assert_eq!((found.index(), found.kind()), (1, Fault::Deleted));
/// let chain: Chain = verify_chain(&harbour, records().take(1))?;
/// assert_eq!(chain.records(), 1);
/// // Another clinic's are not its own.
/// assert_eq!(verify_chain(&TenantId::new("meadow")?, records()).unwrap_err().kind(), Fault::Inserted);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The first record that is not the clinic's next one.
pub fn verify_chain<'r>(tenant: &TenantId, records: impl IntoIterator<Item = &'r [u8]>) -> Result<Chain, VerifyError> {
    let mut chain = Chain { records: 0, last: [0; 32] };
    let mut cover = Cover::default();
    for bytes in records {
        let fault = |kind| VerifyError::new(chain.records, kind);
        let (record, left);
        let (stream, sequence, previous, hash) = if Dropped::is(bytes) {
            left = Dropped::from_bytes(bytes).map_err(|_| fault(Fault::Edited))?;
            (&left.stream, left.sequence, None, left.hash)
        } else {
            record = Record::from_bytes(bytes).map_err(|_| fault(Fault::Edited))?;
            if let Some(prune) = record.prune() {
                cover.add(record.sequence, prune);
            }
            (&record.stream, record.sequence, Some(record.previous), tree::leaf(bytes))
        };
        if stream.as_str() != tenant.as_str() || sequence < chain.records {
            return Err(fault(Fault::Inserted));
        }
        if sequence > chain.records {
            return Err(fault(Fault::Deleted));
        }
        if previous.is_some_and(|previous| previous != chain.last) {
            // The one before is not what it was when this one was written.
            return Err(VerifyError::new(chain.records.saturating_sub(1), Fault::Edited));
        }
        if previous.is_none() {
            cover.drop(sequence);
        }
        chain = Chain { records: chain.records + 1, last: hash };
    }
    if let Some(missing) = cover.unexplained() {
        return Err(VerifyError::new(missing, Fault::Deleted));
    }
    Ok(chain)
}

/// One clinic's records, as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    records: u64,
    last: [u8; 32],
}

impl Chain {
    /// How many.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash of the last one: its leaf in the tree of the whole ledger.
    #[must_use]
    pub fn last(&self) -> &[u8; 32] {
        &self.last
    }
}

/// What heads that do not agree say.
pub(crate) fn judge(heads: &[Head], known: &[Agreement], size: u64) -> Result<(), VerifyError> {
    let mut said: Vec<_> = heads.iter().zip(known).collect();
    said.sort_by_key(|(head, _)| head.size());
    let mut agreed = 0;
    for (head, agreement) in said {
        match agreement {
            Agreement::Agrees => agreed = head.size(),
            Agreement::Behind => return Err(VerifyError::new(size, Fault::RolledBack)),
            Agreement::Differs => return Err(VerifyError::new(agreed, Fault::Forked)),
        }
    }
    Ok(())
}

/// A ledger that is as it was written, as far as its own files can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    head: Head,
    tenants: usize,
    dropped: u64,
    segments: u32,
    torn: Option<u64>,
    signed: Option<Head>,
}

impl Report {
    /// How many records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.head.size()
    }

    /// Size and root: what to compare with a head kept elsewhere.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The root of the Merkle tree over the records.
    #[must_use]
    pub fn root(&self) -> &[u8; 32] {
        &self.head.root
    }

    /// How many of the records are hashes alone: their bodies were dropped by retention, as prune records say that they may be.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many tenants have a chain.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants
    }

    /// What the ledger's own newest checkpoint signs, where [keys](Known::with_keys) were given.
    #[must_use]
    pub fn signed(&self) -> Option<Head> {
        self.signed
    }

    /// How many segment files; none in a database.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// Bytes of a batch at the end that a crash cut off before it was acknowledged. The next start drops them.
    #[must_use]
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }
}

/// What is wrong, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {kind}")]
pub struct VerifyError {
    index: u64,
    kind: Fault,
}

impl VerifyError {
    pub(crate) fn new(index: u64, kind: Fault) -> Self {
        Self { index, kind }
    }

    /// The index of the first record that is not as it was written.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What is wrong with it.
    #[must_use]
    pub fn kind(&self) -> Fault {
        self.kind
    }
}

/// What is wrong with a ledger, as far as its own files can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its bytes are not those that were written.
    #[error("edited")]
    Edited,
    /// It is not there, and later ones are.
    #[error("deleted")]
    Deleted,
    /// It was not written by the ledger, or not in this place, or it stands twice.
    #[error("inserted")]
    Inserted,
    /// It stands in another place than it was written to.
    #[error("reordered")]
    Reordered,
    /// The records from here on are gone: a head that was kept says that there were more.
    #[error("rolled back")]
    RolledBack,
    /// The records from here on, or some of them, are others: a head that was kept has another root.
    #[error("forked")]
    Forked,
    /// The ledger's checkpoint is signed by none of the keys.
    #[error("signed by a foreign key")]
    ForeignKey,
    /// There is no checkpoint, or a text that is none, and its keys are known.
    #[error("not signed")]
    Unsigned,
    /// The file ends before it.
    #[error("truncated")]
    Truncated,
    /// More tenants than a verifier keeps in memory.
    #[error("more tenants than can be checked")]
    TooManyTenants,
    /// The file cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(std::io::ErrorKind),
}
