//! The ledger: a folder of segment files, the thread that writes them, and the handle that everybody holds.

pub(super) mod archive;
#[cfg(feature = "checkpoint")]
mod evidence;
mod folder;
mod gate;
pub(super) mod home;
mod open;
mod operator;
mod options;
pub(super) mod page;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod reader;
mod refusals;
mod report;
mod retention;
pub(super) mod scan;
mod seats;
pub(super) mod segment;
pub(super) mod sheet;
mod sink;
pub(super) mod skim;
mod timeline;
pub(super) mod tree;
pub(super) mod writer;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

#[cfg(feature = "checkpoint")]
pub use evidence::Checkpoint;
#[cfg(feature = "checkpoint")]
pub(crate) use evidence::{Signatures, kept};
pub use folder::LedgerFolder;
use gate::Gate;
pub(crate) use gate::{Wait, lock};
pub use home::Batch;
pub(super) use home::{Entry, FolderRecords, Records};
pub(crate) use open::{is_written, overtaken};
pub use operator::{MAX_TENANTS_READ, OperatorLedger};
pub use options::{LedgerError, LedgerOptions};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresLedger, PostgresSink, verify_postgres};
pub use query::{LedgerPage, LedgerQuery, MAX_PAGE};
pub(crate) use query::{Place, cursor_bytes};
use refusals::Refusals;
pub use report::{LedgerReport, SinkReport};
pub(crate) use retention::Cover;
use retention::Errand;
#[cfg(test)]
pub(crate) use retention::{Drops, drop_in_folder};
#[cfg(feature = "checkpoint")]
pub use retention::{PruneReport, Pruned, Retention, RetentionError};
pub(crate) use seats::Seat;
use seats::Seats;
#[doc(hidden)]
pub use segment::fuzz_segment;
pub(crate) use sheet::Found;
#[cfg(feature = "tracing")]
pub use sink::TracingSink;
pub use sink::{FolderSink, Sink, SinkError, Sinks};
pub use timeline::{Timeline, TimelineError};
use tokio::sync::{mpsc, watch};
pub use tree::{Head, HeadError};

use super::{
    record::{Action, AttemptId, Kind, Outcome, Record, Stream},
    trail::{Closer, RequestFacts, Trail, TrailError},
};
#[cfg(feature = "checkpoint")]
use crate::audit::hashes::HashReader;
use crate::{
    clock::SharedClock,
    id::{RowId, SubjectId, TenantId, TrailId},
};

/// Most attempts without an outcome that are kept in memory.
const MAX_UNSETTLED: usize = 65_536;

/// A record on its way to the writer. Tickets grow in the order of the queue.
#[derive(Debug)]
pub(crate) struct Message {
    ticket: u64,
    record: Box<Record>,
    /// What is written with it, in the same batch: the record of an operator's act in a clinic.
    mirror: Option<Box<Record>>,
}

/// A place in the queue, kept until it is used or dropped.
pub(crate) type Slot = mpsc::OwnedPermit<Message>;

/// What the handle and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    records: Arc<dyn Records>,
    options: LedgerOptions,
    clock: SharedClock,
    gate: Gate,
    order: Mutex<Order>,
    refusals: Mutex<Refusals>,
    /// Records of routes that ask for best effort alone, for which there was no room.
    lost: AtomicU64,
    seats: Seats,
    readers: timeline::Readers,
    head: Mutex<Head>,
    lock: Mutex<Option<Arc<File>>>,
    writer: OnceLock<Thread>,
    stop: AtomicBool,
    stopped: watch::Sender<bool>,
    errands: Mutex<Vec<Errand>>,
    /// As the sinks' threads know themselves, and whether each is required.
    sinks: OnceLock<Vec<(Arc<sink::State>, bool)>>,
    #[cfg(feature = "checkpoint")]
    pruned: Mutex<Option<Result<crate::clock::Timestamp, String>>>,
    /// Chains for which a hold came since retention last read the ledger.
    late: Mutex<HashSet<Stream>>,
    #[cfg(feature = "checkpoint")]
    pruning: AtomicBool,
    /// Retention writes files.
    dropping: watch::Sender<bool>,
    #[cfg(feature = "checkpoint")]
    anchor: retention::Anchor,
    #[cfg(feature = "checkpoint")]
    hashes: Option<HashReader>,
    #[cfg(feature = "checkpoint")]
    checkpoint: watch::Sender<Option<Checkpoint>>,
}

