//! What the clinic keeps, how closely, and who may ask for it.
//!
//! Every column that says something about a person is declared here with its class; the rest of the schema
//! (`migrations/`) holds identifiers, times and states. A handler that has not the permission for a class does not
//! compile.

use tower_ward::{
    access::{HoldsLedger, ManagesAccounts, ReadsLedger},
    classes, columns,
    db::Schema,
    field::{ColumnInfo, Json},
    permissions,
};

classes! {
    /// Who somebody is and how to reach them.
    pub Identity = "identity";
    /// What was found, said and prescribed.
    pub Clinical = "clinical";
    /// When somebody comes, and the reason that the front desk may know.
    pub Schedule = "schedule";
    /// Who works here, as on the door.
    pub Directory = "directory";
    /// What payroll knows.
    pub Payroll = "payroll";
    /// What a patient and the clinic write to each other.
    pub Messages = "messages";
    /// What a patient is offered and billed.
    pub Billing = "billing";
    /// When the staff work and do not, what they learned, and what they are registered for.
    pub Hr = "hr";
    /// What went wrong in the clinic, or nearly.
    pub Incidents = "incidents";
}

permissions! {
    /// List and search patients.
    pub ListPatients = "patients.list" opens Identity;
    /// See a patient's master data.
    pub ReadPatient = "patients.read" opens Identity;
    /// Register a patient.
    pub CreatePatient = "patients.create" changes Identity;
    /// Change a patient's master data.
    pub UpdatePatient = "patients.update" changes Identity;
    /// Destroy the keys of everything that is kept about a patient.
    pub ErasePatient = "patients.erase" changes;
    /// See a patient's conditions and allergies.
    pub ReadSummary = "summary.read" opens Clinical;
    /// Change a patient's conditions and allergies.
    pub WriteSummary = "summary.write" changes Clinical;
    /// Read what was written about a patient.
    pub ReadNotes = "notes.read" opens Clinical;
    /// Write about a patient.
    pub WriteNote = "notes.write" changes Clinical;
    /// See a patient's prescriptions.
    pub ReadPrescriptions = "prescriptions.read" opens Clinical;
    /// Prescribe.
    pub WritePrescription = "prescriptions.write" changes Clinical;
    /// See a patient's results.
    pub ReadResults = "results.read" opens Clinical;
    /// Record a patient's results.
    pub WriteResult = "results.write" changes Clinical;
    /// See a patient's visits.
    pub ReadEncounters = "encounters.read" opens Clinical;
    /// Record a patient's visit.
    pub WriteEncounter = "encounters.write" changes Clinical;
    /// Read the files in a patient's record.
    pub ReadAttachments = "attachments.read" opens Clinical;
    /// Put a file into a patient's record.
    pub WriteAttachment = "attachments.write" changes Clinical;
    /// See who opened a patient's record, when, and why they might.
    pub ReadTimeline = "timeline.read";
    /// See what a patient's master data were before they were changed.
    pub ReadPatientChanges = "patients.changes" opens Identity;
    /// See what was written about a patient before it was changed.
    pub ReadChartChanges = "chart.changes" opens Clinical;
    /// See what the reasons of a patient's appointments were before they were changed.
    pub ReadScheduleChanges = "schedule.changes" opens Schedule;
    /// See who did what in the clinic, when, from where, and why they might.
    pub ReadLedger = "ledger.read";
    /// Keep the ledger's records of a patient, or all of them, beyond their time, and end that.
    pub HoldLedger = "ledger.hold";
    /// See the diary.
    pub ReadSchedule = "schedule.read" opens Schedule, Identity;
    /// Change a patient's appointment.
    pub WriteSchedule = "schedule.write" changes Schedule;
    /// Read what a patient and the clinic wrote to each other.
    pub ReadMessages = "messages.read" opens Messages;
    /// Write to a patient, or as a patient to the clinic.
    pub WriteMessage = "messages.write" changes Messages;
    /// See what a patient was offered and billed.
    pub ReadBilling = "billing.read" opens Billing;
    /// Write quotes and invoices.
    pub WriteBilling = "billing.write" changes Billing;
    /// See what a patient's quotes and invoices were before they were changed.
    pub ReadBillingChanges = "billing.changes" opens Billing;
    /// Assign a patient to somebody, and end it.
    pub Assign = "assignments.write" changes;
    /// Invite somebody to a patient's circle. The invitation is a job of the same permission.
    pub InviteToCircle = "circle.invite" changes Identity;
    /// See who was invited to a patient's circle.
    pub ReadInvitations = "circle.read" opens Identity;
    /// Take somebody out of a patient's circle.
    pub EndCircle = "circle.end" changes;
    /// Make the account of a relative whose invitation held. No role has it: a job does.
    pub EnrolRelative = "circle.enrol";
    /// See who works here.
    pub ReadStaff = "staff.read" opens Directory;
    /// See what payroll knows of an employee.
    pub ReadPayroll = "payroll.read" opens Payroll;
    /// Change what payroll knows of an employee.
    pub WritePayroll = "payroll.write" changes Payroll;
    /// See what payroll knew of an employee before it was changed.
    pub ReadPayrollChanges = "payroll.changes" opens Payroll;
    /// See when an employee does not work.
    pub ReadAbsences = "absences.read" opens Hr;
    /// Ask for an absence, or report one.
    pub WriteAbsence = "absences.write" changes Hr;
    /// Decide about an absence.
    pub DecideAbsence = "absences.decide" changes Hr;
    /// See what an employee worked.
    pub ReadTimesheets = "timesheets.read" opens Hr;
    /// Hand in what an employee worked.
    pub WriteTimesheet = "timesheets.write" changes Hr;
    /// See the courses that an employee took.
    pub ReadTraining = "training.read" opens Hr;
    /// Record a course that an employee took.
    pub WriteTraining = "training.write" changes Hr;
    /// See an employee's registers and checks.
    pub ReadCredentials = "credentials.read" opens Hr;
    /// Record an employee's registers and checks.
    pub WriteCredential = "credentials.write" changes Hr;
    /// Report what went wrong.
    pub ReportIncident = "incidents.report" changes Incidents;
    /// Read what went wrong.
    pub ReadIncidents = "incidents.read" opens Incidents;
    /// Say what was done about what went wrong.
    pub CloseIncident = "incidents.close" changes Incidents;
    /// See one's own account.
    pub ReadAccount = "account.read";
    /// End one's own session.
    pub EndSession = "session.end";
    /// Fill a new clinic with demo data. No role has it: a job does, once.
    pub SeedDemo = "demo.seed" changes Identity, Clinical, Schedule, Directory, Payroll, Messages, Billing, Hr, Incidents;
}

