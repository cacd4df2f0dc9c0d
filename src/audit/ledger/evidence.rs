//! What proves the ledger to somebody else: its file of hashes, and the checkpoints that it signs.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    Head, Ledger, LedgerError,
    home::{Entry, Records},
    scan::Agreement,
    tree,
};
use crate::{
    audit::{
        checkpoint::{CheckpointError, CheckpointSigner, CheckpointVerifier},
        hashes::{HashError, HashFile, HashReader},
        record::Hash,
        verify::{Fault, VerifyError},
    },
    trace,
};

/// Between two signatures while records are written.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// Hashes that are kept while the file cannot be written. With more, proofs wait for the next start.
const PENDING: usize = 65_536;

/// A checkpoint that the ledger has signed: see [`Ledger::checkpoint`](super::Ledger::checkpoint).
#[derive(Debug, Clone)]
pub struct Checkpoint {
    head: Head,
    note: Arc<str>,
}

impl Checkpoint {
    /// The size and root that it signs.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Its text: what is kept elsewhere, and what [`CheckpointVerifier`] verifies.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.note)
    }
}

impl Ledger {
    /// The newest checkpoint that this process has signed: one a second while records are written, and one at the shutdown.
    /// `None` without [`with_signer`](super::LedgerOptions::with_signer), and before the first record.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_ward::{
    ///     audit::{
    ///         Action, Checkpoint, CheckpointSigner, CheckpointVerifier, Event, Fault, Known, Ledger, LedgerOptions,
    ///         RequestFacts, leaf_hash, verify_with,
    ///     },
    ///     clock::SystemClock,
    ///     id::{SubjectId, TenantId},
    /// };
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let dir = folder.path();
    /// let signer = CheckpointSigner::generate("clinic.example/ledger")?; // in a server, from a `KeySource`
    /// let keys = CheckpointVerifier::new(signer.verifier_key().clone())?; // for everybody
    /// let options = LedgerOptions::new().with_segment_size(128 * 1024).with_signer(signer);
    /// let ledger = Ledger::open(dir, options, SystemClock::shared())?;
    /// let (trail, closer) = ledger.begin(RequestFacts::new());
    /// let (clinic, patient) = (TenantId::new("harbour")?, SubjectId::generate(&SystemClock::new()));
    /// trail.record(Event::new(Action::Export).with_tenant(clinic.clone()).add_subject(patient))?;
    /// trail.settled().await?;
    /// # drop(closer);
    /// ledger.shutdown().await;
    ///
    /// // An auditor keeps the newest one elsewhere: in a file, by mail, on paper.
    /// let kept: Checkpoint = ledger.checkpoint().ok_or("nothing was signed")?;
    /// let signed = keys.verify(kept.note())?;
    /// assert_eq!((signed.head(), kept.head()), (ledger.head(), ledger.head()));
    /// // Later, the ledger must still begin as it was then.
    /// let known = Known::new().add_head(signed.head()).with_keys(keys.clone());
    /// assert_eq!(verify_with(dir, &known)?.signed(), Some(ledger.head()));
    ///
    /// // One record can be proved to somebody who has the checkpoint alone.
    /// let record = &ledger.danger_timeline(&clinic, patient, None, 1)?.records[0];
    /// let proof = ledger.hashes().ok_or("no hashes")?.inclusion_in(0, &signed.head())?;
    /// assert_eq!(proof.verify(&leaf_hash(&record.to_bytes()), &signed.head()), Ok(()));
    ///
    /// // Whoever puts an empty ledger in its place is told.
    /// # drop(ledger);
    /// std::fs::remove_dir_all(dir)?;
    /// Ledger::open(dir, LedgerOptions::new().with_segment_size(128 * 1024), SystemClock::shared())?.shutdown().await;
    /// let found = verify_with(dir, &Known::new().add_head(signed.head())).unwrap_err();
    /// assert_eq!((found.index(), found.kind()), (0, Fault::RolledBack));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.inner.shared.checkpoint.borrow().clone()
    }

    /// Waits for a checkpoint of more than `size` records, for whoever carries them elsewhere: a witness, a locked object, an
    /// auditor. `None` once the ledger has stopped and there will be none.
    pub async fn checkpoint_after(&self, size: u64) -> Option<Checkpoint> {
        let mut newest = self.inner.shared.checkpoint.subscribe();
        let mut stopped = self.inner.shared.stopped.subscribe();
        let newer = |newest: &Option<Checkpoint>| newest.as_ref().is_some_and(|newest| newest.head().size() > size);
        tokio::select! {
            biased;
            found = newest.wait_for(newer) => found.ok().and_then(|found| found.clone()),
            _ = stopped.wait_for(|stopped| *stopped) => self.checkpoint().filter(|last| last.head().size() > size),
        }
    }

    /// The hashes of all records, for proofs of inclusion and consistency. `None` in PostgreSQL.
    #[must_use]
    pub fn hashes(&self) -> Option<HashReader> {
        self.inner.shared.hashes.clone()
    }
}

/// Kept by the writer.
#[derive(Debug)]
pub(crate) struct Evidence {
    hashes: Option<HashFile>,
    pending: Vec<Hash>,
    signer: Option<CheckpointSigner>,
    /// The size of the newest checkpoint that was signed here.
    signed: Option<u64>,
    /// When, on the monotonic clock.
    at: Duration,
}

impl Evidence {
    pub(super) fn new(hashes: Option<HashFile>, signer: Option<CheckpointSigner>) -> Self {
        Self { hashes, pending: Vec::new(), signer, signed: None, at: Duration::ZERO }
    }

    pub(super) fn reader(&self) -> Option<HashReader> {
        self.hashes.as_ref().map(HashFile::reader)
    }

