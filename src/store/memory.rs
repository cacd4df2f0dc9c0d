//! A bounded store in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::ready,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    BoxFuture, Durable, Entry, ObjectName, Prefix, StoreError, Volatile, check_page, check_value, from_micros, micros,
};
use crate::clock::{SharedClock, SystemClock, Timestamp};

/// How many expired entries one write clears away, so that no single write pays for all.
const SWEEP: usize = 16;

/// A [`Volatile`] store in memory, for one process.
///
/// Holds at most `capacity` live entries and refuses the next one with [`StoreError::Full`]: dropping the oldest
/// would let a stranger flood out a lockout counter.
pub struct MemoryStore {
    state: Mutex<State>,
    capacity: NonZeroUsize,
    clock: SharedClock,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Stored>,
    /// The names by their expiry, soonest first.
    expiries: BTreeSet<(i64, String)>,
    version: u64,
}

struct Stored {
    value: Vec<u8>,
    version: u64,
    expires: Option<i64>,
}

impl Stored {
    fn live(&self, now: i64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn entry(&self) -> Result<Entry, StoreError> {
        Ok(Entry {
            value: self.value.clone(),
            version: self.version,
            expires: self.expires.map(from_micros).transpose()?,
        })
    }
}

impl State {
    fn put(&mut self, name: &str, value: &[u8], expires: Option<i64>) {
        self.take(name);
        self.version += 1;
        if let Some(at) = expires {
            self.expiries.insert((at, name.to_owned()));
        }
        self.entries.insert(name.to_owned(), Stored { value: value.to_vec(), version: self.version, expires });
    }

    fn take(&mut self, name: &str) -> Option<Stored> {
        let (name, stored) = self.entries.remove_entry(name)?;
        if let Some(at) = stored.expires {
            self.expiries.remove(&(at, name));
        }
        Some(stored)
    }

    fn sweep(&mut self, now: i64) {
        for _ in 0..SWEEP {
            match self.expiries.first() {
                Some((at, _)) if *at <= now => {}
                _ => break,
            }
            if let Some((_, name)) = self.expiries.pop_first() {
                self.entries.remove(&name);
            }
        }
    }
}

impl MemoryStore {
    /// An empty store for at most `capacity` entries, on the machine's clock.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self { state: Mutex::default(), capacity, clock: SystemClock::shared() }
    }

    /// Reads the time from this clock instead.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// This store where a [`Durable`] one is asked for.
    ///
    /// # Security
    ///
    /// For tests and throw-away demonstrations. Keys kept here are lost when the process ends, and with them every
    /// value sealed under them.
    #[must_use]
    pub fn danger_forgetful(self) -> DangerForgetful {
        DangerForgetful(self)
    }

    /// A panic elsewhere cannot leave the maps half changed: nothing between their changes panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    fn get_now(&self, name: &ObjectName) -> Result<Option<Entry>, StoreError> {
        let now = self.now();
        self.lock().entries.get(name.as_str()).filter(|stored| stored.live(now)).map(Stored::entry).transpose()
    }

    fn insert_now(&self, name: &ObjectName, value: &[u8], expires: Option<Timestamp>) -> Result<bool, StoreError> {
        check_value(value)?;
        let now = self.now();
        let mut state = self.lock();
        state.sweep(now);
        match state.entries.get(name.as_str()) {
            Some(stored) if stored.live(now) => return Ok(false),
            Some(_) => {}
            None if state.entries.len() >= self.capacity.get() => return Err(StoreError::Full),
            None => {}
        }
        state.put(name.as_str(), value, expires.map(micros));
        Ok(true)
    }

    fn swap_now(
        &self,
        name: &ObjectName,
        version: u64,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        check_value(value)?;
        let now = self.now();
        let mut state = self.lock();
        match state.entries.get(name.as_str()) {
            Some(stored) if stored.live(now) && stored.version == version => {}
            _ => return Ok(false),
        }
        state.put(name.as_str(), value, expires.map(micros));
        Ok(true)
    }

    fn remove_now(&self, name: &ObjectName) -> bool {
        let now = self.now();
        self.lock().take(name.as_str()).is_some_and(|stored| stored.live(now))
    }

    fn list_now(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Result<Vec<(String, Entry)>, StoreError> {
        check_page(limit)?;
        let now = self.now();
        let state = self.lock();
        let range = (std::ops::Bound::Excluded(prefix.start(after)), std::ops::Bound::Excluded(prefix.end()));
        state
            .entries
            .range::<String, _>(range)
            .filter(|(_, stored)| stored.live(now))
            .take(limit)
            .map(|(name, stored)| Ok((name[prefix.as_str().len()..].to_owned(), stored.entry()?)))
            .collect()
    }
}

