//! How the ledger stands: for posture, and for whoever is asked.

use std::sync::atomic::Ordering;

use super::{Head, Ledger};
use crate::clock::Timestamp;

/// How the ledger stands, at the moment it was asked.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{
///     audit::{FolderSink, Ledger, LedgerOptions, LedgerReport, SinkReport, Sinks}, clock::SystemClock,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let (here, there) = (folder.path().join("here"), folder.path().join("there"));
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// let sinks = Sinks::new().add_required("copy", FolderSink::open(&there, &options)?);
/// let ledger = Ledger::open_with(&here, sinks, options, SystemClock::shared())?;
/// let report: LedgerReport = ledger.report();
/// let copy: &SinkReport = &report.sinks[0];
/// assert_eq!((report.available, copy.name.as_str(), copy.required, copy.behind), (true, "copy", true, 0));
/// // What an operator should do something about, in words.
/// let findings: Vec<String> = report.findings().collect();
/// assert!(findings[0].starts_with("nobody signs the ledger"));
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LedgerReport {
    /// What is durable.
    pub head: Head,
    /// Whether records can be written. While they cannot, every door is refused.
    pub available: bool,
    /// Whose public key verifies its checkpoints and prune records, if somebody signs them.
    pub signer: Option<String>,
    /// Its sinks, in the order in which they were added.
    pub sinks: Vec<SinkReport>,
    /// Changes whose outcome is not known: settle them from the database.
    pub unsettled: usize,
    /// When retention last came to its end in this process, or what kept it from that.
    pub pruned: Option<Result<Timestamp, String>>,
}

/// How one sink stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// Whether an answer waits for it.
    pub required: bool,
    /// Whether it fails now.
    pub failing: bool,
    /// Records that it lacks; those that it missed for good aside.
    pub behind: u64,
}

impl LedgerReport {
    /// What an operator should do something about: one sentence each.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let mut out = Vec::new();
        if !self.available {
            out.push(
                "the ledger cannot be written, and every door is refused: check the disk's space and health".to_owned(),
            );
        }
        if self.signer.is_none() {
            out.push(
                "nobody signs the ledger, and nothing of it is ever dropped: open it with `LedgerOptions::with_signer`"
                    .to_owned(),
            );
        }
        if !self.sinks.iter().any(|sink| sink.required) {
            out.push(
                "the ledger has no required copy: whoever can write its files can cut off its end, up to the last checkpoint that is \
                 kept elsewhere"
                    .to_owned(),
            );
        }
        for sink in self.sinks.iter().filter(|sink| sink.failing) {
            let consequence = if sink.required { ", and every door is refused" } else { "" };
            out.push(format!("the sink `{}` fails and is {} record(s) behind{consequence}", sink.name, sink.behind));
        }
        if let Some(Err(error)) = &self.pruned {
            out.push(format!("old records are not dropped: {error}"));
        }
        if self.unsettled > 0 {
            out.push(format!("{} change(s) have no outcome: settle them from the database", self.unsettled));
        }
        out.into_iter()
    }
}

impl Ledger {
    /// How the ledger stands. Reads nothing but memory.
    #[must_use]
    pub fn report(&self) -> LedgerReport {
        let shared = &self.inner.shared;
        let sinks = shared.sinks.get().into_iter().flatten().map(|(state, required)| SinkReport {
            name: state.name.to_string(),
            required: *required,
            failing: state.failing.load(Ordering::Acquire),
            behind: state.head.load(Ordering::Acquire).saturating_sub(state.size.load(Ordering::Acquire)),
        });
        LedgerReport {
            head: self.head(),
            available: self.is_available(),
            #[cfg(feature = "checkpoint")]
            signer: shared.options.signer.as_ref().map(|signer| signer.verifier_key().to_string()),
            #[cfg(not(feature = "checkpoint"))]
            signer: None,
            sinks: sinks.collect(),
            unsettled: super::lock(&self.inner.unsettled).len(),
            #[cfg(feature = "checkpoint")]
            pruned: super::lock(&shared.pruned).clone(),
            #[cfg(not(feature = "checkpoint"))]
            pruned: None,
        }
    }
}
