//! Who is assigned to whom.

use axum::{extract::State, http::StatusCode};
use tower_ward::{
    access::{Grant, Relations},
    axum::Path,
    db::{Change, Db},
    id::{SubjectId, UserId},
    problem::Problem,
};

use super::patients::must_be_patient;
use crate::model::Assign;

pub(super) async fn assign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(db): State<Db>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.change(&chart, Change::assign(user, Relations::ASSIGNED)).await?;
    must_be_patient(tx.conn(), patient).await?;
    works_here(tx.conn(), user).await?;
    tx.relate(None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unassign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(db): State<Db>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.change(&chart, Change::unassign(user, Relations::ASSIGNED)).await?;
    if !tx.unrelate().await? {
        return Err(Problem::not_found().with_reason("no such assignment"));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A patient is assigned to somebody who works here, and to nobody else.
async fn works_here(conn: &mut sqlx::SqliteConnection, user: UserId) -> Result<(), Problem> {
    let found = sqlx::query("select 1 from staff where user = ?").bind(user).fetch_optional(conn).await;
    match found.map_err(super::failed)? {
        Some(_) => Ok(()),
        None => Err(Problem::not_found().with_reason("no such member of staff")),
    }
}
