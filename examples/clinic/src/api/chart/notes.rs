//! What was written about a patient.

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

use crate::{
    api::{
        App, Page, now,
        patients::must_be_patient,
        text, time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{Clinical, ReadNotes, WriteNote, patients::NoteText},
};

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

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct NoteRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) text: Encrypted<NoteText>,
    pub(crate) test: bool,
}

impl Entry for NoteRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.text.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadNotes>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<NoteView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, author, at, text, test from notes where patient = $1").bind(patient);
    window.page(query, &mut tx, |row| view(row, &chart)).await
}

pub(crate) async fn write(
    grant: Grant<WriteNote>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewNote>,
) -> Result<(StatusCode, Json<NoteView>), Problem> {
    text("text", &new.text, 65_536)?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let text = Encrypted::seal(&new.text, &chart, id)?;
    let row = NoteRow { id, author, at: now(&app).as_millisecond(), text, test: false };
    let mut tx = app.data.change(&chart, Change::create("notes", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &NoteRow) -> Result<(), QueryError> {
    sql("insert into notes (id, patient, author, at, text, test) values ($1, $2, $3, $4, $5, $6)")
        .bind(row.id)
        .bind(patient)
        .bind(row.author)
        .bind(row.at)
        .bind(&row.text)
        .bind(row.test)
        .execute(tx)
        .await
        .map(|_| ())
}

fn view(row: NoteRow, chart: &impl Opener<Clinical>) -> Result<NoteView, Problem> {
    Ok(NoteView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        text: row.text.open(chart, row.id)?.disclose(),
        test: row.test,
    })
}
