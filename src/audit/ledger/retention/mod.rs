//! How long records are kept, and how their bodies go.
//!
//! # Decision rule
//!
//! A body goes if and only if
//!
//! 1. its record is older than its chain's period, and so is every record before it in the chain, those from the future aside;
//! 2. no hold is for it, and it is none of what stays for good: prune records, holds, what says that a person was erased,
//!    changes whose outcome is not known;
//! 3. a signed prune record of its chain that covers it is durable, and after that nothing was found that speaks against it.
//!
//! `docs/ledger.md` gives the bytes.

#[cfg(feature = "checkpoint")]
mod copy;
mod cover;
#[cfg(feature = "checkpoint")]
mod plan;
#[cfg(feature = "checkpoint")]
mod run;
mod segment;
#[cfg(feature = "checkpoint")]
mod settings;

use std::collections::HashMap;

#[cfg(feature = "checkpoint")]
pub use copy::Pruned;
#[cfg(feature = "checkpoint")]
pub(super) use copy::Pruning;
pub(crate) use cover::Cover;
#[cfg(feature = "checkpoint")]
pub(crate) use run::Anchor;
pub(crate) use segment::{UNFINISHED, drop_in_folder};
#[cfg(feature = "checkpoint")]
pub use settings::{PruneReport, Retention, RetentionError};

use crate::audit::record::Stream;

/// Which bodies may go.
pub(crate) struct Drops<'a> {
    pub(crate) covers: &'a HashMap<Stream, Cover>,
    /// Chains of which nothing goes. The answer may become yes while bodies go.
    pub(crate) spared: &'a (dyn Fn(&Stream) -> bool + Sync),
    /// Becomes another number when that answer does.
    pub(crate) changes: &'a (dyn Fn() -> usize + Sync),
    /// Of a copy: nothing else than these.
    #[cfg(feature = "checkpoint")]
    pub(crate) pruned: Option<&'a Pruned>,
    /// The last segment, if nothing is written into it any more.
    pub(crate) closed: Option<u32>,
    /// Whether to go on.
    pub(crate) wanted: &'a (dyn Fn() -> bool + Sync),
}

impl Drops<'_> {
    pub(crate) fn covers(&self, stream: &Stream, sequence: u64) -> bool {
        #[cfg(feature = "checkpoint")]
        if self.pruned.is_some_and(|pruned| !pruned.contains(stream, sequence)) {
            return false;
        }
        self.covers.get(stream).is_some_and(|cover| cover.covers(sequence)) && !(self.spared)(stream)
    }
}

/// What went.
#[derive(Debug, Default)]
pub(crate) struct Dropping {
    pub(crate) dropped: u64,
    /// A segment that is being written holds bodies that may go.
    pub(crate) open: Option<u32>,
    /// Of these chains nothing went, or not all.
    pub(crate) skipped: Vec<Stream>,
}

/// What the writer is asked to do between two batches.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Writes no more into the segment that it writes into, and says when that is so.
    ClosePart(std::sync::mpsc::SyncSender<()>),
    /// Tells the sinks what the ledger has dropped.
    #[cfg(feature = "checkpoint")]
    PruneSinks(Pruned),
}
