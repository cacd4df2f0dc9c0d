//! Destroying a subject's keys, in the store and in every copy of it.
//!
//! 1. A line of the shred journal says that it is to be done. From here on it will be, whatever comes between.
//! 2. A tombstone takes the place of the keys.
//! 3. This process forgets the keys and stops whoever holds them; the others are told.
//! 4. The store scrubs its older bytes, and every copy takes over the tombstone and scrubs its own.
//! 5. When every copy has confirmed, the line says so.
//!
//! Each step finds what an earlier run did, so it is begun again from the first until it has come to the last: by whoever
//! asks, by the watch every second, and by the next to open the store.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use super::{
    super::record::{Owner, Record, Shred, Tombstone},
    FIRST_EPOCH, Inner, KeyError, Keyring, SWAP_TRIES,
    notice::What,
    subject_name,
};
use crate::{
    id::{SubjectId, TenantId},
    store::{Entry, MAX_PAGE, ObjectName, Prefix, StoreError},
    trace,
};

/// The shred journal.
const JOURNAL: &str = "shred";

/// How far an erasure has come: the keys are gone from the store, and from those of its copies that have confirmed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Erasure {
    confirmed: usize,
    pending: Vec<String>,
}

impl Erasure {
    /// Whether every registered copy has confirmed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many copies have confirmed, the store itself among them.
    #[must_use]
    pub const fn confirmed(&self) -> usize {
        self.confirmed
    }

    /// The copies that have not, by name. They are asked again every second.
    #[must_use]
    pub fn pending(&self) -> &[String] {
        &self.pending
    }
}

/// What was done for an erasure since this process knows of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The keys are destroyed, and every process was told.
    told: bool,
    /// And the store's older bytes are gone.
    scrubbed: bool,
}

impl Keyring {
    /// Destroys the keys of a subject: a tombstone takes their place, in the store and in every copy of it; older bytes are
    /// scrubbed; whoever holds one of the keys is stopped, here at once and in other processes within 5 s. It needs no
    /// key-encryption key: what a clinic has locked can be erased. What has begun is finished even if the caller goes away,
    /// or the process is killed; doing it again is no error, and says how far it has come.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if this tenant never had such a subject; [`Store`](KeyError::Store) if the
    /// store failed, perhaps after it was begun: ask again until it succeeds. A copy that fails is no error, but
    /// [pending](Erasure::pending).
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Security
    ///
    /// Of copies that were not registered it knows nothing: a backup of the key store brings back whom it holds.
    pub async fn erase_subject(&self, tenant: &TenantId, subject: SubjectId) -> Result<Erasure, KeyError> {
        self.shred(tenant, subject, [0; 16]).await
    }

    /// [`erase_subject`](Self::erase_subject) on behalf of an attempt in the ledger.
    pub(crate) async fn shred(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        attempt: [u8; 16],
    ) -> Result<Erasure, KeyError> {
        let (keyring, tenant) = (self.clone(), tenant.clone());
        // In a task of its own: a caller who is dropped between the tombstone and the cache would leave the key there.
        let erasure = tokio::spawn(async move { keyring.0.shred(&tenant, subject, attempt).await });
        erasure.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }

    /// Whether the keys of this subject are gone. Needs no key-encryption key.
    pub(crate) async fn is_erased(&self, tenant: &TenantId, subject: SubjectId) -> Result<bool, KeyError> {
        let inner = &self.0;
        let entry = inner.store.get(&subject_name(tenant, subject)).await?.ok_or(KeyError::Unknown)?;
        let record = Record::parse(&entry.value);
        let sound = |record: &Record| inner.platform.authority.check(Owner::subject(tenant, subject), record).is_ok();
        Ok(matches!(record, Ok(record @ Record::Erased(_)) if sound(&record)))
    }

    /// Whether the journal says that every copy has confirmed the erasure of this subject.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) async fn is_confirmed(&self, tenant: &TenantId, subject: SubjectId) -> Result<bool, KeyError> {
        Ok(self.0.journal_line(tenant, subject).await?.is_some_and(|(line, _)| line.done))
    }

    /// Whether the journal has the erasure of this subject, by a line that this platform wrote.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](KeyError::Corrupt) if what stands there is none.
    pub async fn is_shredded(&self, tenant: &TenantId, subject: SubjectId) -> Result<bool, KeyError> {
        Ok(self.0.journal_line(tenant, subject).await?.is_some())
    }
}

