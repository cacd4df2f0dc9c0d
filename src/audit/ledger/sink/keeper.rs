//! The thread of one sink: what it gives, what it owes, and what it says of that.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use super::{Sink, SinkError};
#[cfg(feature = "checkpoint")]
use crate::audit::ledger::Pruned;
use crate::{
    audit::ledger::{
        gate::lock,
        home::{Batch, Records},
        scan::Agreement,
    },
    trace,
};

/// Between two tries after a failure, the first ones.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// And the later ones, for a sink that nobody waits for.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// Between two records that gaps of one sink begin.
const EVERY: Duration = Duration::from_secs(60);

/// What a sink that nobody waits for has missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) sink: Arc<str>,
    pub(crate) said: &'static str,
    pub(crate) records: u64,
}

impl Gap {
    /// From here on it gets nothing.
    pub(crate) const BEGINS: &str = "begins";
    /// It has been given what it missed.
    pub(crate) const MENDED: &str = "given later";
    /// It goes on, and so many records are missing there for good.
    pub(crate) const LOST: &str = "lost";
}

#[derive(Debug, Clone)]
pub(super) enum Given {
    Batch(Arc<Batch>),
    Checkpoint(Arc<str>),
    #[cfg(feature = "checkpoint")]
    Pruned(Pruned),
}

/// What a sink's thread and the writer share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: Arc<str>,
    /// Everything before this index is there, or was missed for good.
    pub(crate) size: AtomicU64,
    /// What is durable in the ledger's home.
    pub(crate) head: AtomicU64,
    pub(crate) failing: AtomicBool,
    /// Batches that found the queue full, in records.
    pub(crate) missed: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) ended: AtomicBool,
    pub(crate) gaps: Mutex<Vec<Gap>>,
    /// Who waits: the ledger's writer.
    pub(crate) writer: Mutex<Option<Thread>>,
}

impl State {
    pub(super) fn wake(&self) {
        if let Some(writer) = &*lock(&self.writer) {
            writer.unpark();
        }
    }

    fn tell(&self, said: &'static str, records: u64) {
        lock(&self.gaps).push(Gap { sink: Arc::clone(&self.name), said, records });
        self.wake();
    }
}

/// For how long a thread has waited, whatever the ledger's clock says.
#[expect(clippy::disallowed_methods, reason = "a sink that hangs must be noticed while a clock stands still, too")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A sink that panics has failed.
pub(super) fn guarded<T>(ask: impl FnOnce() -> Result<T, SinkError>) -> Result<T, SinkError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err("the sink panicked".into()))
}

/// Asks on a thread apart: a sink may block, and this one may be a task's.
pub(super) fn apart<T: Send>(ask: impl FnOnce() -> Result<T, SinkError> + Send) -> Result<T, SinkError> {
    std::thread::scope(|scope| scope.spawn(|| guarded(ask)).join())
        .unwrap_or_else(|_| Err("the sink's thread ended".into()))
}

