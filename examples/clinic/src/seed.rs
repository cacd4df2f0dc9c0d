//! Fills a new clinic with the demo's people and records, through the same doors that everybody uses.

mod chart;
mod office;

use std::collections::HashMap;

use jiff::{Timestamp, civil::Time, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{JobGrant, Relations, SubjectGrant, Task},
    db::Change,
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    identity::{NewAccount, generate_password},
    problem::Problem,
    secret::ExposeSecret,
};
use uuid::Uuid;

use crate::{
    api::App,
    data::sql,
    demo_data::{self, Clinic},
    model::{
        SeedDemo,
        staff::{AccountNumber, JobTitle, NiNumber, Salary, SortCode, StaffEmail, StaffName},
    },
};

/// The job that fills a clinic.
#[derive(Debug)]
pub struct Seed;

impl Task for Seed {
    type Permission = SeedDemo;
    const ID: &'static str = "demo.seed";
}

/// A login that the demo prints.
#[derive(Serialize, Deserialize)]
pub struct DemoUser {
    /// Unique in the clinic.
    pub username: String,
    /// Random, per data folder.
    pub password: String,
    /// The role.
    pub role: String,
    /// The person that this user is: a patient, or an employee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Uuid>,
}

impl std::fmt::Debug for DemoUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoUser").field("username", &self.username).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What the demo says of one clinic in `demo.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct DemoClinic {
    /// The tenant's id.
    pub tenant: String,
    /// Where it answers.
    pub host: String,
    /// Who can log in.
    pub users: Vec<DemoUser>,
    /// The patients' ids.
    pub patients: Vec<Uuid>,
}

/// The demo could not be laid out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// An account could not be made.
    #[error("a demo account could not be made")]
    Account(#[from] tower_ward::identity::AccountError),
    /// A record could not be written.
    #[error("the demo's records could not be written ({0}): remove the data folder, or start with --fresh")]
    Write(Problem),
    /// A date of the demo data is out of range.
    #[error("a date of the demo data is out of range")]
    Date(#[from] jiff::Error),
    /// A record of the demo data refers to nothing.
    #[error("the demo data refers to a {0} that is not in it")]
    Reference(&'static str),
}

impl<E: Into<Problem>> From<Wrap<E>> for SeedError {
    fn from(error: Wrap<E>) -> Self {
        Self::Write(error.0.into())
    }
}

struct Wrap<E>(E);

macro_rules! written {
    ($result:expr) => {
        $result.map_err(Wrap)?
    };
}
use written;

fn role(role: demo_data::Role) -> &'static str {
    match role {
        demo_data::Role::Receptionist => "receptionist",
        demo_data::Role::Doctor => "doctor",
        demo_data::Role::Owner => "owner",
        demo_data::Role::ClinicAdmin => "clinic_admin",
        demo_data::Role::Caregiver => "caregiver",
    }
}

struct Days(jiff::Zoned);

impl Days {
    /// A day and time relative to the day of seeding.
    fn at(&self, day: i32, time: Time) -> Result<Timestamp, SeedError> {
        let date = self.0.date().checked_add(jiff::Span::new().days(day))?;
        Ok(date.to_datetime(time).to_zoned(TimeZone::UTC)?.timestamp())
    }

    fn millis(&self, day: i32, time: Time) -> Result<i64, SeedError> {
        self.at(day, time).map(Timestamp::as_millisecond)
    }
}

/// A clinic that is being filled.
struct Filling<'a> {
    app: &'a App,
    grant: &'a JobGrant<Seed>,
    clinic: &'a Clinic,
    days: Days,
    /// By [`demo_data::Staff::id`].
    staff: HashMap<&'a str, UserId>,
    users: Vec<DemoUser>,
}

/// So many of the patients get an account.
const ACCOUNTS: usize = 2;

/// Fills one clinic.
///
/// # Errors
///
/// [`SeedError`]; the clinic is then incomplete, and the data folder to be removed.
pub async fn fill(app: &App, grant: &JobGrant<Seed>, clinic: &Clinic, host: String) -> Result<DemoClinic, SeedError> {
    let days = Days(app.clock.now().to_zoned(TimeZone::UTC));
    let mut filling = Filling { app, grant, clinic, days, staff: HashMap::new(), users: Vec::new() };
    // They come first, since records name them.
    filling.employees().await?;
    filling.incidents().await?;
    let mut patients = HashMap::new();
    let mut order = Vec::new();
    for (index, patient) in clinic.patients.iter().enumerate() {
        let subject = filling.patient(patient, index < ACCOUNTS).await?;
        patients.insert(patient.id.as_str(), subject);
        order.push(Uuid::from(subject));
    }
    filling.family(&patients).await?;
    let tenant = grant.tenant().to_string();
    Ok(DemoClinic { tenant, host, users: filling.users, patients: order })
}

