//! What a patient and the clinic write to each other.

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
    stack::Visit,
};
use uuid::Uuid;

use super::{
    App, Page, now,
    patients::must_be_patient,
    text, time,
    window::{Entry, Older, Window},
};
use crate::{
    data::{Data, QueryError, Tx, sql},
    model::{Messages, ReadMessages, WriteMessage, patients::MessageText},
};

/// A message.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MessageView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    /// `patient`, or `clinic` for whoever else wrote it.
    sender: String,
    text: String,
    test: bool,
}

/// A new message.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// 1 to 16,384 bytes.
    text: String,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MessageRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) sender: String,
    pub(crate) text: Encrypted<MessageText>,
    pub(crate) test: bool,
}

impl Entry for MessageRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.text.as_bytes().len()
    }
}

pub(super) async fn list(
    grant: Grant<ReadMessages>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<MessageView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, author, at, sender, text, test from messages where patient = $1").bind(patient);
    window.page(query, &mut tx, |row| view(row, &chart)).await
}

pub(super) async fn write(
    grant: Grant<WriteMessage>,
    visit: Visit,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewMessage>,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    text("text", &new.text, 16_384)?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let theirs = visit.principal().and_then(|principal| principal.subject()) == Some(patient);
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = MessageRow {
        id,
        author,
        at: now(&app).as_millisecond(),
        sender: if theirs { "patient" } else { "clinic" }.to_owned(),
        text: Encrypted::seal(&new.text, &chart, id)?,
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("messages", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let view = view(row, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &MessageRow) -> Result<(), QueryError> {
    sql("insert into messages (id, patient, author, at, sender, text, test) values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(row.id)
        .bind(patient)
        .bind(row.author)
        .bind(row.at)
        .bind(&row.sender)
        .bind(&row.text)
        .bind(row.test)
        .execute(tx)
        .await
        .map(|_| ())
}

fn view(row: MessageRow, chart: &impl Opener<Messages>) -> Result<MessageView, Problem> {
    Ok(MessageView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        text: row.text.open(chart, row.id)?.disclose(),
        sender: row.sender,
        test: row.test,
    })
}
