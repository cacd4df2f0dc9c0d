//! Patients: list, search, register, read, change.

use axum::{extract::State, http::StatusCode};
use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use tower_ward::{
    access::{CohortQuery, Grant, Indexer, Opener, Scope},
    axum::{Json, Path, Query},
    db::{Change, Db, filter},
    field::{BlindIndex, Encrypted},
    id::{RowId, SubjectId},
    problem::Problem,
};
use uuid::Uuid;

use super::{App, Page, failed, line};
use crate::model::{
    CreatePatient, Identity, ListPatients, ReadPatient, UpdatePatient,
    patients::{Address, BirthDate, Email, Family, Given, NhsNumber, Phone, Sex},
};

/// The longest search, in bytes.
const MAX_SEARCH: usize = 128;

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
    nhs_number: Option<String>,
}

/// A change of master data: what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatientPatch {
    /// The version that was read; another one by now is a 409.
    version: i64,
    given: Option<String>,
    family: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    address: Option<String>,
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

struct List {
    db: Db,
    now: Timestamp,
    limit: usize,
    after: Option<SubjectId>,
    words: Vec<String>,
}

impl CohortQuery<ListPatients> for List {
    type Row = SummaryRow;

    fn subject(row: &SummaryRow) -> SubjectId {
        row.id
    }

