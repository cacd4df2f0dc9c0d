//! The door to a clinic's part of the ledger: read by who was granted it, and on record.

use std::{borrow::Cow, collections::BTreeSet};

use super::{Authority, ClinicGrant, Closed, DoorError, Facts, Permission, Relations, SubjectGrant};
use crate::{
    audit::{Action, Door, Event, Found, LedgerPage, LedgerQuery, Place, Refusal, TimelineError, cursor_bytes},
    codec, entropy,
    id::SubjectId,
    keys::{InPlace, TenantKey},
};

/// Says that a permission reads the ledger of a clinic. The application implements it, one line for each such permission:
///
/// ```
/// tower_ward::permissions! { pub ReadLedger = "ledger.read"; }
/// impl tower_ward::access::ReadsLedger for ReadLedger {}
/// ```
///
/// # Security
///
/// Who has it learns who opened whose record, when, from where and why: of everybody in the clinic. Grant it to who
/// answers for the clinic, and do not mark a permission that routes ask for to read something else.
#[diagnostic::on_unimplemented(
    message = "the permission `{Self}` does not read the ledger",
    label = "this grant is for `{Self}`",
    note = "guard the route with a permission of its own for it; or, if `{Self}` really should read who did what in the whole clinic, say so: `impl tower_ward::access::ReadsLedger for {Self} {{}}`"
)]
pub trait ReadsLedger: Permission {}

/// Says that a permission decides for how long the ledger of a clinic is kept: that it keeps what retention would drop.
///
/// ```
/// tower_ward::permissions! { pub HoldLedger = "ledger.hold"; }
/// impl tower_ward::access::HoldsLedger for HoldLedger {}
/// ```
///
/// # Security
///
/// Who has it can end a hold as well, and the next run drops what is old enough. Grant it to who answers to the court.
#[diagnostic::on_unimplemented(
    message = "the permission `{Self}` does not hold the ledger",
    label = "this grant is for `{Self}`",
    note = "guard the route with a permission of its own for it: `impl tower_ward::access::HoldsLedger for {Self} {{}}`"
)]
pub trait HoldsLedger: Permission {}

/// What a cursor is sealed for. No class of data can be called so: its name has a space.
const CURSOR: &str = "ledger cursor";
const NONCE: usize = 24;
const TAG: usize = 16;

impl<P: Permission> ClinicGrant<P> {
    /// A page of the clinic's own part of the ledger, for a permission that reads it.
    ///
    /// # Decision rule
    ///
    /// 1. The permission reads the ledger ([`ReadsLedger`]), and the policy grants it for the whole clinic: both are proved
    ///    by this grant.
    /// 2. The request has not ended, and it is the one that the grant was made for.
    /// 3. Only records of the clinic's chain are looked at; there is no way to name another one.
    /// 4. A cursor opens under the clinic's key and is of this query, or is refused.
    /// 5. The reading is recorded, as `search` in `ledger`, with the people whom the page names and the one whom the query
    ///    asks for, before it is given out.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_ward::{
    ///     access::{ClinicGrant, DoorError, Grant, ReadsLedger}, audit::{LedgerPage, LedgerQuery}, id::UserId,
    ///     problem::Problem,
    /// };
    ///
    /// tower_ward::permissions! { pub ReadLedger = "ledger.read"; }
    /// impl ReadsLedger for ReadLedger {}
    ///
    /// /// What a user did, the newest first. `cursor` is what the page before gave as `next`.
    /// async fn deeds(grant: Grant<ReadLedger>, user: UserId, cursor: Option<String>) -> Result<Vec<String>, Problem> {
    ///     let clinic: ClinicGrant<ReadLedger> = grant.clinic().await?;
    ///     let mut query = LedgerQuery::new().with_user(user);
    ///     if let Some(cursor) = cursor {
    ///         query = query.with_cursor(cursor);
    ///     }
    ///     let page: LedgerPage = clinic.ledger(&query).await?;
    ///     Ok(page.records.iter().filter_map(|record| Some(record.action()?.as_str().to_owned())).collect())
    /// }
    /// ```
    ///
    /// Another permission reads nothing, and the program does not compile:
    ///
    /// ```compile_fail,E0277
    /// # use tower_ward::{access::Grant, audit::LedgerQuery, problem::Problem};
    /// tower_ward::permissions! { pub ReadStatus = "status.read"; }
    ///
    /// async fn pry(grant: Grant<ReadStatus>) -> Result<usize, Problem> {
    ///     let clinic = grant.clinic().await?;
    ///     Ok(clinic.ledger(&LedgerQuery::new()).await?.records.len())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DoorError::Closed`] once the request has ended; [`DoorError::Timeline`] if the query can match nothing, its cursor
    /// is not this clinic's or another query's, the user reads already, or the ledger cannot be read; [`DoorError::Trail`]
    /// if the reading cannot be recorded.
    ///
    /// # Security
    ///
    /// A cursor is sealed, so that it does not tell how many records the other clinics have. [`LedgerPage::records`] says
    /// what of a record does.
    pub async fn ledger(&self, query: &LedgerQuery) -> Result<LedgerPage, DoorError>
    where
        P: ReadsLedger,
    {
        let (facts, key) = (self.facts(), self.key());
        let found = read(facts, key, query).await;
        let found = found.and_then(|found| record(facts, P::ID, query, &found).map(|()| found));
        answer::<P>(facts, key, found)
    }
}

