use std::{
    cell::Cell,
    fmt,
    hash::{Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use governor::{nanos::Nanos, state::StateStore};

/// How many keys share a set, and its lock. With half of the slots live, a set overflows once in ten thousand.
pub(super) const WAYS: usize = 32;

/// A request for one key, at one moment.
///
/// governor asks its clock for the time and keeps times since its own start. Here its clock stands still at zero and
/// times are *relative to this moment*, which the caller read once: GCRA's rule looks at differences only, so it decides
/// the same, and one reading serves every limit of a request.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) tag: u64,
    pub(super) now: u64,
    /// What the table found or wrote: the arrival time, in nanoseconds after `now`.
    pub(super) arrival: Cell<u64>,
    pub(super) crowded: Cell<bool>,
}

impl PartialEq for Ask {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag
    }
}

impl Eq for Ask {}

impl Hash for Ask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tag.hash(state);
    }
}

/// The arrival times of a fixed number of keys.
pub(super) struct Table {
    sets: Box<[Mutex<Set>]>,
    tolerance: u64,
}

/// Tags and times apart, so that a search reads tags alone.
struct Set {
    tags: [u64; WAYS],
    /// When the key's bucket is full again. A slot whose time has come says nothing that an empty one does not.
    arrivals: [u64; WAYS],
}

impl Table {
    /// Room for `keys`, rounded up to whole sets, all of it taken now. `tolerance` is GCRA's tau.
    pub(super) fn new(keys: usize, tolerance: u64) -> Self {
        let empty = || Mutex::new(Set { tags: [0; WAYS], arrivals: [0; WAYS] });
        Self { sets: (0..keys.div_ceil(WAYS)).map(|_| empty()).collect(), tolerance }
    }

    pub(super) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    pub(super) fn memory(&self) -> usize {
        std::mem::size_of_val(&*self.sets)
    }

    fn set(&self, tag: u64) -> MutexGuard<'_, Set> {
        // The high half of tag × sets is an even spread over 0..sets, and less than it.
        let index = (u128::from(tag) * self.sets.len() as u128) >> 64;
        lock(&self.sets[usize::try_from(index).unwrap_or(0)])
    }
}

/// Nothing panics while a set is locked, and each slot is whole between two statements.
fn lock(set: &Mutex<Set>) -> MutexGuard<'_, Set> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for Table {
    type Key = Ask;

    fn measure_and_replace<T, F, E>(&self, ask: &Ask, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut set = self.set(ask.tag);
        let (slot, known) = match set.tags.iter().position(|tag| *tag == ask.tag) {
            Some(slot) => (slot, Some(set.arrivals[slot].saturating_sub(ask.now))),
            None => match set.arrivals.iter().position(|arrival| *arrival <= ask.now) {
                Some(slot) => (slot, None),
                None => {
                    // No room that would not forget a key with something to remember. The newcomer is answered as a
                    // key that must wait until the first slot is free, which `decide` refuses.
                    let first = set.arrivals.iter().min().map_or(1, |arrival| arrival.saturating_sub(ask.now));
                    ask.crowded.set(true);
                    ask.arrival.set(first);
                    return decide(Some(Nanos::new(self.tolerance.saturating_add(first)))).map(|(value, _)| value);
                }
            },
        };
        ask.arrival.set(known.unwrap_or(0));
        let (value, next) = decide(known.map(Nanos::new))?;
        ask.arrival.set(next.as_u64());
        set.tags[slot] = ask.tag;
        set.arrivals[slot] = ask.now.saturating_add(next.as_u64());
        Ok(value)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}
