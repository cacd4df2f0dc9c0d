//! Patients: list, search, register, read, change, erase.

mod change;
mod checks;
mod erase;
mod names;

use axum::{extract::State, http::StatusCode};
use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{CohortQuery, Grant, Indexer, Opener, Scope},
    axum::{Json, Path, Query},
    db::{Change, filter},
    field::Encrypted,
    id::{RowId, SubjectId},
    problem::Problem,
};
use uuid::Uuid;

pub(super) use self::{
    change::{PatientPatch, update},
    erase::{ErasedView, erase},
};
use super::{App, Page, end_page};
use crate::{
    data::{Data, Tx, sql},
    model::{
        CreatePatient, Identity, ListPatients, ReadPatient,
        patients::{Address, BirthDate, Email, Family, Given, NhsNumber, Phone, Sex},
    },
};

/// The longest search, in bytes.
pub(super) const MAX_SEARCH: usize = 128;

/// Which patients.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    q: Option<String>,
}

/// A patient in a list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PatientSummary {
    id: Uuid,
    given: String,
    family: String,
    birth_date: Date,
    test: bool,
}

/// A patient's master data.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PatientView {
    id: Uuid,
    given: String,
    family: String,
    birth_date: Date,
    sex: String,
    phone: Option<String>,
    email: Option<String>,
    address: Option<String>,
    nhs_number: Option<String>,
    version: i64,
    test: bool,
}

/// A new patient.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPatient {
    /// 1 to 100 bytes.
    given: String,
    /// 1 to 100 bytes.
    family: String,
    birth_date: Date,
    /// `female`, `male`, `other` or `unknown` (FHIR R4 AdministrativeGender).
    sex: String,
    phone: Option<String>,
    email: Option<String>,
    address: Option<String>,
    /// Ten digits.
    nhs_number: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
struct SummaryRow {
    id: SubjectId,
    given: Encrypted<Given>,
    family: Encrypted<Family>,
    birth_date: Encrypted<BirthDate>,
    test: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct PatientRow {
    given: Encrypted<Given>,
    family: Encrypted<Family>,
    birth_date: Encrypted<BirthDate>,
    sex: Encrypted<Sex>,
    phone: Option<Encrypted<Phone>>,
    email: Option<Encrypted<Email>>,
    address: Option<Encrypted<Address>>,
    nhs_number: Option<Encrypted<NhsNumber>>,
    version: i64,
    test: bool,
}

/// The row of a patient is named as the patient is.
pub(crate) fn row_of(patient: SubjectId) -> RowId {
    RowId::from(Uuid::from(patient))
}

struct List<'a> {
    data: Data,
    now: Timestamp,
    limit: usize,
    after: Option<SubjectId>,
    words: Vec<String>,
    /// Where the next page begins.
    next: &'a mut Option<String>,
}

impl CohortQuery<ListPatients> for List<'_> {
    type Row = SummaryRow;

    fn subject(row: &SummaryRow) -> SubjectId {
        row.id
    }

    async fn rows(
        self,
        scope: &Scope<ListPatients>,
    ) -> Result<Vec<SummaryRow>, Box<dyn std::error::Error + Send + Sync>> {
        let mut query = sql("select p.id, p.given, p.family, p.birth_date, p.test from patients p where ");
        filter(&mut query, scope, "p.id", self.now);
        if let Some(after) = self.after {
            query.push(" and p.id > ").push_bind(after);
        }
        for word in &self.words {
            names::filter(&mut query, word, scope)?;
        }
        query.push(" order by p.id limit ").push_bind(i64::try_from(self.limit + 1)?);
        let mut tx = self.data.read(scope).await?;
        let mut rows: Vec<SummaryRow> = query.fetch_all(&mut tx).await?;
        *self.next = end_page(&mut rows, self.limit, |row| row.id.to_string());
        Ok(rows)
    }
}

pub(super) async fn list(
    grant: Grant<ListPatients>,
    Query(query): Query<ListQuery>,
    State(app): State<App>,
) -> Result<Json<Page<PatientSummary>>, Problem> {
    let limit = super::limit(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse).transpose().map_err(|_| Problem::bad_request("cursor"))?;
    let q = query.q.unwrap_or_default();
    if q.len() > MAX_SEARCH {
        return Err(Problem::bad_request("q"));
    }
    let words: Vec<String> = q.split_whitespace().map(str::to_owned).collect();
    let (data, now) = (app.data, app.clock.now());
    let mut next = None;
    let cohort = grant.cohort(List { data, now, limit, after, words, next: &mut next }).await?;
    let mut items = Vec::with_capacity(limit);
    for (row, chart) in cohort.iter() {
        items.push(PatientSummary {
            id: row.id.into(),
            given: row.given.open(chart, row_of(row.id))?.disclose(),
            family: row.family.open(chart, row_of(row.id))?.disclose(),
            birth_date: row.birth_date.open(chart, row_of(row.id))?.disclose(),
            test: row.test,
        });
    }
    Ok(Json(Page { items, next }))
}

