//! The epochs of subjects' keys: a new key comes, seals, and the old one goes.
//!
//! 1. *Prepared*: the new key is there and seals nothing, so that every process can open what it will seal.
//! 2. *Switched*: it seals. The old one opens what it sealed.
//! 3. *Retired*: the old one is gone. What was derived from it for the ledger, and opens no value, is kept: the ledger's
//!    records are never sealed anew.
//!
//! Each step is one compare-and-swap of the subject's record. Between them whoever rotates waits until every process has
//! seen the step, and between the last two until no door is open that was opened before.

use std::time::Duration;

use super::{
    super::{
        ledger_key::LedgerKey,
        record::{MAX_PAST, Owner, Record},
    },
    Inner, KIND, KeyError, Keyring, SUBJECT, SWAP_TRIES,
    notice::What,
    random_key, subject_name, watch,
};
use crate::{
    id::{SubjectId, TenantId},
    secret::ExposeSecret as _,
    store::{Prefix, StoreError},
};

/// After how long every process that shares the store has seen what was announced, or gives out nothing.
pub(crate) const SEEN: Duration = watch::STALE.saturating_add(Duration::from_secs(1));

/// A step of one subject's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochStep {
    Prepare,
    Switch,
    Retire,
}

/// A subject's keys as the store has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epochs {
    pub(crate) subject: SubjectId,
    /// How many keys there are: two while they change.
    pub(crate) keys: usize,
    /// The newest epoch.
    pub(crate) newest: u32,
    /// The newest one seals.
    pub(crate) switched: bool,
}

impl Keyring {
    /// The subjects of a tenant after `after`, those who were erased left out; the last key of the page, if there are more.
    pub(crate) async fn epochs(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Epochs>, Option<String>), KeyError> {
        let prefix = Prefix::tenant(tenant, KIND).expect("the kind is a constant");
        let page = self.0.store.list(&prefix, after, limit).await?;
        let next = if page.len() < limit { None } else { page.last().map(|(key, _)| key.clone()) };
        let mut found = Vec::with_capacity(page.len());
        for (key, entry) in &page {
            let Some(subject) = key.strip_prefix(SUBJECT) else { continue };
            let subject = subject.parse().map_err(|_| KeyError::Corrupt)?;
            // What is damaged opens nothing, and is reported elsewhere.
            if let Ok(Record::Set(set)) = Record::parse(&entry.value) {
                let switched = usize::from(set.current) + 1 == set.keys.len();
                found.push(Epochs { subject, keys: set.keys.len(), newest: set.newest(), switched });
            }
        }
        Ok((found, next))
    }

    /// Takes one step for one subject, whose newest epoch must be the one that was seen when it was decided; `false` if there was nothing to do: it was taken, or the subject was erased, or its
    /// record is damaged.
    pub(crate) async fn step_epoch(
        &self,
        tenant: &TenantId,
        person: &Epochs,
        step: EpochStep,
    ) -> Result<bool, KeyError> {
        self.0.step_epoch(tenant, person, step).await
    }

    /// Tells every process that subjects' keys of this tenant have changed.
    pub(crate) async fn announce_epochs(&self, tenant: &TenantId) -> Result<(), KeyError> {
        self.0.announce(What::Subjects, tenant, None).await
    }

    /// Leaves nothing of replaced records in the store's own files.
    pub(crate) async fn scrub(&self) -> Result<(), KeyError> {
        Ok(self.0.store.scrub().await?)
    }
}

impl Inner {
    async fn step_epoch(&self, tenant: &TenantId, person: &Epochs, step: EpochStep) -> Result<bool, KeyError> {
        let subject = person.subject;
        let (owner, name) = (Owner::subject(tenant, subject), subject_name(tenant, subject));
        let mut held = self.tenant(tenant).await?;
        for _ in 0..SWAP_TRIES {
            let entry = self.store.get(&name).await?.ok_or(KeyError::Unknown)?;
            let Ok(Record::Set(set)) = Record::parse(&entry.value) else { return Ok(false) };
            if set.newest() != person.newest {
                // Another rotation has gone on from where this one looked.
                return Ok(false);
            }
            if held.parent(set.parent_epoch).is_none() {
                // The wrapping key was rotated since one of the two was read.
                held = self.check(tenant, &held).await?;
            }
            let keys = held
                .parent(set.parent_epoch)
                .and_then(|parent| Some((parent.unwrap(owner, &set).ok()?, parent.unwrap_past(owner, &set).ok()?)));
            // What is damaged stays as it is.
            let Some((mut keys, mut past)) = keys else { return Ok(false) };
            let mut made: Vec<_> = set.keys.iter().map(|key| key.made).collect();
            let mut past_made: Vec<_> = set.past.iter().map(|key| key.made).collect();
            let (two, switched) = (keys.len() > 1, usize::from(set.current) + 1 == keys.len());
            let current = match step {
                EpochStep::Prepare if !two => {
                    let epoch = set.newest().checked_add(1).ok_or(KeyError::Corrupt)?;
                    if past.len() == MAX_PAST {
                        // It could not be retired.
                        return Err(KeyError::Corrupt);
                    }
                    keys.push((epoch, random_key()));
                    made.push(self.wall());
                    0
                }
                EpochStep::Switch if two && !switched => 1,
                EpochStep::Retire if two && switched => {
                    let (epoch, root) = keys.remove(0);
                    past.push((epoch, LedgerKey::of_subject(root.expose_secret(), epoch).into_bytes()));
                    past_made.push(made.remove(0));
                    0
                }
                _ => return Ok(false),
            };
            let keys = keys.iter().zip(made).map(|((epoch, key), made)| (*epoch, made, key));
            let past = past.iter().zip(past_made).map(|((epoch, key), made)| (*epoch, made, key));
            let record = Record::Set(held.current().wrap_with_past(owner, current, keys, past)).to_bytes();
            if self.store.compare_and_swap(&name, entry.version, &record, None).await? {
                return Ok(true);
            }
        }
        Err(StoreError::Busy.into())
    }
}
