//! The grants: proofs that a principal may do something, and the doors they open.

mod erase;
mod opener;

use std::{fmt, marker::PhantomData, sync::Arc};

pub(crate) use erase::ErasureDoor;
pub use opener::{Authority, ChangeDoor, Indexer, OpenDoor, Opener};
pub(crate) use opener::{Owner, SealKey, Sealing};

use super::{Cohort, CohortQuery, DoorError, Permission, RelationSource, Relations, Scope};
use crate::{
    audit::{Action, Door, Refusal, Timeline, Trail},
    clock::SharedClock,
    id::{SubjectId, TenantId, UserId},
    identity::Principal,
    keys::{KeyError, Keyring, SubjectKey, TenantKey},
};

/// The request (or job) that a grant belonged to has ended, another one uses the grant, or its key was withdrawn, so it
/// opens nothing.
///
/// ```
/// # #[cfg(feature = "stack")] {
/// use tower_ward::{access::{Closed, DoorError}, problem::Problem};
///
/// // A handler that keeps a grant for later has a bug, so the client is told of a fault of the server.
/// assert_eq!(Problem::from(DoorError::from(Closed)).kind().status(), 500);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the request that this grant belonged to has ended, another request uses it, or its key was withdrawn: start \
     background work from a job envelope, and open doors with the grant that the handler was given"
)]
pub struct Closed;

/// What the doors need to open.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) keyring: Keyring,
    pub(crate) relations: Arc<dyn RelationSource>,
    pub(crate) clock: SharedClock,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// Somebody who logged in.
    Principal(Principal),
    /// A job: what an envelope named.
    Job { issued_by: Option<UserId>, own: Option<SubjectId>, subject: Option<SubjectId> },
    /// An application that decides by its own means ([`danger_grant`](super::danger_grant)).
    Application { user: UserId },
}

impl Who {
    /// The person that the principal is.
    pub(crate) fn own(&self) -> Option<SubjectId> {
        match self {
            Self::Principal(principal) => principal.subject(),
            Self::Job { own, .. } => *own,
            Self::Application { .. } => None,
        }
    }

    pub(crate) fn user(&self) -> Option<UserId> {
        match self {
            Self::Principal(principal) => Some(principal.user()),
            Self::Job { issued_by, .. } => *issued_by,
            Self::Application { user } => Some(*user),
        }
    }
}

/// One request's proofs together, so that none can be mixed with another's.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) trail: Trail,
    pub(crate) tenant: TenantId,
    pub(crate) who: Who,
    pub(crate) doors: Arc<Doors>,
}

/// Proof that this principal may do `P` in this clinic, for this one request.
///
/// It is handed to the handler by value, and opens these doors:
///
/// | door | for |
/// |---|---|
/// | [`subject`](Self::subject) | one person's data |
/// | [`admit`](Self::admit) | a new person |
/// | [`cohort`](Self::cohort) | lists, schedules and searches |
/// | [`clinic`](Self::clinic) | rows that belong to no person |
///
/// # Security
///
/// It cannot be made, cloned or kept: the constructor is private, and every door fails once the request has ended, and
/// in the handler of any other request, whose response would not wait for the record. A door opens in this order:
/// relation, key, and last, with nothing awaited in between, the record.
#[must_use]
pub struct Grant<P> {
    facts: Arc<Facts>,
    allowed: Relations,
    _permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Grant<P> {
    pub(crate) fn new(facts: Arc<Facts>, allowed: Relations) -> Self {
        Self { facts, allowed, _permission: PhantomData }
    }

    /// The clinic.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.facts.tenant
    }

