//! Settings and errors of the ledger.

use std::{num::NonZeroUsize, time::Duration};

use super::segment;
use crate::audit::verify::VerifyError;
#[cfg(feature = "checkpoint")]
use crate::audit::{CheckpointSigner, CheckpointVerifier, VerifierKey};

/// Settings of a ledger.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`with_segment_size`](Self::with_segment_size) | 16 MiB | bytes of one segment file, written in full before use |
/// | [`with_queue`](Self::with_queue) | 4,096 | records on their way, reserved ones included; a full queue refuses doors |
/// | [`with_batch`](Self::with_batch) | 256 | most records that share one sync |
/// | [`with_tenants`](Self::with_tenants) | 10,000 | tenants whose chain heads are kept in memory (about 200 bytes each) |
/// | [`with_refusal_peers`](Self::with_refusal_peers) | 256 | peers whose refusals are counted apart in one minute |
/// | [`with_trail_deadline`](Self::with_trail_deadline) | 10 minutes | after which a trail opens no more doors, and a body that is still being sent fails |
/// | `with_signer` | none | who signs checkpoints (feature `checkpoint`) |
/// | [`with_trails_per_user`](Self::with_trails_per_user) | 256 | open trails of one user that have opened a door; the doors of one more are refused |
#[derive(Debug, Clone)]
#[must_use]
pub struct LedgerOptions {
    pub(crate) segment_size: u64,
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) tenants: usize,
    pub(crate) refusal_peers: usize,
    pub(crate) trail_deadline: Duration,
    pub(crate) trails_per_user: usize,
    #[cfg(feature = "checkpoint")]
    pub(crate) signer: Option<CheckpointSigner>,
    #[cfg(feature = "checkpoint")]
    pub(crate) old_keys: Vec<VerifierKey>,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            segment_size: 16 * 1024 * 1024,
            queue: 4_096,
            batch: 256,
            tenants: 10_000,
            refusal_peers: 256,
            trail_deadline: Duration::from_secs(600),
            trails_per_user: 256,
            #[cfg(feature = "checkpoint")]
            signer: None,
            #[cfg(feature = "checkpoint")]
            old_keys: Vec::new(),
        }
    }
}

impl LedgerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of one segment file: 128 KiB to 1 GiB, checked when the ledger is opened.
    pub fn with_segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Slots of the queue.
    pub fn with_queue(mut self, slots: NonZeroUsize) -> Self {
        self.queue = slots.get();
        self
    }

    /// Most records that share one write and one sync.
    pub fn with_batch(mut self, records: NonZeroUsize) -> Self {
        self.batch = records.get();
        self
    }

    /// Most tenants. The doors of one more are refused; a ledger that already holds more does not open.
    pub fn with_tenants(mut self, tenants: NonZeroUsize) -> Self {
        self.tenants = tenants.get();
        self
    }

    /// Most peers whose refusals before identity are counted apart in one minute; the others share one count.
    pub fn with_refusal_peers(mut self, peers: NonZeroUsize) -> Self {
        self.refusal_peers = peers.get();
        self
    }

    /// How long after its start a trail still opens doors, and its body is still sent. Through a door that is open, values
    /// may be sealed and opened some ten milliseconds longer.
    pub fn with_trail_deadline(mut self, deadline: Duration) -> Self {
        self.trail_deadline = deadline;
        self
    }

    /// Most trails that one user has open at once, those that opened no door aside; the jobs that he issued count as his.
    ///
    /// # Security
    ///
    /// Each such trail keeps a place of the queue for its end, for as long as the client does not read the answer. Above
    /// or near the size of the [queue](Self::with_queue) it is no bound: one user then shuts everybody's doors.
    pub fn with_trails_per_user(mut self, trails: NonZeroUsize) -> Self {
        self.trails_per_user = trails.get();
        self
    }

    /// Signs the ledger's head: one [checkpoint](super::Ledger::checkpoint) a second while records are written, and one at
    /// the shutdown. Without it nothing is signed.
    ///
    /// # Security
    ///
    /// A ledger whose own newest checkpoint is signed by another key, or says more or otherwise than the records, does not
    /// open.
    #[cfg(feature = "checkpoint")]
    pub fn with_signer(mut self, signer: CheckpointSigner) -> Self {
        self.signer = Some(signer);
        self
    }

    /// A key that signed checkpoints or prune records of this ledger before the [signer](Self::with_signer) did. Prune records
    /// stay for good, so each key that signed one is needed for as long as the ledger is.
    #[cfg(feature = "checkpoint")]
    pub fn add_old_key(mut self, key: VerifierKey) -> Self {
        self.old_keys.push(key);
        self
    }

    /// Who may have signed this ledger's checkpoints; `None` if nobody signs them.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn keys(&self) -> Result<Option<CheckpointVerifier>, LedgerError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let own = CheckpointVerifier::new(signer.verifier_key().clone());
        let all = self.old_keys.iter().cloned().try_fold(own?, CheckpointVerifier::add_old_key)?;
        Ok(Some(all))
    }

    pub(crate) fn check(&self) -> Result<(), LedgerError> {
        if !(segment::MIN_SIZE..=segment::MAX_SIZE).contains(&self.segment_size) {
            return Err(LedgerError::Setting { setting: "segment_size", expected: "128 KiB to 1 GiB" });
        }
        if self.queue > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(LedgerError::Setting { setting: "queue", expected: "far fewer slots" });
        }
        Ok(())
    }
}

