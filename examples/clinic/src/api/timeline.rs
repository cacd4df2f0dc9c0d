//! Who opened or changed a patient's record, from the ledger.

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tower_ward::{
    access::Grant,
    audit::Record,
    axum::{Json, Path},
    db::Db,
    id::SubjectId,
    problem::Problem,
};
use uuid::Uuid;

use super::patients::must_be_patient;
use crate::model::ReadTimeline;

/// The most entries that one request shows: the newest.
const MOST: usize = 200;

/// One record of the ledger, without what it holds for operators alone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Entry {
    /// Its place in the clinic's chain.
    sequence: u64,
    at: Timestamp,
    kind: &'static str,
    action: Option<&'static str>,
    user: Option<Uuid>,
    role: Option<String>,
    permission: Option<String>,
    entity: Option<String>,
    row: Option<Uuid>,
    outcome: Option<&'static str>,
    /// The relation that allowed it.
    why: Option<String>,
    /// The rule that refused it.
    reason: Option<String>,
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        Self {
            sequence: record.sequence(),
            at: record.at(),
            kind: record.kind().as_str(),
            action: record.action().map(|a| a.as_str()),
            user: record.user().map(Uuid::from),
            role: record.role().map(str::to_owned),
            permission: record.permission().map(str::to_owned),
            entity: record.entity().map(str::to_owned),
            row: record.row().map(Uuid::from),
            outcome: record.outcome().map(|o| o.as_str()),
            why: record.why().map(str::to_owned),
            reason: record.reason().map(str::to_owned),
        }
    }
}

pub(super) async fn timeline(
    grant: Grant<ReadTimeline>,
    Path(patient): Path<SubjectId>,
    State(db): State<Db>,
) -> Result<Json<Vec<Entry>>, Problem> {
    // Reading it is recorded like any other door, and shows in the next reading.
    let chart = grant.subject(patient).await?;
    must_be_patient(db.read(&chart).await?.conn(), patient).await?;
    Ok(Json(chart.timeline(MOST).await?.iter().map(Entry::from).collect()))
}
