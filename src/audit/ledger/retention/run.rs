//! Dropping what is due.

use std::{
    collections::HashMap,
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use jiff::{ToSpan as _, tz::TimeZone};

use super::{
    Dropping, Errand,
    plan::{Cutoffs, Survey},
};
use crate::{
    audit::{
        ledger::{Ledger, LedgerError, Shared, gate::lock, home::Records, sink::SinkError},
        record::{Kind, Prune, Record, Stream},
        trail::TrailError,
        verify::MAX_TENANTS,
    },
    clock::{Clock, Timestamp},
    id::TenantId,
    trace,
};

/// How far the clock may be ahead of the newest record at the start.
const SILENCE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far the wall clock may go otherwise than the monotonic one.
const DRIFT: Duration = Duration::from_secs(24 * 3600);
/// How often holds may come in between.
const ROUNDS: usize = 5;

/// How long a ledger's records are kept: seven years, unless something else is said.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU16, time::Duration};
/// use tower_ward::{
///     audit::{
///         Action, CheckpointSigner, Event, Ledger, LedgerOptions, PruneReport, RequestFacts, Retention, RetentionError, verify,
///     },
///     clock::ManualClock,
///     id::TenantId,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path();
/// let clock = ManualClock::at("2026-11-30T10:00:00Z".parse()?);
/// let signer = CheckpointSigner::generate("clinic.example/ledger")?;
/// let options = LedgerOptions::new().with_segment_size(128 * 1024).with_signer(signer);
/// let ledger = Ledger::open(dir, options, clock.shared())?;
/// let (trail, closer) = ledger.begin(RequestFacts::new());
/// trail.record(Event::new(Action::Export).with_tenant(TenantId::new("harbour")?).with_entity("report"))?;
/// trail.settled().await?;
/// drop(closer);
///
/// // From a job, once a month say.
/// let retention = Retention::new(); // seven years
/// assert_eq!(ledger.prune(&retention).await?.bodies(), 0);
/// clock.advance(Duration::from_secs(8 * 366 * 24 * 3600));
/// let report: PruneReport = ledger.prune(&retention).await?;
/// assert_eq!((report.bodies(), report.prunes()), (2, 1), "the event, and the end of its request");
///
/// // The ledger is as long as before, and verifies.
/// ledger.shutdown().await;
/// let verified = verify(dir)?;
/// assert_eq!((verified.records(), verified.dropped()), (3, 2));
///
/// // A clock that is suddenly years ahead drops nothing.
/// # drop(ledger);
/// let wrong = ManualClock::at("2061-11-30T10:00:00Z".parse()?);
/// # let options = LedgerOptions::new().with_signer(CheckpointSigner::generate("clinic.example/ledger")?);
/// # std::fs::remove_file(dir.join("ledger.checkpoint"))?;
/// # let ledger = Ledger::open(dir, LedgerOptions::new(), wrong.shared())?;
/// # ledger.shutdown().await;
/// # let _ = options;
/// # let other = tempfile::tempdir()?;
/// # let dir = other.path();
/// # let start = ManualClock::at("2026-11-30T10:00:00Z".parse()?);
/// # let options = LedgerOptions::new().with_signer(CheckpointSigner::generate("clinic.example/ledger")?);
/// # let ledger = Ledger::open(dir, options.clone(), start.shared())?;
/// # let (trail, closer) = ledger.begin(RequestFacts::new());
/// # trail.record(Event::new(Action::Configuration))?;
/// # drop(closer);
/// # ledger.shutdown().await;
/// let ledger = Ledger::open(dir, options, wrong.shared())?;
/// let two = NonZeroU16::new(2).ok_or("two years")?;
/// let refused = ledger.prune(&retention.with_tenant(TenantId::new("harbour")?, two)).await;
/// assert!(matches!(refused, Err(RetentionError::Clock)));
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
///
/// # Security
///
/// What the law of a clinic's country asks for is the caller's to know: 45 CFR 164.316(b)(2)(i) wants six years of such
/// records, some countries five. Whoever can make a server prune can destroy what is old enough, and nothing else: neither
/// what is held, nor that there was something.
#[derive(Debug, Clone)]
#[must_use]
pub struct Retention {
    years: NonZeroU16,
    tenants: HashMap<TenantId, NonZeroU16>,
    trust_clock: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { years: const { NonZeroU16::new(7).unwrap() }, tenants: HashMap::new(), trust_clock: false }
    }
}

