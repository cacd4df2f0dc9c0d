//! Copies follow what the ledger has dropped.

use std::{
    collections::HashMap,
    fs::File,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Drops, plan::Survey};
#[cfg(feature = "postgres")]
use crate::audit::record::Prune;
use crate::{
    audit::{
        ledger::{LedgerError, gate::lock, home::Records, sink::SinkError},
        record::{Spans, Stream},
        verify::MAX_TENANTS,
    },
    trace,
};

/// The bodies that the ledger's home has dropped by retention, for [sinks](crate::audit::Sink::prune) that hold copies.
///
/// ```
/// use std::collections::HashMap;
/// use tower_ward::audit::{Batch, Head, Pruned, Sink, SinkError, Stream};
///
/// /// A copy that a search engine reads, say.
/// struct Engine(HashMap<(Stream, u64), Vec<u8>>);
///
/// impl Sink for Engine {
/// #   fn held(&mut self) -> Result<Option<Head>, SinkError> { Ok(None) }
/// #   fn append(&mut self, _: &Batch) -> Result<(), SinkError> { Ok(()) }
///     // …
///     fn prune(&mut self, pruned: &Pruned) -> Result<(), SinkError> {
///         self.0.retain(|(chain, number), _| !pruned.contains(chain, *number));
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Pruned(pub(super) Arc<HashMap<Stream, Spans>>);

impl Pruned {
    /// Whether the body of the record with this number of the chain is gone.
    #[must_use]
    pub fn contains(&self, chain: &Stream, sequence: u64) -> bool {
        self.0.get(chain).is_some_and(|dropped| dropped.contains(sequence))
    }

    /// The ranges of what the prune record speaks of, each with the number behind it.
    #[cfg(feature = "postgres")]
    pub(crate) fn ranges(&self, chain: &Stream, prune: &Prune) -> Vec<(u64, u64)> {
        let dropped = self.0.get(chain).map(|dropped| dropped.slice(prune.from, prune.below));
        dropped.iter().flat_map(Spans::ranges).map(|(first, last)| (first, last + 1)).collect()
    }
}

/// The thread on which a sink drops what the ledger has dropped.
#[derive(Debug, Default)]
pub(crate) struct Pruning(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: AtomicBool,
    /// Files are being written.
    dropping: AtomicBool,
    stop: AtomicBool,
    /// The segment that was still being written when it was found to hold something.
    open: Mutex<Option<u32>>,
}

impl Drop for Pruning {
    /// Nobody writes into the sink's place once the sink is gone.
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        while self.0.dropping.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Pruning {
    /// Starts it, unless it runs. `close` closes the segment that is being written; `held` is what keeps others out of the
    /// place.
    pub(crate) fn start(
        &self,
        records: Box<dyn Records>,
        pruned: &Pruned,
        held: Option<Arc<File>>,
        close: impl FnOnce(),
    ) -> Result<(), SinkError> {
        if self.0.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let closed = lock(&self.0.open).take();
        if closed.is_some() {
            close();
        }
        let (this, pruned) = (Arc::clone(&self.0), pruned.clone());
        let work = move || {
            match this.run(&*records, &pruned, closed) {
                Ok(open) => *lock(&this.open) = open,
                Err(error) => {
                    trace::event!(warn, error = %error, "a copy of the ledger could not be pruned: the next run tries again");
                    let _ = error;
                }
            }
            drop(held);
            this.dropping.store(false, Ordering::Release);
            this.running.store(false, Ordering::Release);
        };
        let thread = std::thread::Builder::new().name("ledger-prune".to_owned()).spawn(work);
        if let Err(error) = thread {
            self.0.running.store(false, Ordering::Release);
            return Err(error.into());
        }
        Ok(())
    }
}

impl Inner {
    fn run(&self, records: &dyn Records, pruned: &Pruned, closed: Option<u32>) -> Result<Option<u32>, LedgerError> {
        let survey = Survey::covers(records, MAX_TENANTS)?;
        self.dropping.store(true, Ordering::SeqCst);
        let wanted = || !self.stop.load(Ordering::SeqCst);
        let drops = Drops {
            covers: &survey.scanned.covers,
            spared: &|_| false,
            changes: &|| 0,
            pruned: Some(pruned),
            closed,
            wanted: &wanted,
        };
        Ok(records.drop_bodies(&drops)?.open)
    }
}
