//! The thread of each sink, and the writer's side of it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, TrySendError},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use super::{Named, Sink, SinkError};
use crate::{
    audit::ledger::{
        Head, LedgerError,
        gate::lock,
        home::{Batch, Records},
        open::io,
        scan::Agreement,
    },
    trace,
};

/// Batches on their way to a sink that nobody waits for.
const QUEUE: usize = 64;
/// Between two tries after a failure, the first ones.
const RETRY: Duration = Duration::from_millis(100);
/// And the later ones, for a sink that nobody waits for.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// How long a required sink may take before doors are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two records that gaps of one sink begin.
const EVERY: Duration = Duration::from_secs(60);
/// How long a shutdown waits for a sink.
const GRACE: Duration = Duration::from_secs(5);

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
enum Given {
    Batch(Arc<Batch>),
    Checkpoint(Arc<str>),
}

/// What a sink's thread and the writer share.
struct State {
    name: Arc<str>,
    /// Everything before this index is there, or was missed for good.
    size: AtomicU64,
    /// What is durable in the ledger's home.
    head: AtomicU64,
    failing: AtomicBool,
    /// Batches that found the queue full, in records.
    missed: AtomicU64,
    stop: AtomicBool,
    ended: AtomicBool,
    gaps: Mutex<Vec<Gap>>,
    /// Who waits: the ledger's writer.
    writer: Mutex<Option<Thread>>,
}

impl State {
    fn wake(&self) {
        if let Some(writer) = &*lock(&self.writer) {
            writer.unpark();
        }
    }

    fn tell(&self, said: &'static str, records: u64) {
        lock(&self.gaps).push(Gap { sink: Arc::clone(&self.name), said, records });
        self.wake();
    }
}

struct Mirror {
    required: bool,
    queue: mpsc::SyncSender<Given>,
    state: Arc<State>,
}

/// All sinks of one ledger, as its writer sees them.
#[derive(Default)]
pub(crate) struct Mirrors(Vec<Mirror>);

impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|mirror| &mirror.state.name)).finish()
    }
}

