//! What a patient was prescribed.

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
        App, Page, line, now,
        patients::must_be_patient,
        text, time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{
        Clinical, ReadPrescriptions, WritePrescription,
        patients::{Dose, Drug, Instructions},
    },
};

/// A prescription.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PrescriptionView {
    id: Uuid,
    prescriber: Uuid,
    at: Timestamp,
    drug: String,
    dose: String,
    instructions: String,
    status: String,
    test: bool,
}

/// A new prescription.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPrescription {
    /// Name, strength and form.
    drug: String,
    /// How much at a time.
    dose: String,
    /// For the patient.
    instructions: String,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct PrescriptionRow {
    pub(crate) id: RowId,
    pub(crate) prescriber: UserId,
    pub(crate) at: i64,
    pub(crate) drug: Encrypted<Drug>,
    pub(crate) dose: Encrypted<Dose>,
    pub(crate) instructions: Encrypted<Instructions>,
    pub(crate) status: String,
    pub(crate) test: bool,
}

impl Entry for PrescriptionRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.drug.as_bytes().len() + self.dose.as_bytes().len() + self.instructions.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadPrescriptions>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<PrescriptionView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query =
        sql("select id, prescriber, at, drug, dose, instructions, status, test from prescriptions where patient = $1");
    window.page(query.bind(patient), &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn prescribe(
    grant: Grant<WritePrescription>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewPrescription>,
) -> Result<(StatusCode, Json<PrescriptionView>), Problem> {
    line("drug", &new.drug, 300)?;
    line("dose", &new.dose, 300)?;
    text("instructions", &new.instructions, 4096)?;
    let prescriber = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = PrescriptionRow {
        id,
        prescriber,
        at: now(&app).as_millisecond(),
        drug: Encrypted::seal(&new.drug, &chart, id)?,
        dose: Encrypted::seal(&new.dose, &chart, id)?,
        instructions: Encrypted::seal(&new.instructions, &chart, id)?,
        status: "active".to_owned(),
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("prescriptions", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &PrescriptionRow) -> Result<(), QueryError> {
    sql("insert into prescriptions (id, patient, prescriber, at, drug, dose, instructions, status, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
    .bind(row.id)
    .bind(patient)
    .bind(row.prescriber)
    .bind(row.at)
    .bind(&row.drug)
    .bind(&row.dose)
    .bind(&row.instructions)
    .bind(&row.status)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: PrescriptionRow, chart: &impl Opener<Clinical>) -> Result<PrescriptionView, Problem> {
    Ok(PrescriptionView {
        id: row.id.into(),
        prescriber: row.prescriber.into(),
        at: time(row.at),
        drug: row.drug.open(chart, row.id)?.disclose(),
        dose: row.dose.open(chart, row.id)?.disclose(),
        instructions: row.instructions.open(chart, row.id)?.disclose(),
        status: row.status,
        test: row.test,
    })
}