/// Gives a sink what stands from `from` on, up to `until`.
pub(super) fn catch_up(
    sink: &mut dyn Sink,
    archive: &dyn Records,
    from: u64,
    until: u64,
    wanted: &dyn Fn() -> bool,
) -> Result<u64, SinkError> {
    let (mut reached, mut failed) = (from, None);
    let read = archive.batches(from, until, &mut |batch| {
        if !wanted() {
            return false;
        }
        match guarded(|| sink.append(batch)) {
            Ok(()) => reached = batch.head().size(),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    });
    match failed {
        Some(error) => Err(error),
        None => read.map(|()| reached).map_err(|_| "the ledger's home cannot be read".into()),
    }
}

/// The thread of one sink.
pub(super) struct Keeper {
    pub(super) sink: Box<dyn Sink>,
    pub(super) archive: Arc<dyn Records>,
    pub(super) state: Arc<State>,
    pub(super) copies: bool,
    /// Whether what it holds was held against the ledger.
    pub(super) compared: bool,
    /// Whether the gap that is open is on record.
    pub(super) begun: bool,
    /// When something of it was last put on record.
    pub(super) told: Option<Instant>,
    /// Whether there is something to be put on record.
    pub(super) untold: bool,
    pub(super) required: bool,
    /// The last batch that came.
    pub(super) last: Option<Arc<Batch>>,
    /// Records that a sink that passes on did not get.
    pub(super) lost: u64,
    pub(super) pause: Duration,
}

/// However the thread ends, nobody waits for it for ever.
struct Farewell(Arc<State>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.failing.store(true, Ordering::Release);
        self.0.ended.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Keeper {
    pub(super) fn run(mut self, given: &mpsc::Receiver<Given>) {
        let _farewell = Farewell(Arc::clone(&self.state));
        loop {
            // What is missing is tried again, whether or not there is more.
            let pause = match () {
                () if self.is_behind() => self.pause,
                () if self.untold => EVERY,
                () => Duration::from_secs(3600),
            };
            match given.recv_timeout(pause) {
                Ok(Given::Batch(batch)) => self.take(batch),
                Ok(Given::Checkpoint(note)) if !self.is_behind() => {
                    if let Err(error) = guarded(|| self.sink.checkpoint(&note)) {
                        trace::event!(warn, sink = %self.state.name, error = %error, "a sink refused a checkpoint");
                        let _ = error;
                    }
                }
                #[cfg(feature = "checkpoint")]
                Ok(Given::Pruned(pruned)) if !self.is_behind() => {
                    if let Err(error) = guarded(|| self.sink.prune(&pruned)) {
                        trace::event!(warn, sink = %self.state.name, error = %error, "a sink did not drop what retention dropped");
                        let _ = error;
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if self.is_behind() => self.mend(),
                Err(RecvTimeoutError::Timeout) => self.tell_end(),
                Err(RecvTimeoutError::Disconnected) => {
                    if self.is_behind() {
                        self.mend();
                    }
                    return;
                }
            }
        }
    }

    fn size(&self) -> u64 {
        self.state.size.load(Ordering::Acquire)
    }

    fn head(&self) -> u64 {
        self.state.head.load(Ordering::Acquire)
    }

    fn is_behind(&self) -> bool {
        // A batch that it could not take may have come before the writer said how long the ledger is now.
        self.last.is_some() || self.size() < self.head()
    }

    fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Acquire)
    }

    fn take(&mut self, batch: Arc<Batch>) {
        if batch.head().size() <= self.size() {
            return; // It was given from the ledger's home meanwhile.
        }
        self.lost += self.state.missed.swap(0, Ordering::AcqRel);
        let goes_on = !self.copies || batch.before().size() == self.size();
        self.last = Some(batch);
        // While it fails, tries are made by the clock.
        if self.is_failing() && (self.copies || self.required) {
            return;
        }
        if goes_on { self.give_last() } else { self.mend() }
    }

    fn give_last(&mut self) {
        let Some(batch) = self.last.clone() else { return };
        match guarded(|| self.sink.append(&batch)) {
            Ok(()) => {
                self.works();
                self.reach(batch.head().size());
                self.last = None;
            }
            Err(error) if self.copies || self.required => self.fails(&error),
            Err(error) => {
                self.fails(&error);
                self.lost += u64::from(batch.len());
                self.reach(batch.head().size());
                self.last = None;
            }
        }
    }

    /// Gives a sink what it lacks: one that holds a copy, from where that ends, as it says itself.
    fn mend(&mut self) {
        let head = self.head();
        if !self.copies {
            if self.last.is_some() {
                return self.give_last();
            }
            if self.required {
                // It is on its way: what was not given is never passed over.
                return;
            }
            // The last batches found the queue full.
            self.lost += self.state.missed.swap(0, Ordering::AcqRel);
            self.works();
            return self.reach(head);
        }
        let wanted = || !self.state.stop.load(Ordering::Acquire);
        let mended = guarded(|| self.sink.held()).and_then(|held| {
            let Some(copy) = held else {
                return if self.compared { Err("a sink that held a copy no longer does".into()) } else { Ok(None) };
            };
            if !self.compared && !matches!(self.archive.agrees(copy), Ok(Agreement::Agrees)) {
                return Err("what it holds is not what the ledger holds: one of the two was changed".into());
            }
            self.compared = true;
            let held = copy.size();
            let reached = match &self.last {
                // Its answer was lost, or the whole ledger need not be read for it.
                _ if held == head => Ok(held),
                _ if held > head => Err("it holds more than it was given".into()),
                Some(last) if last.before().size() == held => {
                    guarded(|| self.sink.append(last)).map(|()| last.head().size())
                }
                _ => catch_up(&mut *self.sink, &*self.archive, held, head, &wanted),
            };
            reached.map(Some)
        });
        match mended {
            // It answers now, and says that it only passes on.
            Ok(None) => {
                (self.copies, self.compared) = (false, true);
                self.lost += head.saturating_sub(self.size());
                self.reach(head);
                self.last = None;
                self.works();
            }
            Ok(Some(reached)) => {
                self.last.take_if(|last| last.head().size() <= reached);
                if self.is_failing() {
                    self.lost += reached.saturating_sub(self.size());
                }
                self.reach(reached);
                if reached >= head {
                    self.works();
                }
            }
            Err(error) => self.fails(&error),
        }
    }

    fn reach(&self, size: u64) {
        self.state.size.fetch_max(size, Ordering::AcqRel);
        if self.required {
            self.state.wake();
        }
    }

    /// Notes a failure; the first one is told.
    fn fails(&mut self, error: &SinkError) {
        self.pause = (self.pause * 2).min(if self.required { RETRY } else { MOST_PAUSE });
        if self.state.failing.swap(true, Ordering::AcqRel) {
            return;
        }
        trace::event!(error, sink = %self.state.name, error = %error, "a sink of the ledger fails");
        let _ = error;
        if self.required {
            self.state.wake();
        } else if self.may_tell() {
            self.begun = true;
            self.state.tell(Gap::BEGINS, 0);
        }
    }

    /// Notes that it works, and what it missed if nobody waited for it.
    fn works(&mut self) {
        self.pause = RETRY;
        let failed = self.state.failing.swap(false, Ordering::AcqRel);
        self.untold |= !self.required && (failed || self.lost > 0);
        self.tell_end();
    }

    /// Puts on record what was missed: at once if its beginning is, and otherwise now and then, counted together.
    fn tell_end(&mut self) {
        if self.untold && !self.is_failing() && (self.begun || self.may_tell()) {
            (self.untold, self.begun) = (false, false);
            self.state.tell(if self.copies { Gap::MENDED } else { Gap::LOST }, std::mem::take(&mut self.lost));
        }
    }

    /// Whether something may be put on record: a record of a gap is given to the sink as well, and must not make another one.
    fn may_tell(&mut self) -> bool {
        let free = self.told.is_none_or(|told| now().saturating_duration_since(told) >= EVERY);
        if free {
            self.told = Some(now());
        }
        free
    }
}
