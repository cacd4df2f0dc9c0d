//! The ledger as the platform's operator may see it: on record, where he looked.

use std::collections::BTreeSet;

use super::{
    folder::place,
    page::Pager,
    query::{LedgerPage, LedgerQuery},
    sheet::{Chains, Found},
    timeline::TimelineError,
};
use crate::{
    audit::{
        Trail, TrailError,
        record::{Action, Actor, Event, Stream},
    },
    id::{SubjectId, TenantId, UserId},
};

/// The most clinics that an operator looks into with one reading: each has a record of it.
pub const MAX_TENANTS_READ: usize = 32;

/// The ledger in the hands of an operator: somebody of the platform, who belongs to no clinic.
///
/// It is a type of its own: nobody of a clinic can have one, and it opens no door of a clinic.
///
/// # Decision rule
///
/// 1. The trail is an operator's. One in which somebody of a clinic acts, or nobody, has no such view.
/// 2. Clinics are named, at most 32 at a time, and the ledger knows them. There is no reading of everything.
/// 3. What was read is given out once the record of the reading is durable: in the chain of each clinic that was named,
///    with those of its people whom the page names and the one who was asked for, and in the platform's, with the clinic's name and nobody else's. The
///    two are written together. A reading of the platform's own chain stands there.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{
///     audit::{
///         Action, End, Event, Ledger, LedgerOptions, LedgerQuery, MAX_TENANTS_READ, OperatorLedger, RequestFacts, Stream,
///         TimelineError,
///     },
///     clock::SystemClock, id::{TenantId, UserId},
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
/// # let (trail, closer) = ledger.begin(RequestFacts::new());
/// # trail.record(Event::new(Action::Export).with_tenant(TenantId::new("harbour")?))?;
/// # trail.settled().await?;
/// # drop((trail, closer));
/// let (harbour, meadow) = (TenantId::new("harbour")?, TenantId::new("meadow")?);
/// let (trail, mut closer) = ledger.begin(RequestFacts::new());
/// let operator = UserId::generate(&SystemClock::new());
/// let view = OperatorLedger::danger_open(&trail, operator, "operator", "ticket 4711")?;
/// let page = view.tenants(std::slice::from_ref(&harbour), &LedgerQuery::new()).await?;
/// assert!(page.records.iter().any(|record| record.action() == Some(Action::Export)));
/// closer.finish(End::Completed);
///
/// // Both chains say that he looked, and where.
/// let looked = LedgerQuery::new().with_user(operator).add_action(Action::Search);
/// let theirs = ledger.danger_page(Some(&Stream::Tenant(harbour)), &looked)?;
/// assert_eq!(theirs.records[0].reason(), Some("ticket 4711"));
/// let ours = ledger.danger_page(Some(&Stream::Platform), &looked)?;
/// assert_eq!(ours.records[0].reason(), Some("in harbour: ticket 4711"));
///
/// // A clinic that the ledger does not know, or too many at once.
/// let (trail, _closer) = ledger.begin(RequestFacts::new());
/// let view = OperatorLedger::danger_open(&trail, operator, "operator", "ticket 4711")?;
/// for tenants in [&vec![meadow.clone()], &vec![meadow; MAX_TENANTS_READ + 1]] {
///     let refused = view.tenants(tenants, &LedgerQuery::new()).await;
///     assert!(matches!(refused, Err(TimelineError::Query { field: "tenants" })));
/// }
/// # drop(_closer);
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
///
/// # Security
///
/// Against an operator who would rather not be seen by the clinic: its owner finds the reading in his own chain. Not
/// against one who can read the files: those hold the records in clear.
#[derive(Debug)]
#[must_use]
pub struct OperatorLedger {
    trail: Trail,
    reason: String,
}

impl OperatorLedger {
    /// Says that an operator acts in this request, and opens the ledger for him. `reason` is a fixed sentence or a
    /// ticket's number, and must hold nothing about a person.
    ///
    /// # Errors
    ///
    /// If somebody else acts in this request already, something was recorded in it before, it has ended, or a text is too
    /// long.
    ///
    /// # Security
    ///
    /// Who the user is, and whether he may, is the caller's to check: this crate knows no logins of operators.
    pub fn danger_open(trail: &Trail, operator: UserId, role: &str, reason: &str) -> Result<Self, TrailError> {
        let actor = Actor { user: Some(operator), role: Some(role.into()), session: None, tenant: None };
        // What every later record would say, before anything is read.
        let event = Event::new(Action::Search).with_role(role).with_reason(reason.to_owned());
        if let Some(field) = event.too_long() {
            return Err(TrailError::TooLong { field });
        }
        if !trail.set_operator(actor) || !trail.is_operators() {
            return Err(TrailError::OtherActor);
        }
        trail.may_open()?;
        Ok(Self { trail: trail.clone(), reason: reason.to_owned() })
    }

