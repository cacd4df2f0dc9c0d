//! Who waits for which record to be durable.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::oneshot;

/// Locks; a panic elsewhere while it was held left nothing half done, since no critical section here can panic midway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What somebody who waits for durability gets.
#[derive(Debug)]
pub(crate) enum Wait {
    /// It is durable already.
    Durable,
    /// It will be, once this fires; if the sender is dropped instead, it is not known to be.
    Later(oneshot::Receiver<()>),
    /// The ledger cannot write.
    Unavailable,
}

/// The durable end of the queue, and those who wait for it to move.
///
/// A one-shot per waiter, so that a layer's future needs no box. The list is bounded by the requests in flight that
/// opened a door, and each of those holds a slot of the queue.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The last ticket whose record is durable.
    durable: AtomicU64,
    unavailable: AtomicBool,
    waiting: Mutex<Vec<(u64, oneshot::Sender<()>)>>,
}

impl Gate {
    pub(crate) fn is_durable(&self, ticket: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= ticket
    }

    pub(crate) fn is_available(&self) -> bool {
        !self.unavailable.load(Ordering::Acquire)
    }

    pub(crate) fn wait(&self, ticket: u64) -> Wait {
        if self.is_durable(ticket) {
            return Wait::Durable;
        }
        let mut waiting = lock(&self.waiting);
        // Again under the lock: the writer moves the end and wakes under it.
        if self.is_durable(ticket) {
            return Wait::Durable;
        }
        if !self.is_available() {
            return Wait::Unavailable;
        }
        if waiting.len() == waiting.capacity() {
            // Before it grows: who no longer waits need not be kept.
            waiting.retain(|(_, fire)| !fire.is_closed());
        }
        let (fire, receiver) = oneshot::channel();
        waiting.push((ticket, fire));
        Wait::Later(receiver)
    }

    /// Everything up to `ticket` is durable.
    pub(crate) fn advance(&self, ticket: u64) {
        let ready: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            self.durable.fetch_max(ticket, Ordering::Release);
            self.unavailable.store(false, Ordering::Release);
            waiting.extract_if(.., |(wanted, _)| *wanted <= ticket).collect()
        };
        for (_, fire) in ready {
            // Whoever gave up waiting is not told.
            let _ = fire.send(());
        }
    }

    /// Nothing more becomes durable for now: everybody who waits is sent away.
    pub(crate) fn fail(&self) {
        let given_up = {
            let mut waiting = lock(&self.waiting);
            self.unavailable.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        drop(given_up);
    }
}
