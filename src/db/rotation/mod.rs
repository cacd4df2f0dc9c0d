//! New keys for people, and their values sealed anew under them, while everybody works.

mod log;
mod person;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use log::name;
pub use log::{RotationLog, RotationMode, RotationProgress, RotationStage};
use person::{check, count, is_stale, reseal_person};

use super::{Clinics, DbError, TxError, clinics::PeopleTable};
use crate::{
    access::{Changes, DoorError, JobError, JobGrant, Jobs, SubjectGrant, Task},
    audit::{Action, Event, Ledger, TrailError},
    clock::Clock,
    codec,
    id::{SubjectId, TenantId, TrailId},
    keys::{EpochStep, Epochs, KeyError, Keyring, SEEN},
    store::{Durable, MAX_PAGE, StoreError},
    trace,
};

/// How many people one step of the job handles, unless its pace or its time ends it before.
const PEOPLE: usize = 200;
/// How long one step goes on, so that its trail has not reached its deadline by far.
const STEP: Duration = Duration::from_secs(20);
/// How long the envelope of one step is good for.
const ENVELOPE: Duration = Duration::from_secs(300);
/// How often a rotation that waits, or that somebody may have begun, is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How a rotation goes on.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`with_pace`](Self::with_pace) | none | people whose values are sealed anew in a second, at most |
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RotationOptions {
    pace: Option<NonZeroU32>,
}

impl RotationOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seals the values of at most so many people anew in a second.
    pub const fn with_pace(mut self, people: NonZeroU32) -> Self {
        self.pace = Some(people);
        self
    }
}

