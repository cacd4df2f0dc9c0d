//! The diary.

use axum::{extract::State, http::StatusCode};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{CohortQuery, Grant, Scope},
    axum::{Json, Path, Query},
    db::{Change, filter},
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{
    App, Page,
    assignments::works_here,
    end_page, line,
    patch::{stated, without_defaults},
    patients::{must_be_patient, row_of},
    time,
};
use crate::{
    data::{Data, QueryError, Tx, sql},
    model::{
        ReadSchedule, WriteSchedule,
        patients::{AppointmentReason, Family, Given},
    },
};

/// The longest stretch of the diary that one request shows, in days.
const MAX_DAYS: i32 = 31;

/// Which days. Default: today and the six after it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Days {
    from: Option<Date>,
    to: Option<Date>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// An appointment, without anything clinical.
#[derive(Serialize, JsonSchema)]
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
    version: i64,
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
    version: i64,
    test: bool,
}

struct Diary<'a> {
    data: Data,
    now: Timestamp,
    /// From this time on, and of the same time after this row.
    after: (i64, RowId),
    until: i64,
    limit: usize,
    /// Where the next page begins.
    next: &'a mut Option<String>,
}

impl CohortQuery<ReadSchedule> for Diary<'_> {
    type Row = Row;

    fn subject(row: &Row) -> SubjectId {
        row.patient
    }

    async fn rows(self, scope: &Scope<ReadSchedule>) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
        let mut query =
            sql("select a.id, a.patient, p.given, p.family, a.clinician, a.starts_at, a.minutes, a.reason, a.status,
                    a.version, a.test
             from appointments a join patients p on p.id = a.patient where ");
        filter(&mut query, scope, "a.patient", self.now);
        query.push(" and (a.starts_at, a.id) > (").push_bind(self.after.0).push(", ").push_bind(self.after.1);
        query.push(") and a.starts_at < ").push_bind(self.until);
        query.push(" order by a.starts_at, a.id limit ").push_bind(i64::try_from(self.limit + 1)?);
        let mut tx = self.data.read(scope).await?;
        let mut rows: Vec<Row> = query.fetch_all(&mut tx).await?;
        *self.next = end_page(&mut rows, self.limit, |row| format!("{}.{}", row.starts_at, row.id));
        Ok(rows)
    }
}

pub(super) async fn list(
    grant: Grant<ReadSchedule>,
    Query(days): Query<Days>,
    State(app): State<App>,
) -> Result<Json<Page<AppointmentView>>, Problem> {
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
    let limit = super::limit(days.limit)?;
    let after = match days.cursor.as_deref().map(|c| c.split_once('.')) {
        // Before every row of the first day.
        None => (from, RowId::from_bytes([0; 16])),
        Some(Some((at, id))) => match (at.parse::<i64>(), id.parse()) {
            (Ok(at), Ok(id)) if at >= from => (at, id),
            _ => return Err(Problem::bad_request("cursor")),
        },
        Some(None) => return Err(Problem::bad_request("cursor")),
    };
    let mut next = None;
    let diary = Diary { data: app.data, now: app.clock.now(), after, until, limit, next: &mut next };
    let cohort = grant.cohort(diary).await?;
    let mut items = Vec::with_capacity(limit);
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
            version: row.version,
            test: row.test,
        });
    }
    Ok(Json(Page { items, next }))
}

/// A new appointment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAppointment {
    /// With whom: somebody who works here.
    clinician: Uuid,
    /// Not in the past.
    starts_at: Timestamp,
    /// 5 to 480.
    minutes: i64,
    /// 1 to 300 bytes: what the front desk may know.
    reason: String,
}

/// An appointment that was booked.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BookedView {
    id: Uuid,
    clinician: Uuid,
    starts_at: Timestamp,
    minutes: i64,
    reason: String,
    status: String,
    version: i64,
}

#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) id: RowId,
    pub(crate) clinician: UserId,
    pub(crate) starts_at: i64,
    pub(crate) minutes: i64,
    pub(crate) reason: Encrypted<AppointmentReason>,
    pub(crate) status: &'static str,
    pub(crate) test: bool,
}

