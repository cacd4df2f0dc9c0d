//! The records of a clinic, one type each.

use jiff::civil::{Date, Time};
use serde::Deserialize;

use super::Label;

/// What a member of staff does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the front desk.
    Receptionist,
    /// Treats the patients assigned to them.
    Doctor,
    /// Owns the clinic.
    Owner,
    /// Runs the clinic's accounts and settings.
    ClinicAdmin,
    /// Visits the patients assigned to them at home.
    Caregiver,
}

/// A member of staff.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staff {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// What they do.
    pub role: Role,
    /// Full name.
    pub name: String,
    /// As on the door.
    pub job_title: String,
    /// Under an `example` domain.
    pub email: String,
}

/// What payroll knows of a member of staff.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Employee {
    /// Test data.
    pub label: Label,
    /// [`Staff::id`].
    pub staff: String,
    /// National Insurance number; `QQ` is never issued.
    pub ni_number: String,
    /// Where the salary goes.
    pub bank: BankAccount,
    /// Pounds a year.
    pub annual_salary_gbp: u32,
    /// First day of work.
    pub started_day: i32,
}

/// A bank account that does not exist.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankAccount {
    /// Whose.
    pub account_name: String,
    /// `00-00-00`.
    pub sort_code: String,
    /// Eight digits, the first four zero.
    pub account_number: String,
}

/// Administrative sex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
}

/// A patient.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// Given name.
    pub given: String,
    /// Family name.
    pub family: String,
    /// Administrative sex.
    pub sex: Sex,
    /// Date of birth.
    pub birth_date: Date,
    /// A number that Ofcom keeps for drama.
    pub phone: String,
    /// Under an `example` domain.
    pub email: String,
    /// One line, with a `ZZ99` postcode.
    pub address: String,
    /// Ten digits from 999, the range for tests, with a right check digit.
    pub nhs_test_number: String,
    /// What they may not be given.
    pub allergies: Vec<String>,
    /// Diagnoses.
    pub conditions: Vec<Condition>,
}

/// A diagnosis.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Test data.
    pub label: Label,
    /// The code in `system`.
    pub code: String,
    /// Where `code` is defined.
    pub system: CodeSystem,
    /// For people.
    pub display: String,
    /// When it began.
    pub onset_day: i32,
    /// Whether it lasts.
    pub active: bool,
}

/// A vocabulary of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeSystem {
    /// SNOMED CT.
    Snomed,
    /// ICD-10-CM.
    Icd10Cm,
    /// LOINC.
    Loinc,
}

/// A visit that took place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encounter {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`].
    pub patient: String,
    /// [`Staff::id`] of a doctor.
    pub clinician: String,
    /// The day, before the day of seeding.
    pub day: i32,
    /// When it began.
    pub time: Time,
    /// What sort of visit.
    pub kind: EncounterKind,
    /// Why they came.
    pub reason: String,
}

/// What sort of visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncounterKind {
    /// At the clinic.
    Ambulatory,
    /// Urgent.
    Emergency,
    /// Stayed overnight.
    Inpatient,
    /// At the patient's home.
    Home,
}

/// An appointment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appointment {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`].
    pub patient: String,
    /// [`Staff::id`] of a doctor.
    pub clinician: String,
    /// The day.
    pub day: i32,
    /// When it begins.
    pub time: Time,
    /// How long.
    pub minutes: u16,
    /// Why; nothing clinical, since the front desk reads it.
    pub reason: String,
    /// Where it stands.
    pub status: AppointmentStatus,
}

/// Where an appointment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppointmentStatus {
    /// To come.
    Booked,
    /// Called off.
    Cancelled,
    /// Took place.
    Attended,
    /// The patient stayed away.
    DidNotAttend,
}

/// A clinical note.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`].
    pub patient: String,
    /// [`Encounter::id`], if the note belongs to one.
    pub encounter: Option<String>,
    /// [`Staff::id`].
    pub author: String,
    /// The author's role when they wrote it.
    pub author_role: Role,
    /// What sort of note.
    pub kind: NoteKind,
    /// The day.
    pub day: i32,
    /// When it was written.
    pub time: Time,
    /// The note.
    pub text: String,
}

/// What sort of note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// A doctor saw the patient.
    Consultation,
    /// A doctor spoke with the patient.
    Telephone,
    /// A caregiver visited.
    CareVisit,
}

/// A prescription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prescription {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`].
    pub patient: String,
    /// [`Staff::id`] of a doctor.
    pub prescriber: String,
    /// The day.
    pub day: i32,
    /// Name, strength and form.
    pub drug: String,
    /// How much at a time.
    pub dose: String,
    /// For the patient.
    pub instructions: String,
    /// Where it stands.
    pub status: PrescriptionStatus,
}

/// Where a prescription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrescriptionStatus {
    /// Being taken.
    Active,
    /// Ended before its time.
    Stopped,
    /// Ended.
    Completed,
}

/// A measurement or a laboratory result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestResult {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`].
    pub patient: String,
    /// The day.
    pub day: i32,
    /// The code, in LOINC.
    pub code: String,
    /// For people.
    pub display: String,
    /// The figure.
    pub value: f64,
    /// Its unit, in UCUM.
    pub unit: String,
    /// Against the usual range of an adult.
    pub flag: Flag,
}

/// A result against the usual range of an adult.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Inside.
    Normal,
    /// Below.
    Low,
    /// Above.
    High,
}

/// A doctor or a caregiver looks after a patient.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Test data.
    pub label: Label,
    /// [`Staff::id`] of a doctor or a caregiver.
    pub staff: String,
    /// [`Patient::id`].
    pub patient: String,
}

/// A relative with an account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyMember {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// Full name.
    pub name: String,
    /// Under an `example` domain.
    pub email: String,
    /// Whose circle they are in.
    pub members_of: Vec<Membership>,
}

/// A place in a patient's circle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Test data.
    pub label: Label,
    /// [`Patient::id`].
    pub patient: String,
    /// What they are to the patient.
    pub relationship: String,
}
