//! The keyring: key-encryption key → tenant → subject, kept in a store, opened when asked for.

mod copies;
mod epochs;
mod erase;
mod error;
mod manage;
mod notice;
mod options;
mod platform;
mod report;
mod tenant;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use copies::CopyReport;
pub(crate) use epochs::{EpochStep, Epochs, SEEN};
pub use erase::Erasure;
pub use error::KeyError;
pub(super) use notice::round_trips as notices_round_trip;
pub use options::KeyringOptions;
use platform::Platform;
use quick_cache::{Equivalent, sync::Cache};
pub use report::{KekReport, KeyReport};
use tenant::{Refused, Tenant};
use zeroize::Zeroizing;

use super::{
    SubjectKey, TenantKey,
    derive::{derive, label},
    kek::{Kek, KekId},
    provider::{KeyBytes, KeyContext, KeyProvider, ProviderError, ProviderErrorKind},
    record::{GuardedKey, Owner, Record, commitment},
};
use crate::{
    clock::SharedClock,
    entropy,
    id::{SubjectId, TenantId},
    secret::{ExposeSecret, Secret, equal},
    store::{Durable, ObjectName, Prefix, StoreError},
};

const KIND: &str = "key";
const FIRST_EPOCH: u32 = 1;
/// How often a swap that lost to another writer is tried again.
const SWAP_TRIES: usize = 8;
/// The longest that a provider's call may take, whatever time-out of its own it has.
const CALL: Duration = Duration::from_secs(15);

/// Hands out the keys of tenants and subjects. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    platform: Platform,
    /// Under which this process opened the platform's secret.
    root: KekId,
    keks: RwLock<HashMap<KekId, Arc<dyn KeyProvider>>>,
    store: Arc<dyn Durable>,
    store_id: [u8; 16],
    copies: Vec<copies::Copy>,
    /// Erasures that a copy has not confirmed, and how far each has come.
    pending: Mutex<BTreeMap<(TenantId, SubjectId), erase::Progress>>,
    /// Lines of the shred journal that are none.
    damaged_lines: AtomicUsize,
    /// Held while the watch goes on with erasures.
    following: tokio::sync::Mutex<()>,
    /// Held while copies are brought up to date.
    copying: tokio::sync::Mutex<()>,
    clock: SharedClock,
    health: Duration,
    outage: Duration,
    tenants: Cache<TenantId, Arc<Tenant>>,
    subjects: Cache<(TenantId, SubjectId), Arc<SubjectKey>>,
    /// What a provider refused, for a moment, so that those who wait do not ask it one after another.
    refused: Cache<TenantId, Refused>,
    /// Counts what was forgotten. A load that began before knows by it that it may have read too early.
    forgotten: AtomicU64,
    /// How many notices were read; held while they are.
    seen: tokio::sync::Mutex<u64>,
    /// When they were read last, in milliseconds.
    polled: AtomicU64,
}

impl Keyring {
    /// Opens the keyring that `store` holds, or begins one in an empty store, under a root key or another
    /// [key-encryption key](Kek).
    ///
    /// # Errors
    ///
    /// [`WrongRoot`](KeyError::WrongRoot) if the store was begun under another key of this name,
    /// [`UnknownKek`](KeyError::UnknownKek) if it was under one of another name that was not
    /// [added](KeyringOptions::add_kek), [`Provider`](KeyError::Provider) if the key's holder refuses or does not answer.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with timers.
    pub async fn open(root: impl Into<Kek>, store: Arc<dyn Durable>) -> Result<Self, KeyError> {
        Self::open_with(root, store, &KeyringOptions::default()).await
    }

    /// [`open`](Keyring::open), with other bounds.
    ///
    /// # Errors
    ///
    /// As [`open`](Keyring::open).
    ///
    /// # Panics
    ///
    /// As [`open`](Keyring::open).
    pub async fn open_with(
        root: impl Into<Kek>,
        store: Arc<dyn Durable>,
        options: &KeyringOptions,
    ) -> Result<Self, KeyError> {
        let root = root.into();
        let mut keks = options.keks.clone();
        let id = root.id().clone();
        keks.insert(id.clone(), root.into_provider());
        let platform = Platform::open(&id, &keks, &*store, &*options.clock, &options.copies).await?;
        let store_id = copies::store_id(&*store).await?;
        let inner = Arc::new(Inner {
            platform,
            root: id,
            keks: RwLock::new(keks),
            store_id,
            store,
            copies: options.copies.clone(),
            pending: Mutex::default(),
            damaged_lines: AtomicUsize::new(0),
            following: tokio::sync::Mutex::new(()),
            copying: tokio::sync::Mutex::new(()),
            clock: Arc::clone(&options.clock),
            health: options.health,
            outage: options.outage,
            tenants: Cache::new(options.tenants.get()),
            subjects: Cache::new(options.subjects.get()),
            refused: Cache::new(options.tenants.get()),
            forgotten: AtomicU64::new(0),
            seen: tokio::sync::Mutex::new(0),
            polled: AtomicU64::new(0),
        });
        inner.register_copies(&options.forgotten_copies).await?;
        inner.poll_from_now().await?;
        inner.recall_pending().await?;
        watch::begin(&inner);
        Ok(Self(inner))
    }

