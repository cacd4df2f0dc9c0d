//! What a patient is offered.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path, Query},
    db::Change,
    field::{Encrypted, Json as Sealed},
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{Line, total, word};
use crate::{
    api::{
        App, Page, now,
        patch::{stated, without_defaults},
        patients::must_be_patient,
        time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{
        Billing, ReadBilling, WriteBilling,
        patients::{QuoteLines, QuoteTotal},
    },
};

const STATES: [&str; 4] = ["open", "accepted", "declined", "expired"];

/// A quote.
#[derive(Serialize, JsonSchema)]
pub(crate) struct QuoteView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    lines: Vec<Line>,
    /// The sum of the lines.
    total_pence: i64,
    /// `open`, `accepted`, `declined` or `expired`.
    status: String,
    version: i64,
    test: bool,
}

/// A new quote.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewQuote {
    /// 1 to 50.
    lines: Vec<Line>,
}

/// A change of one of a patient's quotes: what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct QuotePatch {
    /// Which of the patient's.
    id: Uuid,
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// 1 to 50, instead of those before. Of a quote that is not open any more they stay as they are: 409.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "Vec<Line>")]
    lines: Option<Vec<Line>>,
    /// `open`, `accepted`, `declined` or `expired`.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    status: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct QuoteRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) lines: Encrypted<QuoteLines>,
    pub(crate) total: Encrypted<QuoteTotal>,
    pub(crate) status: String,
    pub(crate) version: i64,
    pub(crate) test: bool,
}

impl Entry for QuoteRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.lines.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadBilling>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<QuoteView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, author, at, lines, total, status, version, test from quotes where patient = $1");
    window.page(query.bind(patient), &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn create(
    grant: Grant<WriteBilling>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewQuote>,
) -> Result<(StatusCode, Json<QuoteView>), Problem> {
    let sum = total(&new.lines)?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = QuoteRow {
        id,
        author,
        at: now(&app).as_millisecond(),
        lines: Encrypted::seal(&Sealed::new(new.lines), &chart, id)?,
        total: Encrypted::seal(&sum, &chart, id)?,
        status: "open".to_owned(),
        version: 1,
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("quotes", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn update(
    grant: Grant<WriteBilling>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
    Json(patch): Json<QuotePatch>,
) -> Result<Json<QuoteView>, Problem> {
    let sum = patch.lines.as_deref().map(total).transpose()?;
    patch.status.as_deref().map_or(Ok(()), |status| word("status", status, &STATES))?;
    if patch.lines.is_none() && patch.status.is_none() {
        return Err(Problem::bad_request("body").with_reason("a patch of nothing"));
    }
    let chart = grant.subject(patient).await?;
    let id = RowId::from(patch.id);
    let mut tx = data.change(&chart, Change::update("quotes", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    let mut query = sql("update quotes set version = version + 1");
    let lines = patch.lines.is_some();
    if let (Some(lines), Some(sum)) = (patch.lines, sum) {
        query.push(", lines = ").push_bind(Encrypted::<QuoteLines>::seal(&Sealed::new(lines), &chart, id)?);
        query.push(", total = ").push_bind(Encrypted::<QuoteTotal>::seal(&sum, &chart, id)?);
    }
    if let Some(status) = &patch.status {
        query.push(", status = ").push_bind(status);
    }
    query.push(" where id = ").push_bind(id).push(" and patient = ").push_bind(patient);
    query.push(" and version = ").push_bind(patch.version).push(if lines { " and status = 'open'" } else { "" });
    let done = query.execute(&mut tx).await?;
    let row = "select id, author, at, lines, total, status, version, test from quotes where id = $1 and patient = $2";
    let row: Option<QuoteRow> = sql(row).bind(id).bind(patient).fetch_optional(&mut tx).await?;
    let row = row.ok_or_else(|| Problem::not_found().with_reason("no such quote of this patient"))?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now, or not open"));
    }
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok(Json(view))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &QuoteRow) -> Result<(), QueryError> {
    sql("insert into quotes (id, patient, author, at, lines, total, status, version, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
    .bind(row.id)
    .bind(patient)
    .bind(row.author)
    .bind(row.at)
    .bind(&row.lines)
    .bind(&row.total)
    .bind(&row.status)
    .bind(row.version)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: QuoteRow, chart: &impl Opener<Billing>) -> Result<QuoteView, Problem> {
    Ok(QuoteView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        lines: row.lines.open(chart, row.id)?.disclose().into_inner(),
        total_pence: row.total.open(chart, row.id)?.disclose(),
        status: row.status,
        version: row.version,
        test: row.test,
    })
}
