//! What has been revoked, in memory, so that a verified token is refused at once and without a store.
//!
//! 1. An ended session's tokens are refused by the session's id.
//! 2. A user's tokens are refused if they are of an earlier epoch than the user's.
//! 3. Each entry is kept until no token that it refuses can be within its time, by the wall clock and by the monotonic
//!    clock both, so a wall clock that jumps forward and back forgets nothing.
//! 4. When the table is full, nothing is forgotten: every token of that clinic that was issued up to now is refused. When
//!    there are too many such clinics, every token of every clinic is.
//!
//! Each revocation is also written to the store as `p:revoked:<kind>-<id>`, and read again when the server starts.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    account::{decode, encode},
    error::{Fault, TokenError},
    options::REVOCATION_HOLD,
};
use crate::{
    clock::{SharedClock, Timestamp},
    id::{SessionId, TenantId, UserId},
    store::{Durable, ObjectName, Prefix},
};

const VERSION: u8 = 1;
const KIND: &str = "revoked";
const MAX_TENANTS: usize = 1024;
const PAGE: usize = 1000;

/// What is revoked, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum What {
    Session(SessionId),
    /// Everything of this user that is of an earlier epoch.
    User(UserId, u64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u8,
    tenant: TenantId,
    what: What,
}

/// The revocations of this process.
pub(crate) struct Revocations {
    store: Arc<dyn Durable>,
    clock: SharedClock,
    capacity: usize,
    table: RwLock<Table>,
    /// The latest second at which this process issued a token: "up to now" is at least that, whatever the clock says.
    last_issued: AtomicI64,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<SessionId, Hold>,
    users: HashMap<UserId, (u64, Hold)>,
    /// Tokens issued up to this second are refused, clinic by clinic.
    tenants: HashMap<TenantId, (i64, Hold)>,
    /// And of all clinics.
    everyone: Option<i64>,
    /// No entry is over before this moment, so that a full table is not searched in vain each time.
    earliest: Duration,
}

/// Until when an entry is kept.
#[derive(Clone, Copy)]
struct Hold {
    wall: Timestamp,
    monotonic: Duration,
}

impl Revocations {
    /// Reads back what was revoked lately.
    pub(crate) async fn open(
        store: Arc<dyn Durable>,
        clock: SharedClock,
        capacity: NonZeroUsize,
    ) -> Result<Self, Fault> {
        let this = Self {
            store,
            clock,
            capacity: capacity.get(),
            table: RwLock::default(),
            last_issued: AtomicI64::new(i64::MIN),
        };
        let prefix = Prefix::platform(KIND)?;
        let mut after: Option<String> = None;
        loop {
            let page = this.store.list(&prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(this);
            };
            after = Some(last.clone());
            for (_, entry) in &page {
                let stored: Stored = decode(&entry.value, KIND)?;
                if stored.v != VERSION {
                    return Err(Fault::Corrupt { what: KIND });
                }
                this.remember(&stored.tenant, stored.what);
            }
        }
    }

    /// Says that a token is issued at this second.
    pub(crate) fn issued(&self, at: Timestamp) {
        self.last_issued.fetch_max(at.as_second(), Ordering::AcqRel);
    }

    /// Refuses from now on, in this process.
    pub(crate) fn remember(&self, tenant: &TenantId, what: What) {
        let now = (self.clock.now(), self.clock.monotonic());
        let hold = Hold {
            wall: now.0.checked_add(REVOCATION_HOLD).unwrap_or(Timestamp::MAX),
            monotonic: now.1.saturating_add(REVOCATION_HOLD),
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.is_full(what, self.capacity) {
            table.purge(now);
        }
        if !table.is_full(what, self.capacity) {
            return table.insert(what, hold);
        }
        let up_to = now.0.as_second().max(self.last_issued.load(Ordering::Acquire));
        if table.tenants.len() < MAX_TENANTS || table.tenants.contains_key(tenant) {
            let entry = table.tenants.entry(tenant.clone()).or_insert((up_to, hold));
            *entry = (entry.0.max(up_to), hold);
        } else {
            table.everyone = table.everyone.max(Some(up_to));
        }
    }

    /// Writes a revocation down, so that it is known after a restart.
    pub(crate) async fn write(&self, tenant: &TenantId, what: What) -> Result<(), Fault> {
        let expires = self.clock.now().checked_add(REVOCATION_HOLD).ok();
        let value = encode(&Stored { v: VERSION, tenant: tenant.clone(), what }, KIND)?;
        match what {
            What::Session(session) => {
                let name = ObjectName::platform(KIND, &format!("session-{session}"))?;
                self.store.insert_new(&name, &value, expires).await?;
            }
            // A name of its own for each epoch: a second one within the hold needs no swap.
            What::User(user, epoch) => {
                let name = ObjectName::platform(KIND, &format!("user-{user}-{epoch}"))?;
                self.store.insert_new(&name, &value, expires).await?;
            }
        }
        Ok(())
    }

    /// Step 7 of the verification of a token.
    pub(crate) fn check(
        &self,
        tenant: &TenantId,
        session: SessionId,
        user: UserId,
        epoch: u64,
        issued_at: i64,
    ) -> Result<(), TokenError> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if table.sessions.contains_key(&session) {
            Err(TokenError::Revoked)
        } else {
            table.check_user(tenant, user, epoch, issued_at)
        }
    }
}

impl Table {
    fn check_user(&self, tenant: &TenantId, user: UserId, epoch: u64, issued_at: i64) -> Result<(), TokenError> {
        let revoked = self.users.get(&user).is_some_and(|(least, _)| epoch < *least)
            || self.tenants.get(tenant).is_some_and(|(up_to, _)| issued_at <= *up_to)
            || self.everyone.is_some_and(|up_to| issued_at <= up_to);
        if revoked { Err(TokenError::Revoked) } else { Ok(()) }
    }

    fn is_full(&self, what: What, capacity: usize) -> bool {
        match what {
            What::Session(session) => self.sessions.len() >= capacity && !self.sessions.contains_key(&session),
            What::User(user, _) => self.users.len() >= capacity && !self.users.contains_key(&user),
        }
    }

    fn insert(&mut self, what: What, hold: Hold) {
        if self.sessions.is_empty() && self.users.is_empty() {
            self.earliest = hold.monotonic;
        }
        match what {
            What::Session(session) => {
                self.sessions.insert(session, hold);
            }
            What::User(user, epoch) => {
                let entry = self.users.entry(user).or_insert((epoch, hold));
                *entry = (entry.0.max(epoch), hold);
            }
        }
    }

    fn purge(&mut self, now: (Timestamp, Duration)) {
        if now.1 < self.earliest {
            return;
        }
        let kept = |hold: &Hold| now.0 < hold.wall || now.1 < hold.monotonic;
        self.sessions.retain(|_, hold| kept(hold));
        self.users.retain(|_, (_, hold)| kept(hold));
        self.tenants.retain(|_, (_, hold)| kept(hold));
        let left = self.sessions.values().chain(self.users.values().map(|(_, hold)| hold));
        self.earliest = left.map(|hold| hold.monotonic).min().unwrap_or_default();
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
