//! Checking a ledger.

use std::path::Path;

use super::ledger::{
    Head, is_written,
    scan::{ScanError, scan},
};

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
    let scanned = scan(dir, is_written(dir), MAX_TENANTS, &[], &mut |_, _, _| ()).map_err(|error| match error {
        ScanError::Fault(error) => error,
        ScanError::TooManyTenants => VerifyError::new(0, Fault::TooManyTenants),
    })?;
    let Some(last) = scanned.last else {
        // A wrong path must not look like a good ledger.
        return Err(VerifyError::new(0, Fault::Unreadable(std::io::ErrorKind::NotFound)));
    };
    let tenants = scanned.places.chains.keys().filter(|stream| **stream != super::Stream::Platform).count();
    Ok(Report::new(Head::of(&scanned.places.tree), tenants, last.header.number + 1, scanned.torn))
}

/// A ledger that is as it was written, as far as its own files can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    head: Head,
    tenants: usize,
    segments: u32,
    torn: Option<u64>,
}

impl Report {
    pub(crate) fn new(head: Head, tenants: usize, segments: u32, torn: Option<u64>) -> Self {
        Self { head, tenants, segments, torn }
    }

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

    /// How many tenants have a chain.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants
    }

    /// How many segment files.
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