    /// A page of what these clinics' chains hold together, in the order of the ledger.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Query`] for no clinic, more than [`MAX_TENANTS_READ`], one that the ledger does not know, or a
    /// query that can match nothing; [`TimelineError::Cursor`] for a cursor of other clinics or another query; the other
    /// kinds if the ledger cannot be read, or the reading not recorded.
    pub async fn tenants(&self, tenants: &[TenantId], query: &LedgerQuery) -> Result<LedgerPage, TimelineError> {
        let named: BTreeSet<&TenantId> = tenants.iter().collect();
        let named: Vec<TenantId> = named.into_iter().cloned().collect();
        let known = named.iter().all(|tenant| self.trail.ledger().knows(tenant));
        if !(1..=MAX_TENANTS_READ).contains(&tenants.len()) || !known {
            return Err(TimelineError::Query { field: "tenants" });
        }
        self.trail.may_open()?;
        let (asked, wants) = (named.clone(), query.clone());
        let found = self.read(move |pager| {
            let place = place(&wants)?;
            match &asked[..] {
                [one] => pager.page(Chains::One(&Stream::Tenant(one.clone())), &wants, place),
                several => pager.page(Chains::Several(several), &wants, place),
            }
        });
        let found = found.await?;
        for tenant in named {
            let theirs = found.records.iter().filter(|record| record.tenant() == Some(&tenant));
            // Whom he asked for, too: that he found nothing must not hide whom he was after.
            let people = theirs.flat_map(|record| record.subjects().iter().copied()).chain(query.subject()).collect();
            self.record(self.event().with_tenant(tenant), people)?;
        }
        self.trail.settled().await?;
        Ok(found.in_clear())
    }

    /// A page of the platform's own chain: what belongs to no clinic, and what operators did.
    ///
    /// # Errors
    ///
    /// As [`tenants`](Self::tenants).
    pub async fn platform(&self, query: &LedgerQuery) -> Result<LedgerPage, TimelineError> {
        self.trail.may_open()?;
        let wants = query.clone();
        let found = self.read(move |pager| pager.page(Chains::One(&Stream::Platform), &wants, place(&wants)?)).await?;
        self.record(self.event(), BTreeSet::new())?;
        self.trail.settled().await?;
        Ok(found.in_clear())
    }

    /// Keeps what the clinic's chain holds of this person, or all of it, whatever its age, until it is
    /// [released](Self::release): for a court, an inspection, a complaint.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Query`] for a clinic that the ledger does not know; the other kinds if it cannot be recorded.
    pub async fn hold(&self, tenant: &TenantId, person: Option<SubjectId>) -> Result<(), TimelineError> {
        self.set_hold(true, tenant, person).await
    }

    /// Ends such a hold, placed by an operator with the same reason: what is old enough is dropped by the next run.
    ///
    /// # Errors
    ///
    /// As [`hold`](Self::hold).
    pub async fn release(&self, tenant: &TenantId, person: Option<SubjectId>) -> Result<(), TimelineError> {
        self.set_hold(false, tenant, person).await
    }

    async fn set_hold(&self, held: bool, tenant: &TenantId, person: Option<SubjectId>) -> Result<(), TimelineError> {
        if !self.trail.ledger().knows(tenant) {
            return Err(TimelineError::Query { field: "tenants" });
        }
        self.trail.may_open()?;
        self.trail.record(Event::hold(held, tenant.clone(), person).with_reason(self.reason.clone()))?;
        Ok(self.trail.settled().await?)
    }

    async fn read(
        &self,
        read: impl FnOnce(&Pager<'_>) -> Result<Found, TimelineError> + Send + 'static,
    ) -> Result<Found, TimelineError> {
        self.trail.reading(move |ledger, wanted| ledger.pager(wanted, read)).await
    }

    fn event(&self) -> Event {
        Event::new(Action::Search).with_entity("ledger").with_reason(self.reason.clone())
    }

    fn record(&self, event: Event, people: BTreeSet<SubjectId>) -> Result<(), TrailError> {
        self.trail.record(people.into_iter().fold(event, Event::add_subject))
    }
}
