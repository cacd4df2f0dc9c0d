//! Fills a new clinic with the demo's people and records, through the same doors that everybody uses.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Time, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::{JobGrant, Relations, SubjectGrant, Task},
    db::Change,
    field::{Encrypted, Json},
    id::{RowId, SubjectId, UserId},
    identity::{NewAccount, generate_password},
    problem::Problem,
    secret::ExposeSecret,
};
use uuid::Uuid;

use crate::{
    api::{App, Condition, ResultBody, insert_demo_prescription, insert_note, insert_patient},
    data::sql,
    demo_data::{self, Clinic},
    model::{
        SeedDemo,
        patients::{Allergies, AppointmentReason, Conditions, EncounterReason, ResultBody as ResultColumn},
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
    /// The patient that this user is.
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

/// Makes the accounts of everybody who works at the clinic: they come first, since records name them.
async fn staff_accounts(
    app: &App,
    grant: &JobGrant<Seed>,
    clinic: &Clinic,
    users: &mut Vec<DemoUser>,
) -> Result<HashMap<String, UserId>, SeedError> {
    let mut ids = HashMap::new();
    for member in &clinic.staff {
        let id = account(app, grant, users, &member.email, role(member.role), None).await?;
        ids.insert(member.id.clone(), id);
    }
    Ok(ids)
}

fn role(role: demo_data::Role) -> &'static str {
    match role {
        demo_data::Role::Receptionist => "receptionist",
        demo_data::Role::Doctor => "doctor",
        demo_data::Role::Owner => "owner",
        demo_data::Role::ClinicAdmin => "clinic_admin",
        demo_data::Role::Caregiver => "caregiver",
    }
}

/// Makes an account whose name is what stands before the `@` of an address.
async fn account(
    app: &App,
    grant: &JobGrant<Seed>,
    users: &mut Vec<DemoUser>,
    email: &str,
    role: &str,
    subject: Option<SubjectId>,
) -> Result<UserId, SeedError> {
    let username = email.split('@').next().unwrap_or(email).to_ascii_lowercase();
    let password = generate_password();
    let mut new = NewAccount::new(username.clone(), password.clone(), role).marked_as_demo();
    if let Some(subject) = subject {
        new = new.with_subject(subject);
    }
    let door = written!(grant.clinic().await);
    let id = door.accounts(&app.identity).create(new).await?;
    users.push(DemoUser {
        username,
        password: password.expose_secret().to_owned(),
        role: role.to_owned(),
        subject: subject.map(Uuid::from),
    });
    Ok(id)
}

struct Days(jiff::Zoned);

impl Days {
    /// A day and time relative to the day of seeding.
    fn at(&self, day: i32, time: Time) -> Result<Timestamp, SeedError> {
        let date = self.0.date().checked_add(jiff::Span::new().days(day))?;
        Ok(date.to_datetime(time).to_zoned(TimeZone::UTC)?.timestamp())
    }
}

/// Fills one clinic.
///
/// # Errors
///
/// [`SeedError`]; the clinic is then incomplete, and the data folder to be removed.
pub async fn fill(app: &App, grant: &JobGrant<Seed>, clinic: &Clinic, host: String) -> Result<DemoClinic, SeedError> {
    let tenant = grant.tenant().clone();
    let days = Days(app.clock.now().to_zoned(TimeZone::UTC));
    let mut users = Vec::new();
    let staff = staff_accounts(app, grant, clinic, &mut users).await?;
    directory(app, grant, clinic, &staff, &days).await?;
    let mut patients = HashMap::new();
    let mut order = Vec::new();
    for patient in &clinic.patients {
        let subject = chart(app, grant, clinic, patient, &staff, &days).await?;
        patients.insert(patient.id.as_str(), subject);
        order.push(Uuid::from(subject));
    }
    for patient in clinic.patients.iter().take(2) {
        let subject = patients[patient.id.as_str()];
        account(app, grant, &mut users, &patient.email, "patient", Some(subject)).await?;
    }
    family(app, grant, clinic, &patients, &mut users).await?;
    Ok(DemoClinic { tenant: tenant.to_string(), host, users, patients: order })
}

/// The staff's names on the door, and what payroll knows of them.
async fn directory(
    app: &App,
    grant: &JobGrant<Seed>,
    clinic: &Clinic,
    staff: &HashMap<String, UserId>,
    days: &Days,
) -> Result<(), SeedError> {
    let door = written!(grant.clinic().await);
    let mut rows = HashMap::new();
    let mut tx = written!(app.data.change(&door, Change::import("staff")).await);
    for member in &clinic.staff {
        let id = RowId::generate(&*app.clock);
        rows.insert(member.id.as_str(), id);
        let user = staff.get(&member.id).ok_or(SeedError::Reference("member of staff"))?;
        written!(sql(
            "insert into staff (id, \"user\", role, name, job_title, email, test) values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(*user)
        .bind(role(member.role))
        .bind(written!(Encrypted::<StaffName>::seal(&member.name, &door, id)))
        .bind(written!(Encrypted::<JobTitle>::seal(&member.job_title, &door, id)))
        .bind(written!(Encrypted::<StaffEmail>::seal(&member.email, &door, id)))
        .bind(true).execute(&mut tx).await);
    }
    written!(tx.commit().await);
    for employee in &clinic.employees {
        let file = written!(grant.admit().await);
        let id = RowId::from(Uuid::from(file.subject()));
        let row = rows.get(employee.staff.as_str()).ok_or(SeedError::Reference("member of staff"))?;
        let mut tx = written!(app.data.change(&file, Change::create("employees", id)).await);
        written!(
            sql("insert into employees (id, staff, ni_number, sort_code, account_number, salary_gbp, started, test)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",)
            .bind(id)
            .bind(*row)
            .bind(written!(Encrypted::<NiNumber>::seal(&employee.ni_number, &file, id)))
            .bind(written!(Encrypted::<SortCode>::seal(&employee.bank.sort_code, &file, id)))
            .bind(written!(Encrypted::<AccountNumber>::seal(&employee.bank.account_number, &file, id)))
            .bind(written!(Encrypted::<Salary>::seal(&i64::from(employee.annual_salary_gbp), &file, id)))
            .bind(days.at(employee.started_day, Time::midnight())?.as_millisecond())
            .bind(true)
            .execute(&mut tx)
            .await
        );
        written!(tx.commit().await);
    }
    Ok(())
}

/// One patient with everything in their chart, in one transaction.
async fn chart(
    app: &App,
    grant: &JobGrant<Seed>,
    clinic: &Clinic,
    patient: &demo_data::Patient,
    staff: &HashMap<String, UserId>,
    days: &Days,
) -> Result<SubjectId, SeedError> {
    let who = |id: &str| staff.get(id).copied().ok_or(SeedError::Reference("member of staff"));
    let noon = Time::constant(12, 0, 0, 0);
    let chart = written!(grant.admit().await);
    let subject = chart.subject();
    let row = RowId::from(Uuid::from(subject));
    let mut tx = written!(app.data.change(&chart, Change::import("patients")).await);
    insert_patient(&mut tx, &chart, subject, patient, app.clock.now()).await.map_err(SeedError::Write)?;
    let conditions = patient.conditions.iter().map(|c| Condition {
        code: c.code.clone(),
        system: match c.system {
            demo_data::CodeSystem::Snomed => "snomed",
            demo_data::CodeSystem::Icd10Cm => "icd10-cm",
            demo_data::CodeSystem::Loinc => "loinc",
        }
        .to_owned(),
        display: c.display.clone(),
        active: c.active,
    });
    written!(
        sql("insert into patient_clinical (patient, conditions, allergies) values ($1, $2, $3)")
            .bind(subject)
            .bind(written!(Encrypted::<Conditions>::seal(&Json::new(conditions.collect()), &chart, row)))
            .bind(written!(Encrypted::<Allergies>::seal(&Json::new(patient.allergies.clone()), &chart, row)))
            .execute(&mut tx)
            .await
    );
    for encounter in clinic.encounters.iter().filter(|e| e.patient == patient.id) {
        let id = RowId::generate(&*app.clock);
        written!(sql(
            "insert into encounters (id, patient, clinician, at, kind, reason, test) values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(subject)
        .bind(who(&encounter.clinician)?)
        .bind(days.at(encounter.day, encounter.time)?.as_millisecond())
        .bind(match encounter.kind {
            demo_data::EncounterKind::Ambulatory => "ambulatory",
            demo_data::EncounterKind::Emergency => "emergency",
            demo_data::EncounterKind::Inpatient => "inpatient",
            demo_data::EncounterKind::Home => "home",
        })
        .bind(written!(Encrypted::<EncounterReason>::seal(&encounter.reason, &chart, id)))
        .bind(true).execute(&mut tx).await);
    }
    for note in clinic.notes.iter().filter(|n| n.patient == patient.id) {
        let (id, at) = (RowId::generate(&*app.clock), days.at(note.day, note.time)?);
        insert_note(&mut tx, &chart, subject, id, who(&note.author)?, at, &note.text, true)
            .await
            .map_err(SeedError::Write)?;
    }
    for prescription in clinic.prescriptions.iter().filter(|p| p.patient == patient.id) {
        let (id, at) = (RowId::generate(&*app.clock), days.at(prescription.day, noon)?);
        insert_demo_prescription(&mut tx, &chart, subject, id, who(&prescription.prescriber)?, at, prescription)
            .await
            .map_err(SeedError::Write)?;
    }
    for result in clinic.results.iter().filter(|r| r.patient == patient.id) {
        let id = RowId::generate(&*app.clock);
        let body = ResultBody::demo(result);
        written!(
            sql("insert into results (id, patient, at, body, test) values ($1, $2, $3, $4, $5)")
                .bind(id)
                .bind(subject)
                .bind(days.at(result.day, noon)?.as_millisecond())
                .bind(written!(Encrypted::<ResultColumn>::seal(&Json::new(body), &chart, id)))
                .bind(true)
                .execute(&mut tx)
                .await
        );
    }
    for appointment in clinic.appointments.iter().filter(|a| a.patient == patient.id) {
        let id = RowId::generate(&*app.clock);
        written!(
            sql("insert into appointments (id, patient, clinician, starts_at, minutes, reason, status, test)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",)
            .bind(id)
            .bind(subject)
            .bind(who(&appointment.clinician)?)
            .bind(days.at(appointment.day, appointment.time)?.as_millisecond())
            .bind(i64::from(appointment.minutes))
            .bind(written!(Encrypted::<AppointmentReason>::seal(&appointment.reason, &chart, id)))
            .bind(match appointment.status {
                demo_data::AppointmentStatus::Booked => "booked",
                demo_data::AppointmentStatus::Cancelled => "cancelled",
                demo_data::AppointmentStatus::Attended => "attended",
                demo_data::AppointmentStatus::DidNotAttend => "did_not_attend",
            })
            .bind(true)
            .execute(&mut tx)
            .await
        );
    }
    written!(tx.commit().await);
    for assignment in clinic.care_team.iter().filter(|a| a.patient == patient.id) {
        relate(app, &chart, who(&assignment.staff)?, Relations::ASSIGNED).await?;
    }
    Ok(subject)
}

/// The relatives with an account, and whose circles they are in.
async fn family(
    app: &App,
    grant: &JobGrant<Seed>,
    clinic: &Clinic,
    patients: &HashMap<&str, SubjectId>,
    users: &mut Vec<DemoUser>,
) -> Result<(), SeedError> {
    for member in &clinic.family {
        let user = account(app, grant, users, &member.email, "family_member", None).await?;
        for membership in &member.members_of {
            let subject = *patients.get(membership.patient.as_str()).ok_or(SeedError::Reference("patient"))?;
            let chart = written!(grant.subject(subject).await);
            relate(app, &chart, user, Relations::CIRCLE).await?;
        }
    }
    Ok(())
}

async fn relate(app: &App, chart: &SubjectGrant<SeedDemo>, user: UserId, relation: Relations) -> Result<(), SeedError> {
    let mut tx = written!(app.data.change(chart, Change::assign(user, relation)).await);
    written!(tx.relate(None).await);
    written!(tx.commit().await);
    Ok(())
}
