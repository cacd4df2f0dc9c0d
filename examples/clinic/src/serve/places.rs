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

/// What is waited for, of those who wait for nothing but their client. The first kind is asked to leave first, and of each
/// the one that has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The first request, or the rest of one.
    Request,
    /// The next request, of somebody who has had an answer.
    Next,
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
    /// Whether a request has been answered.
    answered: bool,
    /// Requests whose body has not arrived.
    sending: usize,
    /// Requests that the server works at.
    working: usize,
    /// Where it waits; nothing while the server works.
    rank: Option<Rank>,
}

/// How a connection that was asked to leave does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Not at all: the server works for it.
    Stay,
    /// Nothing is lost but what the client has still to send.
    AtOnce,
    /// The last of an answer may be on its way still: it goes first.
    Finish,
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

    /// A place, once there is one. Where none is free, whoever has kept the server waiting for longest loses theirs.
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

    /// Asks the first of those to leave who have waited long enough; if nobody has, returns when somebody will have.
    fn ask(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut soonest: Option<Instant> = None;
        for kind in [Kind::Request, Kind::Next] {
            let Some((&rank, (since, leave))) = self.waiting.range((kind, 0)..=(kind, u64::MAX)).next() else {
                continue;
            };
            let ripe = *since + GRACE;
            if ripe <= now {
                leave.notify_one();
                self.waiting.remove(&rank);
                return None;
            }
            soonest = Some(soonest.map_or(ripe, |soonest| soonest.min(ripe)));
        }
        soonest
    }
}

impl Place {
    /// Completes when the connection is to make room.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// How it may leave.
    pub(super) fn manner(&self) -> Manner {
        match *lock(&self.state) {
            State { working: 1.., .. } => Manner::Stay,
            State { sending: 0, answered: true, .. } => Manner::Finish,
            _ => Manner::AtOnce,
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let kind = match *state {
            State { working: 1.., .. } => None,
            State { sending: 0, answered: true, .. } => Some(Kind::Next),
            _ => Some(Kind::Request),
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
        place.update(|state| state.sending += 1);
        Self { place: Arc::clone(place), arrived: AtomicBool::new(false) }
    }

    /// Nothing more of it is waited for.
    pub(super) fn arrived(&self) {
        self.place.update(|state| {
            // Under the lock, so that flag and counts are one.
            if !self.arrived.swap(true, Ordering::Relaxed) {
                (state.sending, state.working) = (state.sending - 1, state.working + 1);
            }
        });
    }

    /// Its answer has been handed to the connection, or given up.
    pub(super) fn ended(&self) {
        self.place.update(|state| {
            let arrived = self.arrived.swap(true, Ordering::Relaxed);
            *(if arrived { &mut state.working } else { &mut state.sending }) -= 1;
            state.answered = true;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is asked to leave when one more comes.
    async fn asked_by_one_more(places: &Places, open: &[Arc<Place>]) -> Vec<usize> {
        tokio::time::advance(GRACE).await;
        let one_more = tokio::time::timeout(ASK_AGAIN / 2, places.take());
        assert!(one_more.await.is_err(), "a place that was not free");
        let mut asked = Vec::new();
        for (n, place) in open.iter().enumerate() {
            if tokio::time::timeout(Duration::ZERO, place.asked_to_leave()).await.is_ok() {
                assert_ne!(place.manner(), Manner::Stay);
                asked.push(n);
            }
        }
        asked
    }

    async fn four() -> (Places, Vec<Arc<Place>>) {
        let places = Places::new(4);
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(Arc::new(places.take().await));
        }
        (places, open)
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_a_request_leaves_first_then_who_is_idle_and_who_is_worked_for_stays() {
        let (places, mut open) = four().await;
        // One is worked for, one was answered, one still sends its body, and one never sent anything.
        let [worked_for, idle, sending] = [0, 1, 2].map(|n| InFlight::new(&open[n]));
        worked_for.arrived();
        idle.arrived();
        idle.ended();
        drop(idle);
        assert_eq!(asked_by_one_more(&places, &open).await, [2], "the oldest that owes a request");
        assert_eq!(asked_by_one_more(&places, &open).await, [3], "the next, while that one has not left");
        assert_eq!(asked_by_one_more(&places, &open).await, [1], "and then who would ask again");
        assert_eq!(asked_by_one_more(&places, &open).await, [0; 0]);
        // Whoever was asked and is worked for by then stays, and takes its turn again afterwards.
        assert_eq!(
            [&open[1], &open[2], &open[3]].map(|place| place.manner()),
            [Manner::Finish, Manner::AtOnce, Manner::AtOnce]
        );
        sending.arrived();
        assert_eq!(open[2].manner(), Manner::Stay);
        sending.ended();
        assert_eq!(asked_by_one_more(&places, &open).await, [2]);
        worked_for.ended();
        drop((worked_for, sending, open.split_off(1)));
        assert_eq!(places.take().await.manner(), Manner::AtOnce, "three places are free");
        drop(open);
        assert!(lock(&places.idle).waiting.is_empty(), "who is gone takes no memory");
    }

    /// Newcomers without a request kept everybody else out for the time that each of them has.
    #[tokio::test(start_paused = true)]
    async fn one_who_has_only_come_does_not_protect_those_who_are_idle() {
        let (places, open) = four().await;
        for place in &open[..3] {
            let request = InFlight::new(place);
            request.arrived();
            request.ended();
        }
        tokio::time::advance(GRACE).await;
        let (mut open, newcomer) = (open, places.take());
        // The last owes a request; it leaves, and the newcomer owes one in its stead.
        let newcomer = async {
            let mut newcomer = std::pin::pin!(newcomer);
            let soon = tokio::time::timeout(ASK_AGAIN / 2, &mut newcomer);
            assert!(soon.await.is_err());
            drop(open.pop());
            newcomer.await
        };
        let newcomer = newcomer.await;
        // Right away, the longest idle is asked for the next, not waited for until the newcomer has had its time.
        let next = tokio::time::timeout(Duration::from_millis(1), places.take());
        assert!(next.await.is_err());
        assert!(tokio::time::timeout(Duration::ZERO, open[0].asked_to_leave()).await.is_ok());
        assert!(tokio::time::timeout(Duration::ZERO, newcomer.asked_to_leave()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_to_leave_before_there_was_time_to_send_anything() {
        let (places, open) = four().await;
        let early = tokio::time::timeout(GRACE - Duration::from_millis(2), places.take());
        assert!(early.await.is_err());
        for place in &open {
            assert!(tokio::time::timeout(Duration::ZERO, place.asked_to_leave()).await.is_err());
        }
    }
}