/// Who answers for the clinic sees what is done in it.
impl ReadsLedger for ReadLedger {}

/// And answers to the court.
impl HoldsLedger for HoldLedger {}

/// A relative's account is made when the invitation has held.
impl ManagesAccounts for EnrolRelative {}

/// The demo's accounts are made with its records.
impl ManagesAccounts for SeedDemo {}

/// The columns of the patients and their records.
pub mod patients {
    use super::{Billing, Clinical, Identity, Json, Messages, Schedule, columns};

    columns! {
        pub Given: String = "patients"."given" as Identity, indexed;
        pub Family: String = "patients"."family" as Identity, indexed;
        pub BirthDate: jiff::civil::Date = "patients"."birth_date" as Identity;
        pub Sex: String = "patients"."sex" as Identity;
        pub Phone: String = "patients"."phone" as Identity;
        pub Email: String = "patients"."email" as Identity;
        pub Address: String = "patients"."address" as Identity;
        pub NhsNumber: String = "patients"."nhs_number" as Identity;
        pub Conditions: Json<Vec<crate::api::Condition>> = "patient_clinical"."conditions" as Clinical;
        pub Allergies: Json<Vec<String>> = "patient_clinical"."allergies" as Clinical;
        pub EncounterReason: String = "encounters"."reason" as Clinical;
        pub NoteText: String = "notes"."text" as Clinical;
        pub Drug: String = "prescriptions"."drug" as Clinical;
        pub Dose: String = "prescriptions"."dose" as Clinical;
        pub Instructions: String = "prescriptions"."instructions" as Clinical;
        pub ResultBody: Json<crate::api::ResultBody> = "results"."body" as Clinical;
        pub AppointmentReason: String = "appointments"."reason" as Schedule;
        pub InvitedEmail: String = "circle_invitations"."email" as Identity;
        pub AttachmentName: String = "attachments"."file_name" as Clinical;
        pub AttachmentType: String = "attachments"."media_type" as Clinical;
        pub AttachmentContent: Vec<u8> = "attachments"."content" as Clinical;
        pub QuoteLines: Json<Vec<crate::api::Line>> = "quotes"."lines" as Billing;
        pub QuoteTotal: i64 = "quotes"."total" as Billing;
        pub InvoiceLines: Json<Vec<crate::api::Line>> = "invoices"."lines" as Billing;
        pub InvoiceTotal: i64 = "invoices"."total" as Billing;
        pub MessageText: String = "messages"."text" as Messages;
    }
}

