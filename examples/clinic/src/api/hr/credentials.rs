//! The registers that somebody is in, and the checks that they passed.

use axum::{extract::State, http::StatusCode};
use jiff::{Timestamp, civil::Date};
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
        App, Page, line, now,
        people::must_be_employee,
        time,
        window::{Entry, Older, Window},
    },
    data::{Data, QueryError, Tx, sql},
    model::{
        Hr, ReadCredentials, WriteCredential,
        staff::{CredentialKind, CredentialNumber},
    },
};

/// A register that somebody is in, or a check that they passed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CredentialView {
    id: Uuid,
    at: Timestamp,
    kind: String,
    number: String,
    /// From when on it does not hold any more.
    expires: Option<Date>,
    test: bool,
}

/// A register that somebody is in, or a check that they passed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCredential {
    /// 1 to 100 bytes.
    kind: String,
    /// 1 to 100 bytes.
    number: String,
    /// From when on it does not hold any more.
    expires: Option<Date>,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct CredentialRow {
    pub(crate) id: RowId,
    pub(crate) at: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) kind: Encrypted<CredentialKind>,
    pub(crate) number: Encrypted<CredentialNumber>,
    pub(crate) test: bool,
}

impl Entry for CredentialRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.kind.as_bytes().len() + self.number.as_bytes().len()
    }
}

pub(crate) async fn list(
    grant: Grant<ReadCredentials>,
    Path(employee): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<CredentialView>>, Problem> {
    let window = Window::of(&older)?;
    let file = grant.subject(employee).await?;
    let mut tx = data.read(&file).await?;
    must_be_employee(&mut tx, employee).await?;
    let query = sql("select id, at, expires, kind, number, test from credentials where employee = $1").bind(employee);
    window.page(query, &mut tx, |row| view(row, &file)).await
}

pub(crate) async fn record(
    grant: Grant<WriteCredential>,
    Path(employee): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewCredential>,
) -> Result<(StatusCode, Json<CredentialView>), Problem> {
    line("kind", &new.kind, 100)?;
    line("number", &new.number, 100)?;
    let expires = new.expires.map(|expires| day("expires", expires)).transpose()?;
    let file = grant.subject(employee).await?;
    let id = RowId::generate(&*app.clock);
    let row = CredentialRow {
        id,
        at: now(&app).as_millisecond(),
        expires,
        kind: Encrypted::seal(&new.kind, &file, id)?,
        number: Encrypted::seal(&new.number, &file, id)?,
        test: false,
    };
    let mut tx = app.data.change(&file, Change::create("credentials", id)).await?;
    must_be_employee(&mut tx, employee).await?;
    insert(&mut tx, employee, &row).await?;
    let view = view(row, &file)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, employee: SubjectId, row: &CredentialRow) -> Result<(), QueryError> {
    sql("insert into credentials (id, employee, at, expires, kind, number, test)
         values ($1, $2, $3, $4, $5, $6, $7)")
    .bind(row.id)
    .bind(employee)
    .bind(row.at)
    .bind(row.expires)
    .bind(&row.kind)
    .bind(&row.number)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

fn view(row: CredentialRow, file: &impl Opener<Hr>) -> Result<CredentialView, Problem> {
    Ok(CredentialView {
        id: row.id.into(),
        at: time(row.at),
        kind: row.kind.open(file, row.id)?.disclose(),
        number: row.number.open(file, row.id)?.disclose(),
        expires: row.expires.map(date),
        test: row.test,
    })
}