impl<P: HoldsLedger> SubjectGrant<P> {
    /// Keeps what the clinic's chain holds of this person, whatever its age: see [`Retention`](crate::audit::Retention). On
    /// record, with the reason: a fixed sentence or a file's number, and nothing about a person.
    ///
    /// ```
    /// use tower_ward::{access::{Grant, HoldsLedger}, id::SubjectId, problem::Problem};
    ///
    /// tower_ward::permissions! { pub HoldLedger = "ledger.hold"; }
    /// impl HoldsLedger for HoldLedger {}
    ///
    /// async fn keep(grant: Grant<HoldLedger>, patient: SubjectId, file: String) -> Result<(), Problem> {
    ///     let person = grant.subject(patient).await?;
    ///     person.hold_ledger(file.clone()).await?;
    ///     // …
    ///     Ok(person.release_ledger(file).await?)
    /// }
    /// ```
    ///
    /// Another permission does not compile:
    ///
    /// ```compile_fail,E0599
    /// # use tower_ward::{access::Grant, problem::Problem};
    /// tower_ward::permissions! { pub ReadStatus = "status.read"; }
    ///
    /// async fn pry(grant: Grant<ReadStatus>) -> Result<(), Problem> {
    ///     Ok(grant.clinic().await?.release_ledger("").await?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DoorError::Closed`] once the request has ended; [`DoorError::Trail`] if it cannot be recorded, or the reason is longer
    /// than 256 bytes.
    pub async fn hold_ledger(&self, reason: impl Into<Cow<'static, str>>) -> Result<(), DoorError> {
        set_hold::<P>(true, self.facts(), self.clinic_key(), Some(self.subject()), reason.into()).await
    }

    /// Ends the hold for this person that was placed with this reason: what is old enough is dropped by the next run, unless
    /// another hold is for it.
    ///
    /// # Errors
    ///
    /// As [`hold_ledger`](Self::hold_ledger).
    pub async fn release_ledger(&self, reason: impl Into<Cow<'static, str>>) -> Result<(), DoorError> {
        set_hold::<P>(false, self.facts(), self.clinic_key(), Some(self.subject()), reason.into()).await
    }
}

impl<P: HoldsLedger> ClinicGrant<P> {
    /// The same for all of the clinic's chain.
    ///
    /// # Errors
    ///
    /// As [`SubjectGrant::hold_ledger`].
    pub async fn hold_ledger(&self, reason: impl Into<Cow<'static, str>>) -> Result<(), DoorError> {
        set_hold::<P>(true, self.facts(), self.key(), None, reason.into()).await
    }

    /// Ends the hold for all of the clinic's chain that was placed with this reason. What an operator holds stays held.
    ///
    /// # Errors
    ///
    /// As [`SubjectGrant::hold_ledger`].
    pub async fn release_ledger(&self, reason: impl Into<Cow<'static, str>>) -> Result<(), DoorError> {
        set_hold::<P>(false, self.facts(), self.key(), None, reason.into()).await
    }
}

async fn set_hold<P: Permission>(
    held: bool,
    facts: &Facts,
    key: &TenantKey,
    person: Option<SubjectId>,
    reason: Cow<'static, str>,
) -> Result<(), DoorError> {
    if facts.trail.may_open().is_err() || key.is_cut() {
        return Err(Closed.into());
    }
    let event = Event::hold(held, facts.tenant.clone(), person).with_permission(P::ID).with_reason(reason);
    facts.trail.record(event)?;
    Ok(facts.trail.settled().await?)
}

