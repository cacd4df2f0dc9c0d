//! Who opened or changed a patient's record, from the ledger.

use std::num::NonZeroUsize;

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::Grant,
    audit::{LedgerQuery, Record},
    axum::{Json, Path, Query},
    id::SubjectId,
    problem::Problem,
};
use uuid::Uuid;

use super::{Page, patients::must_be_patient};
use crate::{data::Data, model::ReadTimeline};

/// Which entries: newest first, from where the last page ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Older {
    limit: Option<usize>,
    cursor: Option<String>,
}

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
    /// The change, in the records of its attempt, of what it made of each row, and of its outcome.
    attempt: Option<Uuid>,
    /// The fields that a change made new in its row. What they were and became is at `…/changes`, for who may open it.
    fields: Vec<String>,
    outcome: Option<&'static str>,
    /// The relation that allowed it.
    why: Option<String>,
    /// The rule that refused it.
    reason: Option<String>,
}

impl Older {
    /// What is asked for.
    pub(super) fn query(self) -> Result<LedgerQuery, Problem> {
        let limit = super::limit(self.limit)?;
        let limit = NonZeroUsize::new(limit).ok_or_else(|| Problem::bad_request("limit"))?;
        Ok(self.cursor.into_iter().fold(LedgerQuery::new().with_limit(limit), LedgerQuery::with_cursor))
    }
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
            attempt: record.attempt().map(|attempt| Uuid::from_bytes(*attempt.as_bytes())),
            fields: record.changes().iter().flat_map(|class| class.fields()).map(|f| f.name().to_owned()).collect(),
            outcome: record.outcome().map(|o| o.as_str()),
            why: record.why().map(str::to_owned),
            reason: record.reason().map(str::to_owned),
        }
    }
}

pub(super) async fn timeline(
    grant: Grant<ReadTimeline>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<Entry>>, Problem> {
    let query = older.query()?;
    // Reading it is recorded like any other door, and shows in the next reading.
    let chart = grant.subject(patient).await?;
    must_be_patient(&mut data.read(&chart).await?, patient).await?;
    let page = chart.ledger(&query).await?;
    Ok(Json(Page { items: page.records.iter().map(Entry::from).collect(), next: page.next }))
}