impl<'a> Filling<'a> {
    fn who(&self, id: &str) -> Result<UserId, SeedError> {
        self.staff.get(id).copied().ok_or(SeedError::Reference("member of staff"))
    }

    fn row(&self) -> RowId {
        RowId::generate(&*self.app.clock)
    }

    /// Makes an account whose name is what stands before the `@` of an address.
    async fn account(&mut self, email: &str, role: &str, subject: Option<SubjectId>) -> Result<UserId, SeedError> {
        let username = email.split('@').next().unwrap_or(email).to_ascii_lowercase();
        let password = generate_password();
        let mut new = NewAccount::new(username.clone(), password.clone(), role).marked_as_demo();
        if let Some(subject) = subject {
            new = new.with_subject(subject);
        }
        let door = written!(self.grant.clinic().await);
        let id = door.accounts(&self.app.identity).create(new).await?;
        self.users.push(DemoUser {
            username,
            password: password.expose_secret().to_owned(),
            role: role.to_owned(),
            subject: subject.map(Uuid::from),
        });
        Ok(id)
    }

    /// Everybody who works at the clinic: an account, a name on the door, and what payroll and the office know of them.
    async fn employees(&mut self) -> Result<(), SeedError> {
        let mut files = Vec::new();
        for member in &self.clinic.staff {
            let file = written!(self.grant.admit().await);
            let user = self.account(&member.email, role(member.role), Some(file.subject())).await?;
            self.staff.insert(&member.id, user);
            files.push((member, self.row(), file));
        }
        let door = written!(self.grant.clinic().await);
        let mut tx = written!(self.app.data.change(&door, Change::import("staff")).await);
        for (member, id, _) in &files {
            let row = sql(
                "insert into staff (id, \"user\", role, name, job_title, email, test) values ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(*id)
            .bind(self.who(&member.id)?)
            .bind(role(member.role))
            .bind(written!(Encrypted::<StaffName>::seal(&member.name, &door, *id)))
            .bind(written!(Encrypted::<JobTitle>::seal(&member.job_title, &door, *id)))
            .bind(written!(Encrypted::<StaffEmail>::seal(&member.email, &door, *id)))
            .bind(true);
            written!(row.execute(&mut tx).await);
        }
        written!(tx.commit().await);
        for (member, row, file) in &files {
            let employee = self.clinic.employees.iter().find(|employee| employee.staff == member.id);
            self.employee(employee.ok_or(SeedError::Reference("employee"))?, *row, file).await?;
        }
        Ok(())
    }

    async fn employee(
        &self,
        employee: &demo_data::Employee,
        staff: RowId,
        file: &SubjectGrant<SeedDemo>,
    ) -> Result<(), SeedError> {
        let id = RowId::from(Uuid::from(file.subject()));
        let mut tx = written!(self.app.data.change(file, Change::import("employees")).await);
        let row =
            sql("insert into employees (id, staff, ni_number, sort_code, account_number, salary_gbp, started, test)
             values ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(id)
            .bind(staff)
            .bind(written!(Encrypted::<NiNumber>::seal(&employee.ni_number, file, id)))
            .bind(written!(Encrypted::<SortCode>::seal(&employee.bank.sort_code, file, id)))
            .bind(written!(Encrypted::<AccountNumber>::seal(&employee.bank.account_number, file, id)))
            .bind(written!(Encrypted::<Salary>::seal(&i64::from(employee.annual_salary_gbp), file, id)))
            .bind(self.days.millis(employee.started_day, Time::midnight())?)
            .bind(true);
        written!(row.execute(&mut tx).await);
        self.personnel(&mut tx, file, &employee.staff).await?;
        written!(tx.commit().await);
        Ok(())
    }

    /// The relatives with an account, and whose circles they are in.
    async fn family(&mut self, patients: &HashMap<&str, SubjectId>) -> Result<(), SeedError> {
        for member in &self.clinic.family {
            let user = self.account(&member.email, "family_member", None).await?;
            for membership in &member.members_of {
                let subject = *patients.get(membership.patient.as_str()).ok_or(SeedError::Reference("patient"))?;
                let chart = written!(self.grant.subject(subject).await);
                let mut tx = written!(self.app.data.change(&chart, Change::assign(user, Relations::CIRCLE)).await);
                self.invitation(&mut tx, &chart, user, &member.email).await?;
                written!(tx.relate(None).await);
                written!(tx.commit().await);
            }
        }
        Ok(())
    }

    async fn relate(&self, chart: &SubjectGrant<SeedDemo>, user: UserId, relation: Relations) -> Result<(), SeedError> {
        let mut tx = written!(self.app.data.change(chart, Change::assign(user, relation)).await);
        written!(tx.relate(None).await);
        written!(tx.commit().await);
        Ok(())
    }
}
