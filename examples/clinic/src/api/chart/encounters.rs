//! A patient's visits.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path, Query},
    db::Change,
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use crate::{
    api::{
        App, Page,
        chart::past,
        line,
        patients::must_be_patient,
        time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{Clinical, ReadEncounters, WriteEncounter, patients::EncounterReason},
};

/// A visit that took place.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EncounterView {
    id: Uuid,
    clinician: Uuid,
    at: Timestamp,
    kind: String,
    reason: String,
    test: bool,
}

/// A new visit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEncounter {
    /// `ambulatory`, `emergency`, `inpatient` or `home`.
    kind: String,
    /// Why they came. 1 to 300 bytes.
    reason: String,
    /// When it began, not in the future. Default: now.
    at: Option<Timestamp>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct EncounterRow {
    pub(crate) id: RowId,
    pub(crate) clinician: UserId,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) reason: Encrypted<EncounterReason>,
    pub(crate) test: bool,
}

impl Entry for EncounterRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.reason.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadEncounters>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<EncounterView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, clinician, at, kind, reason, test from encounters where patient = $1").bind(patient);
    window.page(query, &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn write(
    grant: Grant<WriteEncounter>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewEncounter>,
) -> Result<(StatusCode, Json<EncounterView>), Problem> {
    line("reason", &new.reason, 300)?;
    if !["ambulatory", "emergency", "inpatient", "home"].contains(&new.kind.as_str()) {
        return Err(Problem::bad_request("kind"));
    }
    let at = past(new.at, &app)?;
    let clinician = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let reason = Encrypted::seal(&new.reason, &chart, id)?;
    let row = EncounterRow { id, clinician, at, kind: new.kind, reason, test: false };
    let mut tx = app.data.change(&chart, Change::create("encounters", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &EncounterRow) -> Result<(), QueryError> {
    sql("insert into encounters (id, patient, clinician, at, kind, reason, test) values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(row.id)
        .bind(patient)
        .bind(row.clinician)
        .bind(row.at)
        .bind(&row.kind)
        .bind(&row.reason)
        .bind(row.test)
        .execute(tx)
        .await
        .map(|_| ())
}

fn view(row: EncounterRow, chart: &impl Opener<Clinical>) -> Result<EncounterView, Problem> {
    Ok(EncounterView {
        id: row.id.into(),
        clinician: row.clinician.into(),
        at: time(row.at),
        kind: row.kind,
        reason: row.reason.open(chart, row.id)?.disclose(),
        test: row.test,
    })
}