    /// Takes the leaf hashes of what has become durable. That they are there is no condition of anything: the next start
    /// makes them again from the records.
    pub(super) fn add(&mut self, leaves: &[Hash]) {
        let Some(file) = &mut self.hashes else { return };
        let before = file.size();
        let added = if self.pending.is_empty() {
            file.append(leaves).map(|()| true)
        } else {
            self.pending.extend_from_slice(leaves);
            file.append(&self.pending).map(|()| false)
        };
        match added {
            Ok(true) => {}
            Ok(false) => self.pending.clear(),
            Err(error) => {
                let done = usize::try_from(file.size() - before).unwrap_or(usize::MAX);
                if self.pending.is_empty() {
                    self.pending.extend_from_slice(leaves);
                }
                self.pending.drain(..done);
                trace::event!(error, error = %error, "the file of hashes cannot be written: newer records have no proof yet");
                let _ = error;
                if self.pending.len() > PENDING {
                    self.hashes = None;
                    self.pending.clear();
                }
            }
        }
    }

    pub(super) fn signer(&self) -> Option<&CheckpointSigner> {
        self.signer.as_ref()
    }

    /// Whether there is something to sign, soon.
    pub(super) fn is_behind(&self, head: Head) -> bool {
        self.signer.is_some() && self.signed != Some(head.size())
    }

    /// A checkpoint, if one is due.
    pub(super) fn sign(&mut self, head: Head, now: Duration, last: bool) -> Option<Checkpoint> {
        let due = self.signed.is_none() || last || now.saturating_sub(self.at) >= EVERY;
        let signer = self.signer.as_ref().filter(|_| due && self.signed != Some(head.size()))?;
        let note = signer.sign(head);
        (self.signed, self.at) = (Some(head.size()), now);
        Some(Checkpoint { head, note: note.into() })
    }
}

/// The file of hashes while the records are read: what it lacks is added, and what is wrong in it is found.
pub(super) struct Rebuilt {
    file: HashFile,
    had: Head,
    new: Vec<Hash>,
    failed: Option<HashError>,
}

impl Rebuilt {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let mut file = match HashFile::open(path) {
            // By its name it is this ledger's, and nothing is lost with it.
            Err(HashError::Header) => {
                std::fs::remove_file(path).map_err(super::open::io("remove a damaged file of hashes"))?;
                HashFile::open(path)?
            }
            opened => opened?,
        };
        let (reader, size) = (file.reader(), file.size());
        let had = match reader.sound(0).and_then(|sound| Ok((sound == size).then_some(reader.head_at(size)?))) {
            Ok(Some(head)) => head,
            Ok(None) | Err(_) => {
                trace::event!(warn, "the file of hashes is damaged: it is made anew from the records");
                file.truncate(0)?;
                Head::of(&tree::Tree::default())
            }
        };
        Ok(Self { file, had, new: Vec::new(), failed: None })
    }

    /// What the file says that the ledger was.
    pub(super) fn head(&self) -> Head {
        self.had
    }

    pub(super) fn visit(&mut self, index: u64, hash: &Hash) {
        if index >= self.had.size() && self.failed.is_none() {
            self.new.push(*hash);
            if self.new.len() == PENDING {
                self.failed = self.file.append(&self.new).err();
                self.new.clear();
            }
        }
    }

    /// The file, made anew if it was another ledger's.
    pub(super) fn finish(mut self, agreed: Agreement, archive: &dyn Records) -> Result<HashFile, LedgerError> {
        if agreed == Agreement::Agrees && self.failed.is_none() {
            self.file.append(&self.new)?;
            return Ok(self.file);
        }
        trace::event!(warn, "the file of hashes is not this ledger's: it is made anew from the records");
        self.file.truncate(0)?;
        self.had = Head::of(&tree::Tree::default());
        (self.new, self.failed) = (Vec::new(), None);
        archive
            .check(false, usize::MAX, &[], &mut |entry| self.visit(entry.index, entry.hash))
            .map_err(super::open::read_error)?;
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        self.file.append(&self.new)?;
        Ok(self.file)
    }
}

/// Whether the prune records that come by are signed by whom they should be.
#[derive(Debug)]
pub(crate) struct Signatures<'k> {
    keys: Option<&'k CheckpointVerifier>,
    foreign: Option<u64>,
}

impl<'k> Signatures<'k> {
    /// Without keys, all are.
    pub(crate) fn new(keys: Option<&'k CheckpointVerifier>) -> Self {
        Self { keys, foreign: None }
    }

    pub(crate) fn look(&mut self, entry: Entry<'_>) {
        let (Some(keys), Some(record)) = (self.keys, entry.record) else { return };
        if record.prune().is_some() && self.foreign.is_none() && keys.verify_prune(record).is_err() {
            self.foreign = Some(entry.index);
        }
    }

    /// The first one that is not.
    pub(crate) fn finish(self) -> Result<(), VerifyError> {
        self.foreign.map_or(Ok(()), |index| Err(VerifyError::new(index, Fault::ForeignKey)))
    }
}

/// What the ledger's own newest checkpoint says, if there is one, and it is signed by whom it should be.
pub(crate) fn kept(note: Option<&str>, keys: &CheckpointVerifier) -> Result<Option<Head>, VerifyError> {
    let Some(note) = note else { return Ok(None) };
    match keys.verify(note) {
        Ok(signed) => Ok(Some(signed.head())),
        Err(CheckpointError::BadSignature | CheckpointError::Unsigned | CheckpointError::OtherLog) => {
            Err(VerifyError::new(0, Fault::ForeignKey))
        }
        Err(_) => Err(VerifyError::new(0, Fault::Unsigned)),
    }
}
