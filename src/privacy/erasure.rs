//! The end of one person's data: decided in the clinic's file, done in the key store, mirrored in the ledger.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    access::{Changes, DoorError, Grant},
    audit::{Action, AttemptId, CONFIRMED, End, Erased, Event, Ledger, RequestFacts, SHREDDED, TrailError},
    db::{Clinics, DbError, TxError},
    id::{SubjectId, TenantId},
    keys::{Erasure, KeyError, Keyring},
};

/// An erasure was refused, or could not be finished now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErasureError {
    /// The ledger knows of an erasure that the key store's journal does not: an older key store was put in place.
    #[error(
        "the ledger knows that `{subject}` of clinic `{tenant}` was erased, and the key store does not: an older copy of it \
         was put in place. Put the newest copy back"
    )]
    Disagree {
        /// The clinic.
        tenant: TenantId,
        /// The person.
        subject: SubjectId,
    },
    /// The door did not open.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// Nothing was decided: the transaction did not commit.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// What the application wanted gone with them could not be deleted. Nothing was decided.
    #[error("what the application deletes with a person could not be deleted, so nothing was erased")]
    Application(#[source] sqlx::Error),
    /// It was decided, and the keys could not be destroyed yet: ask again. A restart finishes it too.
    #[error("the erasure was decided and could not be finished: ask again, or restart")]
    Keys(#[from] KeyError),
    /// The clinics' files.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The keys are gone, and the ledger could not be told: ask again, or restart.
    #[error("the keys are destroyed, and the record of it cannot be written now: ask again, or restart")]
    Trail(#[from] TrailError),
}

/// Erases people, and knows that none who was erased has come back. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Erasures<D>(Arc<Inner<D>>);

#[derive(Debug)]
struct Inner<D> {
    keyring: Keyring,
    db: D,
    ledger: Ledger,
    /// What the ledger has still to be told of, and how much it knows.
    untold: Mutex<BTreeMap<(TenantId, SubjectId), Erased>>,
    /// Whether somebody is at it.
    telling: AtomicBool,
}

impl<D: Clinics> Erasures<D> {
    /// Compares the ledger with the key store, and finishes what was decided before a crash. To be called once at start,
    /// after the database's `settle` and before the first request.
    ///
    /// # Errors
    ///
    /// [`Disagree`](ErasureError::Disagree) if the key store is older than the ledger; otherwise if one of them fails. Do
    /// not serve then.
    pub async fn open(keyring: &Keyring, db: &D, ledger: &Ledger) -> Result<Self, ErasureError> {
        let (keyring, db, ledger) = (keyring.clone(), db.clone(), ledger.clone());
        let (untold, telling) = (Mutex::default(), AtomicBool::new(false));
        let erasures = Self(Arc::new(Inner { keyring, db, ledger, untold, telling }));
        let Inner { keyring, ledger, .. } = &*erasures.0;
        for ((tenant, subject), (attempt, known)) in ledger.take_erasures() {
            // What a copy had not confirmed may be missing in the copy that took the store's place: it is done there now.
            if known == Erased::Confirmed && !keyring.is_shredded(&tenant, subject).await? {
                return Err(ErasureError::Disagree { tenant, subject });
            }
            if known < Erased::Confirmed || !keyring.is_erased(&tenant, subject).await? {
                let _ = erasures.finish(&tenant, subject, attempt, known).await?;
            }
        }
        Ok(erasures)
    }

    /// Erases a person: nothing that was sealed for them opens any more.
    ///
    /// # Errors
    ///
    /// [`Door`](ErasureError::Door) and [`Tx`](ErasureError::Tx) if nothing was erased; [`Keys`](ErasureError::Keys) and
    /// [`Trail`](ErasureError::Trail) if it was decided and is to be finished: ask again.
    pub async fn erase<P: Changes>(&self, grant: &Grant<P>, subject: SubjectId) -> Result<Erasure, ErasureError> {
        self.erase_with(grant, subject, async |_: &mut D::Tx| Ok(())).await
    }

    /// [`erase`](Self::erase), and in the same transaction what `also` does: the rows of that person which nobody has to
    /// keep.
    ///
    /// # Errors
    ///
    /// As [`erase`](Self::erase), and [`Application`](ErasureError::Application) if `also` fails.
    pub async fn erase_with<P: Changes>(
        &self,
        grant: &Grant<P>,
        subject: SubjectId,
        also: impl AsyncFnOnce(&mut D::Tx) -> Result<(), sqlx::Error>,
    ) -> Result<Erasure, ErasureError> {
        let door = grant.erasure(subject).await?;
        let tenant = door.facts.tenant.clone();
        if door.erased {
            // Asked again: how far it has come, and what the ledger was not told.
            let erasure = self.0.keyring.erase_subject(&tenant, subject).await?;
            self.tell(&tenant, subject, &erasure).await?;
            return Ok(erasure);
        }
        let mut tx = self.0.db.begin_erasure(&door).await?;
        also(&mut tx).await.map_err(ErasureError::Application)?;
        let attempt = D::attempt_of(&tx);
        D::commit(tx).await?;
        // Decided. Whoever goes away from here on leaves it to the task.
        let erasures = self.clone();
        let finished = tokio::spawn(async move { erasures.finish(&tenant, subject, attempt, Erased::Decided).await });
        finished.await.unwrap_or(Err(ErasureError::Trail(TrailError::Unavailable)))
    }

    /// Destroys the keys and says so, beyond what the ledger knows.
    async fn finish(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        attempt: AttemptId,
        known: Erased,
    ) -> Result<Erasure, ErasureError> {
        self.untold().insert((tenant.clone(), subject), known);
        let erasure = self.0.keyring.shred(tenant, subject, *attempt.as_bytes()).await?;
        self.tell(tenant, subject, &erasure).await?;
        Ok(erasure)
    }

    fn untold(&self) -> MutexGuard<'_, BTreeMap<(TenantId, SubjectId), Erased>> {
        self.0.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the ledger what it does not know yet. What a copy has not confirmed is looked at again until it has, as long as
    /// this process lives; the next one goes on.
    async fn tell(&self, tenant: &TenantId, subject: SubjectId, erasure: &Erasure) -> Result<(), TrailError> {
        let person = (tenant.clone(), subject);
        let Some(known) = self.untold().get(&person).copied() else { return Ok(()) };
        if known < Erased::Shredded {
            self.say(tenant, subject, SHREDDED).await?;
            self.untold().insert(person.clone(), Erased::Shredded);
        }
        if erasure.is_complete() {
            self.say(tenant, subject, CONFIRMED).await?;
            self.untold().remove(&person);
        } else if !self.0.telling.swap(true, Ordering::AcqRel) {
            let erasures = self.clone();
            tokio::spawn(async move { erasures.keep_telling().await });
        }
        Ok(())
    }

    /// Until the ledger knows all. The keyring goes on with the copies by itself; here the journal is read and nothing else.
    async fn keep_telling(&self) {
        loop {
            tokio::time::sleep(AGAIN).await;
            let waiting: Vec<_> = self.untold().keys().cloned().collect();
            for (tenant, subject) in &waiting {
                if matches!(self.0.keyring.is_confirmed(tenant, *subject).await, Ok(true))
                    && self.say(tenant, *subject, CONFIRMED).await.is_ok()
                {
                    self.untold().remove(&(tenant.clone(), *subject));
                }
            }
            if self.untold().is_empty() {
                self.0.telling.store(false, Ordering::Release);
                return;
            }
        }
    }

    /// On a trail of its own: the request's may have ended.
    async fn say(&self, tenant: &TenantId, subject: SubjectId, what: &'static str) -> Result<(), TrailError> {
        let (trail, mut closer) = self.0.ledger.begin(RequestFacts::new().with_route("erasure"));
        let event = Event::new(Action::Erase).with_tenant(tenant.clone()).with_entity("person");
        trail.record(event.add_subject(subject).with_reason(what))?;
        trail.settled().await?;
        closer.finish(End::Completed);
        Ok(())
    }
}

/// How often a copy that has not confirmed is looked at again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(2);
