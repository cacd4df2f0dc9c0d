//! Dropping what is due.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Dropping, Drops, Errand, PruneReport, Pruned, Retention, RetentionError,
    plan::{Cutoffs, Plan, Survey},
};
use crate::{
    audit::{
        ledger::{
            Ledger, Shared,
            gate::{Wait, lock},
        },
        record::{Kind, Prune, Record, Stream},
        trail::TrailError,
        verify::MAX_TENANTS,
    },
    clock::{Clock, Timestamp},
};

/// How far the clock may be ahead of the newest record at the start, and a record of the one before it.
pub(super) const SILENCE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far the wall clock may go otherwise than the monotonic one.
const DRIFT: Duration = Duration::from_secs(24 * 3600);

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

/// One run at a time, whoever still waits for it.
struct Turn(Arc<Shared>);

impl Turn {
    fn take(shared: &Arc<Shared>) -> Result<Self, RetentionError> {
        let running = shared.pruning.swap(true, Ordering::AcqRel);
        if running { Err(RetentionError::Running) } else { Ok(Self(Arc::clone(shared))) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.dropping.send_replace(false);
        self.0.pruning.store(false, Ordering::Release);
    }
}

impl Ledger {
    /// Drops the bodies of records that are older than the retention's period, and no others: see [`Retention`].
    ///
    /// Reads and verifies the whole ledger, two to six times (about a second for each million records and reading), on a
    /// thread of its own, while the ledger is written as always; the bodies go out of its home, and then out of the sinks
    /// that hold a copy. The thread goes on if nobody waits for this future any more, and keeps the ledger open until
    /// [`shutdown`](Self::shutdown) ends it. After an error, or a crash, the next run goes on. Prune records stay for good,
    /// one for each chain and run that finds something: once a month is enough.
    ///
    /// # Errors
    ///
    /// [`RetentionError`]; what was dropped before it is dropped.
    pub async fn prune(&self, retention: &Retention) -> Result<PruneReport, RetentionError> {
        let shared = &self.inner.shared;
        if shared.options.signer.is_none() {
            return Err(RetentionError::Unsigned);
        }
        let turn = Turn::take(shared)?;
        let (run, (done, report)) = (Run { ledger: self.clone(), retention: retention.clone() }, oneshot::channel());
        let work = move || {
            let report = run.run();
            drop(run);
            drop(turn);
            // Whoever asked may have gone.
            let _ = done.send(report);
        };
        std::thread::Builder::new().name("ledger-prune".to_owned()).spawn(work).map_err(RetentionError::Thread)?;
        report.await.unwrap_or(Err(RetentionError::Stopping))
    }
}

struct Run {
    ledger: Ledger,
    retention: Retention,
}

impl Run {
    fn shared(&self) -> &Shared {
        &self.ledger.inner.shared
    }

    fn run(&self) -> Result<PruneReport, RetentionError> {
        let done = self.steps();
        let said = done.as_ref().map(|_| self.shared().clock.now()).map_err(ToString::to_string);
        // That another server does it is nothing to mend.
        if !matches!(done, Err(RetentionError::Running)) {
            *lock(&self.shared().pruned) = Some(said);
        }
        done
    }

    fn steps(&self) -> Result<PruneReport, RetentionError> {
        let shared = self.shared();
        // Of all servers that write this ledger.
        let Some(_turn) = shared.records.turn()? else { return Err(RetentionError::Running) };
        let now = shared.clock.now();
        let mut cutoffs = Cutoffs::new(&self.retention, now);
        let (mut survey, mut plan) = self.look(&mut cutoffs)?;
        let idle = plan.prunes.is_empty() && !survey.is_left(&plan.skipped);
        let trusted = || shared.anchor.trusts(&*shared.clock) && survey.is_steady();
        if !(idle || self.retention.trust_clock || trusted()) {
            return Err(RetentionError::Clock);
        }
        let prunes = plan.prunes.len() as u64;
        if prunes > 0 {
            for (stream, prune) in std::mem::take(&mut plan.prunes) {
                self.write(stream, prune)?;
            }
            // What is dropped follows from what is read once they are durable. A chain about which there is more to say by
            // then waits for the next run.
            (survey, plan) = self.look(&mut cutoffs)?;
        }
        let mut skipped = plan.skipped;
        skipped.extend(plan.prunes.into_iter().map(|(stream, _)| stream));
        let bodies = if survey.is_left(&skipped) { self.drop_bodies(&survey, &mut skipped)? } else { 0 };
        if shared.sinks.get().is_some_and(|sinks| !sinks.is_empty()) {
            let covers = Survey::covers(&*shared.records, MAX_TENANTS)?.scanned.covers;
            let dropped = covers.into_iter().map(|(stream, cover)| (stream, cover.into_dropped())).collect();
            self.errand(Errand::PruneSinks(Pruned(Arc::new(dropped))));
        }
        let mut skipped: Vec<Stream> = skipped.into_iter().collect();
        skipped.sort();
        Ok(PruneReport { prunes, bodies, skipped })
    }

