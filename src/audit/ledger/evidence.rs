//! What proves the ledger to somebody else: its file of hashes, and the checkpoints that it signs.

use std::{path::Path, sync::Arc, time::Duration};

use super::{Head, LedgerError, home::Records, scan::Agreement, tree};
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
            .check(false, usize::MAX, &[], &mut |record, _, hash| self.visit(record.index, hash))
            .map_err(super::open::read_error)?;
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        self.file.append(&self.new)?;
        Ok(self.file)
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
