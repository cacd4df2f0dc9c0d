//! What whoever treats a patient looks at first: conditions and allergies.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path},
    db::Change,
    field::{Encrypted, Json as Sealed},
    id::SubjectId,
    problem::Problem,
};

use super::{
    line,
    patch::{stated, without_defaults},
    patients::{must_be_patient, row_of},
};
use crate::{
    data::{Data, Tx, sql},
    model::{
        Clinical, ReadSummary, WriteSummary,
        patients::{Allergies, Conditions},
    },
};

/// The most conditions, and the most allergies: together with the length of each they fit in their columns.
const MOST: usize = 100;

/// A diagnosis.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The code in `system`. 1 to 64 bytes.
    pub code: String,
    /// `snomed`, `icd10-cm` or `loinc`.
    pub system: String,
    /// For people. 1 to 200 bytes.
    pub display: String,
    /// Whether it lasts.
    pub active: bool,
}

impl Condition {
    fn check(&self) -> Result<(), Problem> {
        line("conditions", &self.code, 64)?;
        line("conditions", &self.display, 200)?;
        let known = ["snomed", "icd10-cm", "loinc"].contains(&self.system.as_str());
        if known { Ok(()) } else { Err(Problem::bad_request("conditions")) }
    }
}

/// A patient's conditions and allergies.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SummaryView {
    conditions: Vec<Condition>,
    allergies: Vec<String>,
    /// 0 until somebody has recorded them: empty lists of version 0 do not say that there are none.
    version: i64,
}

/// A change of conditions or allergies: a list replaces the one before it, and what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct SummaryPatch {
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// At most 100.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "Vec<Condition>")]
    conditions: Option<Vec<Condition>>,
    /// At most 100, each of 1 to 200 bytes. `[]` says that none are known.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "Vec<String>")]
    allergies: Option<Vec<String>>,
}

impl SummaryPatch {
    fn check(&self) -> Result<(), Problem> {
        let (conditions, allergies) = (self.conditions.as_deref(), self.allergies.as_deref());
        if conditions.is_none() && allergies.is_none() {
            return Err(Problem::bad_request("body").with_reason("a patch of nothing"));
        }
        let (conditions, allergies) = (conditions.unwrap_or_default(), allergies.unwrap_or_default());
        if conditions.len() > MOST {
            return Err(Problem::bad_request("conditions"));
        }
        if allergies.len() > MOST {
            return Err(Problem::bad_request("allergies"));
        }
        conditions.iter().try_for_each(Condition::check)?;
        allergies.iter().try_for_each(|allergy| line("allergies", allergy, 200))
    }
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    conditions: Encrypted<Conditions>,
    allergies: Encrypted<Allergies>,
    version: i64,
}

pub(super) async fn read(
    grant: Grant<ReadSummary>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
) -> Result<Json<SummaryView>, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    fetch(&mut tx, &chart, patient).await.map(Json)
}

pub(super) async fn update(
    grant: Grant<WriteSummary>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
    Json(patch): Json<SummaryPatch>,
) -> Result<Json<SummaryView>, Problem> {
    patch.check()?;
    let chart = grant.subject(patient).await?;
    let id = row_of(patient);
    let mut tx = data.change(&chart, Change::update("patient_clinical", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    let before = fetch(&mut tx, &chart, patient).await?;
    if before.version != patch.version {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    let after = SummaryView {
        conditions: patch.conditions.unwrap_or(before.conditions),
        allergies: patch.allergies.unwrap_or(before.allergies),
        version: before.version + 1,
    };
    // Whoever recorded them first, or again, since they were read has the version.
    let write = match before.version {
        0 => sql("insert into patient_clinical (patient, conditions, allergies, version) values ($1, $2, $3, $4)
                  on conflict do nothing"),
        _ => sql("update patient_clinical set conditions = $2, allergies = $3, version = $4
                  where patient = $1 and version = $4 - 1"),
    };
    let written = write
        .bind(patient)
        .bind(Encrypted::<Conditions>::seal(&Sealed::new(after.conditions.clone()), &chart, id)?)
        .bind(Encrypted::<Allergies>::seal(&Sealed::new(after.allergies.clone()), &chart, id)?)
        .bind(after.version)
        .execute(&mut tx)
        .await?;
    if written == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    tx.commit().await?;
    Ok(Json(after))
}

async fn fetch(
    tx: &mut impl Tx,
    chart: &(impl Opener<Clinical> + Sync),
    patient: SubjectId,
) -> Result<SummaryView, Problem> {
    let row: Option<Row> = sql("select conditions, allergies, version from patient_clinical where patient = $1")
        .bind(patient)
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else {
        return Ok(SummaryView { conditions: Vec::new(), allergies: Vec::new(), version: 0 });
    };
    let id = row_of(patient);
    Ok(SummaryView {
        conditions: row.conditions.open(chart, id)?.disclose().into_inner(),
        allergies: row.allergies.open(chart, id)?.disclose().into_inner(),
        version: row.version,
    })
}