impl Retention {
    /// Seven years.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many years for the platform's chain and all clinics that are not named.
    pub fn with_years(mut self, years: NonZeroU16) -> Self {
        self.years = years;
        self
    }

    /// So many years for this clinic's chain.
    pub fn with_tenant(mut self, tenant: TenantId, years: NonZeroU16) -> Self {
        self.tenants.insert(tenant, years);
        self
    }

    /// Believes the clock, however far it is ahead of the ledger: after a long pause, say.
    ///
    /// # Security
    ///
    /// If the clock is wrong, everything that is not held is lost.
    pub fn danger_trust_clock(mut self) -> Self {
        self.trust_clock = true;
        self
    }

    /// Years for a chain.
    #[must_use]
    pub fn years(&self, chain: &Stream) -> u16 {
        let named = match chain {
            Stream::Platform => None,
            Stream::Tenant(tenant) => self.tenants.get(tenant),
        };
        named.unwrap_or(&self.years).get()
    }

    /// What is older is due. Nothing is, before the year 1.
    pub(super) fn cutoff(&self, chain: &Stream, now: Timestamp) -> Timestamp {
        let years = i64::from(self.years(chain)).years();
        let then = now.to_zoned(TimeZone::UTC).checked_sub(years);
        then.map_or(Timestamp::MIN, |then| then.timestamp())
    }
}

/// Why nothing was dropped, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// Nobody can sign the prune records.
    #[error("a ledger without a signer drops nothing: open it `with_signer`")]
    Unsigned,
    /// The ledger is being pruned.
    #[error("the ledger is being pruned: wait for that to end")]
    Running,
    /// The clock may be wrong.
    #[error(
        "the clock is far ahead of the ledger, or was set: check it, and if it is right, prune with `danger_trust_clock`"
    )]
    Clock,
    /// What stays of one chain has no room in a prune record.
    #[error("the chain of `{}` has too many records that stay between others: end some holds", chain.as_str())]
    TooMuchKept {
        /// The chain.
        chain: Stream,
    },
    /// Holds came in between each time.
    #[error("holds were placed or ended while the ledger was read, each time: prune again later")]
    Unsteady,
    /// The ledger is stopping.
    #[error("the ledger is stopping: what is left is dropped by the next run")]
    Stopping,
    /// The ledger cannot be read, is not as it was written, or cannot be written anew.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A prune record cannot be written.
    #[error(transparent)]
    Trail(#[from] TrailError),
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneReport {
    prunes: u64,
    bodies: u64,
}

impl PruneReport {
    /// How many prune records were written.
    #[must_use]
    pub fn prunes(&self) -> u64 {
        self.prunes
    }

    /// How many bodies went out of the ledger's home.
    #[must_use]
    pub fn bodies(&self) -> u64 {
        self.bodies
    }
}

/// What the clocks and the ledger said when it was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Duration,
    /// When the newest record was made.
    pub(crate) newest: Option<Timestamp>,
}

impl Anchor {
    fn trusts(&self, clock: &dyn Clock) -> bool {
        let passed = clock.monotonic().saturating_sub(self.monotonic);
        let by_wall = clock.now().duration_since(self.wall);
        let drift = (by_wall.as_secs_f64() - passed.as_secs_f64()).abs();
        let silence = self.newest.map_or(0.0, |newest| self.wall.duration_since(newest).as_secs_f64());
        drift <= DRIFT.as_secs_f64() && silence <= SILENCE.as_secs_f64()
    }
}

/// One run at a time.
struct Turn<'l>(&'l AtomicBool);

