//! When somebody does not work.

use axum::{extract::State, http::StatusCode};
use jiff::{Timestamp, civil::Date};
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
        App, Page, now,
        people::must_be_employee,
        text, time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{
        DecideAbsence, Hr, ReadAbsences, WriteAbsence,
        staff::{AbsenceKind, AbsenceNote},
    },
};

const KINDS: [&str; 4] = ["holiday", "sick", "training", "other"];

/// Days on which somebody does not work.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AbsenceView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    first_day: Date,
    last_day: Date,
    /// `holiday`, `sick`, `training` or `other`.
    kind: String,
    note: Option<String>,
    /// `requested`, `approved` or `refused`.
    status: String,
    version: i64,
    test: bool,
}

/// Days on which somebody will not work, or did not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAbsence {
    first_day: Date,
    /// At most a year later.
    last_day: Date,
    /// `holiday`, `sick`, `training` or `other`.
    kind: String,
    /// 1 to 1,024 bytes.
    note: Option<String>,
}

/// What is decided about an absence.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decision {
    /// Which of the employee's.
    id: Uuid,
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// `requested`, `approved` or `refused`.
    status: String,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct AbsenceRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) first_day: i64,
    pub(crate) last_day: i64,
    pub(crate) kind: Encrypted<AbsenceKind>,
    pub(crate) note: Option<Encrypted<AbsenceNote>>,
    pub(crate) status: String,
    pub(crate) version: i64,
    pub(crate) test: bool,
}

impl Entry for AbsenceRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.kind.as_bytes().len() + self.note.as_ref().map_or(0, |note| note.as_bytes().len())
    }
}

pub(crate) async fn list(
    grant: Grant<ReadAbsences>,
    Path(employee): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<AbsenceView>>, Problem> {
    let window = Window::of(&older)?;
    let file = grant.subject(employee).await?;
    let mut tx = data.read(&file).await?;
    must_be_employee(&mut tx, employee).await?;
    let query = sql("select id, author, at, first_day, last_day, kind, note, status, version, test from absences where employee = $1").bind(employee);
    window.page(query, &mut tx, |row| view(row, &file)).await
}

pub(crate) async fn request(
    grant: Grant<WriteAbsence>,
    Path(employee): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewAbsence>,
) -> Result<(StatusCode, Json<AbsenceView>), Problem> {
    let (first_day, last_day) = (day("first_day", new.first_day)?, day("last_day", new.last_day)?);
    if !(0..=366).contains(&(new.last_day - new.first_day).get_days()) {
        return Err(Problem::bad_request("last_day"));
    }
    if !KINDS.contains(&new.kind.as_str()) {
        return Err(Problem::bad_request("kind"));
    }
    new.note.as_deref().map_or(Ok(()), |note| text("note", note, 1024))?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let file = grant.subject(employee).await?;
    let id = RowId::generate(&*app.clock);
    let row = AbsenceRow {
        id,
        author,
        at: now(&app).as_millisecond(),
        first_day,
        last_day,
        kind: Encrypted::seal(&new.kind, &file, id)?,
        note: new.note.as_ref().map(|note| Encrypted::seal(note, &file, id)).transpose()?,
        status: "requested".to_owned(),
        version: 1,
        test: false,
    };
    let mut tx = app.data.change(&file, Change::create("absences", id)).await?;
    must_be_employee(&mut tx, employee).await?;
    insert(&mut tx, employee, &row).await?;
    let view = view(row, &file)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, employee: SubjectId, row: &AbsenceRow) -> Result<(), QueryError> {
    sql("insert into absences (id, employee, author, at, first_day, last_day, kind, note, status, version, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
    .bind(row.id)
    .bind(employee)
    .bind(row.author)
    .bind(row.at)
    .bind(row.first_day)
    .bind(row.last_day)
    .bind(&row.kind)
    .bind(&row.note)
    .bind(&row.status)
    .bind(row.version)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

pub(crate) async fn decide(
    grant: Grant<DecideAbsence>,
    Path(employee): Path<SubjectId>,
    State(data): State<Data>,
    Json(decision): Json<Decision>,
) -> Result<Json<AbsenceView>, Problem> {
    if !["requested", "approved", "refused"].contains(&decision.status.as_str()) {
        return Err(Problem::bad_request("status"));
    }
    let file = grant.subject(employee).await?;
    let id = RowId::from(decision.id);
    let mut tx = data.change(&file, Change::update("absences", id)).await?;
    must_be_employee(&mut tx, employee).await?;
    let done =
        sql("update absences set version = version + 1, status = $1 where id = $2 and employee = $3 and version = $4")
            .bind(decision.status)
            .bind(id)
            .bind(employee)
            .bind(decision.version)
            .execute(&mut tx)
            .await?;
    let row: Option<AbsenceRow> =
        sql("select id, author, at, first_day, last_day, kind, note, status, version, test from absences
         where id = $1 and employee = $2")
        .bind(id)
        .bind(employee)
        .fetch_optional(&mut tx)
        .await?;
    let row = row.ok_or_else(|| Problem::not_found().with_reason("no such absence of this employee"))?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    let view = view(row, &file)?;
    tx.commit().await?;
    Ok(Json(view))
}

fn view(row: AbsenceRow, file: &impl Opener<Hr>) -> Result<AbsenceView, Problem> {
    Ok(AbsenceView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        first_day: date(row.first_day),
        last_day: date(row.last_day),
        kind: row.kind.open(file, row.id)?.disclose(),
        note: row.note.map(|note| note.open(file, row.id)).transpose()?.map(|note| note.disclose()),
        status: row.status,
        version: row.version,
        test: row.test,
    })
}
