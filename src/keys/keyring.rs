//! The keyring: root → tenant → subject, kept in a store, opened when asked for.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::{
    RootKey, SubjectKey, TenantKey,
    derive::label,
    wrapped::{Corrupt, Owner, Parent, Record},
};
use crate::{
    entropy,
    id::{SubjectId, TenantId},
    secret::{Secret, equal},
    store::{Durable, Entry, ObjectName, StoreError},
};

const KIND: &str = "key";
const FIRST_EPOCH: u32 = 1;
/// How often a swap that lost to another writer is tried again.
const SWAP_TRIES: usize = 8;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such key in this tenant, or no such tenant.
    #[error("there is no such key here: create the tenant or the subject first")]
    Unknown,
    /// The subject's key was destroyed, and with it everything sealed under it.
    #[error("the key was erased: what was sealed under it cannot be opened again")]
    Erased,
    /// The stored record is damaged, was moved here, or was wrapped under another key.
    #[error("the stored key is damaged or was not written for this owner: restore the key store from a copy")]
    Corrupt,
    /// The root key is not the one that this store was begun with.
    #[error(
        "the root key is not the one of this key store: compare with `ward keys check` which key this machine holds"
    )]
    WrongRoot,
    /// The store failed.
    #[error("the key store did not answer")]
    Store(#[from] StoreError),
}

impl From<Corrupt> for KeyError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

/// How many opened keys a keyring keeps in memory. The least useful one is wiped to make room.
///
/// ```
/// use std::{num::NonZeroUsize, sync::Arc};
/// use tower_ward::{
///     id::{SubjectId, TenantId},
///     keys::{KeyError, Keyring, KeyringOptions, RootKey, SubjectKey, TenantKey},
///     store::Durable,
/// };
///
/// async fn small(root: RootKey, store: Arc<dyn Durable>) -> Result<Keyring, KeyError> {
///     let few = NonZeroUsize::new(64).expect("not zero");
///     Keyring::open_with(root, store, &KeyringOptions::default().with_tenants(few).with_subjects(few)).await
/// }
///
/// /// Keys are handed out shared, and hand out nothing themselves: a seal and a door ask them.
/// async fn warm(keyring: &Keyring, clinic: &TenantId, patient: SubjectId) -> Result<(), KeyError> {
///     let _: (Arc<TenantKey>, Arc<SubjectKey>) =
///         (keyring.tenant(clinic).await?, keyring.subject(clinic, patient).await?);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct KeyringOptions {
    tenants: NonZeroUsize,
    subjects: NonZeroUsize,
}

impl Default for KeyringOptions {
    /// 256 tenants and 16,384 subjects (about 1 KiB each).
    fn default() -> Self {
        const TENANTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
        const SUBJECTS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
        Self { tenants: TENANTS, subjects: SUBJECTS }
    }
}

impl KeyringOptions {
    /// Keeps at most about this many tenants' keys.
    #[must_use]
    pub fn with_tenants(mut self, tenants: NonZeroUsize) -> Self {
        self.tenants = tenants;
        self
    }

    /// Keeps at most about this many subjects' keys.
    #[must_use]
    pub fn with_subjects(mut self, subjects: NonZeroUsize) -> Self {
        self.subjects = subjects;
        self
    }
}

/// Hands out the keys of tenants and subjects. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    root: RootKey,
    parent: Parent,
    store: Arc<dyn Durable>,
    tenants: Cache<TenantId, Arc<TenantKey>>,
    subjects: Cache<(TenantId, SubjectId), Arc<SubjectKey>>,
}

impl Keyring {
    /// Opens the keyring that `store` holds, or begins one in an empty store.
    ///
    /// # Errors
    ///
    /// [`WrongRoot`](KeyError::WrongRoot) if the store was begun under another root key.
    pub async fn open(root: RootKey, store: Arc<dyn Durable>) -> Result<Self, KeyError> {
        Self::open_with(root, store, &KeyringOptions::default()).await
    }