impl<'l> Turn<'l> {
    fn take(running: &'l AtomicBool) -> Result<Self, RetentionError> {
        if running.swap(true, Ordering::AcqRel) { Err(RetentionError::Running) } else { Ok(Self(running)) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Ledger {
    /// Drops the bodies of records that are older than the retention's period, and no others: see [`Retention`].
    ///
    /// Reads and verifies the whole ledger, twice or more (about a second for each million records and reading), on a thread
    /// apart, while the ledger is written as always; the bodies go out of its home, and then out of the sinks that hold a
    /// copy. After an error, or a crash, the next run goes on. Prune records stay for good, one for each chain and run that
    /// finds something: once a month is enough.
    ///
    /// # Errors
    ///
    /// [`RetentionError`]; what was dropped before it is dropped.
    pub async fn prune(&self, retention: &Retention) -> Result<PruneReport, RetentionError> {
        let shared = &self.inner.shared;
        if shared.options.signer.is_none() {
            return Err(RetentionError::Unsigned);
        }
        let _turn = Turn::take(&shared.pruning)?;
        if !retention.trust_clock && !shared.anchor.trusts(&*shared.clock) {
            return Err(RetentionError::Clock);
        }
        let mut prunes = 0;
        for _ in 0..ROUNDS {
            let (retention, now) = (retention.clone(), shared.clock.now());
            let read = self.apart(move |shared| {
                let mut cutoffs = Cutoffs::new(&retention, now);
                let survey = Survey::of(&*shared.records, MAX_TENANTS, &mut cutoffs)?;
                let plan = survey.plan(&*shared.records, MAX_TENANTS, &mut cutoffs)?;
                Ok((survey, plan))
            });
            let (survey, plan) = read.await?;
            if plan.is_empty() {
                let bodies = self.drop_bodies(survey).await?;
                self.errand(Errand::PruneSinks);
                *lock(&shared.pruned) = Some(shared.clock.now());
                return Ok(PruneReport { prunes, bodies });
            }
            for (stream, prune) in plan {
                self.write(stream, prune).await?;
                prunes += 1;
            }
            // What is dropped follows from what is read once they are durable.
        }
        Err(RetentionError::Unsteady)
    }

    async fn write(&self, stream: Stream, prune: Prune) -> Result<(), TrailError> {
        let clock = &self.inner.shared.clock;
        let mut record = Box::new(Record::empty(Kind::Pruned, stream, clock.now(), clock.monotonic()));
        record.prune = Some(Box::new(prune));
        let ticket = self.submit(self.reserve()?, record);
        self.durable(ticket).await
    }

    async fn drop_bodies(&self, survey: Survey) -> Result<u64, RetentionError> {
        let first = self.apart(move |shared| {
            let wanted = || !shared.stop.load(Ordering::Acquire);
            let done = shared.records.drop_bodies(&survey.drops(&wanted))?;
            Ok((survey, done))
        });
        let (survey, Dropping { dropped, open }) = first.await?;
        let Some(segment) = open else { return Ok(dropped) };
        let (closed, is_closed) = mpsc::sync_channel(1);
        self.errand(Errand::ClosePart(closed));
        let rest = self.apart(move |shared| {
            let wanted = || !shared.stop.load(Ordering::Acquire);
            while is_closed.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) && wanted()
            {
            }
            if !wanted() {
                return Err(RetentionError::Stopping);
            }
            let drops = survey.drops(&wanted);
            Ok(shared.records.drop_bodies(&super::Drops { closed: Some(segment), ..drops })?.dropped)
        });
        Ok(dropped + rest.await?)
    }

    /// Work that reads or writes much, where nobody waits for the thread.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, RetentionError> + Send + 'static,
    ) -> Result<T, RetentionError> {
        let shared = Arc::clone(&self.inner.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared));
        done.await.unwrap_or(Err(RetentionError::Stopping))
    }

    fn errand(&self, errand: Errand) {
        lock(&self.inner.shared.errands).push(errand);
        self.wake();
    }
}

/// The thread on which a sink drops what its own copy says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pruning {
    running: Arc<AtomicBool>,
    /// The segment that was still being written when it was found to hold something.
    open: Arc<Mutex<Option<u32>>>,
}

impl Pruning {
    /// Starts it, unless it runs. `close` closes the segment that is being written.
    pub(crate) fn start(
        &self,
        close: impl FnOnce(),
        work: impl FnOnce(Option<u32>) -> Result<Option<u32>, LedgerError> + Send + 'static,
    ) -> Result<(), SinkError> {
        if self.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let closed = lock(&self.open).take();
        if closed.is_some() {
            close();
        }
        let this = self.clone();
        let thread = std::thread::Builder::new().name("ledger-prune".to_owned()).spawn(move || {
            match work(closed) {
                Ok(open) => *lock(&this.open) = open,
                Err(error) => {
                    trace::event!(warn, error = %error, "a copy of the ledger could not be pruned: the next run tries again");
                    let _ = error;
                }
            }
            this.running.store(false, Ordering::Release);
        });
        if let Err(error) = thread {
            self.running.store(false, Ordering::Release);
            return Err(error.into());
        }
        Ok(())
    }
}

/// Drops what a copy's own prune records cover; the segment that has to be closed first, if one has.
pub(crate) fn prune_copy(records: &dyn Records, closed: Option<u32>) -> Result<Option<u32>, LedgerError> {
    let survey = Survey::holds(records, MAX_TENANTS)?;
    let drops = survey.drops(&|| true);
    Ok(records.drop_bodies(&super::Drops { closed, ..drops })?.open)
}
