//! Own keys of clinics, revocation, and rotation of what wraps.

use std::sync::{Arc, PoisonError};

use super::{
    super::{
        kek::{Kek, KekId},
        provider::KeyContext,
        record::{Authority, Guarded, Owner, Parent, Record, State},
    },
    Inner, KIND, KeyError, Keyring, SUBJECT, SWAP_TRIES, guard, listed,
    notice::What,
    platform_name, random_key, subject_name, tenant_name, unguard,
};
use crate::{
    id::{SubjectId, TenantId},
    secret::ExposeSecret,
    store::{Entry, MAX_PAGE, Prefix, StoreError},
};

impl Keyring {
    /// Makes a key-encryption key known while the keyring is in use: a clinic that brings its own.
    pub fn add_kek(&self, kek: Kek) {
        let id = kek.id().clone();
        self.0.keks.write().unwrap_or_else(PoisonError::into_inner).insert(id, kek.into_provider());
    }

    /// Wraps a tenant's keys under another key-encryption key, and scrubs what was wrapped under the old one. No value is
    /// touched, and nobody who works has to stop. Also under the same one again, which takes up its newest version.
    ///
    /// # Errors
    ///
    /// [`UnknownKek`](KeyError::UnknownKek) if one of the two was not added, [`Provider`](KeyError::Provider) if one of
    /// the two refuses, does not answer, or gives back another key than it was given: nothing is changed then.
    ///
    /// # Security
    ///
    /// A copy of the key store that was made before, together with the old key-encryption key, still opens what is older
    /// than it.
    pub async fn rewrap_tenant(&self, tenant: &TenantId, kek: &KekId) -> Result<(), KeyError> {
        self.0.rewrap_tenant(tenant, kek).await?;
        self.0.store.scrub().await?;
        Ok(())
    }

    /// Wraps everything that is wrapped under the key-encryption key `from` under `to`: the platform's secret, and the keys
    /// of every tenant. `progress` is told after each. A run that was interrupted is finished by another; when it has
    /// returned, `from` is not needed any more. Processes that share the store must have been told of `to` before: one that
    /// was not serves from memory until the outage that is allowed is over.
    ///
    /// # Errors
    ///
    /// As [`rewrap_tenant`](Keyring::rewrap_tenant), at the first tenant that cannot be wrapped anew. Those before it are.
    pub async fn rewrap_all(
        &self,
        from: &KekId,
        to: &KekId,
        mut progress: impl FnMut(usize),
    ) -> Result<usize, KeyError> {
        let mut done = 0;
        // First: a tenant that is made from now on is wrapped under `to`.
        if self.0.rewrap_platform(from, to).await? {
            done += 1;
            progress(done);
        }
        // Until a pass finds nothing: one may have been made while this went on.
        loop {
            let (before, mut tenants) = (done, Tenants::default());
            while let Some(tenant) = tenants.next(&self.0).await? {
                if self.0.kek_of(&tenant).await?.as_ref().is_some_and(|kek| kek == from) {
                    self.0.rewrap_tenant(&tenant, to).await?;
                    done += 1;
                    progress(done);
                }
            }
            if done == before || from == to {
                break;
            }
        }
        self.0.store.scrub().await?;
        Ok(done)
    }

    /// Gives a tenant a new wrapping key under the same key-encryption key, and wraps the keys of all its subjects under
    /// it. No value is touched, and nobody who works has to stop. A run that was interrupted is finished by another.
    /// Returns how many subjects' keys were wrapped anew.
    ///
    /// # Errors
    ///
    /// If the store or the key's holder fails; what was done until then stays done. [`Damaged`](KeyError::Damaged) if a
    /// subject's record cannot be read: everything else was wrapped anew, and the old wrapping key is kept for it.
    pub async fn rotate_tenant(&self, tenant: &TenantId) -> Result<usize, KeyError> {
        let inner = &self.0;
        inner.change_tenant(tenant, Change::Begin).await?;
        inner.announce(What::Changed, tenant, None).await?;
        let held = inner.check(tenant, &inner.tenant(tenant).await?).await?;
        let (mut moved, mut damaged) = inner.move_subjects(tenant, held.current(), &held).await?;
        // Until a pass finds nothing: one may have been made while this went on.
        for _ in 0..SWAP_TRIES {
            let (again, still) = inner.move_subjects(tenant, held.current(), &held).await?;
            (moved, damaged) = (moved + again, still);
            if again == 0 {
                break;
            }
        }
        if let Some(subject) = damaged {
            // The old key stays: a copy of the record may still need it.
            return Err(KeyError::Damaged { tenant: tenant.clone(), subject });
        }
        inner.change_tenant(tenant, Change::End(held.newest())).await?;
        inner.announce(What::Changed, tenant, None).await?;
        inner.store.scrub().await?;
        Ok(moved)
    }

    /// Cuts the access to a tenant's keys: at once here, within 5 s in every process that shares the store. Who holds an
    /// open door of this tenant is stopped as well. Nothing is destroyed.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if there is no such tenant; [`Store`](KeyError::Store) if the store failed, perhaps
    /// after it was written: ask again until it succeeds.
    pub async fn revoke_tenant(&self, tenant: &TenantId) -> Result<(), KeyError> {
        self.set_state(tenant, State::Revoked).await
    }