    async fn rows(
        self,
        scope: &Scope<ListPatients>,
    ) -> Result<Vec<SummaryRow>, Box<dyn std::error::Error + Send + Sync>> {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("select p.id, p.given, p.family, p.birth_date, p.test from patients p where ");
        filter(&mut query, scope, "p.id", self.now);
        if let Some(after) = self.after {
            query.push(" and p.id > ").push_bind(after);
        }
        // Names are sealed: a word finds a patient whose given or family name it is, whole.
        for word in &self.words {
            query.push(" and (p.family_index = ").push_bind(BlindIndex::<Family>::of(word, scope)?);
            query.push(" or p.given_index = ").push_bind(BlindIndex::<Given>::of(word, scope)?).push(")");
        }
        query.push(" order by p.id limit ").push_bind(i64::try_from(self.limit)?);
        let mut tx = self.db.read(scope).await?;
        Ok(query.build_query_as().fetch_all(tx.conn()).await?)
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
    let (db, now) = (app.db, app.clock.now());
    let cohort = grant.cohort(List { db, now, limit: limit + 1, after, words }).await?;
    let mut items = Vec::with_capacity(limit);
    let mut next = None;
    for (row, chart) in cohort.iter() {
        if items.len() == limit {
            next = items.last().map(|last: &PatientSummary| last.id.to_string());
            break;
        }
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
    State(db): State<Db>,
) -> Result<Json<PatientView>, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.read(&chart).await?;
    let row = fetch(tx.conn(), patient).await?;
    Ok(Json(view(&row, &chart, patient)?))
}

pub(super) async fn create(
    grant: Grant<CreatePatient>,
    State(app): State<App>,
    Json(new): Json<NewPatient>,
) -> Result<(StatusCode, Json<PatientView>), Problem> {
    check_name("given", &new.given)?;
    check_name("family", &new.family)?;
    let today = app.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    if new.birth_date > today || new.birth_date.year() < 1850 {
        return Err(Problem::bad_request("birth_date"));
    }
    if !["female", "male", "other", "unknown"].contains(&new.sex.as_str()) {
        return Err(Problem::bad_request("sex"));
    }
    for (field, value) in
        [("phone", &new.phone), ("email", &new.email), ("address", &new.address), ("nhs_number", &new.nhs_number)]
    {
        value.as_deref().map(|v| line(field, v, 300)).transpose()?;
    }
    let chart = grant.admit().await?;
    let patient = chart.subject();
    let mut tx = app.db.change(&chart, Change::create("patients", row_of(patient))).await?;
    insert(tx.conn(), &chart, patient, &new, app.clock.now(), false).await?;
    let row = fetch(tx.conn(), patient).await?;
    let view = view(&row, &chart, patient)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn update(
    grant: Grant<UpdatePatient>,
    Path(patient): Path<SubjectId>,
    State(db): State<Db>,
    Json(patch): Json<PatientPatch>,
) -> Result<Json<PatientView>, Problem> {
    patch.given.as_deref().map(|v| check_name("given", v)).transpose()?;
    patch.family.as_deref().map(|v| check_name("family", v)).transpose()?;
    for (field, value) in [("phone", &patch.phone), ("email", &patch.email), ("address", &patch.address)] {
        value.as_deref().map(|v| line(field, v, 300)).transpose()?;
    }
    let chart = grant.subject(patient).await?;
    let row = row_of(patient);
    let mut tx = db.change(&chart, Change::update("patients", row)).await?;
    let given = patch.given.as_ref().map(|v| seal_indexed::<Given, _>(v, &chart, row)).transpose()?;
    let family = patch.family.as_ref().map(|v| seal_indexed::<Family, _>(v, &chart, row)).transpose()?;
    let (given, given_index) = given.unzip();
    let (family, family_index) = family.unzip();
    let done = sqlx::query(
        "update patients set given = coalesce(?, given), given_index = coalesce(?, given_index),
            family = coalesce(?, family), family_index = coalesce(?, family_index),
            phone = coalesce(?, phone), email = coalesce(?, email), address = coalesce(?, address),
            version = version + 1
         where id = ? and version = ?",
    )
    .bind(given)
    .bind(given_index)
    .bind(family)
    .bind(family_index)
    .bind(patch.phone.as_ref().map(|v| Encrypted::<Phone>::seal(v, &chart, row)).transpose()?)
    .bind(patch.email.as_ref().map(|v| Encrypted::<Email>::seal(v, &chart, row)).transpose()?)
    .bind(patch.address.as_ref().map(|v| Encrypted::<Address>::seal(v, &chart, row)).transpose()?)
    .bind(patient)
    .bind(patch.version)
    .execute(tx.conn())
    .await
    .map_err(failed)?;
    let row = fetch(tx.conn(), patient).await?;
    if done.rows_affected() == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    let view = view(&row, &chart, patient)?;
    tx.commit().await?;
    Ok(Json(view))
}

fn check_name(field: &'static str, value: &str) -> Result<(), Problem> {
    line(field, value, 100)
}

fn seal_indexed<C, G>(value: &C::Value, grant: &G, row: RowId) -> Result<(Encrypted<C>, BlindIndex<C>), Problem>
where
    C: tower_ward::field::Indexed,
    C::Value: tower_ward::field::Indexable,
    G: Opener<C::Class> + Indexer<C::Class>,
{
    let index = BlindIndex::of(value, grant).map_err(|_| Problem::internal().with_reason("a name has no index"))?;
    Ok((Encrypted::seal(value, grant, row)?, index))
}

/// Inserts a patient whom `chart` admitted.
pub(crate) async fn insert<G: Opener<Identity> + Indexer<Identity>>(
    conn: &mut SqliteConnection,
    chart: &G,
    patient: SubjectId,
    new: &NewPatient,
    now: Timestamp,
    test: bool,
) -> Result<(), Problem> {
    let row = row_of(patient);
    let (given, given_index) = seal_indexed::<Given, _>(&new.given, chart, row)?;
    let (family, family_index) = seal_indexed::<Family, _>(&new.family, chart, row)?;
    sqlx::query(
        "insert into patients (id, given, given_index, family, family_index, birth_date, sex, phone, email, address,
            nhs_number, created_at, test) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(patient)
    .bind(given)
    .bind(given_index)
    .bind(family)
    .bind(family_index)
    .bind(Encrypted::<BirthDate>::seal(&new.birth_date, chart, row)?)
    .bind(Encrypted::<Sex>::seal(&new.sex, chart, row)?)
    .bind(new.phone.as_ref().map(|v| Encrypted::<Phone>::seal(v, chart, row)).transpose()?)
    .bind(new.email.as_ref().map(|v| Encrypted::<Email>::seal(v, chart, row)).transpose()?)
    .bind(new.address.as_ref().map(|v| Encrypted::<Address>::seal(v, chart, row)).transpose()?)
    .bind(new.nhs_number.as_ref().map(|v| Encrypted::<NhsNumber>::seal(v, chart, row)).transpose()?)
    .bind(now.as_millisecond())
    .bind(test)
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
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
pub(super) async fn must_be_patient(conn: &mut SqliteConnection, person: SubjectId) -> Result<(), Problem> {
    let found = sqlx::query("select 1 from patients where id = ?").bind(person).fetch_optional(conn).await;
    found.map_err(failed)?.map(|_| ()).ok_or_else(not_a_patient)
}

fn not_a_patient() -> Problem {
    Problem::not_found().with_reason("a person without a patient's row")
}

async fn fetch(conn: &mut SqliteConnection, patient: SubjectId) -> Result<PatientRow, Problem> {
    sqlx::query_as(
        "select given, family, birth_date, sex, phone, email, address, nhs_number, version, test
         from patients where id = ?",
    )
    .bind(patient)
    .fetch_optional(conn)
    .await
    .map_err(failed)?
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