/// A rotation cannot go on. What was done stays done; run it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The task's permission does not open a class of data that people's rows hold.
    #[error(
        "the task's permission `{permission}` does not open `{class}` data: let it change every class that is sealed"
    )]
    Permission {
        /// The permission.
        permission: &'static str,
        /// The class.
        class: &'static str,
    },
    /// What is kept of the rotation was not written by this platform.
    #[error("what the key store holds of this rotation was changed by somebody: restore the key store from a copy")]
    State,
    /// No rotation was begun.
    #[error("no rotation of this clinic's values was begun")]
    None,
    /// One is going on.
    #[error("a rotation of this clinic's values is going on: let it end before another")]
    GoingOn,
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A door.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A transaction.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// The clinic's file.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The record that it is complete.
    #[error("the record that the rotation is complete cannot be written")]
    Trail(#[from] TrailError),
    /// The job that does it.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The store of keys.
    #[error("the key store did not answer")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RotationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Rotates the keys of a clinic's people. Cheap to clone.
///
/// # Decision rule
///
/// 1. Each person gets a new random key, of the next epoch. It seals nothing until every process knows it.
/// 2. The new keys seal. The old ones open what they sealed. Nobody waits.
/// 3. Until no door is open any more that was opened before (the ledger's
///    [`trail_deadline`](crate::audit::LedgerOptions::with_trail_deadline)), old keys may still seal; then none does.
/// 4. Every value that an old key sealed is opened and sealed anew, in a transaction of that person's own, under a
///    [`JobGrant`] whose records say so.
/// 5. Every row is looked at again. If one is left, 4 begins anew.
/// 6. A record that it is complete, signed with the platform's key, is made durable in the ledger.
/// 7. Only then are the old keys destroyed, and the store scrubbed; and only if that was asked for
///    ([`RotationMode::Retire`], [`RotationMode::Whole`]), since a backup of the data from before opens with them alone.
///
/// A value that does not open is left as it is, and its owner keeps both keys. Whoever is erased meanwhile is left out.
///
/// # Example
///
/// ```
/// use std::{num::NonZeroU32, sync::Arc};
/// use tower_ward::{
///     access::{JobGrant, Jobs, SubjectGrant, Task}, audit::Ledger,
///     db::{Db, Rotation, RotationError, RotationMode, RotationOptions, RotationProgress, RotationStep}, id::TenantId, keys::Keyring,
///     store::Durable,
/// };
///
/// tower_ward::classes! { pub Clinical = "clinical"; pub Identity = "identity"; }
/// // All that is sealed: a permission for less is refused at the first step.
/// tower_ward::permissions! { pub RotateKeys = "keys.rotate" changes Clinical, Identity; }
///
/// enum Rekey {}
/// impl Task for Rekey {
///     type Permission = RotateKeys;
///     const ID: &'static str = "rekey";
/// }
///
/// /// All of it, ten people in a second. `Rotation::attend` does the same for whatever `ward rotate` begins.
/// async fn rotate(
///     db: &Db, keyring: &Keyring, ledger: &Ledger, keys: Arc<dyn Durable>, jobs: &Jobs, clinic: &TenantId,
/// ) -> Result<RotationProgress, RotationError> {
///     let options = RotationOptions::new().with_pace(NonZeroU32::new(10).expect("not zero"));
///     let rotation = Rotation::new(db, keyring, ledger, keys, options);
///     rotation.begin(clinic, RotationMode::Reseal).await?;
///     rotation.run::<Rekey>(jobs, clinic, |now| println!("{}: {} people", now.stage.as_str(), now.people)).await
/// }
///
/// /// Or a part of it, in a job of one's own.
/// async fn part(rotation: &Rotation<Db>, grant: JobGrant<Rekey>) -> Result<bool, RotationError> {
///     Ok(matches!(rotation.step(&grant).await?, RotationStep::Done(_)))
/// }
/// ```
///
/// What a permission for readers does not do:
///
/// ```compile_fail,E0277
/// # use tower_ward::{access::{JobGrant, Task}, db::{Db, Rotation}};
/// tower_ward::permissions! { pub ReadKeys = "keys.read"; }
/// enum Look {}
/// impl Task for Look {
///     type Permission = ReadKeys;
///     const ID: &'static str = "look";
/// }
/// async fn part(rotation: &Rotation<Db>, grant: JobGrant<Look>) {
///     let _ = rotation.step(&grant).await;
/// }
/// ```
///
/// [`step`](Self::step) does a part of it and says for how long to wait, so that no trail becomes too old; killed at any
/// moment, the next step goes on.
///
/// # Security
///
/// A write that was sealed under an old key after step 3 would be lost in step 7. None is: a door does not open beyond its
/// trail's deadline, [`TenantTx::commit`](super::TenantTx::commit) does not commit beyond it, and no process gives out a key
/// without having read what was announced 5 s ago. An application that writes sealed values past `TenantTx` must write them
/// before the trail ends, too.
#[derive(Debug, Clone)]
pub struct Rotation<D>(Arc<Inner<D>>);

#[derive(Debug)]
struct Inner<D> {
    db: D,
    keyring: Keyring,
    ledger: Ledger,
    log: RotationLog,
    options: RotationOptions,
    /// Since when this process has seen which stage of which rotation, by the ledger's monotonic clock.
    waiting: Mutex<HashMap<TrailId, (RotationStage, Duration)>>,
}

/// What a step says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotationStep {
    /// There is more to do, after so long.
    Again(RotationProgress, Duration),
    /// It is complete.
    Done(RotationProgress),
}

impl<D: Clinics> Rotation<D> {
    /// Rotations of the clinics of `db`, whose keys are `keyring`'s. `store` keeps how far they have come: the key store.
    #[must_use]
    pub fn new(db: &D, keyring: &Keyring, ledger: &Ledger, store: Arc<dyn Durable>, options: RotationOptions) -> Self {
        Self(Arc::new(Inner {
            db: db.clone(),
            keyring: keyring.clone(),
            ledger: ledger.clone(),
            log: RotationLog::new(keyring, store, Arc::clone(ledger.clock())),
            options,
            waiting: Mutex::default(),
        }))
    }