    /// Gives back the access that [`revoke_tenant`](Keyring::revoke_tenant) cut. The data is there as it was.
    ///
    /// # Errors
    ///
    /// As [`revoke_tenant`](Keyring::revoke_tenant).
    pub async fn restore_tenant(&self, tenant: &TenantId) -> Result<(), KeyError> {
        self.set_state(tenant, State::InUse).await
    }

    async fn set_state(&self, tenant: &TenantId, state: State) -> Result<(), KeyError> {
        let (keyring, tenant) = (self.clone(), tenant.clone());
        // In a task of its own: a caller who goes away must not leave it written and not told.
        let set = tokio::spawn(async move {
            let inner = &keyring.0;
            let written = inner.change_tenant(&tenant, Change::State(state)).await;
            let what = if state == State::Revoked { What::Cut } else { What::Changed };
            let announced = inner.announce(what, &tenant, None).await;
            written?;
            announced
        });
        set.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }

    /// The key-encryption key that a tenant's keys are wrapped under.
    ///
    /// # Errors
    ///
    /// [`Unknown`](KeyError::Unknown) if there is no such tenant.
    pub async fn kek_of(&self, tenant: &TenantId) -> Result<KekId, KeyError> {
        self.0.kek_of(tenant).await?.ok_or(KeyError::Unknown)
    }
}

/// All tenants, a page at a time.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    page: std::vec::IntoIter<TenantId>,
    after: Option<String>,
    ended: bool,
}

impl Tenants {
    pub(super) async fn next(&mut self, inner: &Inner) -> Result<Option<TenantId>, KeyError> {
        loop {
            if let Some(tenant) = self.page.next() {
                return Ok(Some(tenant));
            }
            if self.ended {
                return Ok(None);
            }
            let page = inner.store.list(&listed(), self.after.as_deref(), MAX_PAGE).await?;
            self.ended = page.len() < MAX_PAGE;
            self.after = page.last().map(|(key, _)| key.clone());
            let tenants: Result<Vec<_>, _> = page.iter().map(|(key, _)| TenantId::new(key)).collect();
            self.page = tenants.map_err(|_| KeyError::Corrupt)?.into_iter();
        }
    }
}

/// What is done to a tenant's record.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    State(State),
    Kek(&'a KekId),
    /// Of a rotation of the wrapping key.
    Begin,
    /// Of the one that made this epoch.
    End(u32),
}

impl Inner {
    /// Reads a tenant's record, changes it, and writes it unless there is nothing to write.
    async fn change_tenant(&self, tenant: &TenantId, change: Change<'_>) -> Result<(), KeyError> {
        let name = tenant_name(tenant);
        for _ in 0..SWAP_TRIES {
            let Entry { value, version, .. } = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            let mut guarded = self.parse_tenant(tenant, &value)?;
            let changes = match change {
                Change::State(state) => std::mem::replace(&mut guarded.state, state) != state,
                Change::Kek(kek) => self.rewrap_keys(tenant, &mut guarded, kek).await?,
                Change::Begin => self.begin_rotation(tenant, &mut guarded).await?,
                Change::End(newest) => end_rotation(&mut guarded, newest),
            };
            if !changes {
                return Ok(());
            }
            let record = self.platform.authority.sign(Owner::tenant(tenant), Record::Guarded(guarded));
            if self.store.compare_and_swap(&name, version, &record.to_bytes(), None).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy.into())
    }

    /// `None` if there is no such tenant.
    async fn kek_of(&self, tenant: &TenantId) -> Result<Option<KekId>, KeyError> {
        let Some(entry) = self.store.get(&tenant_name(tenant)).await? else { return Ok(None) };
        Ok(Some(self.parse_tenant(tenant, &entry.value)?.current().kek.clone()))
    }

    async fn rewrap_tenant(&self, tenant: &TenantId, kek: &KekId) -> Result<(), KeyError> {
        self.change_tenant(tenant, Change::Kek(kek)).await?;
        self.announce(What::Changed, tenant, None).await
    }

    async fn rewrap_keys(&self, tenant: &TenantId, guarded: &mut Guarded, kek: &KekId) -> Result<bool, KeyError> {
        for key in &mut guarded.keys {
            let secret = self.unguard(tenant, key).await?;
            let made = key.made;
            *key = self.guard(tenant, kek, key.epoch, &secret).await?;
            key.made = made;
        }
        Ok(true)
    }