    /// Reads the ledger. Of holds that come from here on the chains are remembered.
    fn look(&self, cutoffs: &mut Cutoffs<'_>) -> Result<(Survey, Plan), RetentionError> {
        let shared = self.shared();
        lock(&shared.late).clear();
        // What came before is to be found in the ledger.
        let ticket = lock(&shared.order).ticket;
        self.durable(ticket)?;
        let survey = Survey::of(&*shared.records, MAX_TENANTS, cutoffs)?;
        self.may_go_on()?;
        let plan = survey.plan(&*shared.records, MAX_TENANTS, cutoffs)?;
        self.may_go_on()?;
        Ok((survey, plan))
    }

    fn may_go_on(&self) -> Result<(), RetentionError> {
        if self.shared().stop.load(Ordering::Acquire) { Err(RetentionError::Stopping) } else { Ok(()) }
    }

    fn durable(&self, ticket: u64) -> Result<(), TrailError> {
        match self.ledger.wait(ticket) {
            Wait::Durable => Ok(()),
            Wait::Later(fired) => fired.blocking_recv().map_err(|_| TrailError::Unavailable),
            Wait::Unavailable => Err(TrailError::Unavailable),
        }
    }

    fn write(&self, stream: Stream, prune: Prune) -> Result<(), TrailError> {
        let clock = &self.shared().clock;
        let mut record = Box::new(Record::empty(Kind::Pruned, stream, clock.now(), clock.monotonic()));
        record.prune = Some(Box::new(prune));
        let ticket = self.ledger.submit(self.ledger.reserve()?, record);
        self.durable(ticket)
    }

    fn drop_bodies(&self, survey: &Survey, skipped: &mut HashSet<Stream>) -> Result<u64, RetentionError> {
        let shared = self.shared();
        shared.dropping.send_replace(true);
        // Keeps others out of the folder, should the writer end meanwhile.
        let _held = lock(&shared.lock).clone();
        let wanted = || !shared.stop.load(Ordering::SeqCst);
        let first = self.drop_round(survey, skipped, None, &wanted)?;
        let Some(segment) = first.open else { return Ok(first.dropped) };
        let (closed, is_closed) = mpsc::sync_channel(1);
        self.errand(Errand::ClosePart(closed));
        while is_closed.recv_timeout(Duration::from_millis(50)).is_err() {
            if !wanted() || *shared.stopped.borrow() {
                return Err(RetentionError::Stopping);
            }
        }
        Ok(first.dropped + self.drop_round(survey, skipped, Some(segment), &wanted)?.dropped)
    }

    fn drop_round(
        &self,
        survey: &Survey,
        skipped: &mut HashSet<Stream>,
        closed: Option<u32>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Dropping, RetentionError> {
        let late = &self.shared().late;
        let before = skipped.clone();
        let spared =
            |stream: &Stream| before.contains(stream) || survey.holds_all(stream) || lock(late).contains(stream);
        let changes = || lock(late).len();
        let covers = &survey.scanned.covers;
        let drops = Drops { covers, spared: &spared, changes: &changes, pruned: None, closed, wanted };
        let done = self.shared().records.drop_bodies(&drops)?;
        skipped.extend(lock(late).iter().cloned());
        skipped.extend(done.skipped.iter().cloned());
        if wanted() { Ok(done) } else { Err(RetentionError::Stopping) }
    }

    fn errand(&self, errand: Errand) {
        lock(&self.shared().errands).push(errand);
        self.ledger.wake();
    }
}
