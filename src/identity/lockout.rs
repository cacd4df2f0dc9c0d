//! Progressive refusal after failed logins, per clinic and user name.
//!
//! 1. A user name, known or not, has five failures free. From the fifth, each failure is followed by a refusal: 30 s,
//!    then twice that, up to 15 minutes.
//! 2. A try during a refusal is refused without looking at the password, and changes nothing: it does not extend it.
//! 3. Tries that run at the same moment count as failures until they are known, so a burst gains no guesses. Those above
//!    the number that is free are told to come again, and do not count.
//! 4. A success forgets the failures; so does an hour without one.
//! 5. When the table is full, the name with the fewest failures, and among these the oldest, is forgotten.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{clock::SharedClock, entropy, id::TenantId};

const FREE: u32 = 5;
const FIRST_REFUSAL: Duration = Duration::from_secs(30);
const LONGEST_REFUSAL: Duration = Duration::from_secs(15 * 60);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

type Key = [u8; 32];

/// Counts failures.
pub(crate) struct Lockout {
    clock: SharedClock,
    capacity: usize,
    /// Makes the keys unpredictable, and the table free of names.
    secret: Zeroizing<[u8; 32]>,
    names: Mutex<HashMap<Key, Name>>,
}

#[derive(Clone, Copy, Default)]
struct Name {
    failures: u32,
    /// Tries whose outcome is not known yet.
    running: u32,
    refused_until: Duration,
    last: Duration,
}

/// Why a login may not be tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Until(Duration),
    Crowded,
}

/// A try that runs. Dropped without an outcome, it counts as a failure: a client gains nothing by hanging up.
#[must_use]
pub(crate) struct Try<'a> {
    lockout: &'a Lockout,
    key: Key,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Failed,
    Succeeded,
    NotMade,
}

impl Lockout {
    pub(crate) fn new(clock: SharedClock, capacity: NonZeroUsize) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        entropy::fill_key(secret.as_mut());
        Self { clock, capacity: capacity.get(), secret, names: Mutex::default() }
    }

    /// Whether a login may be tried now.
    pub(crate) fn begin(&self, tenant: &TenantId, username: &str) -> Result<Try<'_>, Refused> {
        let key = self.key(tenant, username);
        let now = self.clock.monotonic();
        let mut names = self.locked();
        if names.len() >= self.capacity && !names.contains_key(&key) {
            make_room(&mut names, now);
        }
        let name = names.entry(key).or_default();
        if name.is_forgotten(now) {
            *name = Name::default();
        }
        if now < name.refused_until {
            return Err(Refused::Until(name.refused_until - now));
        }
        // Past the free ones, one at a time.
        if name.running > 0 && name.failures + name.running >= FREE {
            return Err(Refused::Crowded);
        }
        name.running += 1;
        name.last = now;
        Ok(Try { lockout: self, key, outcome: Outcome::Failed })
    }

    fn end(&self, key: &Key, outcome: Outcome) {
        let now = self.clock.monotonic();
        let mut names = self.locked();
        let Some(name) = names.get_mut(key) else {
            return;
        };
        name.running = name.running.saturating_sub(1);
        match outcome {
            Outcome::NotMade => {}
            Outcome::Succeeded => {
                (name.failures, name.refused_until) = (0, Duration::ZERO);
            }
            Outcome::Failed => {
                name.failures = name.failures.saturating_add(1);
                name.last = now;
                name.refused_until = now + refusal(name.failures);
            }
        }
        if name.failures == 0 && name.running == 0 {
            names.remove(key);
        }
    }

    fn key(&self, tenant: &TenantId, username: &str) -> Key {
        // A tenant's id has no zero byte.
        let hash = Sha256::new().chain_update(*self.secret).chain_update(tenant.as_str()).chain_update([0]);
        hash.chain_update(username).finalize().into()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.locked().len()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn is_forgotten(&self, now: Duration) -> bool {
        self.running == 0 && now >= self.refused_until.max(self.last) + FORGOTTEN_AFTER
    }
}

/// Forgets what is old; if nothing is, the least suspicious name that has no try running.
fn make_room(names: &mut HashMap<Key, Name>, now: Duration) {
    let before = names.len();
    names.retain(|_, name| !name.is_forgotten(now));
    if names.len() < before {
        return;
    }
    let idle = names.iter().filter(|(_, name)| name.running == 0);
    let least = idle.min_by_key(|(_, name)| (name.failures, name.last)).map(|(key, _)| *key);
    if let Some(key) = least {
        names.remove(&key);
    }
}

/// How long the refusal after this failure lasts.
fn refusal(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(beyond) => FIRST_REFUSAL.saturating_mul(1 << beyond.min(10)).min(LONGEST_REFUSAL),
    }
}

impl Try<'_> {
    pub(crate) fn succeeded(mut self) {
        self.outcome = Outcome::Succeeded;
    }

    /// The password was never looked at.
    pub(crate) fn not_made(mut self) {
        self.outcome = Outcome::NotMade;
    }

    pub(crate) fn failed(self) {}
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        self.lockout.end(&self.key, self.outcome);
    }
}

impl fmt::Debug for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lockout").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
