//! Who is assigned to whom.

use axum::{extract::State, http::StatusCode};
use tower_ward::{
    access::{Grant, Relations},
    axum::Path,
    db::Change,
    id::{SubjectId, UserId},
    problem::Problem,
};

use super::patients::must_be_patient;
use crate::{
    data::{Conn, Data, Tx, sql},
    model::Assign,
};

pub(super) async fn assign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(data): State<Data>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.change(&chart, Change::assign(user, Relations::ASSIGNED)).await?;
    must_be_patient(&mut tx, patient).await?;
    works_here(&mut tx, user).await?;
    tx.relate(None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unassign(
    grant: Grant<Assign>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(data): State<Data>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.change(&chart, Change::unassign(user, Relations::ASSIGNED)).await?;
    if !tx.unrelate().await? {
        return Err(Problem::not_found().with_reason("no such assignment"));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A patient is assigned to somebody who works here, and to nobody else.
pub(super) async fn works_here(tx: &mut impl Tx, user: UserId) -> Result<(), Problem> {
    let mut staff = sql("select 1 from staff where \"user\" = $1").bind(user);
    if let Conn::Postgres(_) = tx.conn() {
        // Said once more than the policies do: nothing is opened here whose key would tell whose it is.
        staff.push(" and tenant = (select ward.tenant())");
    }
    let found = staff.finds(tx).await?;
    if found { Ok(()) } else { Err(Problem::not_found().with_reason("no such member of staff")) }
}