impl Mirrors {
    /// Compares what each sink holds with the ledger, gives the required ones what they lack, and starts the threads.
    /// `known` says of each of `held` whether the ledger was once so.
    pub(crate) fn start(
        sinks: Vec<Named>,
        held: &[Held],
        known: &[Agreement],
        head: Head,
        archive: &Arc<dyn Records>,
    ) -> Result<Self, LedgerError> {
        let mut mirrors = Vec::new();
        for (named, held) in sinks.into_iter().zip(held) {
            let Named { name, required, mut sink } = named;
            let size = match *held {
                Held::Copy { head: copy, place } => match known[place] {
                    Agreement::Agrees => copy.size(),
                    Agreement::Behind => return Err(LedgerError::SinkAhead { name }),
                    Agreement::Differs => return Err(LedgerError::SinkDiffers { name }),
                },
                Held::Passes => head.size(),
                // It will be compared once it can tell.
                Held::Unknown => 0,
            };
            if required && size < head.size() {
                apart(|| catch_up(&mut *sink, &**archive, size, head.size(), &|| true))
                    .map_err(|source| LedgerError::Sink { name: name.clone(), source })?;
            }
            let size = if required { head.size() } else { size };
            let state = Arc::new(State {
                name: name.as_str().into(),
                size: AtomicU64::new(size),
                head: AtomicU64::new(head.size()),
                failing: AtomicBool::new(false),
                missed: AtomicU64::new(0),
                stop: AtomicBool::new(false),
                ended: AtomicBool::new(false),
                gaps: Mutex::default(),
                writer: Mutex::default(),
            });
            let (queue, given) = mpsc::sync_channel(QUEUE);
            let thread = Keeper {
                sink,
                archive: Arc::clone(archive),
                state: Arc::clone(&state),
                copies: !matches!(held, Held::Passes),
                compared: !matches!(held, Held::Unknown),
                begun: false,
                told: None,
                untold: false,
                required,
                last: None,
                lost: if required { 0 } else { head.size().saturating_sub(size) },
                pause: RETRY,
            };
            std::thread::Builder::new()
                .name(format!("ledger-{name}"))
                .spawn(move || thread.run(&given))
                .map_err(io("start the thread of a sink"))?;
            mirrors.push(Mirror { required, queue, state });
        }
        Ok(Self(mirrors))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who is to be woken.
    pub(crate) fn set_writer(&self, thread: &Thread) {
        for mirror in &self.0 {
            *lock(&mirror.state.writer) = Some(thread.clone());
        }
    }

    /// What was missed since it was last asked.
    pub(crate) fn take_gaps(&self) -> Vec<Gap> {
        self.0.iter().flat_map(|mirror| std::mem::take(&mut *lock(&mirror.state.gaps))).collect()
    }

    /// Gives the batch to all, and waits until the required ones have it. `failing` is called when one of them does not
    /// work, and says whether to go on waiting.
    pub(crate) fn give(&self, batch: &Arc<Batch>, failing: &mut dyn FnMut() -> bool) -> bool {
        let wanted = batch.head().size();
        for mirror in &self.0 {
            // A required sink has room: the batch before was waited for. The others' threads see what they missed.
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                mirror.queue.try_send(Given::Batch(Arc::clone(batch)))
            {
                mirror.state.missed.fetch_add(u64::from(batch.len()), Ordering::AcqRel);
            }
            // After it: a thread that is behind looks into its queue first.
            mirror.state.head.store(wanted, Ordering::Release);
        }
        for mirror in self.0.iter().filter(|mirror| mirror.required) {
            let since = now();
            while mirror.state.size.load(Ordering::Acquire) < wanted {
                let late = since.elapsed() > PATIENCE || mirror.state.failing.load(Ordering::Acquire);
                if late && !failing() {
                    return false;
                }
                std::thread::park_timeout(RETRY);
            }
        }
        true
    }

    /// Gives a checkpoint to all, and waits for nobody.
    pub(crate) fn give_checkpoint(&self, note: &Arc<str>) {
        for mirror in &self.0 {
            // The next one says the same and more.
            let _ = mirror.queue.try_send(Given::Checkpoint(Arc::clone(note)));
        }
    }

    /// Lets each sink take what is on its way, for a while.
    pub(crate) fn stop(self) {
        let states: Vec<_> = self.0.into_iter().map(|mirror| mirror.state).collect();
        let until = now() + GRACE;
        for state in states {
            while !state.ended.load(Ordering::Acquire) && now() < until {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            state.stop.store(true, Ordering::Release);
        }
    }
}

/// For how long a thread has waited, whatever the ledger's clock says.
#[expect(clippy::disallowed_methods, reason = "a sink that hangs must be noticed while a clock stands still, too")]
fn now() -> Instant {
    Instant::now()
}

/// What a sink said that it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    /// A copy up to this head, which stands at this place in the list of those to be compared.
    Copy { head: Head, place: usize },
    /// Nothing: it passes on.
    Passes,
    /// It could not tell, and nobody waits for it.
    Unknown,
}

/// Asks each sink what it holds. One that is required must answer.
pub(crate) fn ask(sinks: &mut [Named], heads: &mut Vec<Head>) -> Result<Vec<Held>, LedgerError> {
    let mut held = Vec::new();
    for named in sinks {
        held.push(match apart(|| named.sink.held()) {
            Ok(Some(head)) => {
                heads.push(head);
                Held::Copy { head, place: heads.len() - 1 }
            }
            Ok(None) => Held::Passes,
            Err(source) if named.required => return Err(LedgerError::Sink { name: named.name.clone(), source }),
            Err(error) => {
                trace::event!(warn, sink = %named.name, error = %error, "a sink of the ledger does not answer");
                let _ = error;
                Held::Unknown
            }
        });
    }
    Ok(held)
}

/// A sink that panics has failed.
fn guarded<T>(ask: impl FnOnce() -> Result<T, SinkError>) -> Result<T, SinkError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err("the sink panicked".into()))
}

/// Asks on a thread apart: a sink may block, and this one may be a task's.
fn apart<T: Send>(ask: impl FnOnce() -> Result<T, SinkError> + Send) -> Result<T, SinkError> {
    std::thread::scope(|scope| scope.spawn(|| guarded(ask)).join())
        .unwrap_or_else(|_| Err("the sink's thread ended".into()))
}

/// Gives a sink what stands from `from` on, up to `until`.
fn catch_up(
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
struct Keeper {
    sink: Box<dyn Sink>,
    archive: Arc<dyn Records>,
    state: Arc<State>,
    copies: bool,
    /// Whether what it holds was held against the ledger.
    compared: bool,
    /// Whether the gap that is open is on record.
    begun: bool,
    /// When something of it was last put on record.
    told: Option<Instant>,
    /// Whether there is something to be put on record.
    untold: bool,
    required: bool,
    /// The last batch that came.
    last: Option<Arc<Batch>>,
    /// Records that a sink that passes on did not get.
    lost: u64,
    pause: Duration,
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
    fn run(mut self, given: &mpsc::Receiver<Given>) {
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
                Ok(Given::Checkpoint(_)) => {}
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
