//! What stands in a patient's chart: notes, prescriptions, results, visits.

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

use super::{
    App, Page, line,
    patients::must_be_patient,
    text, time,
    window::{Entry, Older, Window},
};
use crate::{
    data::{Data, Tx, sql},
    model::{
        Clinical, ReadEncounters, ReadNotes, ReadPrescriptions, ReadResults, WriteNote, WritePrescription,
        patients::{Dose, Drug, EncounterReason, Instructions, NoteText, ResultBody as ResultColumn},
    },
};

/// A measurement or a laboratory result.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ResultBody {
    /// In LOINC.
    pub code: String,
    /// For people.
    pub display: String,
    /// The figure.
    pub value: f64,
    /// Its unit, in UCUM.
    pub unit: String,
    /// `normal`, `high` or `low`.
    pub flag: String,
}

impl ResultBody {
    /// A result of the demo data.
    pub(crate) fn demo(result: &crate::demo_data::TestResult) -> Self {
        use crate::demo_data::Flag::{High, Low, Normal};
        Self {
            code: result.code.clone(),
            display: result.display.clone(),
            value: result.value,
            unit: result.unit.clone(),
            flag: match result.flag {
                Normal => "normal",
                Low => "low",
                High => "high",
            }
            .to_owned(),
        }
    }
}

/// A note.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NoteView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    text: String,
    test: bool,
}

/// A new note.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNote {
    /// 1 to 65,536 bytes.
    pub(crate) text: String,
}

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

/// A result.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResultView {
    id: Uuid,
    at: Timestamp,
    #[serde(flatten)]
    body: ResultBody,
    test: bool,
}

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

#[derive(Debug, sqlx::FromRow)]
struct NoteRow {
    id: RowId,
    author: UserId,
    at: i64,
    text: Encrypted<NoteText>,
    test: bool,
}

impl Entry for NoteRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.text.as_bytes().len()
    }
}

pub(super) async fn notes(
    grant: Grant<ReadNotes>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<NoteView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, author, at, text, test from notes
         where patient = $1")
    .bind(patient);
    let view = |row: NoteRow| {
        Ok(NoteView {
            id: row.id.into(),
            author: row.author.into(),
            at: time(row.at),
            text: row.text.open(&chart, row.id)?.disclose(),
            test: row.test,
        })
    };
    window.page(query, &mut tx, view).await
}

pub(super) async fn write_note(
    grant: Grant<WriteNote>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewNote>,
) -> Result<(StatusCode, Json<NoteView>), Problem> {
    text("text", &new.text, 65_536)?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let (id, at) = (RowId::generate(&*app.clock), now(&app));
    let mut tx = app.data.change(&chart, Change::create("notes", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert_note(&mut tx, &chart, patient, id, author, at, &new.text, false).await?;
    tx.commit().await?;
    let view = NoteView { id: id.into(), author: author.into(), at, text: new.text, test: false };
    Ok((StatusCode::CREATED, Json(view)))
}

/// The time as a column keeps it, so that what is answered now is what is read later.
fn now(app: &App) -> Timestamp {
    time(app.clock.now().as_millisecond())
}

#[expect(clippy::too_many_arguments, reason = "the columns of a row")]
pub(crate) async fn insert_note<G: Opener<Clinical>>(
    tx: &mut impl Tx,
    chart: &G,
    patient: SubjectId,
    id: RowId,
    author: UserId,
    at: Timestamp,
    text: &String,
    test: bool,
) -> Result<(), Problem> {
    sql("insert into notes (id, patient, author, at, text, test) values ($1, $2, $3, $4, $5, $6)")
        .bind(id)
        .bind(patient)
        .bind(author)
        .bind(at.as_millisecond())
        .bind(Encrypted::<NoteText>::seal(text, chart, id)?)
        .bind(test)
        .execute(tx)
        .await?;
    Ok(())
}

#[derive(Debug, sqlx::FromRow)]
struct PrescriptionRow {
    id: RowId,
    prescriber: UserId,
    at: i64,
    drug: Encrypted<Drug>,
    dose: Encrypted<Dose>,
    instructions: Encrypted<Instructions>,
    status: String,
    test: bool,
}

impl Entry for PrescriptionRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.drug.as_bytes().len() + self.dose.as_bytes().len() + self.instructions.as_bytes().len()
    }
}