pub(super) async fn read(
    grant: Grant<ReadPatient>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
) -> Result<Json<PatientView>, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    let row = fetch(&mut tx, patient).await?;
    Ok(Json(view(&row, &chart, patient)?))
}

pub(super) async fn create(
    grant: Grant<CreatePatient>,
    State(app): State<App>,
    Json(new): Json<NewPatient>,
) -> Result<(StatusCode, Json<PatientView>), Problem> {
    checks::name("given", &new.given)?;
    checks::name("family", &new.family)?;
    checks::birth_date(new.birth_date, app.clock.now())?;
    checks::sex(&new.sex)?;
    for (field, value) in [("phone", &new.phone), ("email", &new.email), ("address", &new.address)] {
        checks::contact(field, value.as_deref())?;
    }
    checks::nhs_number(new.nhs_number.as_deref())?;
    let chart = grant.admit().await?;
    let patient = chart.subject();
    let mut tx = app.data.change(&chart, Change::create("patients", row_of(patient))).await?;
    insert(&mut tx, &chart, patient, &new, app.clock.now(), false).await?;
    let row = fetch(&mut tx, patient).await?;
    let view = view(&row, &chart, patient)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Inserts a patient whom `chart` admitted.
pub(crate) async fn insert<G: Opener<Identity> + Indexer<Identity> + Sync>(
    tx: &mut impl Tx,
    chart: &G,
    patient: SubjectId,
    new: &NewPatient,
    now: Timestamp,
    test: bool,
) -> Result<(), Problem> {
    let row = row_of(patient);
    sql(
        "insert into patients (id, given, family, birth_date, sex, phone, email, address, nhs_number, created_at, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(patient)
    .bind(Encrypted::<Given>::seal(&new.given, chart, row)?)
    .bind(Encrypted::<Family>::seal(&new.family, chart, row)?)
    .bind(Encrypted::<BirthDate>::seal(&new.birth_date, chart, row)?)
    .bind(Encrypted::<Sex>::seal(&new.sex, chart, row)?)
    .bind(new.phone.as_ref().map(|v| Encrypted::<Phone>::seal(v, chart, row)).transpose()?)
    .bind(new.email.as_ref().map(|v| Encrypted::<Email>::seal(v, chart, row)).transpose()?)
    .bind(new.address.as_ref().map(|v| Encrypted::<Address>::seal(v, chart, row)).transpose()?)
    .bind(new.nhs_number.as_ref().map(|v| Encrypted::<NhsNumber>::seal(v, chart, row)).transpose()?)
    .bind(now.as_millisecond())
    .bind(test)
    .execute(tx)
    .await?;
    names::index(tx, chart, patient, &new.given, &new.family).await
}

impl NewPatient {
    /// The master data of a demo patient.
    pub(crate) fn demo(patient: &crate::demo_data::Patient) -> Self {
        Self {
            given: patient.given.clone(),
            family: patient.family.clone(),
            birth_date: patient.birth_date,
            sex: match patient.sex {
                crate::demo_data::Sex::Female => "female",
                crate::demo_data::Sex::Male => "male",
            }
            .to_owned(),
            phone: Some(patient.phone.clone()),
            email: Some(patient.email.clone()),
            address: Some(patient.address.clone()),
            nhs_number: Some(patient.nhs_test_number.clone()),
        }
    }
}

/// Refuses a person who is known to the clinic but not as a patient: an employee, say.
pub(super) async fn must_be_patient(tx: &mut impl Tx, person: SubjectId) -> Result<(), Problem> {
    let found = sql("select 1 from patients where id = $1").bind(person).finds(tx).await?;
    if found { Ok(()) } else { Err(not_a_patient()) }
}

fn not_a_patient() -> Problem {
    Problem::not_found().with_reason("a person without a patient's row")
}

async fn fetch(tx: &mut impl Tx, patient: SubjectId) -> Result<PatientRow, Problem> {
    sql("select given, family, birth_date, sex, phone, email, address, nhs_number, version, test
         from patients where id = $1")
    .bind(patient)
    .fetch_optional(tx)
    .await?
    .ok_or_else(not_a_patient)
}

fn view<G: Opener<Identity>>(row: &PatientRow, chart: &G, patient: SubjectId) -> Result<PatientView, Problem> {
    let id = row_of(patient);
    Ok(PatientView {
        id: patient.into(),
        given: row.given.open(chart, id)?.disclose(),
        family: row.family.open(chart, id)?.disclose(),
        birth_date: row.birth_date.open(chart, id)?.disclose(),
        sex: row.sex.open(chart, id)?.disclose(),
        phone: row.phone.as_ref().map(|v| v.open(chart, id)).transpose()?.map(|v| v.disclose()),
        email: row.email.as_ref().map(|v| v.open(chart, id)).transpose()?.map(|v| v.disclose()),
        address: row.address.as_ref().map(|v| v.open(chart, id)).transpose()?.map(|v| v.disclose()),
        nhs_number: row.nhs_number.as_ref().map(|v| v.open(chart, id)).transpose()?.map(|v| v.disclose()),
        version: row.version,
        test: row.test,
    })
}