    /// The key of a tenant, made now unless there is one already, under the platform's key-encryption key.
    ///
    /// # Errors
    ///
    /// If the store fails or holds a damaged key under this name, or the key's holder refuses or does not answer.
    pub async fn create_tenant(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, KeyError> {
        match self.tenant(tenant).await {
            Err(KeyError::Unknown) => {}
            known => return known,
        }
        // Not the one that this process began with: the platform's may have been replaced since, and is again while this goes on.
        for _ in 0..SWAP_TRIES {
            let kek = self.0.platform_kek().await?;
            self.create_tenant_under(tenant, &kek).await?;
            if self.0.platform_kek().await? == kek {
                break;
            }
            if self.kek_of(tenant).await? == kek {
                self.rewrap_tenant(tenant, &self.0.platform_kek().await?).await?;
            }
        }
        self.tenant(tenant).await
    }

    /// The key of a tenant, made now unless there is one already, under a key-encryption key of its own, which must have
    /// been [added](Keyring::add_kek).
    ///
    /// # Errors
    ///
    /// As [`create_tenant`](Keyring::create_tenant), and [`UnknownKek`](KeyError::UnknownKek).
    pub async fn create_tenant_under(&self, tenant: &TenantId, kek: &KekId) -> Result<Arc<TenantKey>, KeyError> {
        match self.tenant(tenant).await {
            Err(KeyError::Unknown) => self.0.make_tenant(tenant, kek).await?,
            known => return known,
        }
        // Whoever loses the race takes the winner's key. Reading back also proves that what was written opens.
        self.tenant(tenant).await
    }

    /// The key of a tenant for what belongs to no person.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if it was never created, [`Revoked`](KeyError::Revoked) if access to it was;
    /// [`Provider`](KeyError::Provider) if the holder of its key-encryption key refuses, or has not answered for too long.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, KeyError> {
        Ok(Arc::clone(&self.0.tenant(tenant).await?.key))
    }