pub(super) async fn prescriptions(
    grant: Grant<ReadPrescriptions>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<PrescriptionView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, prescriber, at, drug, dose, instructions, status, test from prescriptions
         where patient = $1")
    .bind(patient);
    let view = |row: PrescriptionRow| {
        Ok(PrescriptionView {
            id: row.id.into(),
            prescriber: row.prescriber.into(),
            at: time(row.at),
            drug: row.drug.open(&chart, row.id)?.disclose(),
            dose: row.dose.open(&chart, row.id)?.disclose(),
            instructions: row.instructions.open(&chart, row.id)?.disclose(),
            status: row.status,
            test: row.test,
        })
    };
    window.page(query, &mut tx, view).await
}

pub(super) async fn prescribe(
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
    let (id, at) = (RowId::generate(&*app.clock), now(&app));
    let mut tx = app.data.change(&chart, Change::create("prescriptions", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    let row = PrescriptionRow {
        id,
        prescriber,
        at: at.as_millisecond(),
        drug: Encrypted::seal(&new.drug, &chart, id)?,
        dose: Encrypted::seal(&new.dose, &chart, id)?,
        instructions: Encrypted::seal(&new.instructions, &chart, id)?,
        status: "active".to_owned(),
        test: false,
    };
    insert_prescription(&mut tx, patient, row).await?;
    tx.commit().await?;
    let view = PrescriptionView {
        id: id.into(),
        prescriber: prescriber.into(),
        at,
        drug: new.drug,
        dose: new.dose,
        instructions: new.instructions,
        status: "active".to_owned(),
        test: false,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

async fn insert_prescription(tx: &mut impl Tx, patient: SubjectId, row: PrescriptionRow) -> Result<(), Problem> {
    sql("insert into prescriptions (id, patient, prescriber, at, drug, dose, instructions, status, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
    .bind(row.id)
    .bind(patient)
    .bind(row.prescriber)
    .bind(row.at)
    .bind(row.drug)
    .bind(row.dose)
    .bind(row.instructions)
    .bind(row.status)
    .bind(row.test)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn insert_demo_prescription<G: Opener<Clinical>>(
    tx: &mut impl Tx,
    chart: &G,
    patient: SubjectId,
    id: RowId,
    prescriber: UserId,
    at: Timestamp,
    demo: &crate::demo_data::Prescription,
) -> Result<(), Problem> {
    use crate::demo_data::PrescriptionStatus::{Active, Completed, Stopped};
    let row = PrescriptionRow {
        id,
        prescriber,
        at: at.as_millisecond(),
        drug: Encrypted::seal(&demo.drug, chart, id)?,
        dose: Encrypted::seal(&demo.dose, chart, id)?,
        instructions: Encrypted::seal(&demo.instructions, chart, id)?,
        status: match demo.status {
            Active => "active",
            Stopped => "stopped",
            Completed => "completed",
        }
        .to_owned(),
        test: true,
    };
    insert_prescription(tx, patient, row).await
}

#[derive(Debug, sqlx::FromRow)]
struct ResultRow {
    id: RowId,
    at: i64,
    body: Encrypted<ResultColumn>,
    test: bool,
}

impl Entry for ResultRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.body.as_bytes().len()
    }
}

pub(super) async fn results(
    grant: Grant<ReadResults>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<ResultView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, at, body, test from results
         where patient = $1")
    .bind(patient);
    let view = |row: ResultRow| {
        let body = row.body.open(&chart, row.id)?.disclose().into_inner();
        Ok(ResultView { id: row.id.into(), at: time(row.at), body, test: row.test })
    };
    window.page(query, &mut tx, view).await
}

#[derive(Debug, sqlx::FromRow)]
struct EncounterRow {
    id: RowId,
    clinician: UserId,
    at: i64,
    kind: String,
    reason: Encrypted<EncounterReason>,
    test: bool,
}

impl Entry for EncounterRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.reason.as_bytes().len()
    }
}

pub(super) async fn encounters(
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
    let view = |row: EncounterRow| {
        Ok(EncounterView {
            id: row.id.into(),
            clinician: row.clinician.into(),
            at: time(row.at),
            kind: row.kind,
            reason: row.reason.open(&chart, row.id)?.disclose(),
            test: row.test,
        })
    };
    window.page(query, &mut tx, view).await
}
