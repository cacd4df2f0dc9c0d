//! What a patient is billed, by a quote or without.

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
        patients::{InvoiceLines, InvoiceTotal},
    },
};

const STATES: [&str; 3] = ["open", "paid", "cancelled"];

/// An invoice.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InvoiceView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    /// The quote that it came from.
    quote: Option<Uuid>,
    lines: Vec<Line>,
    /// The sum of the lines.
    total_pence: i64,
    /// `open`, `paid` or `cancelled`.
    status: String,
    version: i64,
    test: bool,
}

/// A new invoice.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvoice {
    /// The quote that it comes from: one of this patient's.
    quote: Option<Uuid>,
    /// 1 to 50.
    lines: Vec<Line>,
}

/// A change of one of a patient's invoices: what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct InvoicePatch {
    /// Which of the patient's.
    id: Uuid,
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// 1 to 50, instead of those before. Of an invoice that is not open any more they stay as they are: 409.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "Vec<Line>")]
    lines: Option<Vec<Line>>,
    /// `open`, `paid` or `cancelled`.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    status: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct InvoiceRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) quote: Option<RowId>,
    pub(crate) lines: Encrypted<InvoiceLines>,
    pub(crate) total: Encrypted<InvoiceTotal>,
    pub(crate) status: String,
    pub(crate) version: i64,
    pub(crate) test: bool,
}

impl Entry for InvoiceRow {
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
) -> Result<Json<Page<InvoiceView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query =
        sql("select id, author, at, quote, lines, total, status, version, test from invoices where patient = $1");
    window.page(query.bind(patient), &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn create(
    grant: Grant<WriteBilling>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewInvoice>,
) -> Result<(StatusCode, Json<InvoiceView>), Problem> {
    let sum = total(&new.lines)?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = InvoiceRow {
        id,
        author,
        at: now(&app).as_millisecond(),
        quote: new.quote.map(RowId::from),
        lines: Encrypted::seal(&Sealed::new(new.lines), &chart, id)?,
        total: Encrypted::seal(&sum, &chart, id)?,
        status: "open".to_owned(),
        version: 1,
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("invoices", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    if let Some(quote) = row.quote {
        let theirs = sql("select 1 from quotes where id = $1 and patient = $2").bind(quote).bind(patient);
        if !theirs.finds(&mut tx).await? {
            return Err(Problem::not_found().with_reason("no such quote of this patient"));
        }
    }
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn update(
    grant: Grant<WriteBilling>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
    Json(patch): Json<InvoicePatch>,
) -> Result<Json<InvoiceView>, Problem> {
    let sum = patch.lines.as_deref().map(total).transpose()?;
    patch.status.as_deref().map_or(Ok(()), |status| word("status", status, &STATES))?;
    if patch.lines.is_none() && patch.status.is_none() {
        return Err(Problem::bad_request("body").with_reason("a patch of nothing"));
    }
    let chart = grant.subject(patient).await?;
    let id = RowId::from(patch.id);
    let mut tx = data.change(&chart, Change::update("invoices", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    let mut query = sql("update invoices set version = version + 1");
    let lines = patch.lines.is_some();
    if let (Some(lines), Some(sum)) = (patch.lines, sum) {
        query.push(", lines = ").push_bind(Encrypted::<InvoiceLines>::seal(&Sealed::new(lines), &chart, id)?);
        query.push(", total = ").push_bind(Encrypted::<InvoiceTotal>::seal(&sum, &chart, id)?);
    }
    if let Some(status) = &patch.status {
        query.push(", status = ").push_bind(status);
    }
    query.push(" where id = ").push_bind(id).push(" and patient = ").push_bind(patient);
    query.push(" and version = ").push_bind(patch.version).push(if lines { " and status = 'open'" } else { "" });
    let done = query.execute(&mut tx).await?;
    let row = "select id, author, at, quote, lines, total, status, version, test from invoices
               where id = $1 and patient = $2";
    let row: Option<InvoiceRow> = sql(row).bind(id).bind(patient).fetch_optional(&mut tx).await?;
    let row = row.ok_or_else(|| Problem::not_found().with_reason("no such invoice of this patient"))?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now, or not open"));
    }
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok(Json(view))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &InvoiceRow) -> Result<(), QueryError> {
    sql("insert into invoices (id, patient, author, at, quote, lines, total, status, version, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
    .bind(row.id)
    .bind(patient)
    .bind(row.author)
    .bind(row.at)
    .bind(row.quote)
    .bind(&row.lines)
    .bind(&row.total)
    .bind(&row.status)
    .bind(row.version)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: InvoiceRow, chart: &impl Opener<Billing>) -> Result<InvoiceView, Problem> {
    Ok(InvoiceView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        quote: row.quote.map(Uuid::from),
        lines: row.lines.open(chart, row.id)?.disclose().into_inner(),
        total_pence: row.total.open(chart, row.id)?.disclose(),
        status: row.status,
        version: row.version,
        test: row.test,
    })
}