impl MemoryStore {
    fn since_now(&self, version: u64, limit: usize) -> Result<Vec<(ObjectName, Entry)>, StoreError> {
        check_page(limit)?;
        let now = self.now();
        let state = self.lock();
        let mut newer: Vec<_> =
            state.entries.iter().filter(|(_, stored)| stored.version > version && stored.live(now)).collect();
        newer.sort_unstable_by_key(|(_, stored)| stored.version);
        let newer = newer.into_iter().take(limit);
        newer
            .map(|(name, stored)| Ok((ObjectName::stored(name).ok_or(StoreError::Corrupt)?, stored.entry()?)))
            .collect()
    }

    fn take_over_now(
        &self,
        (mark, version, value): (&ObjectName, Option<u64>, &[u8]),
        entries: &[(ObjectName, Vec<u8>)],
    ) -> Result<bool, StoreError> {
        entries.iter().try_for_each(|(_, value)| check_value(value))?;
        let now = self.now();
        let mut state = self.lock();
        if state.entries.get(mark.as_str()).filter(|there| there.live(now)).map(|there| there.version) != version {
            return Ok(false);
        }
        let new = entries.iter().filter(|(name, _)| !state.entries.contains_key(name.as_str())).count();
        if state.entries.len() + new >= self.capacity.get() {
            return Err(StoreError::Full);
        }
        entries.iter().for_each(|(name, value)| state.put(name.as_str(), value, None));
        state.put(mark.as_str(), value, None);
        Ok(true)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("entries", &self.lock().entries.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// A [`Durable`] store that is none: made by [`MemoryStore::danger_forgetful`], for tests.
///
/// ```
/// use std::{num::NonZeroUsize, sync::Arc};
/// use tower_ward::store::{DangerForgetful, Durable, MemoryStore};
///
/// let store: DangerForgetful = MemoryStore::new(NonZeroUsize::MIN).danger_forgetful();
/// let durable: Arc<dyn Durable> = Arc::new(store);
/// ```
#[derive(Debug)]
pub struct DangerForgetful(MemoryStore);

macro_rules! verbs {
    ($self:ident => $store:expr) => {
        fn get<'a>(&'a $self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
            Box::pin(ready($store.get_now(name)))
        }

        fn insert_new<'a>(
            &'a $self,
            name: &'a ObjectName,
            value: &'a [u8],
            expires: Option<Timestamp>,
        ) -> BoxFuture<'a, Result<bool, StoreError>> {
            Box::pin(ready($store.insert_now(name, value, expires)))
        }

        fn compare_and_swap<'a>(
            &'a $self,
            name: &'a ObjectName,
            version: u64,
            value: &'a [u8],
            expires: Option<Timestamp>,
        ) -> BoxFuture<'a, Result<bool, StoreError>> {
            Box::pin(ready($store.swap_now(name, version, value, expires)))
        }

        fn remove<'a>(&'a $self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
            Box::pin(ready(Ok($store.remove_now(name))))
        }

        fn list<'a>(
            &'a $self,
            prefix: &'a Prefix,
            after: Option<&'a str>,
            limit: usize,
        ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
            Box::pin(ready($store.list_now(prefix, after, limit)))
        }
    };
}

impl Volatile for MemoryStore {
    verbs!(self => self);
}

impl Durable for DangerForgetful {
    verbs!(self => self.0);

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        Box::pin(ready(self.0.since_now(version, limit)))
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(ready(Ok(self.0.lock().version)))
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(ready(self.0.take_over_now(mark, entries)))
    }

    /// Removed values were given back to the allocator; there is no file.
    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}
