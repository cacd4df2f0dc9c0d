//! The courses that somebody took.

use axum::{extract::State, http::StatusCode};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path, Query},
    db::Change,
    field::Encrypted,
    id::{RowId, SubjectId},
    problem::Problem,
};
use uuid::Uuid;

use super::{date, day};
use crate::{
    api::{
        App, Page, line,
        people::must_be_employee,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{Hr, ReadTraining, WriteTraining, staff::TrainingTitle},
};

/// A course that somebody took.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TrainingView {
    id: Uuid,
    title: String,
    completed: Date,
    /// From when on it has to be taken again.
    expires: Option<Date>,
    test: bool,
}

/// A course that somebody took.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTraining {
    /// 1 to 200 bytes.
    title: String,
    completed: Date,
    /// From when on it has to be taken again: after `completed`.
    expires: Option<Date>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct TrainingRow {
    pub(crate) id: RowId,
    /// The day on which it was passed.
    pub(crate) at: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) title: Encrypted<TrainingTitle>,
    pub(crate) test: bool,
}

impl Entry for TrainingRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.title.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadTraining>,
    Path(employee): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<TrainingView>>, Problem> {
    let window = Window::of(&older)?;
    let file = grant.subject(employee).await?;
    let mut tx = data.read(&file).await?;
    must_be_employee(&mut tx, employee).await?;
    let query = sql("select id, at, expires, title, test from training where employee = $1").bind(employee);
    window.page(query, &mut tx, |row| view(row, &file)).await
}

pub(crate) async fn record(
    grant: Grant<WriteTraining>,
    Path(employee): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewTraining>,
) -> Result<(StatusCode, Json<TrainingView>), Problem> {
    line("title", &new.title, 200)?;
    let at = day("completed", new.completed)?;
    let expires = new.expires.map(|expires| day("expires", expires)).transpose()?;
    if expires.is_some_and(|expires| expires <= at) {
        return Err(Problem::bad_request("expires"));
    }
    let file = grant.subject(employee).await?;
    let id = RowId::generate(&*app.clock);
    let row = TrainingRow { id, at, expires, title: Encrypted::seal(&new.title, &file, id)?, test: false };
    let mut tx = app.data.change(&file, Change::create("training", id)).await?;
    must_be_employee(&mut tx, employee).await?;
    insert(&mut tx, employee, &row).await?;
    let view = view(row, &file)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, employee: SubjectId, row: &TrainingRow) -> Result<(), QueryError> {
    sql("insert into training (id, employee, at, expires, title, test)
         values ($1, $2, $3, $4, $5, $6)")
    .bind(row.id)
    .bind(employee)
    .bind(row.at)
    .bind(row.expires)
    .bind(&row.title)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: TrainingRow, file: &impl Opener<Hr>) -> Result<TrainingView, Problem> {
    Ok(TrainingView {
        id: row.id.into(),
        title: row.title.open(file, row.id)?.disclose(),
        completed: date(row.at),
        expires: row.expires.map(date),
        test: row.test,
    })
}
