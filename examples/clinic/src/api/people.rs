//! Those who work here.

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tower_ward::{
    access::Grant,
    axum::{Json, Path, Query},
    db::Db,
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{Page, failed, time};
use crate::model::{
    ReadPayroll, ReadStaff,
    staff::{AccountNumber, JobTitle, NiNumber, Salary, SortCode, StaffEmail, StaffName},
};

/// Somebody who works here.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StaffView {
    id: Uuid,
    user: Uuid,
    role: String,
    name: String,
    job_title: String,
    email: String,
    /// Whose payroll record is at `/api/employees/{id}/payroll`.
    employee: Option<Uuid>,
    test: bool,
}

/// What payroll knows of an employee.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PayrollView {
    id: Uuid,
    ni_number: String,
    sort_code: String,
    account_number: String,
    /// Pounds a year.
    salary_gbp: i64,
    started: Timestamp,
    test: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct StaffRow {
    id: RowId,
    user: UserId,
    role: String,
    name: Encrypted<StaffName>,
    job_title: Encrypted<JobTitle>,
    email: Encrypted<StaffEmail>,
    employee: Option<SubjectId>,
    test: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct PayrollRow {
    ni_number: Encrypted<NiNumber>,
    sort_code: Encrypted<SortCode>,
    account_number: Encrypted<AccountNumber>,
    salary_gbp: Encrypted<Salary>,
    started: i64,
    test: bool,
}

/// Which page.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn staff(
    grant: Grant<ReadStaff>,
    Query(after): Query<After>,
    State(db): State<Db>,
) -> Result<Json<Page<StaffView>>, Problem> {
    let limit = super::limit(after.limit)?;
    let cursor = after.cursor.as_deref().map(str::parse).transpose().map_err(|_| Problem::bad_request("cursor"))?;
    let clinic = grant.clinic().await?;
    let mut tx = db.read(&clinic).await?;
    let rows: Vec<StaffRow> = sqlx::query_as(
        "select s.id, s.user, s.role, s.name, s.job_title, s.email, e.id as employee, s.test
         from staff s left join employees e on e.staff = s.id where s.id > ? order by s.id limit ?",
    )
    .bind(cursor.unwrap_or(RowId::from_bytes([0; 16])))
    .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
    .fetch_all(tx.conn())
    .await
    .map_err(failed)?;
    let view = |row: StaffRow| {
        Ok(StaffView {
            id: row.id.into(),
            user: row.user.into(),
            role: row.role,
            name: row.name.open(&clinic, row.id)?.disclose(),
            job_title: row.job_title.open(&clinic, row.id)?.disclose(),
            email: row.email.open(&clinic, row.id)?.disclose(),
            employee: row.employee.map(Uuid::from),
            test: row.test,
        })
    };
    let next = rows.get(limit).and_then(|_| rows.get(limit - 1)).map(|row| row.id.to_string());
    let items = rows.into_iter().take(limit).map(view).collect::<Result<_, Problem>>()?;
    Ok(Json(Page { items, next }))
}

pub(super) async fn payroll(
    grant: Grant<ReadPayroll>,
    Path(employee): Path<SubjectId>,
    State(db): State<Db>,
) -> Result<Json<PayrollView>, Problem> {
    let file = grant.subject(employee).await?;
    let mut tx = db.read(&file).await?;
    let row: PayrollRow = sqlx::query_as(
        "select ni_number, sort_code, account_number, salary_gbp, started, test from employees where id = ?",
    )
    .bind(employee)
    .fetch_optional(tx.conn())
    .await
    .map_err(failed)?
    .ok_or_else(|| Problem::not_found().with_reason("a person without an employee's row"))?;
    let id = super::patients::row_of(employee);
    Ok(Json(PayrollView {
        id: employee.into(),
        ni_number: row.ni_number.open(&file, id)?.disclose(),
        sort_code: row.sort_code.open(&file, id)?.disclose(),
        account_number: row.account_number.open(&file, id)?.disclose(),
        salary_gbp: row.salary_gbp.open(&file, id)?.disclose(),
        started: time(row.started),
        test: row.test,
    }))
}