    /// [`open`](Keyring::open), with other bounds.
    ///
    /// # Errors
    ///
    /// As [`open`](Keyring::open).
    pub async fn open_with(root: RootKey, store: Arc<dyn Durable>, options: &KeyringOptions) -> Result<Self, KeyError> {
        check_root(&root, &*store).await?;
        let parent =
            Parent::from_derived(&root.derive(label::WRAP, &[]), &root.derive(label::WRAP_COMMIT, &[]), FIRST_EPOCH);
        Ok(Self(Arc::new(Inner {
            root,
            parent,
            store,
            tenants: Cache::new(options.tenants.get()),
            subjects: Cache::new(options.subjects.get()),
        })))
    }

    /// The key of a tenant, made now unless there is one already.
    ///
    /// # Errors
    ///
    /// If the store fails, or holds a damaged key under this name.
    pub async fn create_tenant(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, KeyError> {
        let record = self.0.parent.wrap(Owner { tenant, subject: None }, FIRST_EPOCH, &random_key());
        // Whoever loses the race takes the winner's key. Reading back also proves that what was written opens.
        self.0.store.insert_new(&tenant_name(tenant), &record.to_bytes(), None).await?;
        self.tenant(tenant).await
    }

    /// The key of a tenant.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if it was never created.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, KeyError> {
        self.0.tenants.get_or_insert_async(tenant, self.load_tenant(tenant)).await
    }

    /// The key of a subject, made now unless there is one already, and durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if there is no such tenant, [`Erased`](KeyError::Erased) if the subject was
    /// erased: an erased identifier is not used again.
    pub async fn create_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Arc<SubjectKey>, KeyError> {
        let parent = self.tenant(tenant).await?;
        let owner = Owner { tenant, subject: Some(subject) };
        let record = parent.parent.wrap(owner, FIRST_EPOCH, &random_key());
        self.0.store.insert_new(&subject_name(tenant, subject), &record.to_bytes(), None).await?;
        self.subject(tenant, subject).await
    }

    /// The key of a subject of this tenant.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if this tenant has no such subject, whatever another one has;
    /// [`Erased`](KeyError::Erased) if it had.
    pub async fn subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Arc<SubjectKey>, KeyError> {
        let key = (tenant.clone(), subject);
        self.0.subjects.get_or_insert_async(&key, self.load_subject(tenant, subject)).await
    }