/// A ledger that does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A setting is out of its range.
    #[error("ledger setting `{setting}` is out of range: expected {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Its range.
        expected: &'static str,
    },
    /// The file system refused.
    #[error("cannot {doing} in the ledger's folder: check that it exists, is writable and has room for one segment")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes this ledger.
    #[error("the ledger is locked: another process is writing it; stop that one, or give each its own folder")]
    Locked,
    /// The ledger is not as it was written.
    #[error(
        "the ledger was not left as it was written: keep the folder as it is, compare with a backup or a checkpoint"
    )]
    Damaged(#[from] VerifyError),
    /// A sink's name cannot stand in a record, or stands twice.
    #[error("sink name `{name}` is taken or not 1 to 64 of `a-z 0-9 - _ .`: give each sink a name of its own")]
    SinkName {
        /// The name.
        name: String,
    },
    /// A required sink does not work.
    #[error("the required sink `{name}` does not take the ledger's records: mend it, or add it as best effort")]
    Sink {
        /// The sink.
        name: String,
        /// Why not.
        #[source]
        source: super::SinkError,
    },
    /// A sink holds more than the ledger.
    #[error("the sink `{name}` holds more records than the ledger: the ledger was put back to an older state")]
    SinkAhead {
        /// The sink.
        name: String,
    },
    /// A sink holds something else than the ledger.
    #[error("the sink `{name}` holds other records than the ledger: one of the two was written anew")]
    SinkDiffers {
        /// The sink.
        name: String,
    },
    /// The file of hashes.
    #[cfg(feature = "checkpoint")]
    #[error(transparent)]
    Hashes(#[from] crate::audit::HashError),
    /// A key is none for this ledger's checkpoints.
    #[cfg(feature = "checkpoint")]
    #[error(transparent)]
    CheckpointKey(#[from] crate::audit::CheckpointKeyError),
    /// The database refused, or cannot be reached.
    #[cfg(feature = "postgres")]
    #[error("cannot {doing} in the ledger's database: check that it runs, and that the role may log in and look")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is written in the database could be changed by who writes it, or lost.
    #[cfg(feature = "postgres")]
    #[error("the ledger's database is not fit to hold evidence: {what}")]
    Unguarded {
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// More tenants than the setting allows.
    #[error("the ledger holds more tenants than `tenants` allows: raise the setting")]
    TooManyTenants,
    /// More attempts without an outcome than fit in memory.
    #[error("the ledger holds more than {max} changes without an outcome: settle them from the database with `settle`")]
    TooManyUnsettled {
        /// The bound.
        max: usize,
    },
}
