//! Background work, from a signed envelope: nothing ambient.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Authority, DoorError, Doors, Facts, Grant, Permission, Relations, Who};
use crate::{
    audit::{Actor, End, Ledger, RequestFacts},
    clock::Timestamp,
    codec,
    id::{SubjectId, TenantId, TrailId, UserId},
    store::{Durable, ObjectName, StoreError},
};

/// A kind of background work, with the permission that it needs.
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
    issued_by: Option<UserId>,
    /// Milliseconds since 1970.
    expires: i64,
    id: TrailId,
}

/// Issues and runs jobs.
///
/// An envelope names clinic, task and, when it was issued from one person's grant, that person; it expires, and it runs
/// once. It is no secret, but whoever holds it can cause that one task to run.
#[derive(Debug, Clone)]
pub struct Jobs {
    doors: Arc<Doors>,
    ledger: Ledger,
    store: Arc<dyn Durable>,
    key: Arc<Zeroizing<[u8; 32]>>,
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
    pub(crate) fn new(doors: Arc<Doors>, ledger: Ledger, store: Arc<dyn Durable>) -> Self {
        let key = Arc::new(doors.keyring.derive(LABEL));
        Self { doors, ledger, store, key }
    }

    /// An envelope for a task, from the door that the issuer opened: nobody delegates what he may not do himself. From
    /// one person's grant it is for that person alone; from a clinic's grant it is for the whole clinic.
    ///
    /// # Errors
    ///
    /// [`JobError::Life`] if `life` is zero or longer than [`MAX_JOB_LIFE`]; [`JobError::Invalid`] if the door was
    /// opened for another permission than the task's.
    pub fn issue<T: Task>(&self, by: &impl Authority, life: Duration) -> Result<String, JobError> {
        if by.permission() != T::Permission::ID || by.is_scope() {
            return Err(JobError::Invalid);
        }
        let facts = by.facts();
        self.seal::<T>(facts.tenant.clone(), by.subject_id(), facts.who.user(), life)
    }

    fn seal<T: Task>(
        &self,
        tenant: TenantId,
        subject: Option<SubjectId>,
        issued_by: Option<UserId>,
        life: Duration,
    ) -> Result<String, JobError> {
        if life.is_zero() || life > MAX_JOB_LIFE {
            return Err(JobError::Life);
        }
        let clock = &*self.doors.clock;
        let expires = clock.now().checked_add(life).map_err(|_| JobError::Life)?;
        let envelope = Envelope {
            task: T::ID.to_owned(),
            permission: T::Permission::ID.to_owned(),
            tenant,
            subject,
            issued_by,
            expires: expires.as_millisecond(),
            id: TrailId::generate(clock),
        };
        let payload = serde_json::to_vec(&envelope).map_err(|_| JobError::Invalid)?;
        let tag = self.mac(&payload).finalize().into_bytes();
        Ok(join(&payload, &tag))
    }

    /// An envelope for a task of the clinic itself, which nobody asked for: a reminder, an import.
    ///
    /// # Errors
    ///
    /// [`JobError::Life`] if `life` is zero or longer than [`MAX_JOB_LIFE`].
    ///
    /// # Security
    ///
    /// No grant stands behind it, so call it from the program's own schedule and never from a handler.
    pub fn issue_for_clinic<T: Task>(&self, tenant: TenantId, life: Duration) -> Result<String, JobError> {
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
        let envelope = self.open::<T>(envelope)?;
        let now = self.doors.clock.now();
        let expires = Timestamp::from_millisecond(envelope.expires).map_err(|_| JobError::Invalid)?;
        if now >= expires {
            return Err(JobError::Expired);
        }
        // Remembered until it would have expired anyway, so the list of used envelopes stays bounded.
        let name =
            ObjectName::tenant(&envelope.tenant, "job", &envelope.id.to_string()).map_err(|_| JobError::Invalid)?;
        if !self.store.insert_new(&name, &[], Some(expires)).await? {
            return Err(JobError::Used);
        }
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new().with_route(T::ID));
        trail.set_actor(Actor {
            user: envelope.issued_by,
            role: Some("job".into()),
            session: None,
            tenant: Some(envelope.tenant.clone()),
        });
        let who = Who::Job { issued_by: envelope.issued_by, subject: envelope.subject };
        let facts = Facts { trail: trail.clone(), tenant: envelope.tenant, who, doors: Arc::clone(&self.doors) };
        let grant = Grant::new(Arc::new(facts), Relations::CLINIC);
        let output = work(JobGrant { grant, subject: envelope.subject, _task: PhantomData }).await;
        let settled = trail.settled().await;
        closer.finish(End::Completed);
        settled.map_err(|_| JobError::Record)?;
        Ok(output)
    }

    fn open<T: Task>(&self, text: &str) -> Result<Envelope, JobError> {
        let (payload, tag) = split(text).ok_or(JobError::Invalid)?;
        self.mac(&payload).verify_slice(&tag).map_err(|_| JobError::Invalid)?;
        let envelope: Envelope = serde_json::from_slice(&payload).map_err(|_| JobError::Invalid)?;
        if envelope.task != T::ID || envelope.permission != T::Permission::ID {
            return Err(JobError::Invalid);
        }
        Ok(envelope)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key[..]).expect("HMAC takes a key of any length");
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