    /// Whether it was under `from`.
    async fn rewrap_platform(&self, from: &KekId, to: &KekId) -> Result<bool, KeyError> {
        let (name, owner, context) = (platform_name(), Owner::PLATFORM, KeyContext::platform());
        for _ in 0..SWAP_TRIES {
            let Entry { value, version, .. } = self.store.get(&name).await?.ok_or(KeyError::Corrupt)?;
            let record = Record::parse(&value)?;
            self.platform.authority.check(owner, &record)?;
            let Record::Guarded(mut guarded) = record else { return Err(KeyError::Corrupt) };
            if guarded.current().kek != *from {
                return Ok(false);
            }
            for key in &mut guarded.keys {
                let secret = unguard(&*self.kek(&key.kek)?, owner, &context, key).await?;
                *key = guard(&*self.kek(to)?, to, owner, &context, key.epoch, key.made, &secret).await?;
            }
            let authority: &Authority = &self.platform.authority;
            let record = authority.sign(owner, Record::Guarded(guarded)).to_bytes();
            if self.store.compare_and_swap(&name, version, &record, None).await? {
                return Ok(true);
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Makes a new wrapping key known, unless a rotation that was interrupted did.
    async fn begin_rotation(&self, tenant: &TenantId, guarded: &mut Guarded) -> Result<bool, KeyError> {
        if guarded.keys.len() > 1 {
            return Ok(false);
        }
        let old = guarded.current().clone();
        let parent = Parent::new(self.unguard(tenant, &old).await?.expose_secret(), old.epoch);
        let owner = Owner::tenant(tenant);
        let clinic = guarded.clinic.take().ok_or(KeyError::Corrupt)?;
        let keys = parent.unwrap(owner, &clinic)?;
        let epoch = old.epoch.checked_add(1).ok_or(KeyError::Corrupt)?;
        let secret = random_key();
        guarded.keys.push(self.guard(tenant, &old.kek, epoch, &secret).await?);
        let made = clinic.keys.iter().map(|key| key.made);
        let keys = keys.iter().zip(made).map(|((epoch, key), made)| (*epoch, made, key));
        guarded.clinic = Some(Parent::new(secret.expose_secret(), epoch).wrap(owner, clinic.current, keys));
        Ok(true)
    }

    /// Wraps the keys of every subject under `to` that are not yet. What is made while this goes on is made under `to`. How
    /// many, and a subject whose record cannot be read.
    async fn move_subjects(
        &self,
        tenant: &TenantId,
        to: &Parent,
        held: &Arc<super::Tenant>,
    ) -> Result<(usize, Option<SubjectId>), KeyError> {
        let prefix = Prefix::tenant(tenant, KIND).expect("the kind is a constant");
        let (mut after, mut moved, mut damaged) = (None::<String>, 0, None);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), MAX_PAGE).await?;
            for (key, entry) in &page {
                let Some(subject) = key.strip_prefix(SUBJECT) else { continue };
                let subject: SubjectId = subject.parse().map_err(|_| KeyError::Corrupt)?;
                match self.move_subject(tenant, subject, entry.clone(), to, held).await {
                    Ok(now) => moved += usize::from(now),
                    Err(KeyError::Corrupt) => damaged = Some(subject),
                    Err(error) => return Err(error),
                }
            }
            after = page.last().map(|(key, _)| key.clone());
            if page.len() < MAX_PAGE {
                return Ok((moved, damaged));
            }
        }
    }

    pub(super) async fn move_subject(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        mut entry: Entry,
        to: &Parent,
        held: &super::Tenant,
    ) -> Result<bool, KeyError> {
        let (owner, name) = (Owner::subject(tenant, subject), subject_name(tenant, subject));
        for _ in 0..SWAP_TRIES {
            let set = match Record::parse(&entry.value)? {
                // A newer one is another rotation's.
                Record::Set(set) if set.parent_epoch < to.epoch() => set,
                // Moved already, or erased.
                Record::Set(_) | Record::Erased(_) => return Ok(false),
                Record::Guarded(_) | Record::Shred(_) => return Err(KeyError::Corrupt),
            };
            let from = held.parent(set.parent_epoch).ok_or(KeyError::Corrupt)?;
            let (keys, past) = (from.unwrap(owner, &set)?, from.unwrap_past(owner, &set)?);
            let made = set.keys.iter().map(|key| key.made);
            let keys = keys.iter().zip(made).map(|((epoch, key), made)| (*epoch, made, key));
            let made = set.past.iter().map(|key| key.made);
            let past = past.iter().zip(made).map(|((epoch, key), made)| (*epoch, made, key));
            let record = Record::Set(to.wrap_with_past(owner, set.current, keys, past)).to_bytes();
            if self.store.compare_and_swap(&name, entry.version, &record, None).await? {
                return Ok(true);
            }
            entry = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
        }
        Err(StoreError::Busy.into())
    }
}

/// Drops the old wrapping key, which wraps nothing any more; unless somebody else did, and perhaps began again.
fn end_rotation(guarded: &mut Guarded, newest: u32) -> bool {
    let ends = guarded.keys.len() > 1 && guarded.current().epoch == newest;
    if ends {
        guarded.keys.remove(0);
    }
    ends
}

#[cfg(test)]
impl Keyring {
    /// The first step of [`rotate_tenant`](Self::rotate_tenant), and no other: as after a kill.
    pub(crate) async fn begin_rotation_for_test(&self, tenant: &TenantId) -> Result<(), KeyError> {
        self.0.change_tenant(tenant, Change::Begin).await?;
        self.0.announce(What::Changed, tenant, None).await
    }
}