/// Notes what a record says of an erasure: that it was decided, or that the keys are gone.
pub(super) fn note_erasure(erasures: &mut Erasures, record: &Record) {
    let (Some(Action::Erase), Some(tenant)) = (record.action, record.tenant()) else { return };
    let decided = record.attempt.filter(|_| record.outcome == Some(Outcome::Committed));
    let came = match record.reason.as_deref() {
        _ if record.kind != Kind::Event => None,
        Some(SHREDDED) => Some(Erased::Shredded),
        Some(CONFIRMED) => Some(Erased::Confirmed),
        _ => None,
    };
    for subject in &record.subjects {
        let key = (tenant.clone(), *subject);
        if let Some(attempt) = decided {
            erasures.entry(key).or_insert((attempt, Erased::Decided));
        } else if let (Some(came), Some((_, known))) = (came, erasures.get_mut(&key)) {
            *known = came.max(*known);
        }
    }
}

#[derive(Debug)]
struct Order {
    ticket: u64,
    streams: HashSet<Stream>,
}

/// A change that was announced and whose outcome the ledger does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub(crate) attempt: AttemptId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) trail: Option<TrailId>,
    pub(crate) record: Box<Record>,
}

impl Unsettled {
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Some(Self {
            attempt: record.attempt?,
            tenant: record.tenant().cloned(),
            trail: record.trail,
            record: Box::new(record.clone()),
        })
    }

    /// The attempt.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// In whose data.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// In which request.
    #[must_use]
    pub fn trail(&self) -> Option<TrailId> {
        self.trail
    }

    /// On which row.
    #[must_use]
    pub fn row(&self) -> Option<RowId> {
        self.record.row
    }

    /// On whose data.
    #[must_use]
    pub fn subjects(&self) -> &[SubjectId] {
        &self.record.subjects
    }
}

/// The durable record of who did what. Cheap to clone; all clones write the same folder.
///
/// # Security
///
/// Somebody who can change files can cut the end off or write a whole new ledger; local data cannot tell. See the
/// attacker's table in `docs/ledger.md`.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    unsettled: Mutex<HashMap<AttemptId, Unsettled>>,
    erasures: Mutex<Erasures>,
}

/// The people whose erasure was decided, each with the attempt, and how far it came.
pub(crate) type Erasures = HashMap<(TenantId, SubjectId), (AttemptId, Erased)>;

/// How far an erasure came, as far as the ledger knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Erased {
    /// It is to be done.
    Decided,
    /// The keys are destroyed.
    Shredded,
    /// Every copy has confirmed it.
    Confirmed,
}

