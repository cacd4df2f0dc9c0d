//! Bounds, intervals, and the keys of clinics that have their own.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    super::{
        kek::{Kek, KekId},
        provider::KeyProvider,
    },
    copies::Copy,
};
use crate::{
    clock::{SharedClock, SystemClock},
    store::{Durable, NameError},
};

/// How a keyring keeps keys in memory, and what holds those of the clinics that have their own.
///
/// ```
/// use std::{num::NonZeroUsize, sync::Arc, time::Duration};
/// use tower_ward::{
///     id::{SubjectId, TenantId},
///     keys::{Kek, KeyError, Keyring, KeyringOptions, RootKey, SubjectKey, TenantKey},
///     store::Durable,
/// };
///
/// async fn small(root: RootKey, own: Kek, store: Arc<dyn Durable>) -> Result<Keyring, KeyError> {
///     let few = NonZeroUsize::new(64).expect("not zero");
///     let options = KeyringOptions::default()
///         .with_tenants(few)
///         .with_subjects(few)
///         .with_outage(Duration::from_secs(60)) // a clinic's KMS may be away for a minute
///         .add_kek(own);
///     Keyring::open_with(root, store, &options).await
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
    pub(super) tenants: NonZeroUsize,
    pub(super) subjects: NonZeroUsize,
    pub(super) health: Duration,
    pub(super) outage: Duration,
    pub(super) clock: SharedClock,
    pub(super) keks: HashMap<KekId, Arc<dyn KeyProvider>>,
    pub(super) copies: Vec<Copy>,
    pub(super) forgotten_copies: Vec<String>,
}

impl Default for KeyringOptions {
    /// 256 tenants and 16,384 subjects (about 1 KiB each), health every 60 s, an outage of at most 10 minutes, the machine's
    /// clock, and no key-encryption key but the platform's.
    fn default() -> Self {
        const TENANTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
        const SUBJECTS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
        Self {
            tenants: TENANTS,
            subjects: SUBJECTS,
            health: Duration::from_secs(60),
            outage: Duration::from_secs(600),
            clock: SystemClock::shared(),
            keks: HashMap::new(),
            copies: Vec::new(),
            forgotten_copies: Vec::new(),
        }
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

    /// Asks the holder of a tenant's key-encryption key again after at most this long, whether it still may be used: the
    /// longest that a revocation made there alone goes unnoticed. A subject's key is read again from the store as often.
    /// At least a second.
    #[must_use]
    pub fn with_health_interval(mut self, interval: Duration) -> Self {
        self.health = interval.max(Duration::from_secs(1));
        self
    }

    /// How old the last good answer of a key-encryption key's holder may be, while it does not answer, before its tenants
    /// are refused.
    #[must_use]
    pub fn with_outage(mut self, outage: Duration) -> Self {
        self.outage = outage;
        self
    }

    /// Reads the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes a key-encryption key known: a clinic's own, or the one that takes the platform's place or gives it up. Records
    /// name the one that they were wrapped under, and a name is never tried for another.
    #[must_use]
    pub fn add_kek(mut self, kek: Kek) -> Self {
        self.keks.insert(kek.id().clone(), kek.into_provider());
        self
    }

    /// Keeps a copy of the key store in another store: on another disk, or another machine. It is at most about a second
    /// behind, and an erasure is complete only once it has confirmed; from now on the keyring does not open without it.
    ///
    /// # Errors
    ///
    /// If the name is not 1 to 128 of `a-z 0-9 - _ .`, a letter or digit first and last, no `..`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::{num::NonZeroUsize, sync::Arc};
    /// # use tower_ward::{clock::SystemClock, id::{SubjectId, TenantId}, keys::{Erasure, Keyring, KeyringOptions, RootKey}, store::{Durable, MemoryStore}};
    /// # fn open(_: &str) -> Arc<dyn Durable> { Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful()) }
    /// // In production: two `SqliteStore`s on two disks.
    /// let (store, copy) = (open("/srv/a/keys.sqlite"), open("/srv/b/keys.sqlite"));
    /// let options = KeyringOptions::default().add_copy("b", copy)?;
    /// let keyring = Keyring::open_with(RootKey::generate(), store.clone(), &options).await?;
    /// # let (clinic, patient) = (TenantId::new("northgate")?, SubjectId::generate(&SystemClock::new()));
    /// # keyring.create_tenant(&clinic).await?;
    /// # keyring.create_subject(&clinic, patient).await?;
    /// let erased: Erasure = keyring.erase_subject(&clinic, patient).await?;
    /// assert_eq!((erased.is_complete(), erased.confirmed()), (true, 2));
    ///
    /// // Whoever forgets the copy would leave erased people in it.
    /// let without = Keyring::open(RootKey::generate(), store).await;
    /// # let without = without.map(|_| ());
    /// assert!(without.is_err());
    /// # Ok(()) }
    /// ```
    pub fn add_copy(mut self, name: &str, store: Arc<dyn Durable>) -> Result<Self, NameError> {
        let copy = Copy::new(name, store)?;
        self.copies.retain(|there| there.name != copy.name);
        self.copies.push(copy);
        Ok(self)
    }

    /// Opens without a copy that was registered: it is no more, and whoever destroyed it says so here.
    ///
    /// # Security
    ///
    /// Erasures do not wait for it any more. If it was not destroyed, it still holds whoever was erased since it was seen
    /// last, and whoever will be.
    #[must_use]
    pub fn danger_forget_copy(mut self, name: &str) -> Self {
        self.forgotten_copies.push(name.to_owned());
        self
    }
}