    /// The keys of several subjects of one tenant, in the order asked for; `None` for one that is erased or not known
    /// here, so that one erasure does not take a whole list down.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](KeyError::Corrupt) and the like, for the first that fails: damage is never passed over.
    pub async fn subjects(
        &self,
        tenant: &TenantId,
        subjects: &[SubjectId],
    ) -> Result<Vec<Option<Arc<SubjectKey>>>, KeyError> {
        let mut keys = Vec::with_capacity(subjects.len());
        for subject in subjects {
            keys.push(match self.subject(tenant, *subject).await {
                Ok(key) => Some(key),
                Err(KeyError::Unknown | KeyError::Erased) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(keys)
    }

    /// Destroys the key of a subject: a tombstone takes its place, the store's older bytes are scrubbed, and this
    /// keyring forgets the key. What has begun is finished even if the caller goes away; doing it again is no error, so
    /// that an erasure that a crash interrupted can be finished.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if this tenant never had such a subject; [`Store`](KeyError::Store) if the
    /// store failed, perhaps after the tombstone was written: ask again until it succeeds.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Security
    ///
    /// Grants that are open keep their key until their request ends. Other processes keep a cached key until they
    /// evict it or restart.
    pub async fn erase_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<(), KeyError> {
        let (keyring, tenant) = (self.clone(), tenant.clone());
        // In a task of its own: a caller who is dropped between the tombstone and the cache would leave the key there.
        let erasure = tokio::spawn(async move {
            let erased = keyring.put_tombstone(&tenant, subject).await;
            // Also after an error, which does not say that nothing was written. Not before: a load that begins after the
            // key was forgotten, and before the tombstone is durable, would put it back.
            keyring.0.subjects.remove(&(tenant, subject));
            erased?;
            Ok(keyring.0.store.scrub().await?)
        });
        erasure.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }

    /// Ends once the tombstone is in the store.
    async fn put_tombstone(&self, tenant: &TenantId, subject: SubjectId) -> Result<(), KeyError> {
        let parent = self.tenant(tenant).await?;
        let owner = Owner { tenant, subject: Some(subject) };
        let name = subject_name(tenant, subject);
        for _ in 0..SWAP_TRIES {
            let Entry { value, version, .. } = self.0.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            let epoch = match Record::parse(&value) {
                Ok(Record::Erased(erased)) if parent.parent.check_tombstone(owner, &erased).is_ok() => {
                    return Ok(());
                }
                Ok(Record::Wrapped(wrapped)) => wrapped.epoch,
                // A damaged key is destroyed as well as a sound one.
                _ => FIRST_EPOCH,
            };
            let tombstone = parent.parent.tombstone(owner, epoch).to_bytes();
            if self.0.store.compare_and_swap(&name, version, &tombstone, None).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy.into())
    }

    /// A key for a use of the crate's own that belongs to no tenant, derived from the root key.
    pub(crate) fn derive(&self, label: &'static str) -> Zeroizing<[u8; 32]> {
        self.0.root.derive(label::ROOT_USE, &[label.as_bytes()])
    }

    async fn load_tenant(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, KeyError> {
        let entry = self.0.store.get(&tenant_name(tenant)).await?.ok_or(KeyError::Unknown)?;
        let Record::Wrapped(wrapped) = Record::parse(&entry.value)? else { return Err(KeyError::Corrupt) };
        let key = self.0.parent.unwrap(Owner { tenant, subject: None }, &wrapped)?;
        Ok(Arc::new(TenantKey::new(tenant.clone(), wrapped.epoch, key)))
    }

    async fn load_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Arc<SubjectKey>, KeyError> {
        let parent = self.tenant(tenant).await?;
        let owner = Owner { tenant, subject: Some(subject) };
        let entry = self.0.store.get(&subject_name(tenant, subject)).await?.ok_or(KeyError::Unknown)?;
        match Record::parse(&entry.value)? {
            Record::Wrapped(wrapped) => {
                let key = parent.parent.unwrap(owner, &wrapped)?;
                Ok(Arc::new(SubjectKey::new(subject, wrapped.epoch, key)))
            }
            Record::Erased(erased) => {
                parent.parent.check_tombstone(owner, &erased)?;
                Err(KeyError::Erased)
            }
            Record::RootCheck(_) => Err(KeyError::Corrupt),
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// Compares the root key with the one that the store was begun with; the first to come writes the check.
async fn check_root(root: &RootKey, store: &dyn Durable) -> Result<(), KeyError> {
    let name = ObjectName::platform(KIND, "root-check").expect("the kind and the key are constants");
    let check = root.derive(label::ROOT_CHECK, &[]);
    let stored = match store.get(&name).await? {
        Some(entry) => entry,
        None => {
            store.insert_new(&name, &Record::RootCheck(*check).to_bytes(), None).await?;
            store.get(&name).await?.ok_or(KeyError::Corrupt)?
        }
    };
    match Record::parse(&stored.value)? {
        Record::RootCheck(stored) if equal(&stored, &*check) => Ok(()),
        Record::RootCheck(_) => Err(KeyError::WrongRoot),
        _ => Err(KeyError::Corrupt),
    }
}

fn random_key() -> Secret<[u8; 32]> {
    Secret::init_with_mut(|key: &mut [u8; 32]| entropy::fill_key(key))
}

fn tenant_name(tenant: &TenantId) -> ObjectName {
    ObjectName::tenant(tenant, KIND, "tenant").expect("the kind and the key are constants")
}

fn subject_name(tenant: &TenantId, subject: SubjectId) -> ObjectName {
    ObjectName::tenant(tenant, KIND, &format!("subject-{subject}")).expect("a UUID has only letters, digits and `-`")
}