impl<P: Permission> SubjectGrant<P> {
    /// A page of what the clinic's part of the ledger holds about this person. That the person's door was opened is one of
    /// the records, and no other is made of the reading.
    ///
    /// ```
    /// use tower_ward::{access::{DoorError, Permission, SubjectGrant}, audit::{LedgerQuery, Outcome}};
    ///
    /// /// How often something was changed about this person, on the newest page.
    /// async fn changes<P: Permission>(chart: &SubjectGrant<P>) -> Result<usize, DoorError> {
    ///     let changes = LedgerQuery::new().with_outcome(Outcome::Committed);
    ///     Ok(chart.ledger(&changes).await?.records.len())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ClinicGrant::ledger`]; and [`DoorError::Timeline`] for a query that names another person.
    ///
    /// # Security
    ///
    /// As there. A record of a list names everybody on the list: what [`Record::subjects`](crate::audit::Record::subjects)
    /// says of others is not for who may see this one person.
    pub async fn ledger(&self, query: &LedgerQuery) -> Result<LedgerPage, DoorError> {
        let (facts, key) = (self.facts(), self.clinic_key());
        let found = match query.clone().only(self.subject()) {
            Some(query) => read(facts, key, &query).await,
            None => Err(DoorError::Timeline(TimelineError::Query { field: "subject" })),
        };
        answer::<P>(facts, key, found)
    }
}

/// The page, its cursor sealed; or the refusal, on record.
fn answer<P: Permission>(
    facts: &Facts,
    key: &TenantKey,
    found: Result<Found, DoorError>,
) -> Result<LedgerPage, DoorError> {
    match found {
        Ok(found) => {
            let next = found.next.map(|place| seal(key, place));
            Ok(found.into_page(next))
        }
        Err(error) => {
            if let Some((reason, status)) = error.refusal() {
                let (permission, entity, status) = (Some(P::ID), Some("ledger"), Some(status));
                facts.trail.refuse(Refusal { reason, status, permission, entity, ..Refusal::default() });
            }
            Err(error)
        }
    }
}

async fn read(facts: &Facts, key: &TenantKey, query: &LedgerQuery) -> Result<Found, DoorError> {
    if facts.trail.may_open().is_err() || key.is_cut() {
        return Err(Closed.into());
    }
    let place = query.cursor().map(|text| open(key, text).ok_or(TimelineError::Cursor)).transpose();
    let found = match place {
        Ok(place) => facts.trail.page(&facts.tenant, query, place).await,
        Err(error) => Err(error),
    };
    found.map_err(DoorError::Timeline)
}

fn record(facts: &Facts, permission: &'static str, query: &LedgerQuery, found: &Found) -> Result<(), DoorError> {
    let named = found.records.iter().flat_map(|record| record.subjects()).copied();
    // Whom somebody looked for stands there also if nothing was found.
    let people: BTreeSet<SubjectId> = named.chain(query.subject()).collect();
    let subjects: Vec<SubjectId> = people.into_iter().collect();
    let (action, entity, why) = (Action::Search, "ledger", Relations::CLINIC.why());
    let door = Door { action, permission, entity, subjects: &subjects, row: None, why };
    Ok(facts.trail.door(door)?)
}

/// A cursor for the client: the place, sealed under the clinic's key, so that it opens in no other clinic.
fn seal(key: &TenantKey, place: Place) -> String {
    let nonce: [u8; NONCE] = entropy::array();
    let mut body = place.to_bytes();
    let tag = key.cipher(CURSOR).seal(&nonce, &[], &mut body).expect("a place is a few bytes");
    let mut out = nonce.to_vec();
    out.append(&mut body);
    out.extend(tag);
    codec::base64url(&out)
}

fn open(key: &TenantKey, text: &str) -> Option<Place> {
    let bytes = cursor_bytes(text)?;
    let (nonce, rest) = bytes.split_first_chunk::<NONCE>()?;
    let (body, tag) = rest.split_last_chunk::<TAG>()?;
    let mut body = body.to_vec();
    key.cipher(CURSOR).open(nonce, &[], &mut body, tag).ok()?;
    Place::from_bytes(&body)
}
