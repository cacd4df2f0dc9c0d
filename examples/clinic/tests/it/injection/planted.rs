//! Two routes beside the clinic's: one whose handler puts what it is asked into SQL, and one that says what a transaction sees.

use axum::response::IntoResponse as _;
use clinic::{
    data::{Data, Read},
    model::ReadPatient,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sqlx::Row as _;
use tower_ward::{
    access::Grant,
    axum::{Operation, Query, Router},
    problem::Problem,
};

/// Where the hole is, and where it is seen what a transaction sees.
pub(super) const PLANTED: &str = "/api/planted";
pub(super) const SEEN: &str = "/api/planted/seen";
/// What is seen there as long as all is well.
pub(super) const WELL: &str = "harbour as clinic_app";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: String,
}

/// The planted mistakes: what was sent stands in the statement, and what the database says in the answer.
async fn careless(data: Data, grant: Grant<ReadPatient>, id: String) -> Result<axum::response::Response, Problem> {
    let clinic = grant.clinic().await?;
    let mut tx = data.read(&clinic).await?;
    let Read::Postgres(tx) = &mut tx else { return Err(Problem::internal()) };
    let text = format!("select id::text from patients where id::text = '{id}' order by 1");
    match sqlx::raw_sql(sqlx::AssertSqlSafe(text)).fetch_all(tx.conn()).await {
        Ok(rows) => {
            let first = |row: &sqlx::postgres::PgRow| row.try_get_raw(0).ok()?.as_str().ok().map(str::to_owned);
            let items: Vec<_> = rows.iter().map(first).collect();
            Ok(axum::Json(json!({ "items": items })).into_response())
        }
        Err(error) => Ok((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()),
    }
}

/// Whose rows a new transaction sees, and as whom.
async fn seen(data: Data, grant: Grant<ReadPatient>) -> Result<String, Problem> {
    let clinic = grant.clinic().await?;
    let mut tx = data.read(&clinic).await?;
    let Read::Postgres(tx) = &mut tx else { return Err(Problem::internal()) };
    let text = "select coalesce(string_agg(distinct tenant, ','), '') || ' as ' || current_user from public.patients";
    let seen = sqlx::query_scalar(text).fetch_one(tx.conn()).await;
    seen.map_err(|_| Problem::internal().with_reason("the planted route"))
}

/// The routes with these two.
pub(super) fn planted(router: Router, data: &Data) -> Router {
    let (here, there) = (data.clone(), data.clone());
    let id = json!({ "type": "string" });
    router
        .get(PLANTED, move |grant: Grant<ReadPatient>, Query(asked): Query<Asked>| careless(here, grant, asked.id))
        .about(Operation::new("The hole.").add_query("id", id))
        .get(SEEN, move |grant: Grant<ReadPatient>| seen(there, grant))
}