    /// The key of a subject, made now unless there is one already, and durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if there is no such tenant, [`Erased`](KeyError::Erased) if the subject was
    /// erased: an erased identifier is not used again. Otherwise as [`tenant`](Keyring::tenant).
    pub async fn create_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Arc<SubjectKey>, KeyError> {
        let (inner, of) = (Arc::clone(&self.0), tenant.clone());
        // In a task of its own: a caller who goes away must not leave a key half-way in a rotation.
        let made = tokio::spawn(async move { inner.make_subject(&of, subject).await });
        made.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))?;
        self.subject(tenant, subject).await
    }

    /// The key of a subject of this tenant.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if this tenant has no such subject, whatever another one has;
    /// [`Erased`](KeyError::Erased) if it had. Otherwise as [`tenant`](Keyring::tenant).
    pub async fn subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Arc<SubjectKey>, KeyError> {
        self.pair(tenant, subject).await.map(|(_, subject)| subject)
    }

    /// The keys that a person's door needs, the clinic's and the person's, for one look at the clinic.
    pub(crate) async fn pair(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
    ) -> Result<(Arc<TenantKey>, Arc<SubjectKey>), KeyError> {
        let held = self.0.tenant(tenant).await?;
        let key = self.0.subject(tenant, &held, subject).await?;
        Ok((Arc::clone(&held.key), key))
    }

    /// The keys of several subjects of one tenant, in the order asked for; `None` for one that is erased or not known
    /// here, so that one erasure does not take a whole list down. Asks the holder of a key-encryption key at most once.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](KeyError::Corrupt) and the like, for the first that fails: damage is never passed over.
    pub async fn subjects(
        &self,
        tenant: &TenantId,
        subjects: &[SubjectId],
    ) -> Result<Vec<Option<Arc<SubjectKey>>>, KeyError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.0.tenant(tenant).await?;
        let mut keys = Vec::with_capacity(subjects.len());
        for subject in subjects {
            keys.push(match self.0.subject(tenant, &held, *subject).await {
                Ok(key) => Some(key),
                Err(KeyError::Unknown | KeyError::Erased) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(keys)
    }

    /// A key for a use of the crate's own that belongs to no tenant, derived from the platform's secret.
    pub(crate) fn derive(&self, label: &'static str) -> Zeroizing<[u8; 32]> {
        derive(self.0.platform.secret.expose_secret(), label::PLATFORM_USE, &[label.as_bytes()])
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The wall time as records have it.
    fn wall(&self) -> i64 {
        self.clock.now().as_millisecond().max(0)
    }

    fn kek(&self, id: &KekId) -> Result<Arc<dyn KeyProvider>, KeyError> {
        let keks = self.keks.read().unwrap_or_else(PoisonError::into_inner);
        keks.get(id).cloned().ok_or_else(|| KeyError::UnknownKek(id.clone()))
    }

    async fn guard(&self, tenant: &TenantId, kek: &KekId, epoch: u32, key: &KeyBytes) -> Result<GuardedKey, KeyError> {
        let made = self.wall();
        guard(&*self.kek(kek)?, kek, Owner::tenant(tenant), &KeyContext::tenant(tenant.clone()), epoch, made, key).await
    }

    async fn unguard(&self, tenant: &TenantId, key: &GuardedKey) -> Result<KeyBytes, KeyError> {
        unguard(&*self.kek(&key.kek)?, Owner::tenant(tenant), &KeyContext::tenant(tenant.clone()), key).await
    }

    async fn subject(
        &self,
        tenant: &TenantId,
        held: &Arc<Tenant>,
        subject: SubjectId,
    ) -> Result<Arc<SubjectKey>, KeyError> {
        if let Some(key) = self.subjects.get(&Asked(tenant, subject)) {
            if self.is_good(&key, held) {
                return Ok(key);
            }
            self.subjects.remove_if(&Asked(tenant, subject), |there| Arc::ptr_eq(there, &key));
        }
        let name = (tenant.clone(), subject);
        for _ in 0..SWAP_TRIES {
            let forgotten = self.forgotten.load(Ordering::Acquire);
            let key = self.subjects.get_or_insert_async(&name, self.load_subject(tenant, held, subject)).await?;
            if self.forgotten.load(Ordering::Acquire) == forgotten && self.is_good(&key, held) {
                return Ok(key);
            }
            // What was read may be what was forgotten meanwhile.
            self.subjects.remove_if(&name, |there| Arc::ptr_eq(there, &key));
        }
        Err(StoreError::Busy.into())
    }

    fn is_good(&self, key: &SubjectKey, held: &Tenant) -> bool {
        !key.is_cut()
            && !key.is_outdated()
            && key.is_below(&held.cut)
            && self.now().saturating_sub(key.loaded()) < self.health
    }

    async fn load_subject(
        &self,
        tenant: &TenantId,
        held: &Arc<Tenant>,
        subject: SubjectId,
    ) -> Result<Arc<SubjectKey>, KeyError> {
        let owner = Owner::subject(tenant, subject);
        let name = subject_name(tenant, subject);
        let mut held = Arc::clone(held);
        let mut again = false;
        loop {
            let loaded = self.now();
            let entry = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            let record = Record::parse(&entry.value)?;
            let set = match record {
                Record::Set(set) => set,
                Record::Erased(_) => {
                    self.platform.authority.check(owner, &record)?;
                    return Err(KeyError::Erased);
                }
                Record::Guarded(_) | Record::Shred(_) => return Err(KeyError::Corrupt),
            };
            if let Some(parent) = held.parent(set.parent_epoch) {
                let keys = parent.unwrap(owner, &set)?;
                let past = parent.unwrap_past(owner, &set)?;
                let key = SubjectKey::new(subject, keys, past, usize::from(set.current), held.cut.below(), loaded);
                return Ok(Arc::new(key));
            }
            if again {
                let newer = set.parent_epoch > held.newest();
                return Err(if newer { KeyError::NotYetKnown } else { KeyError::Corrupt });
            }
            // The tenant's key was rotated since one of the two was read.
            held = self.check(tenant, &held).await?;
            again = true;
        }
    }

    async fn make_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<(), KeyError> {
        let held = self.tenant(tenant).await?;
        let (owner, name) = (Owner::subject(tenant, subject), subject_name(tenant, subject));
        let (key, made) = (random_key(), self.wall());
        let wrap = |held: &Tenant| Record::Set(held.current().wrap(owner, 0, [(FIRST_EPOCH, made, &key)])).to_bytes();
        let mut own = wrap(&held);
        self.store.insert_new(&name, &own, None).await?;
        // A rotation of the tenant's key that began meanwhile may have looked for records before this one was there, or an
        // earlier try of this may have ended between the two. A rotation that begins from here on finds it.
        for _ in 0..SWAP_TRIES {
            let there = self.store.get(&tenant_name(tenant)).await?.ok_or(KeyError::Unknown)?;
            let newest = self.parse_tenant(tenant, &there.value)?.current().epoch;
            let entry = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            match Record::parse(&entry.value) {
                Ok(Record::Set(set)) if set.parent_epoch != newest => {
                    let held = self.check(tenant, &self.tenant(tenant).await?).await?;
                    if entry.value == own {
                        // Also if the rotation has ended, and the old wrapping key is gone with it.
                        let anew = wrap(&held);
                        if self.store.compare_and_swap(&name, entry.version, &anew, None).await? {
                            own = anew;
                        }
                    } else {
                        self.move_subject(tenant, subject, entry, held.current(), &held).await?;
                    }
                }
                // Whoever asks for the key is told what else it may be.
                _ => return Ok(()),
            }
        }
        Err(StoreError::Busy.into())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("store", &self.0.store).field("root", &self.0.root).finish_non_exhaustive()
    }
}

/// The key of the cache of subjects, for looking without making one.
struct Asked<'a>(&'a TenantId, SubjectId);

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<(TenantId, SubjectId)> for Asked<'_> {
    fn equivalent(&self, key: &(TenantId, SubjectId)) -> bool {
        *self.0 == key.0 && self.1 == key.1
    }
}

