//! What went wrong, or nearly: reported by whoever works here, read and closed by who answers for it.
//!
//! An incident is nobody's: it is sealed under the clinic's key. Nothing in it should name a patient.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Query},
    db::Change,
    field::Encrypted,
    id::{RowId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{
    App, Page, line, now, text, time,
    window::{Entry, Older, Window},
};
use crate::{
    data::{Data, QueryError, Tx, sql},
    model::{
        CloseIncident, Incidents, ReadIncidents, ReportIncident,
        incidents::{IncidentOutcome, IncidentText, IncidentTitle},
    },
};

const KINDS: [&str; 5] = ["safety", "near_miss", "data", "equipment", "other"];

/// An incident.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IncidentView {
    id: Uuid,
    reporter: Uuid,
    at: Timestamp,
    /// `safety`, `near_miss`, `data`, `equipment` or `other`.
    kind: String,
    title: String,
    text: String,
    /// `open` or `closed`.
    status: String,
    /// What was done about it, once it is closed.
    outcome: Option<String>,
    version: i64,
    test: bool,
}

/// An incident that was reported: who reports does not read what others reported.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReportedView {
    id: Uuid,
    at: Timestamp,
}

/// A new incident.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewIncident {
    /// `safety`, `near_miss`, `data`, `equipment` or `other`.
    kind: String,
    /// 1 to 200 bytes.
    title: String,
    /// 1 to 16,384 bytes. No patient's name.
    text: String,
}

/// The end of an incident.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closing {
    /// Which.
    id: Uuid,
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// What was done about it. 1 to 16,384 bytes.
    outcome: String,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct IncidentRow {
    pub(crate) id: RowId,
    pub(crate) reporter: UserId,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) title: Encrypted<IncidentTitle>,
    pub(crate) text: Encrypted<IncidentText>,
    pub(crate) status: String,
    pub(crate) outcome: Option<Encrypted<IncidentOutcome>>,
    pub(crate) version: i64,
    pub(crate) test: bool,
}

impl Entry for IncidentRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        let outcome = self.outcome.as_ref().map_or(0, |outcome| outcome.as_bytes().len());
        self.title.as_bytes().len() + self.text.as_bytes().len() + outcome
    }
}

pub(super) async fn list(
    grant: Grant<ReadIncidents>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<IncidentView>>, Problem> {
    let window = Window::of(&older)?;
    let clinic = grant.clinic().await?;
    let mut tx = data.read(&clinic).await?;
    let query =
        sql("select id, reporter, at, kind, title, text, status, outcome, version, test from incidents where true");
    window.page(query, &mut tx, |row| view(row, &clinic)).await
}

pub(super) async fn report(
    grant: Grant<ReportIncident>,
    State(app): State<App>,
    Json(new): Json<NewIncident>,
) -> Result<(StatusCode, Json<ReportedView>), Problem> {
    if !KINDS.contains(&new.kind.as_str()) {
        return Err(Problem::bad_request("kind"));
    }
    line("title", &new.title, 200)?;
    text("text", &new.text, 16_384)?;
    let reporter = grant.user().ok_or_else(Problem::forbidden)?;
    let clinic = grant.clinic().await?;
    let (id, at) = (RowId::generate(&*app.clock), now(&app));
    let row = IncidentRow {
        id,
        reporter,
        at: at.as_millisecond(),
        kind: new.kind,
        title: Encrypted::seal(&new.title, &clinic, id)?,
        text: Encrypted::seal(&new.text, &clinic, id)?,
        status: "open".to_owned(),
        outcome: None,
        version: 1,
        test: false,
    };
    let mut tx = app.data.change(&clinic, Change::create("incidents", id)).await?;
    insert(&mut tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(ReportedView { id: id.into(), at })))
}

pub(super) async fn close(
    grant: Grant<CloseIncident>,
    State(data): State<Data>,
    Json(closing): Json<Closing>,
) -> Result<Json<IncidentView>, Problem> {
    text("outcome", &closing.outcome, 16_384)?;
    let clinic = grant.clinic().await?;
    let id = RowId::from(closing.id);
    let mut tx = data.change(&clinic, Change::update("incidents", id)).await?;
    let done = sql("update incidents set version = version + 1, status = 'closed', outcome = $1
         where id = $2 and version = $3 and status = 'open'")
    .bind(Encrypted::<IncidentOutcome>::seal(&closing.outcome, &clinic, id)?)
    .bind(id)
    .bind(closing.version)
    .execute(&mut tx)
    .await?;
    let row: Option<IncidentRow> =
        sql("select id, reporter, at, kind, title, text, status, outcome, version, test from incidents where id = $1")
            .bind(id)
            .fetch_optional(&mut tx)
            .await?;
    let row = row.ok_or_else(|| Problem::not_found().with_reason("no such incident"))?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now, or closed"));
    }
    let view = view(row, &clinic)?;
    tx.commit().await?;
    Ok(Json(view))
}

pub(crate) async fn insert(tx: &mut impl Tx, row: &IncidentRow) -> Result<(), QueryError> {
    sql("insert into incidents (id, reporter, at, kind, title, text, status, outcome, version, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
    .bind(row.id)
    .bind(row.reporter)
    .bind(row.at)
    .bind(&row.kind)
    .bind(&row.title)
    .bind(&row.text)
    .bind(&row.status)
    .bind(&row.outcome)
    .bind(row.version)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: IncidentRow, clinic: &impl Opener<Incidents>) -> Result<IncidentView, Problem> {
    Ok(IncidentView {
        id: row.id.into(),
        reporter: row.reporter.into(),
        at: time(row.at),
        kind: row.kind,
        title: row.title.open(clinic, row.id)?.disclose(),
        text: row.text.open(clinic, row.id)?.disclose(),
        status: row.status,
        outcome: row.outcome.map(|outcome| outcome.open(clinic, row.id)).transpose()?.map(|outcome| outcome.disclose()),
        version: row.version,
        test: row.test,
    })
}
