//! Places that get every record besides the ledger's home.

mod folder;
mod keeper;
mod mirror;
#[cfg(feature = "tracing")]
mod tracing;

use std::{collections::BTreeSet, fmt};

pub use folder::FolderSink;
pub(super) use keeper::{Gap, State, now};
pub(super) use mirror::{Held, Mirrors, ask};

#[cfg(feature = "tracing")]
pub use self::tracing::TracingSink;
use super::{Head, LedgerError, home::Batch};
use crate::audit::record::MAX_NAME;

/// Why a sink did not take a batch. It is shown in the trace alone.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// A place that gets every record besides the ledger's home: another disk, another machine, a search engine.
///
/// It has a thread of its own, so it may block for as long as it likes. It gets whole batches, in order, once they are
/// durable in the ledger's home, and never a batch that the home could still lose.
///
/// There are two kinds. One that **holds a copy** says in [`held`](Self::held) how much of the ledger that is, and goes on
/// exactly there: what it missed it is given later from the ledger's home. One that **passes on** answers `None`, and what
/// it missed it has missed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{fs::{File, OpenOptions}, io::Write};
/// use tower_ward::{
///     audit::{Action, Batch, Event, Head, Ledger, LedgerOptions, RequestFacts, Sink, SinkError, Sinks},
///     clock::SystemClock,
/// };
///
/// /// One line a record, for whatever reads lines.
/// struct Lines(File);
///
/// impl Sink for Lines {
///     fn held(&mut self) -> Result<Option<Head>, SinkError> {
///         Ok(None) // it passes on: nobody asks it for them again
///     }
///
///     fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
///         for record in batch.records() {
///             self.0.write_all(record)?;
///             self.0.write_all(b"\n")?;
///         }
///         Ok(self.0.sync_data()?)
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// let path = folder.path().join("records.jsonl");
/// let lines = Lines(OpenOptions::new().create(true).append(true).open(&path)?);
/// // Required: nothing is acknowledged before the line is on disk, and no door opens while it cannot be.
/// let sinks = Sinks::new().add_required("lines", lines);
/// let ledger = Ledger::open_with(&folder.path().join("ledger"), sinks, options, SystemClock::shared())?;
/// let (trail, _closer) = ledger.begin(RequestFacts::new());
/// trail.record(Event::new(Action::Configuration).with_reason("a line"))?;
/// trail.settled().await?;
/// assert!(std::fs::read_to_string(&path)?.contains("a line"));
/// # drop(_closer);
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
pub trait Sink: Send + 'static {
    /// How much it holds, as it finds it in its own place; `None` if it passes on. Asked at the start and after an error.
    ///
    /// # Errors
    ///
    /// If it cannot tell.
    fn held(&mut self) -> Result<Option<Head>, SinkError>;

    /// Takes a batch, wholly and durably. A sink that holds a copy gets the batch that begins where its copy ends.
    ///
    /// # Errors
    ///
    /// If it cannot. It is given the batch again.
    fn append(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// Takes a signed checkpoint of what it has been given. Default: does nothing.
    ///
    /// # Errors
    ///
    /// If it cannot. It is not given this one again; the next one says the same and more.
    fn checkpoint(&mut self, note: &str) -> Result<(), SinkError> {
        let _ = note;
        Ok(())
    }

    /// Drops the bodies that the ledger has dropped by [retention](crate::audit::Retention), and no others. Told after each
    /// run, on the thread that also appends, so what takes long belongs on another one. Default: does nothing, which is right
    /// for a sink that passes on.
    ///
    /// # Errors
    ///
    /// If it cannot. It is told again after the next run.
    #[cfg(feature = "checkpoint")]
    fn prune(&mut self, pruned: &super::Pruned) -> Result<(), SinkError> {
        let _ = pruned;
        Ok(())
    }
}

/// The sinks of a ledger, each by a name, and what happens when one does not take a batch.
///
/// | policy | the answer to a request | when the sink fails |
/// |---|---|---|
/// | [required](Self::add_required) | waits until the sink has its records | doors are refused until it works again |
/// | [best effort](Self::add_best_effort) | does not wait | a record of the kind `gap` says so, and what was missed |
///
/// # Security
///
/// A required sink on another machine is what an attacker who owns this one cannot take back. One that is best effort can
/// be cut off, which the `gap` record tells in the ledger, and its own last record tells there.
#[derive(Default)]
#[must_use]
pub struct Sinks {
    list: Vec<Named>,
}

pub(super) struct Named {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) sink: Box<dyn Sink>,
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.list.iter().map(|sink| (&sink.name, policy(sink.required)))).finish()
    }
}

fn policy(required: bool) -> &'static str {
    if required { "required" } else { "best effort" }
}

impl Sinks {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// One without which nothing is acknowledged. The name is 1 to 64 of `a-z 0-9 - _ .`, and its own.
    pub fn add_required(self, name: &str, sink: impl Sink) -> Self {
        self.add(name, true, sink)
    }

    /// One that is not waited for. The name is 1 to 64 of `a-z 0-9 - _ .`, and its own.
    pub fn add_best_effort(self, name: &str, sink: impl Sink) -> Self {
        self.add(name, false, sink)
    }

    fn add(mut self, name: &str, required: bool, sink: impl Sink) -> Self {
        self.list.push(Named { name: name.to_owned(), required, sink: Box::new(sink) });
        self
    }

    /// Refuses names that cannot stand in a record.
    pub(super) fn check(self) -> Result<Vec<Named>, LedgerError> {
        let mut names = BTreeSet::new();
        for sink in &self.list {
            let bytes = sink.name.as_bytes();
            let spelled = bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
            if bytes.is_empty() || bytes.len() > MAX_NAME || !spelled || !names.insert(&sink.name) {
                return Err(LedgerError::SinkName { name: sink.name.clone() });
            }
        }
        Ok(self.list)
    }
}
