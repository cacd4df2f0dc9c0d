//! What goes on beside the requests: reading what other processes changed, and asking whether keys may still be used.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use super::{
    Asked, Inner, KeyError, SWAP_TRIES,
    notice::{Notice, Notices, What},
    notices_name,
    tenant::millis,
};
use crate::{id::TenantId, store::StoreError, trace};

/// How often the notices of other processes are read.
const POLL: Duration = Duration::from_secs(1);
/// How old the last reading may be. Beyond it nothing is given out before they are read.
pub(super) const STALE: Duration = Duration::from_secs(5);
/// How many providers are asked at a time. One that hangs keeps one place for as long as its time-out.
const CHECKS: usize = 16;

/// Watches for as long as the keyring lives, and this runtime. Where it does not run, whoever asks for a key does its work.
pub(super) fn begin(inner: &Arc<Inner>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let weak = Arc::downgrade(inner);
    runtime.spawn(async move {
        let places = Arc::new(tokio::sync::Semaphore::new(CHECKS));
        loop {
            tokio::time::sleep(POLL).await;
            let Some(inner) = weak.upgrade() else { return };
            if let Err(error) = inner.poll().await {
                trace::event!(warn, error = %error, "the notices of the key store cannot be read");
            }
            inner.check_old(&places);
            inner.keep_up();
        }
    });
}

impl Inner {
    /// Goes on with erasures, and brings copies up to date, unless that goes on still: a copy on a disk that hangs must not
    /// keep the watch from looking.
    fn keep_up(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let Some(inner) = weak.upgrade() else { return };
            let Ok(_alone) = inner.following.try_lock() else { return };
            if let Err(error) = inner.finish_pending().await {
                trace::event!(warn, error = %error, "an erasure that was begun cannot be finished yet");
            }
            inner.follow().await;
        });
    }

    /// Begins a check of every tenant that wants one, each by itself: one whose provider hangs delays no other.
    fn check_old(self: &Arc<Self>, places: &Arc<tokio::sync::Semaphore>) {
        let now = self.now();
        let due: Vec<_> =
            self.tenants.iter().filter(|(_, held)| held.wants_check(now, self.health)).map(|(id, _)| id).collect();
        for tenant in due {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
            let weak: Weak<Self> = Arc::downgrade(self);
            tokio::spawn(async move {
                let _place = place;
                let Some(inner) = weak.upgrade() else { return };
                let Some(held) = inner.tenants.peek(&tenant) else { return };
                // Whoever holds it is asking already.
                let Ok(asking) = held.asking.try_lock() else { return };
                if let Err(error) = inner.ask(&tenant, &held, asking).await {
                    trace::event!(warn, tenant = %tenant, error = %error, "a tenant's keys cannot be used");
                }
            });
        }
    }

    /// Makes sure that the notices were read a moment ago.
    pub(super) async fn fresh(&self, now: Duration) -> Result<(), KeyError> {
        if now.saturating_sub(self.last_poll()) < STALE { Ok(()) } else { self.poll().await }
    }

    fn last_poll(&self) -> Duration {
        Duration::from_millis(self.polled.load(Ordering::Acquire))
    }

    /// Takes what was changed before this process began as read.
    pub(super) async fn poll_from_now(&self) -> Result<(), KeyError> {
        let mut seen = self.seen.lock().await;
        let started = self.now();
        *seen = self.notices().await?.0.count;
        self.polled.store(millis(started), Ordering::Release);
        Ok(())
    }

    /// Reads the notices and forgets what they name.
    pub(super) async fn poll(&self) -> Result<(), KeyError> {
        let asked = self.now();
        let mut seen = self.seen.lock().await;
        if self.last_poll() > asked {
            // Somebody else began after this was asked for.
            return Ok(());
        }
        let started = self.now();
        let (notices, _) = self.notices().await?;
        match notices.since(*seen) {
            Some(new) => new.for_each(|notice| self.heed(notice)),
            // Too many since, or an older copy of the store: nothing that is held can be believed.
            None => {
                self.forgotten.fetch_add(1, Ordering::AcqRel);
                // Among what was missed may be that somebody was erased.
                self.subjects.iter().for_each(|(_, key)| key.cut());
                self.subjects.clear();
                self.tenants.iter().for_each(|(_, held)| held.mark_due());
            }
        }
        *seen = notices.count;
        self.polled.store(millis(started), Ordering::Release);
        Ok(())
    }

    fn heed(&self, notice: &Notice) {
        let Notice { what, tenant, subject } = notice;
        match (what, subject) {
            (What::Cut, None) => self.forget_tenant(tenant),
            (What::Changed, None) => self.mark_due(tenant),
            (What::Subjects, _) => {
                self.forgotten.fetch_add(1, Ordering::AcqRel);
                self.subjects.retain(|(of, _), _| of != tenant);
            }
            (what, Some(subject)) => {
                self.forgotten.fetch_add(1, Ordering::AcqRel);
                if let (Some((_, key)), What::Cut) = (self.subjects.remove(&Asked(tenant, *subject)), what) {
                    key.cut();
                }
            }
        }
    }

    pub(super) fn mark_due(&self, tenant: &TenantId) {
        self.refused.remove(tenant);
        if let Some(held) = self.tenants.peek(tenant) {
            held.mark_due();
        }
    }

    async fn notices(&self) -> Result<(Notices, Option<u64>), KeyError> {
        match self.store.get(&notices_name()).await? {
            None => Ok((Notices::default(), None)),
            Some(entry) => {
                if let Some(notices) = Notices::parse(&entry.value, &self.platform.authority) {
                    return Ok((notices, Some(entry.version)));
                }
                // Damaged ones stop nobody: whoever reads the new ones knows that he missed some, and reads every key again.
                trace::event!(warn, "the notices of the key store were damaged, and are begun anew");
                let anew = Notices::anew();
                let bytes = anew.to_bytes(&self.platform.authority);
                self.store.compare_and_swap(&notices_name(), entry.version, &bytes, None).await?;
                let there = self.store.get(&notices_name()).await?.ok_or(KeyError::Corrupt)?;
                let notices = Notices::parse(&there.value, &self.platform.authority).ok_or(KeyError::Corrupt)?;
                Ok((notices, Some(there.version)))
            }
        }
    }

    /// Tells the other processes, and this one's cache.
    pub(super) async fn announce(
        &self,
        what: What,
        tenant: &TenantId,
        subject: Option<crate::id::SubjectId>,
    ) -> Result<(), KeyError> {
        let notice = Notice { what, tenant: tenant.clone(), subject };
        self.heed(&notice);
        for _ in 0..SWAP_TRIES {
            let (mut notices, version) = self.notices().await?;
            notices.push(notice.clone());
            let (name, bytes) = (notices_name(), notices.to_bytes(&self.platform.authority));
            let written = match version {
                Some(version) => self.store.compare_and_swap(&name, version, &bytes, None).await?,
                None => self.store.insert_new(&name, &bytes, None).await?,
            };
            if written {
                // It is heeded here already. Read once more, it would cut what was given back since.
                let mut seen = self.seen.lock().await;
                if *seen + 1 == notices.count {
                    *seen = notices.count;
                }
                return Ok(());
            }
        }
        Err(StoreError::Busy.into())
    }
}
