//! The door for many people at once: lists, schedules, searches.

use std::{collections::HashMap, fmt, future::Future, marker::PhantomData, sync::Arc};

use super::{Closed, DoorError, Facts, Grant, MAX_COHORT, Permission, Relations, SubjectGrant, Who};
use crate::{
    audit::Action,
    id::{SubjectId, TenantId, UserId},
    keys::TenantKey,
};

/// What a cohort's query may read: the clinic, the principal, and the relations that the policy allows.
///
/// It opens no field; it begins the transaction that the query runs in, and it is the filter that the query MUST apply
/// in the database itself, so that totals, cursors and sort orders see only what the principal may read.
pub struct Scope<P> {
    facts: Arc<Facts>,
    tenant_key: Arc<TenantKey>,
    allowed: Relations,
    _permission: PhantomData<fn() -> P>,
}

impl<P: Permission> fmt::Debug for Scope<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("permission", &P::ID).field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl<P: Permission> Scope<P> {
    pub(super) fn new(facts: Arc<Facts>, tenant_key: Arc<TenantKey>, allowed: Relations) -> Self {
        Self { facts, tenant_key, allowed, _permission: PhantomData }
    }

    /// The clinic.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.facts.tenant
    }

    /// The relations of which one must hold to each person returned.
    #[must_use]
    pub const fn relations(&self) -> Relations {
        self.allowed
    }

    /// The principal's user; `None` for a job that the clinic itself issued.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.facts.who.user()
    }

    /// The one person whom this scope reaches without asking for a relation: the principal's own data.
    #[must_use]
    pub fn own(&self) -> Option<SubjectId> {
        if self.allowed.contains(Relations::OWN) { self.facts.who.own() } else { None }
    }

    /// Whether the scope is the whole clinic.
    #[must_use]
    pub fn is_clinic_wide(&self) -> bool {
        self.allowed.contains(Relations::CLINIC)
    }

    pub(super) const fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    pub(super) const fn tenant_key(&self) -> &Arc<TenantKey> {
        &self.tenant_key
    }

    /// Which of the allowed relations hold to each of `subjects`; `None` if none holds to one of them.
    async fn reaches(&self, subjects: &[SubjectId]) -> Result<Option<Vec<Relations>>, DoorError> {
        let own = self.own();
        let mut holds: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let clinic = self.allowed.intersection(Relations::CLINIC);
                if Some(*subject) == own { clinic.union(Relations::OWN) } else { clinic }
            })
            .collect();
        let others: Vec<_> = subjects.iter().zip(&holds).filter(|(_, h)| h.is_empty()).map(|(s, _)| *s).collect();
        if others.is_empty() {
            return Ok(Some(holds));
        }
        let asked = self.allowed.intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
        let Some(user) = self.user() else { return Ok(None) };
        let found = self.facts.doors.relations.relations(self.tenant(), user, &others, asked).await?;
        if found.len() != others.len() {
            return Ok(None);
        }
        for (unknown, found) in holds.iter_mut().filter(|h| h.is_empty()).zip(found) {
            *unknown = found.intersection(asked);
        }
        Ok(holds.iter().all(|h| !h.is_empty()).then_some(holds))
    }
}

