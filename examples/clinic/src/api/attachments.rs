//! Files in a patient's record.

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
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

use super::{
    App, Page, line, now,
    patients::must_be_patient,
    time,
    window::{Entry, Older, Window},
};
use crate::{
    data::{Data, QueryError, Tx, sql},
    model::{
        Clinical, ReadAttachments, WriteAttachment,
        patients::{AttachmentContent, AttachmentName, AttachmentType},
    },
};

/// The largest file, in bytes: in base64 it still fits in a request's body, and a sealed value may be several times that.
const MOST: usize = 180 << 10;

/// A file, without what is in it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AttachmentView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    file_name: String,
    media_type: String,
    test: bool,
}

/// A file.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ContentView {
    id: Uuid,
    author: Uuid,
    at: Timestamp,
    file_name: String,
    media_type: String,
    /// In base64 (RFC 4648 §4).
    content: String,
    test: bool,
}

/// A new file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAttachment {
    /// 1 to 255 bytes, and no path.
    file_name: String,
    /// As RFC 6838 has it, without parameters: `application/pdf`. At most 127 bytes.
    media_type: String,
    /// In base64 (RFC 4648 §4): 1 to 184,320 bytes.
    content: String,
}

impl NewAttachment {
    /// What is in it, if it can be one.
    fn check(&self) -> Result<Vec<u8>, Problem> {
        line("file_name", &self.file_name, 255)?;
        if self.file_name.contains(['/', '\\']) || [".", ".."].contains(&self.file_name.as_str()) {
            return Err(Problem::bad_request("file_name"));
        }
        let name = |part: &str| {
            let rest = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
            part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && part.bytes().all(rest)
        };
        let named = self.media_type.split_once('/').is_some_and(|(kind, of)| name(kind) && name(of));
        if !named || self.media_type.len() > 127 {
            return Err(Problem::bad_request("media_type"));
        }
        let content = STANDARD.decode(&self.content).map_err(|_| Problem::bad_request("content"))?;
        if content.is_empty() || content.len() > MOST { Err(Problem::bad_request("content")) } else { Ok(content) }
    }
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: RowId,
    author: UserId,
    at: i64,
    file_name: Encrypted<AttachmentName>,
    media_type: Encrypted<AttachmentType>,
    test: bool,
}

impl Entry for Row {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.file_name.as_bytes().len() + self.media_type.as_bytes().len()
    }
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct AttachmentRow {
    pub(crate) id: RowId,
    pub(crate) author: UserId,
    pub(crate) at: i64,
    pub(crate) file_name: Encrypted<AttachmentName>,
    pub(crate) media_type: Encrypted<AttachmentType>,
    pub(crate) content: Encrypted<AttachmentContent>,
    pub(crate) test: bool,
}

pub(super) async fn list(
    grant: Grant<ReadAttachments>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<AttachmentView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql("select id, author, at, file_name, media_type, test from attachments where patient = $1");
    window.page(query.bind(patient), &mut tx, |row| view(row, &chart)).await
}

pub(super) async fn read(
    grant: Grant<ReadAttachments>,
    Path((patient, attachment)): Path<(SubjectId, RowId)>,
    State(data): State<Data>,
) -> Result<Json<ContentView>, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let row: Option<AttachmentRow> = sql(
        "select id, author, at, file_name, media_type, content, test from attachments where id = $1 and patient = $2",
    )
    .bind(attachment)
    .bind(patient)
    .fetch_optional(&mut tx)
    .await?;
    let row = row.ok_or_else(|| Problem::not_found().with_reason("no such attachment of this patient"))?;
    Ok(Json(ContentView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        file_name: row.file_name.open(&chart, row.id)?.disclose(),
        media_type: row.media_type.open(&chart, row.id)?.disclose(),
        content: row.content.disclose_with(&chart, row.id, |content| STANDARD.encode(content))?,
        test: row.test,
    }))
}

pub(super) async fn attach(
    grant: Grant<WriteAttachment>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewAttachment>,
) -> Result<(StatusCode, Json<AttachmentView>), Problem> {
    let content = new.check()?;
    let author = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = AttachmentRow {
        id,
        author,
        at: now(&app).as_millisecond(),
        file_name: Encrypted::seal(&new.file_name, &chart, id)?,
        media_type: Encrypted::seal(&new.media_type, &chart, id)?,
        content: Encrypted::seal(&content, &chart, id)?,
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("attachments", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    insert(&mut tx, patient, &row).await?;
    let AttachmentRow { id, author, at, file_name, media_type, test, .. } = row;
    let view = view(Row { id, author, at, file_name, media_type, test }, &chart)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &AttachmentRow) -> Result<(), QueryError> {
    sql("insert into attachments (id, patient, author, at, file_name, media_type, content, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(row.id)
    .bind(patient)
    .bind(row.author)
    .bind(row.at)
    .bind(&row.file_name)
    .bind(&row.media_type)
    .bind(&row.content)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: Row, chart: &impl Opener<Clinical>) -> Result<AttachmentView, Problem> {
    Ok(AttachmentView {
        id: row.id.into(),
        author: row.author.into(),
        at: time(row.at),
        file_name: row.file_name.open(chart, row.id)?.disclose(),
        media_type: row.media_type.open(chart, row.id)?.disclose(),
        test: row.test,
    })
}
