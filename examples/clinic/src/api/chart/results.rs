//! What was measured and found.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path, Query},
    db::Change,
    field::{Encrypted, Json as Sealed},
    id::{RowId, SubjectId},
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
    model::{Clinical, ReadResults, WriteResult, patients::ResultBody as ResultColumn},
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

/// A result.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResultView {
    id: Uuid,
    at: Timestamp,
    #[serde(flatten)]
    body: ResultBody,
    test: bool,
}

/// A new result.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewResult {
    /// In LOINC. 1 to 64 bytes.
    code: String,
    /// For people. 1 to 200 bytes.
    display: String,
    /// The figure.
    value: f64,
    /// Its unit, in UCUM. 1 to 64 bytes.
    unit: String,
    /// `normal`, `high` or `low`.
    flag: String,
    /// When it was taken, not in the future. Default: now.
    at: Option<Timestamp>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ResultRow {
    pub(crate) id: RowId,
    pub(crate) at: i64,
    pub(crate) body: Encrypted<ResultColumn>,
    pub(crate) test: bool,
}

impl Entry for ResultRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.body.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadResults>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<ResultView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, at, body, test from results where patient = $1").bind(patient);
    window.page(query, &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn write(
    grant: Grant<WriteResult>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewResult>,
) -> Result<(StatusCode, Json<ResultView>), Problem> {
    line("code", &new.code, 64)?;
    line("display", &new.display, 200)?;
    line("unit", &new.unit, 64)?;
    if !["normal", "high", "low"].contains(&new.flag.as_str()) {
        return Err(Problem::bad_request("flag"));
    }
    let at = past(new.at, &app)?;
    let NewResult { code, display, value, unit, flag, .. } = new;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let body = Encrypted::seal(&Sealed::new(ResultBody { code, display, value, unit, flag }), &chart, id)?;
    let row = ResultRow { id, at, body, test: false };
    let mut tx = app.data.change(&chart, Change::create("results", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &ResultRow) -> Result<(), QueryError> {
    sql("insert into results (id, patient, at, body, test) values ($1, $2, $3, $4, $5)")
        .bind(row.id)
        .bind(patient)
        .bind(row.at)
        .bind(&row.body)
        .bind(row.test)
        .execute(tx)
        .await
        .map(|_| ())
}

fn view(row: ResultRow, chart: &impl Opener<Clinical>) -> Result<ResultView, Problem> {
    let body = row.body.open(chart, row.id)?.disclose().into_inner();
    Ok(ResultView { id: row.id.into(), at: time(row.at), body, test: row.test })
}
