//! A tenant's keys in memory, and for how long they are believed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    super::{
        TenantKey,
        kek::KekId,
        key::Cut,
        provider::{ProviderError, ProviderErrorKind},
        record::{Guarded, Owner, Parent, Record, State},
    },
    FIRST_EPOCH, Inner, KeyError, SWAP_TRIES, listed_name, random_key, tenant_name,
};
use crate::{id::TenantId, secret::ExposeSecret, store::StoreError};

/// How long a provider's refusal is repeated to those who wait for the same key.
const REFUSED: Duration = Duration::from_secs(1);

pub(super) struct Tenant {
    /// By rising epoch; the last wraps.
    parents: Vec<Parent>,
    pub(super) key: Arc<TenantKey>,
    /// Of the record in the store.
    pub(super) version: u64,
    pub(super) cut: Cut,
    /// When the provider last gave the key, and when it was last asked, in milliseconds.
    checked: AtomicU64,
    tried: AtomicU64,
    /// The record was changed by somebody else.
    due: AtomicBool,
    /// Why the provider did not give the key when it was last asked.
    silence: Mutex<Option<ProviderError>>,
    /// Held while the provider is asked.
    pub(super) asking: tokio::sync::Mutex<()>,
}

/// A provider's refusal, and until when it is repeated.
#[derive(Clone)]
pub(super) struct Refused {
    until: Duration,
    error: ProviderError,
}

impl Tenant {
    /// The key that wraps.
    pub(super) fn current(&self) -> &Parent {
        self.parents.last().expect("a tenant's record has at least one key")
    }

    pub(super) fn newest(&self) -> u32 {
        self.current().epoch()
    }

    pub(super) fn parent(&self, epoch: u32) -> Option<&Parent> {
        self.parents.iter().find(|parent| parent.epoch() == epoch)
    }

    /// Whether it may be used without asking.
    fn is_good(&self, now: Duration, health: Duration) -> bool {
        !self.cut.is_made() && !self.due.load(Ordering::Acquire) && now.saturating_sub(since(&self.checked)) < health
    }