impl Inner {
    async fn shred(&self, tenant: &TenantId, subject: SubjectId, attempt: [u8; 16]) -> Result<Erasure, KeyError> {
        let standing = self.shred_here(tenant, subject, attempt).await?;
        self.scrub_pending().await?;
        self.conclude(tenant, subject, &standing, &self.follow().await).await
    }

    /// The journal, the tombstone, and the word to everybody; what stands there now.
    async fn shred_here(&self, tenant: &TenantId, subject: SubjectId, attempt: [u8; 16]) -> Result<Entry, KeyError> {
        let attempt = self.begin_shred(tenant, subject, attempt).await?;
        let person = (tenant.clone(), subject);
        let erased = self.put_tombstone(tenant, subject, attempt).await;
        if !matches!(erased, Ok((_, false))) {
            // Written now, or perhaps; although the journal may have said that all was done, of an older copy of the store.
            self.pending().insert(person.clone(), Progress::default());
        }
        // Also after an error, which does not say that nothing was written. Not before: a load that begins after the
        // key was forgotten, and before the tombstone is durable, would put it back.
        if self.pending().get(&person).is_some_and(|progress| !progress.told) {
            let announced = self.announce(What::Cut, tenant, Some(subject)).await;
            if announced.is_ok()
                && erased.is_ok()
                && let Some(progress) = self.pending().get_mut(&person)
            {
                progress.told = true;
            }
            erased.as_ref().ok().map(|_| announced).transpose()?;
        }
        erased.map(|(entry, _)| entry)
    }

    /// Scrubs, unless nobody's keys were destroyed since it was done last: it writes the whole file.
    async fn scrub_pending(&self) -> Result<(), KeyError> {
        // Nobody else's: their tombstones may come after the scrub has begun.
        let destroyed: Vec<_> = {
            let pending = self.pending();
            let due = pending.iter().filter(|(_, progress)| progress.told && !progress.scrubbed);
            due.map(|(person, _)| person.clone()).collect()
        };
        if destroyed.is_empty() {
            return Ok(());
        }
        self.store.scrub().await?;
        for person in destroyed {
            if let Some(progress) = self.pending().get_mut(&person) {
                progress.scrubbed = true;
            }
        }
        Ok(())
    }

    /// Erasures that a copy has not confirmed, and how far each has come.
    pub(super) fn pending(&self) -> MutexGuard<'_, BTreeMap<(TenantId, SubjectId), Progress>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in the journal that all is done, if every copy has come so far and holds the tombstone.
    async fn conclude(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        standing: &Entry,
        reached: &[(Arc<str>, Result<u64, KeyError>)],
    ) -> Result<Erasure, KeyError> {
        let name = subject_name(tenant, subject);
        let mut pending = Vec::new();
        for (copy, reached) in reached {
            let came = matches!(reached, Ok(at) if *at >= standing.version);
            if !came || !matches!(self.holds(copy, &name, &standing.value).await, Ok(true)) {
                pending.push(copy.to_string());
            }
        }
        let erasure = Erasure { confirmed: 1 + reached.len() - pending.len(), pending };
        if erasure.is_complete() {
            self.end_shred(tenant, subject, erasure.confirmed).await?;
        }
        Ok(erasure)
    }

    /// Ends once the journal says that it is to be done; for which attempt.
    async fn begin_shred(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        attempt: [u8; 16],
    ) -> Result<[u8; 16], KeyError> {
        let (owner, name) = (Owner::subject(tenant, subject), journal_name(tenant, subject));
        if self.store.get(&subject_name(tenant, subject)).await?.is_none() {
            return Err(KeyError::Unknown);
        }
        let line = self.platform.authority.sign(owner, Record::Shred(Shred::begun(self.wall(), attempt)));
        self.store.insert_new(&name, &line.to_bytes(), None).await?;
        let (line, _) = self.journal_line(tenant, subject).await?.ok_or(KeyError::Corrupt)?;
        if !line.done {
            self.pending().entry((tenant.clone(), subject)).or_default();
        }
        Ok(line.attempt)
    }

    async fn end_shred(&self, tenant: &TenantId, subject: SubjectId, copies: usize) -> Result<(), KeyError> {
        let (owner, name) = (Owner::subject(tenant, subject), journal_name(tenant, subject));
        for _ in 0..SWAP_TRIES {
            let (line, version) = self.journal_line(tenant, subject).await?.ok_or(KeyError::Corrupt)?;
            let copies = u8::try_from(copies).unwrap_or(u8::MAX);
            let was_done = line.done;
            let done = self.platform.authority.sign(owner, Record::Shred(line.done(copies)));
            if was_done || self.store.compare_and_swap(&name, version, &done.to_bytes(), None).await? {
                self.pending().remove(&(tenant.clone(), subject));
                return Ok(());
            }
        }
        Err(StoreError::Busy.into())
    }

