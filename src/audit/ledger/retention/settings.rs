//! For how long, what may go wrong, and what a run did.

use std::{collections::HashMap, num::NonZeroU16};

use jiff::{Span, tz::TimeZone};

use crate::{
    audit::{ledger::LedgerError, record::Stream, trail::TrailError},
    clock::Timestamp,
    id::TenantId,
};

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
    pub(super) trust_clock: bool,
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
        let years = Span::new().try_years(self.years(chain));
        let then = years.and_then(|years| now.to_zoned(TimeZone::UTC).checked_sub(years));
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
    /// The ledger is stopping.
    #[error("the ledger is stopping: what is left is dropped by the next run")]
    Stopping,
    /// The thread that was to do it.
    #[error("no thread for pruning can be started: try again later")]
    Thread(#[source] std::io::Error),
    /// The ledger cannot be read, is not as it was written, or cannot be written anew.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A prune record cannot be written.
    #[error(transparent)]
    Trail(#[from] TrailError),
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneReport {
    pub(super) prunes: u64,
    pub(super) bodies: u64,
    pub(super) skipped: Vec<Stream>,
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

    /// Chains of which nothing was dropped though something is due: holds were placed or ended while they were looked at, or
    /// so many records stay between others that they have no room in a prune record. The next run tries again.
    #[must_use]
    pub fn skipped(&self) -> &[Stream] {
        &self.skipped
    }
}
