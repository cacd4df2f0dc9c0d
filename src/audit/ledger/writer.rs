//! The one thread that writes.
//!
//! Group commit without a timer: it takes whatever has queued up while the last sync ran, writes that with one write
//! and one sync, and takes what has queued up since.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use tokio::sync::mpsc;

#[cfg(feature = "checkpoint")]
use super::evidence::Evidence;
use super::{
    Message, Shared,
    gate::lock,
    home::{Draft, Home, HomeError, Places},
    retention::Errand,
    segment,
    sink::{self, Gap, Mirrors},
    tree::Head,
};
use crate::{
    audit::record::{Kind, Record, Stream},
    trace,
};

/// Between two tries to write after a failure.
const RETRY: Duration = Duration::from_millis(100);
/// How often counts of refusals are looked at while there are any.
const TICK: Duration = Duration::from_secs(1);
/// How long a shutdown waits for the requests in flight, in steps of `RETRY`.
const GRACE_STEPS: u32 = 50;

/// Counts of refusals taken at a time: fewer bytes than the longest record, for which a batch keeps room.
const REFUSALS: usize = 16;

/// What a gap names for routes of best effort. No sink can be called so: its name has a space.
const BEST_EFFORT: &str = "best effort";

/// Bytes kept free in a batch for the second record of an operator's act, which names no subjects: so its texts are all
/// that it may hold, at six bytes for a character that is escaped.
const MIRROR: usize = 8 * 1024;

pub(crate) struct Writer {
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) home: Box<dyn Home>,
    pub(super) places: Places,
    pub(super) mirrors: Mirrors,
    #[cfg(feature = "checkpoint")]
    pub(super) evidence: Evidence,
    /// How often a stopping writer has waited for the requests in flight.
    pub(super) grace: u32,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Whatever happens to the thread, nobody waits for it for ever.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.gate.fail();
        self.0.stopped.send_replace(true);
    }
}

enum Next {
    Store,
    Stop,
}

impl Writer {
    pub(super) fn run(mut self) {
        let farewell = Farewell(Arc::clone(&self.shared));
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        self.mirrors.set_writer(&std::thread::current());
        let mut batch = Draft::new();
        #[cfg(feature = "checkpoint")]
        {
            batch.signer = self.evidence.signer().cloned();
        }
        loop {
            self.run_errands();
            let next = self.collect(&mut batch, &waker);
            if batch.count() > 0 && !self.store(&mut batch) {
                trace::event!(
                    error,
                    records = batch.count(),
                    "the ledger stopped with records that it could not write"
                );
                break;
            }
            if matches!(next, Next::Stop) {
                break;
            }
        }
        // The lock on the folder goes before anybody hears that the writer has stopped.
        self.sign(true);
        drop(self.home);
        #[cfg(feature = "checkpoint")]
        drop(self.evidence);
        lock(&self.shared.lock).take();
        self.mirrors.stop();
        drop(farewell);
    }

    /// Waits for the first record, then takes what else is there.
    fn collect(&mut self, batch: &mut Draft, waker: &Waker) -> Next {
        batch.begin(Head::of(&self.places.tree));
        let limit = segment::batch_limit(self.shared.options.segment_size) - MIRROR;
        let most = self.shared.options.batch;
        let mut context = Context::from_waker(waker);
        loop {
            while batch.count() < most && batch.size() < limit {
                match self.queue.poll_recv(&mut context) {
                    Poll::Ready(Some(message)) => {
                        batch.add(*message.record, &mut self.places);
                        if let Some(mirror) = message.mirror {
                            batch.add(*mirror, &mut self.places);
                        }
                        batch.ticket = message.ticket;
                    }
                    Poll::Ready(None) => return self.last(batch, limit),
                    Poll::Pending => break,
                }
            }
            let counting = !lock(&self.shared.refusals).is_empty();
            if counting {
                self.add_refusals(batch, false, limit);
            }
            self.add_gaps(batch);
            if batch.count() > 0 {
                return Next::Store;
            }
            self.run_errands();
            if self.shared.stop.load(Ordering::Acquire) {
                // From here on nobody gets a slot; those who hold one are given a while to use it.
                self.queue.close();
                self.grace += 1;
                if self.grace > GRACE_STEPS {
                    return self.last(batch, limit);
                }
                std::thread::park_timeout(RETRY);
            } else if counting || self.sign(false) {
                std::thread::park_timeout(TICK);
            } else if let Some(every) = self.home.every() {
                let since = sink::now();
                std::thread::park_timeout(every);
                if since.elapsed() >= every {
                    self.refresh();
                    batch.begin(Head::of(&self.places.tree));
                }
            } else {
                std::thread::park();
            }
        }
    }