pub(super) async fn book(
    grant: Grant<WriteSchedule>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewAppointment>,
) -> Result<(StatusCode, Json<BookedView>), Problem> {
    line("reason", &new.reason, 300)?;
    let last = app.clock.now().checked_add(jiff::SignedDuration::from_hours(24 * 366 * 2));
    if new.starts_at < app.clock.now() || last.is_ok_and(|last| new.starts_at > last) {
        return Err(Problem::bad_request("starts_at"));
    }
    if !(5..=480).contains(&new.minutes) {
        return Err(Problem::bad_request("minutes"));
    }
    let clinician = UserId::from(new.clinician);
    let chart = grant.subject(patient).await?;
    let id = RowId::generate(&*app.clock);
    let row = NewRow {
        id,
        clinician,
        starts_at: new.starts_at.as_millisecond(),
        minutes: new.minutes,
        reason: Encrypted::seal(&new.reason, &chart, id)?,
        status: "booked",
        test: false,
    };
    let mut tx = app.data.change(&chart, Change::create("appointments", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    works_here(&mut tx, clinician).await?;
    insert(&mut tx, patient, &row).await?;
    tx.commit().await?;
    let view = BookedView {
        id: id.into(),
        clinician: new.clinician,
        starts_at: time(row.starts_at),
        minutes: new.minutes,
        reason: new.reason,
        status: row.status.to_owned(),
        version: 1,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn insert(tx: &mut impl Tx, patient: SubjectId, row: &NewRow) -> Result<(), QueryError> {
    sql("insert into appointments (id, patient, clinician, starts_at, minutes, reason, status, test)
         values ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(row.id)
    .bind(patient)
    .bind(row.clinician)
    .bind(row.starts_at)
    .bind(row.minutes)
    .bind(&row.reason)
    .bind(row.status)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}

/// A change of one of a patient's appointments: what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct AppointmentPatch {
    /// Which of the patient's.
    id: Uuid,
    /// The version that was read, 1 before any change; another one by now is a 409.
    version: i64,
    /// 1 to 300 bytes: what the front desk may know.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    reason: Option<String>,
    /// `booked`, `cancelled`, `attended` or `did_not_attend`.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    status: Option<String>,
}

/// An appointment after its change.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChangedView {
    id: Uuid,
    version: i64,
    reason: String,
    status: String,
}

impl AppointmentPatch {
    fn check(&self) -> Result<(), Problem> {
        self.reason.as_deref().map_or(Ok(()), |reason| line("reason", reason, 300))?;
        let known = |status: &str| ["booked", "cancelled", "attended", "did_not_attend"].contains(&status);
        if self.status.as_deref().is_some_and(|status| !known(status)) {
            return Err(Problem::bad_request("status"));
        }
        if self.reason.is_none() && self.status.is_none() {
            return Err(Problem::bad_request("body").with_reason("a patch of nothing"));
        }
        Ok(())
    }
}

pub(super) async fn update(
    grant: Grant<WriteSchedule>,
    Path(patient): Path<SubjectId>,
    State(data): State<Data>,
    Json(patch): Json<AppointmentPatch>,
) -> Result<Json<ChangedView>, Problem> {
    patch.check()?;
    let chart = grant.subject(patient).await?;
    let id = RowId::from(patch.id);
    let mut tx = data.change(&chart, Change::update("appointments", id)).await?;
    must_be_patient(&mut tx, patient).await?;
    let mut query = sql("update appointments set version = version + 1");
    if let Some(reason) = &patch.reason {
        query.push(", reason = ").push_bind(Encrypted::<AppointmentReason>::seal(reason, &chart, id)?);
    }
    if let Some(status) = &patch.status {
        query.push(", status = ").push_bind(status);
    }
    query.push(" where id = ").push_bind(id).push(" and patient = ").push_bind(patient);
    query.push(" and version = ").push_bind(patch.version);
    let done = query.execute(&mut tx).await?;
    let row: Option<(i64, Encrypted<AppointmentReason>, String)> =
        sql("select version, reason, status from appointments where id = $1 and patient = $2")
            .bind(id)
            .bind(patient)
            .fetch_optional(&mut tx)
            .await?;
    let (version, reason, status) =
        row.ok_or_else(|| Problem::not_found().with_reason("no such appointment of this patient"))?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    let view = ChangedView { id: patch.id, version, reason: reason.open(&chart, id)?.disclose(), status };
    tx.commit().await?;
    Ok(Json(view))
}