    async fn journal_line(&self, tenant: &TenantId, subject: SubjectId) -> Result<Option<(Shred, u64)>, KeyError> {
        let Some(entry) = self.store.get(&journal_name(tenant, subject)).await? else { return Ok(None) };
        let record = Record::parse(&entry.value)?;
        self.platform.authority.check(Owner::subject(tenant, subject), &record)?;
        let Record::Shred(line) = record else { return Err(KeyError::Corrupt) };
        Ok(Some((line, entry.version)))
    }

    /// Ends once the tombstone is in the store: as it stands there, and whether it was written now.
    async fn put_tombstone(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        attempt: [u8; 16],
    ) -> Result<(Entry, bool), KeyError> {
        let (owner, name) = (Owner::subject(tenant, subject), subject_name(tenant, subject));
        let mut written = false;
        for _ in 0..SWAP_TRIES {
            let entry = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            let epoch = match Record::parse(&entry.value) {
                Ok(record @ Record::Erased(_)) if self.platform.authority.check(owner, &record).is_ok() => {
                    return Ok((entry, written));
                }
                Ok(Record::Set(set)) => set.newest(),
                // A damaged key is destroyed as well as a sound one.
                _ => FIRST_EPOCH,
            };
            let tombstone = Record::Erased(Tombstone::new(epoch, self.wall(), attempt));
            let tombstone = self.platform.authority.sign(owner, tombstone).to_bytes();
            // Read back above, as it stands then.
            written |= self.store.compare_and_swap(&name, entry.version, &tombstone, None).await?;
        }
        Err(StoreError::Busy.into())
    }

    /// What an earlier process began and did not end. A line that is none is passed over, and [reported](Keyring::report).
    pub(super) async fn recall_pending(&self) -> Result<(), KeyError> {
        let prefix = Prefix::platform(JOURNAL).expect("the kind is a constant");
        let mut after = None::<String>;
        loop {
            let page = self.store.list(&prefix, after.as_deref(), MAX_PAGE).await?;
            for (key, entry) in &page {
                match self.parse_line(key, &entry.value) {
                    Some((person, false)) => {
                        self.pending().insert(person, Progress::default());
                    }
                    Some(_) => {}
                    None => {
                        self.damaged_lines.fetch_add(1, Ordering::Relaxed);
                        trace::event!(warn, line = %key, "a line of the shred journal is damaged");
                    }
                }
            }
            after = page.last().map(|(key, _)| key.clone());
            if page.len() < MAX_PAGE {
                break;
            }
        }
        // What was begun is done before anybody asks for a key, as far as the store goes; a copy may take longer.
        self.finish_pending().await
    }

    /// Whose line of the journal it is, and whether it is done.
    fn parse_line(&self, key: &str, value: &[u8]) -> Option<((TenantId, SubjectId), bool)> {
        let (tenant, subject) = parse_journal_key(key)?;
        let record = Record::parse(value).ok()?;
        self.platform.authority.check(Owner::subject(&tenant, subject), &record).ok()?;
        match record {
            Record::Shred(line) => Some(((tenant, subject), line.done)),
            _ => None,
        }
    }

    /// Goes on with what was begun. One that cannot go on holds up no other.
    pub(super) async fn finish_pending(&self) -> Result<(), KeyError> {
        let begun: Vec<_> = self.pending().keys().cloned().collect();
        if begun.is_empty() {
            return Ok(());
        }
        let (mut standing, mut failed) = (Vec::with_capacity(begun.len()), None);
        for (tenant, subject) in begun {
            match self.shred_here(&tenant, subject, [0; 16]).await {
                Ok(entry) => standing.push((tenant, subject, entry)),
                Err(error) => failed = Some(error),
            }
        }
        self.scrub_pending().await?;
        let reached = self.follow().await;
        for (tenant, subject, entry) in standing {
            if let Err(error) = self.conclude(&tenant, subject, &entry, &reached).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// `p:shred:<tenant>.<uuid>`: on the platform, so that all can be listed.
fn journal_name(tenant: &TenantId, subject: SubjectId) -> ObjectName {
    ObjectName::platform(JOURNAL, &format!("{tenant}.{subject}")).expect("a tenant, a dot and a UUID are a key")
}

fn parse_journal_key(key: &str) -> Option<(TenantId, SubjectId)> {
    let (tenant, subject) = key.split_once('.')?;
    Some((TenantId::new(tenant).ok()?, subject.parse().ok()?))
}