/// The columns of those who work here.
pub mod staff {
    use super::{Directory, Hr, Payroll, columns};

    columns! {
        pub StaffName: String = "staff"."name" as Directory;
        pub JobTitle: String = "staff"."job_title" as Directory;
        pub StaffEmail: String = "staff"."email" as Directory;
        pub NiNumber: String = "employees"."ni_number" as Payroll;
        pub SortCode: String = "employees"."sort_code" as Payroll;
        pub AccountNumber: String = "employees"."account_number" as Payroll;
        pub Salary: i64 = "employees"."salary_gbp" as Payroll;
        pub AbsenceKind: String = "absences"."kind" as Hr;
        pub AbsenceNote: String = "absences"."note" as Hr;
        pub TimesheetMinutes: i64 = "timesheets"."minutes" as Hr;
        pub TimesheetNote: String = "timesheets"."note" as Hr;
        pub TrainingTitle: String = "training"."title" as Hr;
        pub CredentialKind: String = "credentials"."kind" as Hr;
        pub CredentialNumber: String = "credentials"."number" as Hr;
    }
}

/// The columns of what went wrong.
pub mod incidents {
    use super::{Incidents, columns};

    columns! {
        pub IncidentTitle: String = "incidents"."title" as Incidents;
        pub IncidentText: String = "incidents"."text" as Incidents;
        pub IncidentOutcome: String = "incidents"."outcome" as Incidents;
    }
}

/// The migrations and the sealed columns of a clinic's file.
pub static SCHEMA: Schema = Schema::new(&MIGRATIONS, COLUMNS).with_indexes(INDEXES).with_people(PEOPLE);

/// Those of the one database of all clinics.
pub const POSTGRES_SCHEMA: Schema =
    Schema::new(&POSTGRES_MIGRATIONS, COLUMNS).with_indexes(INDEXES).with_people(PEOPLE).with_clinics(CLINICS);

/// The sealed columns.
const COLUMNS: &[&[ColumnInfo]] = &[patients::COLUMNS, staff::COLUMNS, incidents::COLUMNS];

/// Where the blind indexes stand.
const INDEXES: &[(&str, &str)] = &[("patient_names", "word")];

/// The tables whose rows belong to people, each with the column that says to whom.
const PEOPLE: &[(&str, &str)] = &[
    ("patients", "id"),
    ("patient_names", "patient"),
    ("patient_clinical", "patient"),
    ("encounters", "patient"),
    ("notes", "patient"),
    ("prescriptions", "patient"),
    ("results", "patient"),
    ("appointments", "patient"),
    ("messages", "patient"),
    ("quotes", "patient"),
    ("invoices", "patient"),
    ("attachments", "patient"),
    ("circle_invitations", "patient"),
    ("absences", "employee"),
    ("timesheets", "employee"),
    ("training", "employee"),
    ("credentials", "employee"),
    ("employees", "id"),
];

/// The tables whose rows belong to nobody but the clinic.
const CLINICS: &[&str] = &["staff", "incidents"];

/// The migrations in `migrations/`, in the order of their names.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Those in `migrations/postgres/`, which the role that owns the tables runs.
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