    /// Takes note of what others wrote, while there is nothing to write here.
    fn refresh(&mut self) {
        let before = self.places.tree.size();
        if let Err(error) = self.home.refresh(&mut self.places) {
            trace::event!(warn, error = %error, "the ledger's home does not answer, or somebody changed what it holds");
            let _ = error;
            if matches!(error, HomeError::Changed { .. }) {
                self.shared.gate.fail();
            }
        }
        if self.places.tree.size() > before {
            *lock(&self.shared.head) = Head::of(&self.places.tree);
            let mut order = lock(&self.shared.order);
            for stream in self.places.chains.keys().filter(|stream| **stream != Stream::Platform) {
                if !order.streams.contains(stream) {
                    order.streams.insert(stream.clone());
                }
            }
        }
    }

    /// What is to be done while no batch is on its way.
    fn run_errands(&mut self) {
        for errand in std::mem::take(&mut *lock(&self.shared.errands)) {
            match errand {
                Errand::ClosePart(done) => {
                    self.home.close_part();
                    // Whoever asked may have given up.
                    let _ = done.try_send(());
                }
                #[cfg(feature = "checkpoint")]
                Errand::PruneSinks(pruned) => self.mirrors.prune(&pruned),
            }
        }
    }

    /// Nobody sends any more: what is left are the counts of refusals, in as many batches as they need.
    fn last(&mut self, batch: &mut Draft, limit: usize) -> Next {
        self.add_gaps(batch);
        self.add_refusals(batch, true, limit);
        if batch.count() > 0 { Next::Store } else { Next::Stop }
    }

    fn add_refusals(&mut self, batch: &mut Draft, all: bool, limit: usize) {
        while batch.size() < limit {
            let records = lock(&self.shared.refusals).take(self.shared.clock.monotonic(), all, REFUSALS);
            if records.is_empty() {
                return;
            }
            for record in records {
                batch.add(record, &mut self.places);
            }
        }
    }

    /// What sinks have missed, and what routes of best effort could not record.
    fn add_gaps(&mut self, batch: &mut Draft) {
        let mut gaps = self.mirrors.take_gaps();
        let lost = self.shared.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            gaps.push(Gap { sink: BEST_EFFORT.into(), said: Gap::LOST, records: lost });
        }
        for Gap { sink, said, records } in gaps {
            let clock = &self.shared.clock;
            let mut record = Record::empty(Kind::Gap, Stream::Platform, clock.now(), clock.monotonic());
            record.entity = Some(sink.as_ref().to_owned().into());
            record.reason = Some(said.into());
            record.count = (records > 0).then_some(records);
            batch.add(record, &mut self.places);
        }
    }

    /// Writes until it is durable, however long that takes; `false` if the ledger was told to stop meanwhile.
    fn store(&mut self, batch: &mut Draft) -> bool {
        while let Err(error) = self.home.store(batch, &mut self.places) {
            trace::event!(error, error = %error, "the ledger cannot write: doors are refused until it can");
            let _ = error;
            self.shared.gate.fail();
            if self.shared.stop.load(Ordering::Acquire) {
                return false;
            }
            std::thread::park_timeout(RETRY);
        }
        let head = Head::of(&self.places.tree);
        if !self.mirrors.is_empty() && !self.mirror(batch, head) {
            return false;
        }
        *lock(&self.shared.head) = head;
        self.shared.gate.advance(batch.ticket);
        #[cfg(feature = "checkpoint")]
        self.evidence.add(batch.hashes());
        self.sign(false);
        true
    }

    /// Signs a checkpoint if one is due; whether one will be.
    #[cfg(feature = "checkpoint")]
    fn sign(&mut self, last: bool) -> bool {
        let head = *lock(&self.shared.head);
        if !self.evidence.is_behind(head) {
            return false;
        }
        let Some(signed) = self.evidence.sign(head, self.shared.clock.monotonic(), last) else { return true };
        if let Err(error) = self.home.keep_checkpoint(signed.note(), head) {
            // The next one says the same and more.
            trace::event!(warn, error = %error, "a checkpoint was signed and cannot be kept beside the ledger");
            let _ = error;
        }
        self.mirrors.give_checkpoint(&signed.shared());
        self.shared.checkpoint.send_replace(Some(signed));
        false
    }

    #[cfg(not(feature = "checkpoint"))]
    #[expect(clippy::unused_self, reason = "it signs with the feature `checkpoint`")]
    fn sign(&mut self, _: bool) -> bool {
        false
    }

    /// Gives the sinks what the home has; `false` if one that is required does not take it and the ledger is to stop.
    fn mirror(&self, batch: &Draft, head: Head) -> bool {
        let shared = &self.shared;
        self.mirrors.give(&batch.to_batch(head), &mut || {
            shared.gate.fail();
            !shared.stop.load(Ordering::Acquire)
        })
    }
}
