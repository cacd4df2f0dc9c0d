//! Background work, from a signed envelope: nothing ambient.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Closed, DoorError, Doors, Facts, Grant, OpenDoor, Permission, Policy, Relations, Who};
use crate::{
    audit::{Action, Actor, End, Event, Ledger, RequestFacts},
    clock::Timestamp,
    codec,
    id::{SubjectId, TenantId, TrailId, UserId},
    identity::{Fault, Identity},
    secret::{ExposeSecret, Secret},
    store::{Durable, ObjectName, StoreError},
    tenant::Hosts,
};

/// A kind of background work, with the permission that it needs.
///
/// ```
/// use std::time::Duration;
/// use tower_ward::access::{JobError, JobGrant, Jobs, MAX_ENVELOPE_BYTES, MAX_JOB_LIFE, SubjectGrant, Task};
///
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
///
/// enum Letter {}
/// impl Task for Letter {
///     type Permission = ReadNotes;
///     const ID: &'static str = "letter";
/// }
///
/// /// In the handler: an envelope for what this door was opened for, to lie in a queue. Longer than a week is refused.
/// async fn later(jobs: &Jobs, chart: &SubjectGrant<ReadNotes>, life: Duration) -> Result<String, JobError> {
///     let envelope = jobs.issue::<Letter>(chart, life.min(MAX_JOB_LIFE)).await?;
///     debug_assert!(envelope.len() <= MAX_ENVELOPE_BYTES); // so wide is the column of the queue
///     Ok(envelope)
/// }
///
/// /// In the background: once, and with what the issuer may still do by then.
/// async fn now(jobs: &Jobs, envelope: &str) -> Result<bool, JobError> {
///     let write = async |grant: JobGrant<Letter>| match grant.subject_id() {
///         Some(patient) => grant.subject(patient).await.is_ok(),
///         None => false,
///     };
///     jobs.run(envelope, write).await
/// }
/// ```
pub trait Task: Send + Sync + 'static {
    /// What the work may do.
    type Permission: Permission;
    /// The name that envelopes and records use, such as `reminders`: 1 to 64 of `a-z 0-9 _ .`.
    const ID: &'static str;
}

/// The longest life of an envelope.
pub const MAX_JOB_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest envelope that is read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 2048;

const PREFIX: &str = "twj1.";

/// A job could not be issued or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The envelope was not made here, was changed, or is for another task. One sentence for all three.
    #[error("the envelope is not valid for this task")]
    Invalid,
    /// The envelope has expired.
    #[error("the envelope has expired: issue the job anew")]
    Expired,
    /// The envelope was run before.
    #[error("the envelope was used before: an envelope runs once")]
    Used,
    /// The builder was not told of the task.
    #[error("the task `{0}` is not declared: add it with `Builder::add_task`")]
    Undeclared(&'static str),
    /// The clinic is gone, or the issuer may not do this any more.
    #[error("the clinic or the issuer of the envelope may not do this any more")]
    Withdrawn,
    /// The issuer's account cannot be looked up.
    #[error("the account of the envelope's issuer cannot be looked up")]
    Issuer(#[source] Fault),
    /// The life asked for is zero or longer than [`MAX_JOB_LIFE`].
    #[error("a job's life is more than zero and at most seven days")]
    Life,
    /// The store that remembers which envelopes ran cannot be reached.
    #[error("the store of used envelopes cannot be reached")]
    Store(#[from] StoreError),
    /// A door did not open.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The record could not be made durable, so the work's result is withheld.
    #[error("the job's record could not be made durable")]
    Record,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    task: String,
    permission: String,
    tenant: TenantId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<SubjectId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    issuer: Option<Issuer>,
    /// Milliseconds since 1970.
    expires: i64,
    id: TrailId,
}

/// Who issued an envelope. What he may do is asked again when the job runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    user: UserId,
    /// The person that the issuer is, for the relation `own`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    own: Option<SubjectId>,
}

/// What an issuer is judged by when his job runs.
#[derive(Debug)]
pub(crate) struct Issuers {
    pub(crate) policy: Policy,
    pub(crate) identity: Identity,
    pub(crate) hosts: Hosts,
}

/// Issues and runs jobs.
///
/// # Decision rule
///
/// An envelope names clinic, task and, when it was issued from one person's grant, that person. It is issued only
///
/// 1. for a task that the builder was told of,
/// 2. from a door that was opened for the task's own permission, in a request that has not ended, by a principal (a job
///    issues none),
/// 3. and given out only once the record of it is durable.
///
/// It runs only
///
/// 1. before it expires, which is asked again right before the work begins, and once: that it was used is remembered
///    for [`MAX_JOB_LIFE`] beyond its end,
/// 2. in a clinic that is registered,
/// 3. if its issuer still has an account that is not disabled,
/// 4. and if the policy grants the permission to the role that he has by then. The relation to a person is asked again
///    at the door.
///
/// # Security
///
/// An envelope is no secret, but whoever holds it can cause that one task to run.
#[derive(Debug, Clone)]
pub struct Jobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doors: Arc<Doors>,
    ledger: Ledger,
    store: Arc<dyn Durable>,
    issuers: Issuers,
    tasks: Vec<&'static str>,
    key: Secret<[u8; 32]>,
}

