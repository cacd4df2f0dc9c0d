//! The writer's side of all sinks: their start, what they are given, and who is waited for.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, TrySendError},
    },
    thread::Thread,
    time::Duration,
};

use super::{
    Named,
    keeper::{Gap, Given, Keeper, RETRY, State, apart, catch_up, now},
};
#[cfg(feature = "checkpoint")]
use crate::audit::ledger::Pruned;
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
/// How long a required sink may take before doors are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a shutdown waits for a sink.
const GRACE: Duration = Duration::from_secs(5);

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

    /// How each stands, and whether it is required.
    pub(crate) fn states(&self) -> Vec<(Arc<State>, bool)> {
        self.0.iter().map(|mirror| (Arc::clone(&mirror.state), mirror.required)).collect()
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

    /// Tells all what the ledger has dropped, and waits for nobody.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn prune(&self, pruned: &Pruned) {
        for mirror in &self.0 {
            // The next run tells it again.
            let _ = mirror.queue.try_send(Given::Pruned(pruned.clone()));
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