    /// [`RotationLog::begin`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn begin(&self, tenant: &TenantId, mode: RotationMode) -> Result<RotationProgress, RotationError> {
        self.0.log.begin(tenant, mode).await
    }

    /// [`RotationLog::progress`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn progress(&self, tenant: &TenantId) -> Result<Option<RotationProgress>, RotationError> {
        self.0.log.progress(tenant).await
    }

    /// Does a part of the rotation that was begun.
    ///
    /// # Errors
    ///
    /// [`RotationError`], naming what is in the way; what was done stays done.
    pub async fn step<T: Task<Permission: Changes>>(&self, grant: &JobGrant<T>) -> Result<RotationStep, RotationError> {
        let tenant = grant.tenant();
        let (mut progress, version) = self.0.log.read(tenant).await?.ok_or(RotationError::None)?;
        let tables = self.0.db.people(tenant).await?;
        check::<T::Permission>(&tables)?;
        let wait = match progress.stage {
            stage if progress.mode == RotationMode::Count && stage != RotationStage::Done => {
                (progress.people, progress.values) = (progress.total, count(&self.0.db, tenant, &tables).await?);
                progress.stage = RotationStage::Done;
                Duration::ZERO
            }
            RotationStage::Done => return Ok(RotationStep::Done(progress)),
            RotationStage::Prepare => self.keys(tenant, &mut progress, EpochStep::Prepare).await?,
            RotationStage::Switch => self.keys(tenant, &mut progress, EpochStep::Switch).await?,
            RotationStage::Known => self.wait(&mut progress, SEEN),
            RotationStage::Settle => {
                self.wait(&mut progress, SEEN.saturating_add(self.0.ledger.options().trail_deadline))
            }
            RotationStage::Reseal => in_time(self.reseal(grant, &tables, &mut progress).await)?,
            RotationStage::Verify => in_time(self.verify(grant, &tables, &mut progress).await)?,
            RotationStage::Retire => in_time(self.retire(grant, &mut progress).await)?,
        };
        // Whoever took the same step at the same time has written it.
        self.0.log.write(tenant, &progress, Some(version)).await?;
        Ok(match progress.stage {
            RotationStage::Done => RotationStep::Done(progress),
            _ => RotationStep::Again(progress, wait),
        })
    }

    /// One step for each person's keys.
    async fn keys(
        &self,
        tenant: &TenantId,
        progress: &mut RotationProgress,
        step: EpochStep,
    ) -> Result<Duration, RotationError> {
        let keyring = &self.0.keyring;
        let (people, next) = keyring.epochs(tenant, progress.after.as_deref(), MAX_PAGE).await?;
        for person in &people {
            keyring.step_epoch(tenant, person, step).await?;
            progress.people += 1;
        }
        if next.is_none() {
            keyring.announce_epochs(tenant).await?;
        }
        advance(progress, next);
        Ok(Duration::ZERO)
    }

    /// Waits for so long in this process: what another one waited cannot be known.
    fn wait(&self, progress: &mut RotationProgress, whole: Duration) -> Duration {
        let now = self.0.ledger.clock().monotonic();
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match waiting.get(&progress.id) {
            Some((stage, since)) if *stage == progress.stage => *since,
            _ => {
                waiting.insert(progress.id, (progress.stage, now));
                now
            }
        };
        let left = whole.saturating_sub(now.saturating_sub(since));
        if left.is_zero() {
            waiting.remove(&progress.id);
            advance(progress, None);
        }
        left
    }

    /// The door of a person whose keys are changed; `None` if they were erased since the list was read, or are left out.
    async fn open<T: Task<Permission: Changes>>(
        &self,
        grant: &JobGrant<T>,
        person: &Epochs,
    ) -> Result<Option<SubjectGrant<T::Permission>>, RotationError> {
        // Made, or prepared by a slower process, after this rotation had switched: the next one's.
        if !person.switched {
            return Ok(None);
        }
        let chart = match grant.subject(person.subject).await {
            Ok(chart) => chart,
            Err(DoorError::NotFound) => return Ok(None),
            Err(DoorError::Key(KeyError::Corrupt)) => {
                trace::event!(warn, tenant = %grant.tenant(), subject = %person.subject,
                    "a person's keys are damaged, and stay as they are");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // Under a key from before the switch, what is old would look current.
        if chart.sealing_any().map_err(DoorError::from)?.key.epoch() != person.newest {
            return Err(KeyError::NotYetKnown.into());
        }
        Ok(Some(chart))
    }

    async fn reseal<T: Task<Permission: Changes>>(
        &self,
        grant: &JobGrant<T>,
        tables: &[PeopleTable],
        progress: &mut RotationProgress,
    ) -> Result<Duration, RotationError> {
        let (tenant, slice) = (grant.tenant(), self.slice());
        let (people, next) = self.0.keyring.epochs(tenant, progress.after.as_deref(), PEOPLE).await?;
        let mut handled = 0;
        for person in people.iter().filter(|person| person.keys > 1) {
            if slice.is_over() {
                return Ok(Duration::ZERO);
            }
            if let Some(chart) = self.open(grant, person).await? {
                let (values, damaged) = unless_erased(reseal_person(&self.0.db, &chart, tables).await)?;
                progress.values += values;
                progress.damaged += damaged;
                handled += 1;
            }
            pass(progress, person);
        }
        advance(progress, next);
        let paced = self
            .0
            .options
            .pace
            .map_or(Duration::ZERO, |pace| Duration::from_secs(1).saturating_mul(handled) / pace.get());
        Ok(paced.saturating_sub(slice.taken()))
    }

    async fn verify<T: Task<Permission: Changes>>(
        &self,
        grant: &JobGrant<T>,
        tables: &[PeopleTable],
        progress: &mut RotationProgress,
    ) -> Result<Duration, RotationError> {
        let (tenant, slice) = (grant.tenant(), self.slice());
        let (people, next) = self.0.keyring.epochs(tenant, progress.after.as_deref(), PEOPLE).await?;
        for person in people.iter().filter(|person| person.keys > 1) {
            if slice.is_over() {
                return Ok(Duration::ZERO);
            }
            if let Some(chart) = self.open(grant, person).await?
                && is_stale(&self.0.db, &chart, tables).await?
                && let (values @ 1.., _) = unless_erased(reseal_person(&self.0.db, &chart, tables).await)?
            {
                // Something was left, and is not any more: all is looked at again.
                progress.values += values;
                (progress.after, progress.people) = (None, 0);
                return Ok(Duration::ZERO);
            }
            pass(progress, person);
        }
        let ends = next.is_none();
        if ends {
            self.complete(grant, progress).await?;
        }
        advance(progress, next);
        if ends && progress.mode == RotationMode::Reseal {
            // The old keys stay until somebody retires them.
            progress.stage = RotationStage::Done;
        }
        Ok(Duration::ZERO)
    }

    /// The part of a trail's life that one step may take.
    fn slice(&self) -> Slice<'_> {
        let clock = &**self.0.ledger.clock();
        Slice { clock, began: clock.monotonic(), whole: STEP.min(self.0.ledger.options().trail_deadline / 3) }
    }

    /// Says in the ledger, signed, that nothing is left that an old key sealed.
    async fn complete<T: Task>(&self, grant: &JobGrant<T>, progress: &RotationProgress) -> Result<(), RotationError> {
        let statement = statement(grant.tenant(), progress);
        let pair = self.0.log.pair()?;
        let signature = codec::base64url(pair.sign(statement.as_bytes()).as_ref());
        let event = Event::new(Action::Configuration).with_entity("key_epoch");
        let reason = format!(
            "complete {} values {} damaged {} ed25519 {signature}",
            progress.id, progress.values, progress.damaged
        );
        grant.trail().record(event.with_tenant(grant.tenant().clone()).with_reason(reason))?;
        grant.trail().settled().await?;
        let name = name(grant.tenant(), "complete");
        let bytes = format!("{statement}\n{signature}").into_bytes();
        loop {
            let there = self.0.log.store.get(&name).await?;
            let written = match there {
                None => self.0.log.store.insert_new(&name, &bytes, None).await?,
                Some(there) => self.0.log.store.compare_and_swap(&name, there.version, &bytes, None).await?,
            };
            if written {
                return Ok(());
            }
        }
    }

    async fn retire<T: Task<Permission: Changes>>(
        &self,
        grant: &JobGrant<T>,
        progress: &mut RotationProgress,
    ) -> Result<Duration, RotationError> {
        let (tenant, keyring) = (grant.tenant(), &self.0.keyring);
        // No old key goes before the ledger says, signed, that nothing needs it.
        let there = self.0.log.store.get(&name(tenant, "complete")).await?.ok_or(RotationError::State)?;
        let text = String::from_utf8(there.value).map_err(|_| RotationError::State)?;
        let (said, signature) = text.rsplit_once('\n').ok_or(RotationError::State)?;
        let signature = codec::unbase64url(signature).ok_or(RotationError::State)?;
        let pair = self.0.log.pair()?;
        let key = UnparsedPublicKey::new(&ED25519, pair.public_key());
        let right = said.contains(&progress.id.to_string()) && key.verify(said.as_bytes(), &signature).is_ok();
        if !right {
            return Err(RotationError::State);
        }
        let (tables, slice) = (self.0.db.people(tenant).await?, self.slice());
        let (people, next) = keyring.epochs(tenant, progress.after.as_deref(), PEOPLE).await?;
        for person in people.iter().filter(|person| person.keys > 1) {
            if slice.is_over() {
                return Ok(Duration::ZERO);
            }
            // What does not open keeps its key.
            if let Some(chart) = self.open(grant, person).await?
                && !is_stale(&self.0.db, &chart, &tables).await?
            {
                keyring.step_epoch(tenant, person, EpochStep::Retire).await?;
            }
            pass(progress, person);
        }
        if next.is_none() {
            keyring.announce_epochs(tenant).await?;
            keyring.scrub().await?;
        }
        advance(progress, next);
        Ok(Duration::ZERO)
    }

    /// Takes steps until it is complete, each under a job of its own, and tells `progress` of each. Of a rotation that was
    /// [begun](Self::begin), by whomever.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step), and [`Job`](RotationError::Job) if a job is refused.
    pub async fn run<T: Task<Permission: Changes>>(
        &self,
        jobs: &Jobs,
        tenant: &TenantId,
        mut progress: impl FnMut(&RotationProgress),
    ) -> Result<RotationProgress, RotationError> {
        loop {
            let envelope = jobs.danger_issue_for_clinic::<T>(tenant.clone(), ENVELOPE)?;
            let rotation = self.clone();
            let step = async move |grant: JobGrant<T>| rotation.step(&grant).await;
            match jobs.run::<T, _, _, _>(&envelope, step).await?? {
                RotationStep::Done(done) => {
                    progress(&done);
                    return Ok(done);
                }
                RotationStep::Again(now, wait) => {
                    progress(&now);
                    tokio::time::sleep(wait.min(LOOK)).await;
                }
            }
        }
    }

    /// Runs what is [begun](Self::begin) for any of these clinics, by `ward rotate` for example, for as long as it is
    /// polled. What cannot go on is traced, and tried again.
    pub async fn attend<T: Task<Permission: Changes>>(&self, jobs: &Jobs, tenants: impl Fn() -> Vec<TenantId>) {
        loop {
            for tenant in tenants() {
                let begun = match self.progress(&tenant).await {
                    Ok(there) => there.is_some_and(|there| there.stage != RotationStage::Done),
                    Err(error) => {
                        trace::event!(warn, tenant = %tenant, error = %error, "a rotation cannot be looked at");
                        false
                    }
                };
                if begun && let Err(error) = self.run::<T>(jobs, &tenant, |_| ()).await {
                    trace::event!(warn, tenant = %tenant, error = %error, "a rotation cannot go on");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The time of one step.
struct Slice<'a> {
    clock: &'a dyn Clock,
    began: Duration,
    whole: Duration,
}

impl Slice<'_> {
    fn taken(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    fn is_over(&self) -> bool {
        self.taken() >= self.whole
    }
}

/// A step whose trail reached its deadline has done what it has done, and the next goes on.
fn in_time(step: Result<Duration, RotationError>) -> Result<Duration, RotationError> {
    match step {
        Err(
            RotationError::Tx(TxError::Trail(TrailError::Expired))
            | RotationError::Door(DoorError::Trail(TrailError::Expired) | DoorError::Closed(_))
            | RotationError::Trail(TrailError::Expired),
        ) => Ok(Duration::ZERO),
        step => step,
    }
}

/// Of a person who was erased after their door was opened there is nothing to seal.
fn unless_erased(resealed: Result<(u64, u64), RotationError>) -> Result<(u64, u64), RotationError> {
    match resealed {
        Err(RotationError::Tx(TxError::Erased)) => Ok((0, 0)),
        resealed => resealed,
    }
}

/// This person was looked at in this stage.
fn pass(progress: &mut RotationProgress, person: &Epochs) {
    progress.people += 1;
    progress.after = Some(subject_key(person.subject));
}

/// On to the next page of this stage, or to the next stage.
fn advance(progress: &mut RotationProgress, next: Option<String>) {
    if next.is_none() {
        progress.stage = progress.stage.next();
        progress.people = 0;
    }
    progress.after = next;
}

/// The key under which a page of subjects goes on after this one.
fn subject_key(subject: SubjectId) -> String {
    format!("subject-{subject}")
}

fn statement(tenant: &TenantId, progress: &RotationProgress) -> String {
    let RotationProgress { id, values, damaged, begun, .. } = progress;
    format!("tower-ward/v1/rotation-complete\n{tenant}\n{id}\nvalues {values}\ndamaged {damaged}\nbegun {begun}")
}
