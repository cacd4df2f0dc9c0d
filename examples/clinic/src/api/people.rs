//! Those who work here.

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{Grant, Opener},
    axum::{Json, Path, Query},
    db::Change,
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{
    Page,
    patch::{stated, without_defaults},
    patients::row_of,
    time,
};
use crate::{
    data::{Data, Tx, sql},
    model::{
        Payroll, ReadPayroll, ReadStaff, WritePayroll,
        staff::{AccountNumber, JobTitle, NiNumber, Salary, SortCode, StaffEmail, StaffName},
    },
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
    version: i64,
    test: bool,
}

/// A change of what payroll knows: what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct PayrollPatch {
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// Six digits.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    sort_code: Option<String>,
    /// Eight digits.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    account_number: Option<String>,
    /// Pounds a year, from 0 to ten million.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "i64")]
    salary_gbp: Option<i64>,
}

impl PayrollPatch {
    fn check(&self) -> Result<(), Problem> {
        let digits = |field, text: &Option<String>, length| match text {
            Some(text) if text.len() != length || !text.bytes().all(|b| b.is_ascii_digit()) => {
                Err(Problem::bad_request(field))
            }
            _ => Ok(()),
        };
        digits("sort_code", &self.sort_code, 6)?;
        digits("account_number", &self.account_number, 8)?;
        if self.salary_gbp.is_some_and(|salary| !(0..=10_000_000).contains(&salary)) {
            return Err(Problem::bad_request("salary_gbp"));
        }
        if self.sort_code.is_none() && self.account_number.is_none() && self.salary_gbp.is_none() {
            return Err(Problem::bad_request("body").with_reason("a patch of nothing"));
        }
        Ok(())
    }
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
    version: i64,
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
    State(data): State<Data>,
) -> Result<Json<Page<StaffView>>, Problem> {
    let limit = super::limit(after.limit)?;
    let cursor = after.cursor.as_deref().map(str::parse).transpose().map_err(|_| Problem::bad_request("cursor"))?;
    let clinic = grant.clinic().await?;
    let mut tx = data.read(&clinic).await?;
    let rows: Vec<StaffRow> =
        sql("select s.id, s.\"user\", s.role, s.name, s.job_title, s.email, e.id as employee, s.test
         from staff s left join employees e on e.staff = s.id where s.id > $1 order by s.id limit $2")
        .bind(cursor.unwrap_or(RowId::from_bytes([0; 16])))
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .fetch_all(&mut tx)
        .await?;
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
    State(data): State<Data>,
) -> Result<Json<PayrollView>, Problem> {
    let file = grant.subject(employee).await?;
    let mut tx = data.read(&file).await?;
    fetch(&mut tx, &file, employee).await.map(Json)
}

pub(super) async fn change_payroll(
    grant: Grant<WritePayroll>,
    Path(employee): Path<SubjectId>,
    State(data): State<Data>,
    Json(patch): Json<PayrollPatch>,
) -> Result<Json<PayrollView>, Problem> {
    patch.check()?;
    let file = grant.subject(employee).await?;
    let id = row_of(employee);
    let mut tx = data.change(&file, Change::update("employees", id)).await?;
    let mut query = sql("update employees set version = version + 1");
    if let Some(sort_code) = &patch.sort_code {
        query.push(", sort_code = ").push_bind(Encrypted::<SortCode>::seal(sort_code, &file, id)?);
    }
    if let Some(account_number) = &patch.account_number {
        query.push(", account_number = ").push_bind(Encrypted::<AccountNumber>::seal(account_number, &file, id)?);
    }
    if let Some(salary) = &patch.salary_gbp {
        query.push(", salary_gbp = ").push_bind(Encrypted::<Salary>::seal(salary, &file, id)?);
    }
    query.push(" where id = ").push_bind(employee).push(" and version = ").push_bind(patch.version);
    let done = query.execute(&mut tx).await?;
    let view = fetch(&mut tx, &file, employee).await?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    tx.commit().await?;
    Ok(Json(view))
}

async fn fetch(
    tx: &mut impl Tx,
    file: &(impl Opener<Payroll> + Sync),
    employee: SubjectId,
) -> Result<PayrollView, Problem> {
    let row: PayrollRow = sql(
        "select ni_number, sort_code, account_number, salary_gbp, started, version, test from employees where id = $1",
    )
    .bind(employee)
    .fetch_optional(tx)
    .await?
    .ok_or_else(not_an_employee)?;
    let id = row_of(employee);
    Ok(PayrollView {
        id: employee.into(),
        ni_number: row.ni_number.open(file, id)?.disclose(),
        sort_code: row.sort_code.open(file, id)?.disclose(),
        account_number: row.account_number.open(file, id)?.disclose(),
        salary_gbp: row.salary_gbp.open(file, id)?.disclose(),
        started: time(row.started),
        version: row.version,
        test: row.test,
    })
}

fn not_an_employee() -> Problem {
    Problem::not_found().with_reason("a person without an employee's row")
}

/// Refuses a person who is known to the clinic but does not work there.
pub(super) async fn must_be_employee(tx: &mut impl Tx, person: SubjectId) -> Result<(), Problem> {
    let found = sql("select 1 from employees where id = $1").bind(person).finds(tx).await?;
    if found { Ok(()) } else { Err(not_an_employee()) }
}
