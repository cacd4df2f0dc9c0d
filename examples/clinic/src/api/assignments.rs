//! Who is assigned to whom.

use axum::{extract::State, http::StatusCode};
use tower_ward::{
    access::{Grant, Relations},
    axum::Path,
    db::{Assignment, Change, Db},
    id::{SubjectId, UserId},
    problem::Problem,
};

use super::{
    failed,
    patients::{must_be_patient, row_of},
};
use crate::model::Assign;

pub(super) async fn assign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(db): State<Db>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.change(&chart, Change::update("ward_relations", row_of(patient))).await?;
    must_be_patient(tx.conn(), patient).await?;
    // The relation does not know who its two ends are: a typing error must not assign somebody to nobody.
    let works_here = sqlx::query("select 1 from staff where user = ?").bind(user).fetch_optional(tx.conn()).await;
    if works_here.map_err(failed)?.is_none() {
        return Err(Problem::not_found().with_reason("no such member of staff"));
    }
    let assignment = Assignment { user, subject: patient, relation: Relations::ASSIGNED, until: None };
    tower_ward::db::assign(tx.conn(), &assignment).await.map_err(refused)?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unassign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(db): State<Db>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.change(&chart, Change::update("ward_relations", row_of(patient))).await?;
    let assignment = Assignment { user, subject: patient, relation: Relations::ASSIGNED, until: None };
    let held = tower_ward::db::unassign(tx.conn(), &assignment).await.map_err(refused)?;
    tx.commit().await?;
    if held { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found().with_reason("no such assignment")) }
}

fn refused(_: tower_ward::access::RelationError) -> Problem {
    Problem::unavailable().with_reason("relations cannot be written")
}
