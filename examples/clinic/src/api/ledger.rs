//! Who did what in the clinic, from its part of the ledger.

use std::{net::IpAddr, num::NonZeroUsize};

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_ward::{
    access::Grant,
    audit::{Action, Kind, LedgerQuery, Outcome, Record},
    axum::{Json, Operation, Path, Query},
    id::{SessionId, SubjectId, TrailId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{
    Page,
    patients::must_be_patient,
    routes::{paged, schema},
    text,
};
use crate::{
    data::Data,
    model::{HoldLedger, ReadLedger},
};

/// Which records, and in which order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    subject: Option<SubjectId>,
    user: Option<UserId>,
    about: Option<UserId>,
    session: Option<SessionId>,
    trail: Option<TrailId>,
    attempt: Option<String>,
    action: Option<String>,
    kind: Option<String>,
    entity: Option<String>,
    outcome: Option<String>,
    route: Option<String>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    order: Option<Order>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Newest,
    Oldest,
}

/// One record of the clinic's chain: without its place in the ledger of all clinics.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deed {
    /// Its place in the clinic's chain. What was looked for among all of them leaves numbers out.
    sequence: u64,
    at: Timestamp,
    kind: &'static str,
    action: Option<&'static str>,
    user: Option<Uuid>,
    /// The account that it was done to.
    about: Option<Uuid>,
    role: Option<String>,
    session: Option<Uuid>,
    /// The request or job.
    trail: Option<Uuid>,
    permission: Option<String>,
    entity: Option<String>,
    /// Whose data.
    subjects: Vec<Uuid>,
    row: Option<Uuid>,
    /// The change that this announces, or whose end it is.
    attempt: Option<String>,
    outcome: Option<&'static str>,
    /// The relation that allowed it.
    why: Option<String>,
    /// The reason given, or the rule that refused it.
    reason: Option<String>,
    /// How the request ended.
    end: Option<&'static str>,
    status: Option<u16>,
    peer: Option<IpAddr>,
    method: Option<&'static str>,
    route: Option<String>,
}

impl From<&Record> for Deed {
    fn from(record: &Record) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            sequence: record.sequence(),
            at: record.at(),
            kind: record.kind().as_str(),
            action: record.action().map(|action| action.as_str()),
            user: record.user().map(Uuid::from),
            about: record.about().map(Uuid::from),
            role: text(record.role()),
            session: record.session().map(Uuid::from),
            trail: record.trail().map(Uuid::from),
            permission: text(record.permission()),
            entity: text(record.entity()),
            subjects: record.subjects().iter().copied().map(Uuid::from).collect(),
            row: record.row().map(Uuid::from),
            attempt: record.attempt().map(|attempt| attempt.to_string()),
            outcome: record.outcome().map(|outcome| outcome.as_str()),
            why: text(record.why()),
            reason: text(record.reason()),
            end: record.end().map(|end| end.as_str()),
            status: record.status(),
            peer: record.peer(),
            method: record.method().map(|method| method.as_str()),
            route: text(record.route()),
        }
    }
}

/// What the interface's description says of it.
pub(super) fn about() -> Operation {
    let id = || json!({ "type": "string", "format": "uuid" });
    let text = |most: usize| json!({ "type": "string", "maxLength": most });
    let words = || json!({ "type": "string", "description": "One or more, separated by commas." });
    let time = || json!({ "type": "string", "format": "date-time" });
    let mut operation = paged(
        "Who did what in the clinic, newest first unless asked otherwise. A page may be short or empty and not the last.",
    );
    for name in ["subject", "user", "about", "session", "trail", "attempt"] {
        operation = operation.add_query(name, id());
    }
    operation
        .add_query("action", words())
        .add_query("kind", words())
        .add_query("entity", text(64))
        .add_query("outcome", json!({ "enum": ["committed", "rolled_back", "unknown"] }))
        .add_query("route", text(256))
        .add_query("from", time())
        .add_query("until", time())
        .add_query("order", json!({ "enum": ["newest", "oldest"], "default": "newest" }))
        .with_response(200, schema::<Page<Deed>>())
}

impl Asked {
    fn query(self) -> Result<LedgerQuery, Problem> {
        fn word<T>(field: &'static str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, Problem> {
            parse(text).ok_or_else(|| Problem::bad_request(field))
        }
        let limit = NonZeroUsize::new(super::limit(self.limit)?).ok_or_else(|| Problem::bad_request("limit"))?;
        let mut query = LedgerQuery::new().with_limit(limit);
        for text in self.action.iter().flat_map(|words| words.split(',')) {
            query = query.add_action(word("action", text, Action::parse)?);
        }
        for text in self.kind.iter().flat_map(|words| words.split(',')) {
            query = query.add_kind(word("kind", text, Kind::parse)?);
        }
        if let Some(attempt) = self.attempt {
            query = query.with_attempt(attempt.parse().map_err(|_| Problem::bad_request("attempt"))?);
        }
        if let Some(outcome) = self.outcome {
            query = query.with_outcome(word("outcome", &outcome, Outcome::parse)?);
        }
        if matches!(self.order, Some(Order::Oldest)) {
            query = query.oldest_first();
        }
        query = self.subject.into_iter().fold(query, LedgerQuery::with_subject);
        query = self.user.into_iter().fold(query, LedgerQuery::with_user);
        query = self.about.into_iter().fold(query, LedgerQuery::with_about);
        query = self.session.into_iter().fold(query, LedgerQuery::with_session);
        query = self.trail.into_iter().fold(query, LedgerQuery::with_trail);
        query = self.entity.iter().fold(query, |query, entity| query.with_entity(entity));
        query = self.route.iter().fold(query, |query, route| query.with_route(route));
        query = self.from.into_iter().fold(query, LedgerQuery::with_from);
        query = self.until.into_iter().fold(query, LedgerQuery::with_until);
        Ok(self.cursor.into_iter().fold(query, LedgerQuery::with_cursor))
    }
}

pub(super) async fn read(grant: Grant<ReadLedger>, Query(asked): Query<Asked>) -> Result<Json<Page<Deed>>, Problem> {
    let query = asked.query()?;
    let clinic = grant.clinic().await?;
    let page = clinic.ledger(&query).await?;
    Ok(Json(Page { items: page.records.iter().map(Deed::from).collect(), next: page.next }))
}

/// Whether the records are kept whatever their age, and why that is so from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    held: bool,
    /// The court's or the inspection's file, say. Nothing about a person. At most 200 bytes. A hold ends by the reason with
    /// which it was placed, and by no other.
    reason: String,
}

impl Hold {
    fn check(&self) -> Result<(), Problem> {
        text("reason", &self.reason, 200)
    }
}

pub(super) async fn hold(grant: Grant<HoldLedger>, Json(hold): Json<Hold>) -> Result<StatusCode, Problem> {
    hold.check()?;
    let clinic = grant.clinic().await?;
    match hold.held {
        true => clinic.hold_ledger(hold.reason).await?,
        false => clinic.release_ledger(hold.reason).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn hold_patient(
    grant: Grant<HoldLedger>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
    Json(hold): Json<Hold>,
) -> Result<StatusCode, Problem> {
    hold.check()?;
    let person = grant.subject(patient).await?;
    must_be_patient(&mut data.read(&person).await?, patient).await?;
    match hold.held {
        true => person.hold_ledger(hold.reason).await?,
        false => person.release_ledger(hold.reason).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}
