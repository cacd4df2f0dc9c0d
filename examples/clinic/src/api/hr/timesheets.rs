//! What somebody worked.

use axum::{extract::State, http::StatusCode};
use jiff::civil::Date;
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

use super::{date, day};
use crate::{
    api::{
        App, Page,
        people::must_be_employee,
        text,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{
        Hr, ReadTimesheets, WriteTimesheet,
        staff::{TimesheetMinutes, TimesheetNote},
    },
};

/// What somebody worked on one day, or a part of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TimesheetView {
    id: Uuid,
    author: Uuid,
    day: Date,
    minutes: i64,
    note: Option<String>,
    test: bool,
}

/// What somebody worked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTimesheet {
    /// Not to come.
    day: Date,
    /// 1 to 1,440.
    minutes: i64,
    /// 1 to 1,024 bytes.
    note: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct TimesheetRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    /// The day.
    pub(crate) at: i64,
    pub(crate) minutes: Encrypted<TimesheetMinutes>,
    pub(crate) note: Option<Encrypted<TimesheetNote>>,
    pub(crate) test: bool,
}

impl Entry for TimesheetRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.note.as_ref().map_or(0, |note| note.as_bytes().len())
    }
}

pub(crate) async fn list(
    grant: Grant<ReadTimesheets>,
    Path(employee): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<TimesheetView>>, Problem> {
    let window = Window::of(&older)?;
    let file = grant.subject(employee).await?;
    let mut tx = data.read(&file).await?;
    must_be_employee(&mut tx, employee).await?;
    let query = sql("select id, author, at, minutes, note, test from timesheets where employee = $1").bind(employee);
    window.page(query, &mut tx, |row| view(row, &file)).await
}

pub(crate) async fn hand_in(
    grant: Grant<WriteTimesheet>,
    Path(employee): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewTimesheet>,
) -> Result<(StatusCode, Json<TimesheetView>), Problem> {
    let at = day("day", new.day)?;
    if at > app.clock.now().as_millisecond() {
        return Err(Problem::bad_request("day"));
    }
    if !(1..=1440).contains(&new.minutes) {
        return Err(Problem::bad_request("minutes"));
    }
    new.note.as_deref().map_or(Ok(()), |note| text("note", note, 1024))?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let file = grant.subject(employee).await?;
    let id = RowId::generate(&*app.clock);
    let row = TimesheetRow {
        id,
        author,
        at,
        minutes: Encrypted::seal(&new.minutes, &file, id)?,
        note: new.note.as_ref().map(|note| Encrypted::seal(note, &file, id)).transpose()?,
        test: false,
    };
    let mut tx = app.data.change(&file, Change::create("timesheets", id)).await?;
    must_be_employee(&mut tx, employee).await?;
    insert(&mut tx, employee, &row).await?;
    let view = view(row, &file)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, employee: SubjectId, row: &TimesheetRow) -> Result<(), QueryError> {
    sql("insert into timesheets (id, employee, author, at, minutes, note, test)
         values ($1, $2, $3, $4, $5, $6, $7)")
    .bind(row.id)
    .bind(employee)
    .bind(row.author)
    .bind(row.at)
    .bind(&row.minutes)
    .bind(&row.note)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: TimesheetRow, file: &impl Opener<Hr>) -> Result<TimesheetView, Problem> {
    Ok(TimesheetView {
        id: row.id.into(),
        author: row.author.into(),
        day: date(row.at),
        minutes: row.minutes.open(file, row.id)?.disclose(),
        note: row.note.map(|note| note.open(file, row.id)).transpose()?.map(|note| note.disclose()),
        test: row.test,
    })
}