/// Wraps a key, and sees that it comes back: a provider that lies would lose everything below.
async fn guard(
    provider: &dyn KeyProvider,
    kek: &KekId,
    owner: Owner<'_>,
    context: &KeyContext,
    epoch: u32,
    made: i64,
    key: &KeyBytes,
) -> Result<GuardedKey, KeyError> {
    let blob = answer(kek, provider.wrap(key, context)).await?;
    let guarded = GuardedKey { epoch, made, kek: kek.clone(), blob, commitment: *commitment(owner, epoch, key) };
    unguard(provider, owner, context, &guarded).await?;
    Ok(guarded)
}

/// Unwraps a key, and compares what came back with what went in.
async fn unguard(
    provider: &dyn KeyProvider,
    owner: Owner<'_>,
    context: &KeyContext,
    guarded: &GuardedKey,
) -> Result<KeyBytes, KeyError> {
    let key = answer(&guarded.kek, provider.unwrap(&guarded.blob, context)).await?;
    if !equal(&*commitment(owner, guarded.epoch, &key), &guarded.commitment) {
        return Err(KeyError::Corrupt);
    }
    Ok(key)
}

/// What a provider answers, also if it does not keep its promise to end every call.
async fn answer<T>(kek: &KekId, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    tokio::time::timeout(CALL, call).await.unwrap_or_else(|_| {
        let what = "it did not answer within 15 s: see what keeps its provider";
        Err(ProviderError::new(ProviderErrorKind::Unavailable, kek.as_str(), what))
    })
}

fn random_key() -> KeyBytes {
    Secret::init_with_mut(|key: &mut [u8; 32]| entropy::fill_key(key))
}

fn platform_name() -> ObjectName {
    ObjectName::platform(KIND, "platform").expect("the kind and the key are constants")
}

fn notices_name() -> ObjectName {
    ObjectName::platform(KIND, "notices").expect("the kind and the key are constants")
}

/// Says that there is such a tenant, so that all can be found.
fn listed_name(tenant: &TenantId) -> ObjectName {
    ObjectName::platform(LISTED, tenant.as_str()).expect("a tenant's identifier is a key")
}

const LISTED: &str = "key-tenant";

fn listed() -> Prefix {
    Prefix::platform(LISTED).expect("the kind is a constant")
}

fn tenant_name(tenant: &TenantId) -> ObjectName {
    ObjectName::tenant(tenant, KIND, "tenant").expect("the kind and the key are constants")
}

fn subject_name(tenant: &TenantId, subject: SubjectId) -> ObjectName {
    ObjectName::tenant(tenant, KIND, &format!("{SUBJECT}{subject}")).expect("a UUID has only letters, digits and `-`")
}

const SUBJECT: &str = "subject-";
