//! The diary.

use axum::extract::State;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Sqlite};
use tower_ward::{
    access::{CohortQuery, Grant, MAX_COHORT, Scope},
    axum::{Json, Query},
    db::{Db, filter},
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{App, patients::row_of, time};
use crate::model::{
    ReadSchedule,
    patients::{AppointmentReason, Family, Given},
};

/// The longest stretch of the diary that one request shows, in days.
const MAX_DAYS: i32 = 31;

/// Which days. Default: today and the six after it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Days {
    from: Option<Date>,
    to: Option<Date>,
}

/// An appointment, without anything clinical.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AppointmentView {
    id: Uuid,
    patient: Uuid,
    given: String,
    family: String,
    clinician: Uuid,
    starts_at: Timestamp,
    minutes: i64,
    reason: String,
    status: String,
    test: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: RowId,
    patient: SubjectId,
    given: Encrypted<Given>,
    family: Encrypted<Family>,
    clinician: UserId,
    starts_at: i64,
    minutes: i64,
    reason: Encrypted<AppointmentReason>,
    status: String,
    test: bool,
}

struct Diary {
    db: Db,
    now: Timestamp,
    from: i64,
    until: i64,
}

impl CohortQuery<ReadSchedule> for Diary {
    type Row = Row;

    fn subject(row: &Row) -> SubjectId {
        row.patient
    }

    async fn rows(self, scope: &Scope<ReadSchedule>) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "select a.id, a.patient, p.given, p.family, a.clinician, a.starts_at, a.minutes, a.reason, a.status, a.test
             from appointments a join patients p on p.id = a.patient where ",
        );
        filter(&mut query, scope, "a.patient", self.now);
        query.push(" and a.starts_at >= ").push_bind(self.from).push(" and a.starts_at < ").push_bind(self.until);
        query.push(" order by a.starts_at, a.id limit ").push_bind(i64::try_from(MAX_COHORT)?);
        let mut tx = self.db.read(scope).await?;
        Ok(query.build_query_as().fetch_all(tx.conn()).await?)
    }
}

pub(super) async fn list(
    grant: Grant<ReadSchedule>,
    Query(days): Query<Days>,
    State(app): State<App>,
) -> Result<Json<Vec<AppointmentView>>, Problem> {
    let today = app.clock.now().to_zoned(TimeZone::UTC).date();
    let from = days.from.unwrap_or(today);
    let to = match days.to {
        Some(to) => to,
        None => from.checked_add(jiff::Span::new().days(6)).map_err(|_| Problem::bad_request("from"))?,
    };
    let length = from.until(to).map_err(|_| Problem::bad_request("to"))?.get_days();
    if !(0..MAX_DAYS).contains(&length) {
        return Err(Problem::bad_request("to"));
    }
    let start = |day: Date| day.to_zoned(TimeZone::UTC).map(|z| z.timestamp().as_millisecond());
    let from = start(from).map_err(|_| Problem::bad_request("from"))?;
    let until = to.tomorrow().and_then(start).map_err(|_| Problem::bad_request("to"))?;
    let cohort = grant.cohort(Diary { db: app.db, now: app.clock.now(), from, until }).await?;
    let mut items = Vec::new();
    for (row, chart) in cohort.iter() {
        items.push(AppointmentView {
            id: row.id.into(),
            patient: row.patient.into(),
            given: row.given.open(chart, row_of(row.patient))?.disclose(),
            family: row.family.open(chart, row_of(row.patient))?.disclose(),
            clinician: row.clinician.into(),
            starts_at: time(row.starts_at),
            minutes: row.minutes,
            reason: row.reason.open(chart, row.id)?.disclose(),
            status: row.status.clone(),
            test: row.test,
        });
    }
    Ok(Json(items))
}