    /// The principal's user, or who issued the job; `None` for a job that the clinic itself issued.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.facts.who.user()
    }

    /// The trail of this request, for records of the application's own.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.facts.trail
    }

    /// Opens one person's data.
    ///
    /// # Errors
    ///
    /// [`DoorError::NotFound`] alike for a person who does not exist, is another clinic's, or stands in no relation to
    /// the principal that the policy asks for; the other kinds when relation, key or record cannot be had.
    ///
    /// # Security
    ///
    /// The record says "opened", never "seen": it is enqueued before this returns, and neither a response nor a commit
    /// leaves before it is durable.
    pub async fn subject(&self, subject: SubjectId) -> Result<SubjectGrant<P>, DoorError> {
        let facts = &*self.facts;
        if facts.trail.may_open().is_err() {
            return Err(Closed.into());
        }
        let holds = self.relations_to(subject).await.map_err(|e| self.failed(e, &[subject]))?;
        if holds.is_empty() {
            self.refuse("no_relation", 404, &[subject]);
            return Err(DoorError::NotFound);
        }
        let (tenant_key, key) = match facts.doors.keyring.pair(&facts.tenant, subject).await {
            Ok(keys) => keys,
            Err(error) => return Err(self.no_key(error, subject)),
        };
        self.record(Action::Read, &[subject], holds)?;
        Ok(self.grant_for(subject, key, &tenant_key, holds))
    }

    /// Opens the data of a person who is new to the clinic. Their key is durable before this returns.
    ///
    /// The application inserts the person's rows, and whatever relations should hold, in one transaction after it. If it
    /// does not, a key that belongs to nobody is left behind, which harms nobody.
    ///
    /// # Errors
    ///
    /// [`DoorError::NotClinicWide`] if the policy grants `P` for some people only.
    pub async fn admit(&self) -> Result<SubjectGrant<P>, DoorError> {
        let facts = &*self.facts;
        self.clinic_wide()?;
        let subject = SubjectId::generate(&*facts.doors.clock);
        let key = facts.doors.keyring.create_subject(&facts.tenant, subject).await;
        let key = key.map_err(|e| self.failed(DoorError::Key(e), &[subject]))?;
        let tenant_key = self.tenant_key().await?;
        self.record(Action::Create, &[subject], Relations::CLINIC)?;
        Ok(self.grant_for(subject, key, &tenant_key, Relations::CLINIC))
    }

    /// Opens the people whom a query returns: a list, a schedule, a search. One record lists them all.
    ///
    /// # Errors
    ///
    /// [`DoorError::Query`] if the query fails, [`DoorError::OutOfScope`] if it returns somebody outside its
    /// [`Scope`]: the whole list is refused then, since a filter that leaks one person cannot be trusted with the rest.
    pub async fn cohort<Q: CohortQuery<P>>(&self, query: Q) -> Result<Cohort<P, Q::Row>, DoorError> {
        let tenant_key = self.tenant_key().await?;
        let scope = Scope::new(Arc::clone(&self.facts), tenant_key, self.allowed);
        Cohort::open(self, scope, query).await
    }

    /// Opens rows that belong to no person.
    ///
    /// # Errors
    ///
    /// [`DoorError::NotClinicWide`] if the policy grants `P` for some people only.
    pub async fn clinic(&self) -> Result<ClinicGrant<P>, DoorError> {
        self.clinic_wide()?;
        let key = self.tenant_key().await?;
        self.record(Action::Read, &[], Relations::CLINIC)?;
        Ok(ClinicGrant { facts: Arc::clone(&self.facts), key, _permission: PhantomData })
    }

    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    pub(super) fn grant_for(
        &self,
        subject: SubjectId,
        key: Arc<SubjectKey>,
        tenant_key: &Arc<TenantKey>,
        holds: Relations,
    ) -> SubjectGrant<P> {
        let (facts, tenant_key) = (Arc::clone(&self.facts), Arc::clone(tenant_key));
        SubjectGrant { facts, subject, key, tenant_key, holds, _permission: PhantomData }
    }

    async fn tenant_key(&self) -> Result<Arc<TenantKey>, DoorError> {
        let key = self.facts.doors.keyring.tenant(&self.facts.tenant).await;
        key.map_err(|e| self.failed(DoorError::Key(e), &[]))
    }

    pub(super) fn record(&self, action: Action, subjects: &[SubjectId], holds: Relations) -> Result<(), DoorError> {
        let (permission, entity) = (P::ID, entity(P::ID));
        let door = Door { action, permission, entity, subjects, row: None, why: holds.why() };
        self.facts.trail.door(door).map_err(|e| self.failed(e.into(), subjects))
    }

    /// An error while deciding is a refusal, and is recorded as one.
    pub(super) fn failed(&self, error: DoorError, subjects: &[SubjectId]) -> DoorError {
        if let Some((reason, status)) = error.refusal() {
            self.refuse(reason, status, subjects);
        }
        error
    }

    /// A key that is not here is the same to the client as a person who is not; the record knows better.
    fn no_key(&self, error: KeyError, subject: SubjectId) -> DoorError {
        match error {
            KeyError::Unknown => self.refuse("unknown_person", 404, &[subject]),
            KeyError::Erased => self.refuse("erased_person", 404, &[subject]),
            error => return self.failed(DoorError::Key(error), &[subject]),
        }
        DoorError::NotFound
    }

    pub(super) fn refuse(&self, reason: &'static str, status: u16, subjects: &[SubjectId]) {
        let entity = Some(entity(P::ID));
        let (permission, status) = (Some(P::ID), Some(status));
        self.facts.trail.refuse(Refusal { reason, status, permission, entity, subjects, ..Refusal::default() });
    }

    fn clinic_wide(&self) -> Result<(), DoorError> {
        let facts = &*self.facts;
        if facts.trail.may_open().is_err() {
            return Err(Closed.into());
        }
        let limited = matches!(facts.who, Who::Job { subject: Some(_), .. });
        if limited || !self.allowed.contains(Relations::CLINIC) {
            self.refuse("not_clinic_wide", 403, &[]);
            return Err(DoorError::NotClinicWide(P::ID));
        }
        Ok(())
    }

    /// The relations that the policy allows and that hold.
    async fn relations_to(&self, subject: SubjectId) -> Result<Relations, DoorError> {
        let facts = &*self.facts;
        // A job for one person opens that person alone, and only while the issuer stands to him as the policy asks.
        if matches!(facts.who, Who::Job { subject: Some(only), .. } if only != subject) {
            return Ok(Relations::NONE);
        }
        let mut hold = self.allowed.intersection(Relations::CLINIC);
        if self.allowed.contains(Relations::OWN) && facts.who.own() == Some(subject) {
            hold = hold.union(Relations::OWN);
        }
        let asked = self.allowed.intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
        if let (true, false, Some(user)) = (hold.is_empty(), asked.is_empty(), facts.who.user()) {
            let found = facts.doors.relations.relations(&facts.tenant, user, &[subject], asked).await?;
            hold = found.first().copied().unwrap_or(Relations::NONE).intersection(asked);
        }
        Ok(hold)
    }
}