    /// What the provider did not say, if it was asked since the health interval began, and nothing else is to be learnt.
    fn known_silence(&self, now: Duration, health: Duration) -> Option<ProviderError> {
        let asked = now.saturating_sub(since(&self.tried)) < health;
        if !asked || self.cut.is_made() || self.due.load(Ordering::Acquire) {
            return None;
        }
        self.silence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the provider should be asked before anybody has to wait for it.
    pub(super) fn wants_check(&self, now: Duration, health: Duration) -> bool {
        let (checked, tried) = (since(&self.checked), since(&self.tried));
        let wait = if tried > checked { health / 12 } else { health / 2 };
        self.due.load(Ordering::Acquire) || now.saturating_sub(tried) >= wait
    }

    pub(super) fn mark_due(&self) {
        self.due.store(true, Ordering::Release);
    }
}

fn since(ms: &AtomicU64) -> Duration {
    Duration::from_millis(ms.load(Ordering::Acquire))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    pub(super) async fn tenant(&self, tenant: &TenantId) -> Result<Arc<Tenant>, KeyError> {
        let now = self.now();
        self.fresh(now).await?;
        if let Some(held) = self.tenants.get(tenant) {
            return if held.is_good(now, self.health) { Ok(held) } else { self.again(tenant, held).await };
        }
        for _ in 0..SWAP_TRIES {
            let forgotten = self.forgotten.load(Ordering::Acquire);
            let held = self.tenants.get_or_insert_async(tenant, self.first(tenant)).await?;
            if self.forgotten.load(Ordering::Acquire) == forgotten && !held.cut.is_made() {
                return Ok(held);
            }
            // What was read may be what was forgotten meanwhile.
            self.tenants.remove_if(tenant, |there| Arc::ptr_eq(there, &held));
        }
        Err(StoreError::Busy.into())
    }

    async fn first(&self, tenant: &TenantId) -> Result<Arc<Tenant>, KeyError> {
        let now = self.now();
        if let Some(refused) = self.refused.get(tenant).filter(|refused| now < refused.until) {
            return Err(refused.error.into());
        }
        let loaded = self.load_tenant(tenant, None).await;
        if let Err(KeyError::Provider(error)) = &loaded {
            let until = self.now().saturating_add(REFUSED);
            self.refused.insert(tenant.clone(), Refused { until, error: error.clone() });
        }
        loaded
    }

    /// A key that is held and too old to be believed without asking.
    async fn again(&self, tenant: &TenantId, held: Arc<Tenant>) -> Result<Arc<Tenant>, KeyError> {
        // Asked in vain a moment ago, and perhaps at this moment again: nobody waits for an answer that will not come.
        if let Some(silence) = held.known_silence(self.now(), self.health) {
            return self.outlast(&held, silence);
        }
        let asking = held.asking.lock().await;
        let now = self.now();
        match self.tenants.peek(tenant) {
            Some(other) if !Arc::ptr_eq(&other, &held) && other.is_good(now, self.health) => return Ok(other),
            _ if held.is_good(now, self.health) => return Ok(Arc::clone(&held)),
            _ => {}
        }
        // Whoever held the lock has asked.
        if let Some(silence) = held.known_silence(now, self.health) {
            return self.outlast(&held, silence);
        }
        self.ask(tenant, &held, asking).await
    }

    /// Reads the record again and asks the provider for the key, whatever is held.
    pub(super) async fn check(&self, tenant: &TenantId, held: &Arc<Tenant>) -> Result<Arc<Tenant>, KeyError> {
        let asking = held.asking.lock().await;
        self.ask(tenant, held, asking).await
    }

    pub(super) async fn ask(
        &self,
        tenant: &TenantId,
        held: &Arc<Tenant>,
        _asking: tokio::sync::MutexGuard<'_, ()>,
    ) -> Result<Arc<Tenant>, KeyError> {
        let (started, forgotten) = (self.now(), self.forgotten.load(Ordering::Acquire));
        held.due.store(false, Ordering::Release);
        let loaded = self.load_tenant(tenant, Some(held)).await.map_err(|error| match error {
            // Another process wrapped it anew under a key that this one was not told of. Nobody has withdrawn it.
            KeyError::UnknownKek(kek) => {
                let what = "a tenant is wrapped under it, and this process was not told of it: add it with `add_kek`";
                ProviderError::new(ProviderErrorKind::Unavailable, kek.as_str(), what).into()
            }
            error => error,
        });
        match loaded {
            Ok(new) => {
                *held.silence.lock().unwrap_or_else(PoisonError::into_inner) = None;
                held.tried.store(millis(started), Ordering::Release);
                held.checked.store(millis(started), Ordering::Release);
                if new.version == held.version && !held.cut.is_made() {
                    return Ok(Arc::clone(held));
                }
                if self.forgotten.load(Ordering::Acquire) == forgotten {
                    self.tenants.insert(tenant.clone(), Arc::clone(&new));
                }
                Ok(new)
            }
            Err(KeyError::Provider(error)) if !error.kind().is_definite() => {
                *held.silence.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                held.tried.store(millis(started), Ordering::Release);
                self.outlast(held, error)
            }
            // Nothing was learnt; the age of what is held decides.
            Err(KeyError::Store(error)) => {
                held.due.store(true, Ordering::Release);
                Err(error.into())
            }
            Err(error) => {
                self.forget_tenant(tenant);
                Err(error)
            }
        }
    }

    /// Goes on with what is held while the provider says nothing, unless that is too old.
    fn outlast(&self, held: &Arc<Tenant>, silence: ProviderError) -> Result<Arc<Tenant>, KeyError> {
        let age = self.now().saturating_sub(since(&held.checked));
        if held.cut.is_made() || age >= self.outage { Err(silence.into()) } else { Ok(Arc::clone(held)) }
    }

    /// Withdraws a tenant's keys from whoever holds them here, and forgets them.
    pub(super) fn forget_tenant(&self, tenant: &TenantId) {
        // First, so that a load which has read already does not count.
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        if let Some((_, held)) = self.tenants.remove(tenant) {
            held.cut.make();
        }
        // Also those whose clinic was evicted.
        self.subjects.retain(|(of, _), key| {
            let keep = of != tenant;
            if !keep {
                key.cut();
            }
            keep
        });
    }

    /// The record of a tenant, as this platform wrote it.
    pub(super) fn parse_tenant(&self, tenant: &TenantId, bytes: &[u8]) -> Result<Guarded, KeyError> {
        let record = Record::parse(bytes)?;
        self.platform.authority.check(Owner::tenant(tenant), &record)?;
        match record {
            Record::Guarded(guarded) if guarded.clinic.is_some() => Ok(guarded),
            _ => Err(KeyError::Corrupt),
        }
    }

    async fn load_tenant(&self, tenant: &TenantId, before: Option<&Tenant>) -> Result<Arc<Tenant>, KeyError> {
        let started = self.now();
        let entry = self.store.get(&tenant_name(tenant)).await?.ok_or(KeyError::Unknown)?;
        let guarded = self.parse_tenant(tenant, &entry.value)?;
        if guarded.state == State::Revoked {
            return Err(KeyError::Revoked);
        }
        let mut parents = Vec::with_capacity(guarded.keys.len());
        for key in &guarded.keys {
            parents.push(Parent::new(self.unguard(tenant, key).await?.expose_secret(), key.epoch));
        }
        let before = before.filter(|before| !before.cut.is_made());
        let cut = before.map_or_else(Cut::default, |before| before.cut.clone());
        let (Some(parent), Some(clinic)) = (parents.last(), &guarded.clinic) else { return Err(KeyError::Corrupt) };
        let (epoch, key) = parent
            .unwrap(Owner::tenant(tenant), clinic)?
            .into_iter()
            .nth(usize::from(clinic.current))
            .ok_or(KeyError::Corrupt)?;
        // One that is the same has its ciphers ready.
        let key = match before {
            Some(before) if before.key.epoch() == epoch => Arc::clone(&before.key),
            _ => Arc::new(TenantKey::new(tenant.clone(), epoch, key, cut.clone())),
        };
        Ok(Arc::new(Tenant {
            parents,
            key,
            version: entry.version,
            cut,
            checked: AtomicU64::new(millis(started)),
            tried: AtomicU64::new(millis(started)),
            due: AtomicBool::new(false),
            silence: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }))
    }

    pub(super) async fn make_tenant(&self, tenant: &TenantId, kek: &KekId) -> Result<(), KeyError> {
        let (wrapping, clinic) = (random_key(), random_key());
        let guarded = self.guard(tenant, kek, FIRST_EPOCH, &wrapping).await?;
        let owner = Owner::tenant(tenant);
        let parent = Parent::new(wrapping.expose_secret(), FIRST_EPOCH);
        let clinic = parent.wrap(owner, 0, [(FIRST_EPOCH, self.wall(), &clinic)]);
        let record = Record::Guarded(Guarded::new(vec![guarded], Some(clinic)));
        let record = self.platform.authority.sign(owner, record).to_bytes();
        // The list first: a tenant that is listed and has no key is none, one that is not listed would be missed.
        self.store.insert_new(&listed_name(tenant), &[], None).await?;
        self.store.insert_new(&tenant_name(tenant), &record, None).await?;
        Ok(())
    }
}