/// A [`Grant`] for background work, with a Trail of its own that ends with the work.
#[derive(Debug)]
#[must_use]
pub struct JobGrant<T: Task> {
    grant: Grant<T::Permission>,
    subject: Option<SubjectId>,
    _task: PhantomData<fn() -> T>,
}

impl<T: Task> JobGrant<T> {
    /// The one person whom the envelope names, if it names one.
    #[must_use]
    pub fn subject_id(&self) -> Option<SubjectId> {
        self.subject
    }
}

impl<T: Task> std::ops::Deref for JobGrant<T> {
    type Target = Grant<T::Permission>;

    fn deref(&self) -> &Self::Target {
        &self.grant
    }
}

/// The label of the key that signs envelopes.
const LABEL: &str = "tower-ward/v1/job";

impl Jobs {
    pub(crate) fn new(
        doors: Arc<Doors>,
        ledger: Ledger,
        store: Arc<dyn Durable>,
        issuers: Issuers,
        tasks: Vec<&'static str>,
    ) -> Self {
        let key = Secret::new(Box::new(*doors.keyring.derive(LABEL)));
        Self(Arc::new(Inner { doors, ledger, store, issuers, tasks, key }))
    }

    /// An envelope for a task, from the door that the issuer opened: nobody delegates what he may not do himself. From
    /// one person's grant it is for that person alone; from a clinic's grant it is for the whole clinic.
    ///
    /// # Errors
    ///
    /// [`JobError::Life`] if `life` is zero or longer than [`MAX_JOB_LIFE`]; [`JobError::Undeclared`] for a task that
    /// the builder was not told of; [`JobError::Invalid`] if the door was opened for another permission than the
    /// task's, or by a job; [`JobError::Record`] if the issue cannot be recorded.
    pub async fn issue<T: Task>(&self, by: &impl OpenDoor, life: Duration) -> Result<String, JobError> {
        let facts = by.facts();
        let Who::Principal(principal) = &facts.who else { return Err(JobError::Invalid) };
        if by.permission() != T::Permission::ID {
            return Err(JobError::Invalid);
        }
        if facts.trail.may_open().is_err() {
            return Err(DoorError::from(Closed).into());
        }
        let issuer = Issuer { user: principal.user(), own: principal.subject() };
        let envelope = self.seal::<T>(facts.tenant.clone(), by.subject_id(), Some(issuer), life)?;
        let mut event = Event::new(Action::Job).with_entity(T::ID).with_reason("issued");
        if let Some(subject) = by.subject_id() {
            event = event.add_subject(subject);
        }
        facts.trail.record(event).map_err(|_| JobError::Record)?;
        facts.trail.settled().await.map_err(|_| JobError::Record)?;
        Ok(envelope)
    }

    /// An envelope for a task of the clinic itself, which nobody asked for: a reminder, an import.
    ///
    /// # Errors
    ///
    /// [`JobError::Life`] if `life` is zero or longer than [`MAX_JOB_LIFE`]; [`JobError::Undeclared`] for a task that
    /// the builder was not told of.
    ///
    /// # Security
    ///
    /// No grant and no policy stands behind it: call it from the program's own schedule, and never from a handler.
    pub fn danger_issue_for_clinic<T: Task>(&self, tenant: TenantId, life: Duration) -> Result<String, JobError> {
        self.seal::<T>(tenant, None, None, life)
    }

    /// Runs a task under its envelope. The grant ends with the work, and the work's result is given out only once the
    /// records of what it opened are durable.
    ///
    /// # Errors
    ///
    /// [`JobError`] if the envelope is refused or the record cannot be made; whatever the work returns otherwise.
    pub async fn run<T, F, Fut, O>(&self, envelope: &str, work: F) -> Result<O, JobError>
    where
        T: Task,
        F: FnOnce(JobGrant<T>) -> Fut,
        Fut: Future<Output = O>,
    {
        let Inner { doors, ledger, store, .. } = &*self.0;
        let envelope = self.open::<T>(envelope)?;
        let expires = Timestamp::from_millisecond(envelope.expires).map_err(|_| JobError::Invalid)?;
        if doors.clock.now() >= expires {
            return Err(JobError::Expired);
        }
        let allowed = self.judge(&envelope).await?;
        let name =
            ObjectName::tenant(&envelope.tenant, "job", &envelope.id.to_string()).map_err(|_| JobError::Invalid)?;
        // Remembered beyond its end, so that at no moment it is neither used nor expired, also if the clock is set back;
        // and not for ever, so that the list of used envelopes stays bounded.
        let remembered = expires.checked_add(MAX_JOB_LIFE).map_err(|_| JobError::Life)?;
        if !store.insert_new(&name, &[], Some(remembered)).await? {
            return Err(JobError::Used);
        }
        // Time has passed in both stores.
        if doors.clock.now() >= expires {
            return Err(JobError::Expired);
        }
        let issued_by = envelope.issuer.as_ref().map(|issuer| issuer.user);
        let (trail, mut closer) = ledger.begin(RequestFacts::new().with_route(T::ID));
        trail.set_actor(Actor {
            user: issued_by,
            role: Some("job".into()),
            session: None,
            tenant: Some(envelope.tenant.clone()),
        });
        let own = envelope.issuer.as_ref().and_then(|issuer| issuer.own);
        let who = Who::Job { issued_by, own, subject: envelope.subject };
        let facts = Facts { trail: trail.clone(), tenant: envelope.tenant, who, doors: Arc::clone(doors) };
        let grant = Grant::new(Arc::new(facts), allowed);
        let work = work(JobGrant { grant, subject: envelope.subject, _task: PhantomData });
        let output = trail.cover(work).await;
        closer.finish(if output.is_ok() { End::Completed } else { End::Failed });
        output.map_err(|_| JobError::Record)
    }

