//! Limits for many keys at once, in memory that never grows.
//!
//! A request for a key is decided by these rules (GCRA, ITU-T I.371, as `governor` computes it):
//!
//! 1. A key that the table does not know has its whole burst.
//! 2. Each request that is allowed takes one. What was taken comes back one by one, the whole burst in
//!    [`per`](Quota::per). So no window of any length `t` holds more than `burst + t × burst / per` of them.
//! 3. A request that finds none left is refused, takes nothing, and is told when to come again.
//! 4. A key whose burst is whole again is forgotten when its place is needed, which changes no decision.
//! 5. A new key that finds no such place is refused: the table never grows, and never forgets a key that is being
//!    limited. That is the policy for full.
//!
//! The caller reads the time once, and passes it to every limit of the request.
//!
//! ```
//! use std::{num::NonZeroU32, time::Duration};
//! use tower_ward::quota::{Decision, Limiter, Quota};
//!
//! let two_a_minute = Quota::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(60))?;
//! let limiter = Limiter::new(two_a_minute, NonZeroU32::new(1_000).unwrap())?;
//!
//! let now = Duration::ZERO; // from a `Clock`'s `monotonic`
//! assert!(limiter.check("anna", now).is_allowed());
//! assert!(limiter.check("anna", now).is_allowed());
//! let third: Decision = limiter.check("anna", now);
//! assert!(!third.is_allowed());
//! assert_eq!(third.retry_after(), Duration::from_secs(30));
//! assert!(limiter.check("boris", now).is_allowed());
//! assert!(limiter.check("anna", now + third.retry_after()).is_allowed());
//! # Ok::<(), tower_ward::quota::QuotaError>(())
//! ```
//!
//! # Deployment caveat
//!
//! The table is this process's own: behind a balancer, each process allows the whole burst. It is empty after a
//! restart, when every key has its whole burst again.
//!
//! # Security
//!
//! Who attacks: somebody with many keys (addresses, accounts), to spend memory or to have a limit forgotten. Promised:
//! memory is taken once, at the start (16 bytes a key and a lock for each 32); no number of keys makes the table forget
//! one that is being limited. The price is rule 5: whoever holds more live keys than there is room for keeps newcomers
//! out while it lasts, so make the room much larger than the number of honest keys. The table holds hashes of the keys
//! under a secret of the process, not the keys: no address or name can be read from it, and no two keys can be chosen
//! to meet. Two do by chance with probability 2⁻⁶⁴, and then share a burst.

mod table;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware, nanos::Nanos};

use self::table::{Ask, Table};

/// How much, and in what time. Cannot be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    burst: NonZeroU32,
    per: Duration,
    /// What one request takes: `per / burst`, rounded up to a nanosecond, so that rounding never allows more.
    interval: u64,
}

/// A setting of a limit cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The time is too short or too long.
    #[error("`per` of a quota must be from 1 ms to 366 days: set it to the time in which the whole burst comes back")]
    Per,
    /// More keys than a table may have.
    #[error("`keys` of a limiter must be at most 16777216: each takes 16 bytes, taken at the start")]
    Keys,
}

impl Quota {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// `burst` requests at once, and again after `per`.
    ///
    /// # Errors
    ///
    /// If `per` is not from 1 ms to 366 days.
    pub fn new(burst: NonZeroU32, per: Duration) -> Result<Self, QuotaError> {
        if per < Duration::from_millis(1) || per > Self::LONGEST {
            return Err(QuotaError::Per);
        }
        Ok(Self::checked(burst, per))
    }

    /// `burst` requests at once, and again after a minute.
    #[must_use]
    pub const fn per_minute(burst: NonZeroU32) -> Self {
        Self::checked(burst, Duration::from_secs(60))
    }

    #[expect(clippy::cast_possible_truncation, reason = "`per` is at most 366 days, which is less than 2^55 ns")]
    const fn checked(burst: NonZeroU32, per: Duration) -> Self {
        let nanos = per.as_nanos() as u64;
        Self { burst, per, interval: nanos.div_ceil(burst.get() as u64) }
    }

    /// How many at once.
    #[must_use]
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// In what time the whole burst comes back.
    #[must_use]
    pub fn per(&self) -> Duration {
        self.per
    }
}

/// What a limit says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a limit that nobody asks limits nothing"]
pub struct Decision {
    allowed: bool,
    crowded: bool,
    remaining: u32,
    reset_after: Duration,
    retry_after: Duration,
}

impl Decision {
    /// Whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// How many more would be allowed at this moment.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// After what time the whole burst is there again, if nothing more is asked for.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.reset_after
    }

    /// After what time a refused request would be allowed, if nothing else is asked for. Zero if this one was.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// Whether it was refused because the table has no room for a new key (rule 5), not for what the key did.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }
}

/// governor's clock: see [`Ask`] for why it stands still.
#[derive(Debug, Clone, Copy)]
struct Still;

impl GovernorClock for Still {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

/// A quota for each of many keys.
pub struct Limiter {
    quota: Quota,
    governor: RateLimiter<Ask, Table, Still, NoOpMiddleware<Nanos>>,
    capacity: usize,
    memory: usize,
    hasher: RandomState,
}

impl Limiter {
    /// A limiter with room for `keys`, rounded up to a multiple of 32. All its memory is taken here.
    ///
    /// # Errors
    ///
    /// If `keys` is more than 16 777 216 (256 MiB).
    pub fn new(quota: Quota, keys: NonZeroU32) -> Result<Self, QuotaError> {
        let keys = usize::try_from(keys.get()).map_err(|_| QuotaError::Keys)?;
        if keys > 1 << 24 {
            return Err(QuotaError::Keys);
        }
        let tolerance = quota.interval * u64::from(quota.burst.get() - 1);
        let table = Table::new(keys, tolerance);
        let (capacity, memory) = (table.capacity(), table.memory());
        let interval = Duration::from_nanos(quota.interval);
        let rate = governor::Quota::with_period(interval).ok_or(QuotaError::Per)?.allow_burst(quota.burst);
        let governor = RateLimiter::new(rate, table, Still);
        // The secret is drawn from the operating system by the standard library.
        Ok(Self { quota, governor, capacity, memory, hasher: RandomState::new() })
    }

    /// Decides about one request of `key`, at the monotonic time `now`, and takes one from its burst if it is allowed.
    ///
    /// Keys that `Hash` alike are one key: give tuples or slices (which hash their lengths), never joined strings.
    pub fn check<K: Hash + ?Sized>(&self, key: &K, now: Duration) -> Decision {
        let ask = Ask {
            tag: self.hasher.hash_one(key),
            now: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            arrival: Cell::new(0),
            crowded: Cell::new(false),
        };
        let outcome = self.governor.check_key(&ask);
        let arrival = ask.arrival.get();
        let left = (self.quota.interval * u64::from(self.quota.burst.get())).saturating_sub(arrival);
        let allowed = outcome.is_ok();
        Decision {
            allowed,
            crowded: ask.crowded.get(),
            remaining: if allowed { u32::try_from(left / self.quota.interval).unwrap_or(0) } else { 0 },
            reset_after: Duration::from_nanos(arrival),
            retry_after: outcome.err().map_or(Duration::ZERO, |until| until.wait_time_from(Nanos::new(0))),
        }
    }

    /// The quota that each key has.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// For how many keys there is room.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes the table takes: now, and always.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("quota", &self.quota).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
