//! The places for connections, and who gives theirs up when none is left.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How long somebody who was asked to leave is waited for before the next is asked.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// For how long nobody is asked to leave: two round trips, one for the handshake and one for the request. While strangers
/// come in faster than so many places in this time, who wants to come in waits.
const GRACE: Duration = Duration::from_millis(250);

/// What is waited for, of those who wait for nothing but their client. The first are asked to leave first, and of each kind
/// the one that has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The first request.
    Silent,
    /// The next request.
    Idle,
    /// The rest of a request's body.
    Sending,
}

type Rank = (Kind, u64);

#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug, Default)]
struct Idle {
    next: u64,
    waiting: BTreeMap<Rank, (Instant, Arc<Notify>)>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    idle: Arc<Mutex<Idle>>,
    leave: Arc<Notify>,
    state: Mutex<State>,
    _held: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a request ever came.
    asked: bool,
    /// Requests whose body has not arrived.
    sending: usize,
    /// Requests that the server works at.
    working: usize,
    /// Where it waits; nothing while the server works.
    rank: Option<Rank>,
}

/// One request in flight: first its body arrives, then the server works at it.
#[derive(Debug)]
pub(super) struct InFlight {
    place: Arc<Place>,
    arrived: AtomicBool,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), idle: Arc::default() }
    }

    /// A place, once there is one. Where none is free, whoever has waited longest without a request loses theirs.
    pub(super) async fn take(&self) -> Place {
        let held = loop {
            if let Ok(held) = Arc::clone(&self.free).try_acquire_owned() {
                break held;
            }
            // Nobody to ask: each has a request in flight, and the next to be idle is asked.
            let again = lock(&self.idle).ask().unwrap_or(Instant::now() + ASK_AGAIN);
            if let Ok(Ok(held)) = timeout_at(again, Arc::clone(&self.free).acquire_owned()).await {
                break held;
            }
        };
        let state = Mutex::default();
        let place = Place { idle: Arc::clone(&self.idle), leave: Arc::default(), state, _held: held };
        place.update(|_| ());
        place
    }
}

impl Idle {
    fn wait(&mut self, kind: Kind, leave: &Arc<Notify>) -> Rank {
        let rank = (kind, self.next);
        self.next += 1;
        self.waiting.insert(rank, (Instant::now(), Arc::clone(leave)));
        rank
    }

    /// Asks one to leave who has waited long enough; if nobody has, returns when somebody will have.
    fn ask(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut soonest = None;
        // Not the first of all alone: while that one has its grace, others have waited for long.
        for kind in [Kind::Silent, Kind::Idle, Kind::Sending] {
            let Some((&rank, (since, leave))) = self.waiting.range((kind, 0)..=(kind, u64::MAX)).next() else {
                continue;
            };
            let ripe = *since + GRACE;
            if ripe <= now {
                leave.notify_one();
                self.waiting.remove(&rank);
                return None;
            }
            soonest = soonest.into_iter().chain([ripe]).min();
        }
        soonest
    }
}

impl Place {
    /// Completes when the connection is to make room.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether nothing is lost but what the client has still to send.
    pub(super) fn may_leave(&self) -> bool {
        lock(&self.state).working == 0
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let kind = match *state {
            State { working: 1.., .. } => None,
            State { sending: 1.., .. } => Some(Kind::Sending),
            State { asked: true, .. } => Some(Kind::Idle),
            _ => Some(Kind::Silent),
        };
        if kind != state.rank.map(|(kind, _)| kind) {
            let mut idle = lock(&self.idle);
            if let Some(rank) = state.rank {
                idle.waiting.remove(&rank);
            }
            state.rank = kind.map(|kind| idle.wait(kind, &self.leave));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(rank) = lock(&self.state).rank {
            lock(&self.idle).waiting.remove(&rank);
        }
    }
}

impl InFlight {
    /// The head of a request has arrived.
    pub(super) fn new(place: &Arc<Place>) -> Self {
        place.update(|state| (state.asked, state.sending) = (true, state.sending + 1));
        Self { place: Arc::clone(place), arrived: AtomicBool::new(false) }
    }

    /// Nothing more of it is waited for.
    pub(super) fn arrived(&self) {
        if !self.arrived.swap(true, Ordering::AcqRel) {
            self.place.update(|state| (state.sending, state.working) = (state.sending - 1, state.working + 1));
        }
    }

    /// Its answer has been sent, or given up.
    pub(super) fn ended(&self) {
        let arrived = self.arrived.swap(true, Ordering::AcqRel);
        self.place.update(|state| *(if arrived { &mut state.working } else { &mut state.sending }) -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a place until somebody is asked for theirs.
    async fn take_from(places: &Places, open: &mut Vec<Arc<Place>>, loser: usize) {
        tokio::time::advance(GRACE).await;
        let mut next = std::pin::pin!(places.take());
        let mut asked = Vec::new();
        while asked.is_empty() {
            let soon = tokio::time::timeout(Duration::from_millis(1), &mut next);
            assert!(soon.await.is_err(), "a place that was not free");
            for (n, place) in open.iter().enumerate() {
                let leaves = tokio::time::timeout(Duration::ZERO, place.asked_to_leave());
                if leaves.await.is_ok() {
                    asked.push(n);
                }
            }
        }
        assert_eq!(asked, [loser]);
        assert!(open[loser].may_leave());
        drop(open.remove(loser));
        open.push(Arc::new(next.await));
    }

    async fn three() -> (Places, Vec<Arc<Place>>) {
        let places = Places::new(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(Arc::new(places.take().await));
        }
        (places, open)
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_asked_leaves_first_then_who_is_idle_then_who_still_sends_and_who_is_worked_for_stays() {
        let (places, mut open) = three().await;
        let (worked_for, idle, sending) = (InFlight::new(&open[0]), InFlight::new(&open[1]), InFlight::new(&open[2]));
        worked_for.arrived();
        idle.arrived();
        idle.ended();
        drop(idle);
        take_from(&places, &mut open, 1).await;
        // The newest has sent nothing, and is the next to go.
        take_from(&places, &mut open, 2).await;
        let newest = InFlight::new(&open[2]);
        newest.arrived();
        take_from(&places, &mut open, 1).await;
        sending.ended();
        let last = InFlight::new(&open[2]);
        last.arrived();
        let all_worked_for = places.take();
        assert!(tokio::time::timeout(Duration::from_secs(60), all_worked_for).await.is_err());
        for one in [worked_for, newest, last] {
            one.ended();
            one.arrived();
        }
        drop((sending, open));
        assert!(lock(&places.idle).waiting.is_empty(), "who is gone takes no memory");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_to_leave_before_there_was_time_to_send_anything() {
        let (places, open) = three().await;
        let early = tokio::time::timeout(GRACE - Duration::from_millis(2), places.take());
        assert!(early.await.is_err());
        for place in &open {
            assert!(tokio::time::timeout(Duration::ZERO, place.asked_to_leave()).await.is_err());
        }
    }
}