    /// Whether clinic and issuer still stand, and under which relations the task may be done.
    async fn judge(&self, envelope: &Envelope) -> Result<Relations, JobError> {
        let Issuers { policy, identity, hosts } = &self.0.issuers;
        if !hosts.is_registered(&envelope.tenant) {
            return Err(JobError::Withdrawn);
        }
        let Some(issuer) = &envelope.issuer else { return Ok(Relations::CLINIC) };
        let role = identity.role_now(&envelope.tenant, issuer.user).await.map_err(JobError::Issuer)?;
        let role = role.ok_or(JobError::Withdrawn)?;
        match policy.relations(&role, &envelope.permission) {
            Relations::NONE => Err(JobError::Withdrawn),
            allowed => Ok(allowed),
        }
    }

    fn seal<T: Task>(
        &self,
        tenant: TenantId,
        subject: Option<SubjectId>,
        issuer: Option<Issuer>,
        life: Duration,
    ) -> Result<String, JobError> {
        if life.is_zero() || life > MAX_JOB_LIFE {
            return Err(JobError::Life);
        }
        if !self.0.tasks.contains(&T::ID) {
            return Err(JobError::Undeclared(T::ID));
        }
        let clock = &*self.0.doors.clock;
        let now = clock.now();
        let expires = now.checked_add(life).map_err(|_| JobError::Life)?;
        let envelope = Envelope {
            task: T::ID.to_owned(),
            permission: T::Permission::ID.to_owned(),
            tenant,
            subject,
            issuer,
            expires: expires.as_millisecond(),
            id: TrailId::generate(clock),
        };
        let payload = serde_json::to_vec(&envelope).map_err(|_| JobError::Invalid)?;
        let tag = self.mac(&payload).finalize().into_bytes();
        Ok(join(&payload, &tag))
    }

    fn open<T: Task>(&self, text: &str) -> Result<Envelope, JobError> {
        if !self.0.tasks.contains(&T::ID) {
            return Err(JobError::Undeclared(T::ID));
        }
        let (payload, tag) = split(text).ok_or(JobError::Invalid)?;
        self.mac(&payload).verify_slice(&tag).map_err(|_| JobError::Invalid)?;
        let envelope: Envelope = serde_json::from_slice(&payload).map_err(|_| JobError::Invalid)?;
        if envelope.task != T::ID || envelope.permission != T::Permission::ID {
            return Err(JobError::Invalid);
        }
        Ok(envelope)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let key = self.0.key.expose_secret();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(payload);
        mac
    }
}

fn join(payload: &[u8], tag: &[u8]) -> String {
    format!("{PREFIX}{}.{}", codec::base64url(payload), codec::base64url(tag))
}

/// The payload and tag of an envelope.
fn split(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if text.len() > MAX_ENVELOPE_BYTES {
        return None;
    }
    let (payload, tag) = text.strip_prefix(PREFIX)?.split_once('.')?;
    Some((codec::unbase64url(payload)?, codec::unbase64url(tag)?))
}

/// For the fuzz target: takes an envelope apart and puts it together again. Whether it was one, its tag aside.
///
/// # Panics
///
/// If what was parsed prints as something else.
#[doc(hidden)]
#[must_use]
pub fn fuzz_envelope(text: &str) -> bool {
    let Some((payload, tag)) = split(text) else { return false };
    assert_eq!(join(&payload, &tag), text, "an envelope has one spelling");
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&payload) else { return false };
    let print = |envelope: &Envelope| serde_json::to_vec(envelope).expect("an envelope is plain data");
    let printed = print(&envelope);
    let again = serde_json::from_slice(&printed).expect("what was printed parses");
    assert_eq!(print(&again), printed, "an envelope says the same when it is read again");
    true
}