/// What a permission is about: the first word of its id.
pub(crate) fn entity(permission: &'static str) -> &'static str {
    permission.split('.').next().unwrap_or(permission)
}

/// Proof that this principal may do `P` with the data of one person, and that the record of it is on its way.
#[must_use]
pub struct SubjectGrant<P> {
    facts: Arc<Facts>,
    subject: SubjectId,
    key: Arc<SubjectKey>,
    tenant_key: Arc<TenantKey>,
    /// What let this person's door open.
    holds: Relations,
    _permission: PhantomData<fn() -> P>,
}

impl<P: Permission> SubjectGrant<P> {
    /// Whose data this opens.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        self.subject
    }

    /// The clinic.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.facts.tenant
    }

    /// The principal's user, or who issued the job.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.facts.who.user()
    }

    pub(super) fn clinic_key(&self) -> &TenantKey {
        &self.tenant_key
    }

    /// What the ledger holds about this person: the newest `limit` records, or the newest `limit` of those before an
    /// earlier part's [`older`](Timeline::older). That the timeline was opened is one of them.
    ///
    /// For clients [`ledger`](Self::ledger) is better: its cursors do not tell how many records other clinics have.
    ///
    /// # Errors
    ///
    /// [`DoorError::Closed`] once the request has ended; [`DoorError::Timeline`] if the ledger cannot be read.
    pub async fn timeline(&self, before: Option<u64>, limit: usize) -> Result<Timeline, DoorError> {
        let facts = &*self.facts;
        if facts.trail.may_open().is_err() {
            return Err(Closed.into());
        }
        facts.trail.timeline(&facts.tenant, self.subject, before, limit).await.map_err(DoorError::Timeline)
    }
}

/// Proof that this principal may do `P` with rows that belong to no person.
#[must_use]
pub struct ClinicGrant<P> {
    facts: Arc<Facts>,
    key: Arc<TenantKey>,
    _permission: PhantomData<fn() -> P>,
}

impl<P: Permission> ClinicGrant<P> {
    /// The clinic.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.facts.tenant
    }

    pub(super) fn key(&self) -> &TenantKey {
        &self.key
    }
}

impl<P: Permission> fmt::Debug for Grant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("permission", &P::ID).field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl<P: Permission> fmt::Debug for SubjectGrant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectGrant")
            .field("permission", &P::ID)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl<P: Permission> fmt::Debug for ClinicGrant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClinicGrant").field("permission", &P::ID).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<P: Permission> SubjectGrant<P> {
    /// The grant that a door would give, under a key of the test's choosing.
    pub(crate) fn for_test(tenant: TenantId, subject: SubjectId, key: Arc<SubjectKey>) -> Self {
        let tenant_key = Arc::new(TenantKey::for_test(tenant.clone(), 1, [7; 32]));
        let facts = Arc::new(super::test_support::facts(tenant));
        Self { facts, subject, key, tenant_key, holds: Relations::CLINIC, _permission: PhantomData }
    }

    /// Ends the request that this grant belongs to.
    pub(crate) fn end_request(&self) {
        super::test_support::end(&self.facts.trail);
    }
}

#[cfg(test)]
impl<P: Permission> ClinicGrant<P> {
    /// The grant that the door would give, under a key of the test's choosing.
    pub(crate) fn for_test(tenant: TenantId, key: Arc<TenantKey>) -> Self {
        Self { facts: Arc::new(super::test_support::facts(tenant)), key, _permission: PhantomData }
    }
}