/// What an event of [`Action::Erase`] says once the keys are destroyed, and once every copy has confirmed it.
pub(crate) const SHREDDED: &str = "shredded";
pub(crate) const CONFIRMED: &str = "confirmed";

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("head", &self.head())
            .field("available", &self.is_available())
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Begins the trail of one request (or job). Costs neither a slot nor the disk until a door is opened.
    ///
    /// Whoever holds the [`Closer`] ends the trail; dropping it says that the request was cancelled.
    ///
    /// ```
    /// use tower_ward::audit::{Action, Closer, End, Event, Ledger, RequestFacts, Trail, TrailError};
    ///
    /// /// Work that no layer covers.
    /// async fn nightly(ledger: &Ledger) -> Result<(), TrailError> {
    ///     let (trail, mut closer): (Trail, Closer) = ledger.begin(RequestFacts::new().with_route("nightly"));
    ///     trail.record(Event::new(Action::Job).with_entity("nightly"))?;
    ///     trail.settled().await?; // on record before it happens
    ///     // …
    ///     closer.finish(End::Completed);
    ///     Ok(())
    /// }
    /// ```
    pub fn begin(&self, facts: RequestFacts) -> (Trail, Closer) {
        Trail::begin(self.clone(), facts, self.clock().monotonic())
    }

    /// The same at a moment that this ledger's clock has told already.
    #[cfg(feature = "stack")]
    pub(crate) fn begin_at(&self, facts: RequestFacts, now: std::time::Duration) -> (Trail, Closer) {
        Trail::begin(self.clone(), facts, now)
    }

    /// Whether records can be written. While they cannot, every door is refused.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.inner.shared.gate.is_available() && !self.inner.shared.stop.load(Ordering::Acquire)
    }

    /// The size and root of what is durable.
    #[must_use]
    pub fn head(&self) -> Head {
        *lock(&self.inner.shared.head)
    }

    /// Changes that were announced and whose outcome is not known: what a crash left. [`settle`](Self::settle) them
    /// from the database.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        lock(&self.inner.unsettled).values().cloned().collect()
    }

    /// Records how an [unsettled](Self::unsettled) change ended, as the database knows it, and waits until that is
    /// durable.
    ///
    /// ```
    /// use tower_ward::audit::{AttemptId, Ledger, Outcome, TrailError, Unsettled};
    ///
    /// /// Before the first request, for a database that is not `db`'s, which has a `settle` of its own.
    /// async fn settle(ledger: &Ledger, holds: impl Fn(&Unsettled) -> bool) -> Result<(), TrailError> {
    ///     for change in ledger.unsettled() {
    ///         let outcome = if holds(&change) { Outcome::Committed } else { Outcome::RolledBack };
    ///         let attempt: AttemptId = change.attempt();
    ///         ledger.settle(attempt, outcome).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such change, or the record cannot be written.
    pub async fn settle(&self, attempt: AttemptId, outcome: Outcome) -> Result<(), TrailError> {
        // Taken out, so that it is settled once.
        let Some(found) = lock(&self.inner.unsettled).remove(&attempt) else {
            return Err(TrailError::UnknownAttempt);
        };
        let settled = self.record_outcome(found.record.clone(), outcome).await;
        if settled.is_ok() && outcome == Outcome::Committed && found.record.action == Some(Action::Erase) {
            note_erasure(&mut lock(&self.inner.erasures), &Record { outcome: Some(outcome), ..*found.record.clone() });
        }
        if settled.is_err() || outcome == Outcome::Unknown {
            self.remember(found);
        }
        settled
    }

    /// What the ledger knew of erasures when it was opened, and what was settled since: for the one who compares it with
    /// the shred journal. It is given out once.
    pub(crate) fn take_erasures(&self) -> Erasures {
        std::mem::take(&mut *lock(&self.inner.erasures))
    }

    async fn record_outcome(&self, mut record: Box<Record>, outcome: Outcome) -> Result<(), TrailError> {
        record.kind = Kind::Outcome;
        record.outcome = Some(outcome);
        record.at = self.inner.shared.clock.now();
        record.monotonic_ns = u64::try_from(self.inner.shared.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let ticket = self.submit(self.reserve()?, record);
        self.durable(ticket).await
    }

    /// Stops: refuses new doors, gives the requests in flight five seconds to end, writes what is queued and the counts
    /// of refusals, and gives up the folder.
    pub async fn shutdown(&self) {
        let shared = &self.inner.shared;
        shared.stop.store(true, Ordering::Release);
        self.wake();
        // The sender lives in `shared`, so this ends only by the value.
        let _ = shared.stopped.subscribe().wait_for(|stopped| *stopped).await;
        // Whoever comes next finds nobody at the files.
        let _ = shared.dropping.subscribe().wait_for(|dropping| !*dropping).await;
    }

    fn wake(&self) {
        if let Some(thread) = self.inner.shared.writer.get() {
            thread.unpark();
        }
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.inner.shared.clock
    }

    pub(crate) fn options(&self) -> &LedgerOptions {
        &self.inner.shared.options
    }

    /// A place in the queue. Never waits: a full queue refuses.
    pub(crate) fn reserve(&self) -> Result<Slot, TrailError> {
        if !self.is_available() {
            return Err(TrailError::Unavailable);
        }
        self.inner.queue.clone().try_reserve_owned().map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => TrailError::Full,
            mpsc::error::TrySendError::Closed(_) => TrailError::Unavailable,
        })
    }

    /// Refuses a tenant for whose chain there is no room.
    pub(crate) fn admit(&self, stream: &Stream) -> Result<(), TrailError> {
        let mut order = lock(&self.inner.shared.order);
        if order.streams.contains(stream) || matches!(stream, Stream::Platform) {
            return Ok(());
        }
        if order.streams.len() >= self.inner.shared.options.tenants {
            return Err(TrailError::TooManyTenants);
        }
        order.streams.insert(stream.clone());
        Ok(())
    }

    /// Whether anything was ever recorded of this tenant.
    fn knows(&self, tenant: &TenantId) -> bool {
        lock(&self.inner.shared.order).streams.contains(&Stream::Tenant(tenant.clone()))
    }

    /// Puts the record into its place in the queue. Tickets are given under the lock, so they grow as the queue does.
    pub(crate) fn submit(&self, slot: Slot, record: Box<Record>) -> u64 {
        self.submit_both(slot, record, None)
    }

    /// The same for two records of one act. Both are in one batch, so that no crash leaves one without the other.
    pub(crate) fn submit_both(&self, slot: Slot, record: Box<Record>, mirror: Option<Box<Record>>) -> u64 {
        if record.kind == Kind::Held {
            lock(&self.inner.shared.late).insert(record.stream.clone());
        }
        let mut order = lock(&self.inner.shared.order);
        order.ticket += 1;
        let ticket = order.ticket;
        slot.send(Message { ticket, record, mirror });
        ticket
    }

    #[cfg(test)]
    pub(crate) fn is_durable(&self, ticket: u64) -> bool {
        self.inner.shared.gate.is_durable(ticket)
    }

    pub(crate) fn wait(&self, ticket: u64) -> Wait {
        self.inner.shared.gate.wait(ticket)
    }

    pub(crate) async fn durable(&self, ticket: u64) -> Result<(), TrailError> {
        match self.wait(ticket) {
            Wait::Durable => Ok(()),
            Wait::Later(fired) => fired.await.map_err(|_| TrailError::Unavailable),
            Wait::Unavailable => Err(TrailError::Unavailable),
        }
    }

    /// As after a write that failed.
    #[cfg(test)]
    pub(crate) fn fail_for_test(&self) {
        self.inner.shared.gate.fail();
    }

    /// Counts a refusal of somebody unknown.
    pub(crate) fn count_refusal(&self, peer: Option<std::net::IpAddr>, reason: &'static str, status: Option<u16>) {
        let shared = &self.inner.shared;
        let first = lock(&shared.refusals).note(peer, reason, status, shared.clock.now(), shared.clock.monotonic());
        if first {
            self.wake();
        }
    }

    /// Counts a record that found no room, and that nobody waits for.
    pub(crate) fn count_lost(&self) {
        self.inner.shared.lost.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Remembers a change whose commit was sent and whose answer was lost.
    pub(crate) fn remember(&self, unsettled: Unsettled) {
        let mut map = lock(&self.inner.unsettled);
        if map.len() < MAX_UNSETTLED {
            map.insert(unsettled.attempt, unsettled);
        }
    }
}
