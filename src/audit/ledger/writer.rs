//! The one thread that writes.
//!
//! Group commit without a timer: it takes whatever has queued up while the last sync ran, writes that with one write
//! and one sync, and takes what has queued up since.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Message, Shared,
    gate::lock,
    segment::{self, BATCH, BatchHeader, Header, Segment},
    tree::{self, Head, Tree},
};
use crate::{
    audit::record::{Hash, Record, Stream},
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

/// Bytes kept free in a batch for the second record of an operator's act, which names no subjects: so its texts are all
/// that it may hold, at six bytes for a character that is escaped.
const MIRROR: usize = 8 * 1024;

/// The end of one chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

pub(crate) struct Writer {
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) shared: Arc<Shared>,
    /// `None` after a failed write: nothing more is written there.
    pub(super) segment: Option<Segment>,
    pub(super) number: u32,
    pub(super) tree: Tree,
    pub(super) chains: HashMap<Stream, Link>,
    /// How often a stopping writer has waited for the requests in flight.
    pub(super) grace: u32,
}

/// Encoded records on their way to the disk.
struct Batch {
    /// Room for the batch's header, then frames.
    bytes: Vec<u8>,
    text: String,
    /// The tree before the first record.
    before: Head,
    count: u32,
    /// Of the last queued record in it.
    ticket: u64,
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
        let mut batch = Batch {
            bytes: Vec::with_capacity(64 * 1024),
            text: String::with_capacity(1024),
            before: Head::of(&self.tree),
            count: 0,
            ticket: 0,
        };
        loop {
            let next = self.collect(&mut batch, &waker);
            if batch.count > 0 && !self.store(&mut batch) {
                trace::event!(error, records = batch.count, "the ledger stopped with records that it could not write");
                break;
            }
            if matches!(next, Next::Stop) {
                break;
            }
        }
        // The lock on the folder goes before anybody hears that the writer has stopped.
        self.segment = None;
        lock(&self.shared.lock).take();
        drop(farewell);
    }

    /// Waits for the first record, then takes what else is there.
    fn collect(&mut self, batch: &mut Batch, waker: &Waker) -> Next {
        batch.bytes.clear();
        batch.bytes.resize(BATCH, 0);
        batch.count = 0;
        batch.before = *lock(&self.shared.head);
        let limit = segment::batch_limit(self.shared.options.segment_size) - MIRROR;
        let most = u32::try_from(self.shared.options.batch).unwrap_or(u32::MAX);
        let mut context = Context::from_waker(waker);
        loop {
            while batch.count < most && batch.bytes.len() < limit {
                match self.queue.poll_recv(&mut context) {
                    Poll::Ready(Some(message)) => {
                        self.add(batch, *message.record);
                        if let Some(mirror) = message.mirror {
                            self.add(batch, *mirror);
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
            if batch.count > 0 {
                return Next::Store;
            }
            if self.shared.stop.load(Ordering::Acquire) {
                // From here on nobody gets a slot; those who hold one are given a while to use it.
                self.queue.close();
                self.grace += 1;
                if self.grace > GRACE_STEPS {
                    return self.last(batch, limit);
                }
                std::thread::park_timeout(RETRY);
            } else if counting {
                std::thread::park_timeout(TICK);
            } else {
                std::thread::park();
            }
        }
    }

    /// Nobody sends any more: what is left are the counts of refusals, in as many batches as they need.
    fn last(&mut self, batch: &mut Batch, limit: usize) -> Next {
        self.add_refusals(batch, true, limit);
        if batch.count > 0 { Next::Store } else { Next::Stop }
    }

    fn add_refusals(&mut self, batch: &mut Batch, all: bool, limit: usize) {
        while batch.bytes.len() < limit {
            let records = lock(&self.shared.refusals).take(self.shared.clock.monotonic(), all, REFUSALS);
            if records.is_empty() {
                return;
            }
            for record in records {
                self.add(batch, record);
            }
        }
    }

    /// Gives the record its place, encodes and hashes it.
    fn add(&mut self, batch: &mut Batch, mut record: Record) {
        record.index = self.tree.size();
        if let Some(link) = self.chains.get(&record.stream) {
            record.sequence = link.sequence + 1;
            record.previous = link.hash;
        }
        batch.text.clear();
        record.write_to(&mut batch.text);
        let bytes = batch.text.as_bytes();
        // What cannot be read back would stop the next start.
        debug_assert!(Record::from_bytes(bytes).is_ok(), "every field of a record is bounded where it is set");
        let hash = tree::leaf(bytes);
        batch.bytes.extend_from_slice(&segment::frame(bytes));
        batch.bytes.extend_from_slice(bytes);
        self.tree.push(hash);
        self.chains.insert(record.stream, Link { sequence: record.sequence, hash });
        batch.count += 1;
    }

    /// Writes until it is durable, however long that takes; `false` if the ledger was told to stop meanwhile.
    fn store(&mut self, batch: &mut Batch) -> bool {
        while let Err(error) = self.try_store(batch) {
            trace::event!(error, error = %error, "the ledger cannot write: doors are refused until it can");
            self.shared.gate.fail();
            if self.shared.stop.load(Ordering::Acquire) {
                return false;
            }
            std::thread::park_timeout(RETRY);
        }
        *lock(&self.shared.head) = Head::of(&self.tree);
        self.shared.gate.advance(batch.ticket);
        true
    }

    fn try_store(&mut self, batch: &mut Batch) -> std::io::Result<()> {
        let full = self.segment.as_ref().is_none_or(|segment| !segment.fits(batch.bytes.len()));
        if full {
            // The header makes void whatever a failed write left in the segment before.
            let header = Header {
                number: self.number + 1,
                size: self.shared.options.segment_size,
                first: batch.before.size,
                root: batch.before.root,
            };
            self.segment = None;
            self.segment = Some(Segment::create(&self.shared.dir, &header)?);
            self.number += 1;
        }
        let segment = self.segment.as_mut().expect("it was made above");
        let header = BatchHeader {
            segment: segment.number(),
            offset: u32::try_from(segment.offset()).expect("a segment is at most 1 GiB"),
            first: batch.before.size,
            count: batch.count,
            length: u32::try_from(batch.bytes.len() - BATCH).expect("a batch is far below 4 GiB"),
            root: batch.before.root,
        };
        batch.bytes[..BATCH].copy_from_slice(&header.to_bytes());
        let stored = segment.append(&batch.bytes);
        if stored.is_err() {
            self.segment = None;
        }
        stored
    }
}