/// A query whose rows each belong to one person.
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use sqlx::QueryBuilder;
/// use tower_ward::{
///     access::{Cohort, CohortQuery, DoorError, Grant, MAX_COHORT, Scope}, clock::Timestamp, db::{Db, ReadTx, filter},
///     field::Encrypted, id::{RowId, SubjectId},
/// };
///
/// tower_ward::classes! { pub Schedule = "schedule"; }
/// tower_ward::permissions! { pub ListPatients = "patients.list" opens Schedule; }
/// tower_ward::columns! { pub Name: String = "patients"."name" as Schedule; }
///
/// struct Patients { db: Db, now: Timestamp }
///
/// impl CohortQuery<ListPatients> for Patients {
///     type Row = (SubjectId, RowId, Encrypted<Name>);
///
///     fn subject(row: &Self::Row) -> SubjectId { row.0 }
///
///     async fn rows(self, scope: &Scope<ListPatients>)
///         -> Result<Vec<Self::Row>, Box<dyn std::error::Error + Send + Sync>>
///     {
///         let mut query = QueryBuilder::new("select p.id, p.row, p.name from patients p where ");
///         filter(&mut query, scope, "p.id", self.now); // without it, a row out of scope refuses the whole list
///         query.push(" order by p.row limit ").push_bind(i64::try_from(MAX_COHORT)?);
///         let mut tx: ReadTx = self.db.read(scope).await?;
///         Ok(query.build_query_as().fetch_all(tx.conn()).await?)
///     }
/// }
///
/// async fn names(grant: Grant<ListPatients>, db: Db, now: Timestamp) -> Result<Vec<String>, DoorError> {
///     let cohort: Cohort<ListPatients, _> = grant.cohort(Patients { db, now }).await?; // one record names them all
///     Ok(cohort.iter().filter_map(|((_, row, name), chart)| Some(name.open(chart, *row).ok()?.disclose())).collect())
/// }
/// # }
/// ```
pub trait CohortQuery<P: Permission>: Send {
    /// What the query returns, sealed fields and all.
    type Row: Send;

    /// Whose row it is.
    fn subject(row: &Self::Row) -> SubjectId;

    /// Runs the query, filtered by `scope`. At most [`MAX_COHORT`] rows.
    fn rows(
        self,
        scope: &Scope<P>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// The rows of a query with, for each, the grant that opens it.
#[derive(Debug)]
#[must_use]
pub struct Cohort<P: Permission, R> {
    rows: Vec<(SubjectId, R)>,
    grants: HashMap<SubjectId, SubjectGrant<P>>,
}

impl<P: Permission, R: Send> Cohort<P, R> {
    pub(super) async fn open<Q: CohortQuery<P, Row = R>>(
        grant: &Grant<P>,
        scope: Scope<P>,
        query: Q,
    ) -> Result<Self, DoorError> {
        let facts = Arc::clone(grant.facts());
        if facts.trail.may_open().is_err() {
            return Err(Closed.into());
        }
        // A job that was issued for one person has no list to look at.
        if matches!(facts.who, Who::Job { subject: Some(_), .. }) {
            grant.refuse("not_clinic_wide", 403, &[]);
            return Err(DoorError::NotClinicWide(P::ID));
        }
        let rows = query.rows(&scope).await.map_err(|e| grant.failed(DoorError::Query(e), &[]))?;
        if rows.len() > MAX_COHORT {
            return Err(grant.failed(DoorError::TooMany(P::ID), &[]));
        }
        let rows: Vec<_> = rows.into_iter().map(|row| (Q::subject(&row), row)).collect();
        let mut subjects: Vec<_> = rows.iter().map(|(subject, _)| *subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let Some(holds) = scope.reaches(&subjects).await.map_err(|e| grant.failed(e, &[]))? else {
            return Err(grant.failed(DoorError::OutOfScope(P::ID), &[]));
        };
        let keys = facts.doors.keyring.subjects(&facts.tenant, &subjects).await;
        let keys = keys.map_err(|e| grant.failed(DoorError::Key(e), &[]))?;
        let here = subjects.into_iter().zip(holds).zip(keys);
        let here: Vec<_> = here.filter_map(|((subject, holds), key)| Some((subject, holds, key?))).collect();
        let subjects: Vec<_> = here.iter().map(|(subject, ..)| *subject).collect();
        // Of a list of nobody, under which relations it was looked for.
        let held = here.iter().map(|(_, holds, _)| *holds).reduce(Relations::union).unwrap_or(scope.relations());
        grant.record(Action::Search, &subjects, held)?;
        let grants = here
            .into_iter()
            .map(|(subject, holds, key)| (subject, grant.grant_for(subject, key, scope.tenant_key(), holds)))
            .collect();
        Ok(Self { rows, grants })
    }

    /// The rows in the query's order, each with the grant that opens it. Rows of people whose key was erased are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&R, &SubjectGrant<P>)> {
        self.rows.iter().filter_map(|(subject, row)| Some((row, self.grants.get(subject)?)))
    }
}
