//! The demo clinics' people and records: synthetic, the same for everybody, and marked as test data one by one.
//!
//! `fixtures/clinics.json.gz` is made by `tools/make_fixtures.py`; where its contents come from stands in
//! `fixtures/NOTICE`. Reading it follows one rule:
//!
//! 1. The text is JSON of [`FORMAT`], at most [`MAX_JSON`] bytes after unpacking.
//! 2. A field that is missing, unknown or of another type is an error.
//! 3. Every record carries a [`Label`]. It has one value, so a record without the mark does not parse.
//!
//! Dates of events are days relative to the day of seeding (0 is that day, -1 the day before), so the demo never
//! ages. Dates of birth are absolute.
//!
//! # Security
//!
//! Nothing here describes a living person. Each identifier comes from a range that is never issued: NHS numbers from
//! 999, National Insurance numbers with `QQ`, telephone numbers that Ofcom keeps for drama, e-mail under `example`
//! domains, postcodes in `ZZ99`, sort code 00-00-00. Still, treat the data as if it were real: the demo is where habits begin.
//!
//! # Examples
//!
//! ```
//! let data = clinic::demo_data::load()?;
//! let harbour = data.clinics.iter().find(|clinic| clinic.tenant == "harbour").expect("a demo clinic");
//! assert!(harbour.patients.len() >= 20);
//!
//! // A record without its mark is refused.
//! let unmarked = r#"{"patient": "p1", "relationship": "mother"}"#;
//! assert!(serde_json::from_str::<clinic::demo_data::Membership>(unmarked).is_err());
//! # Ok::<(), clinic::demo_data::DemoDataError>(())
//! ```

use std::io::Read;

use flate2::read::GzDecoder;
use jiff::civil::{Date, Time};
use serde::Deserialize;

static CLINICS: &[u8] = include_bytes!("../fixtures/clinics.json.gz");

/// The shape of the file that this code reads.
pub const FORMAT: u32 = 1;

/// The unpacked size up to which the file is read: 16 MiB.
pub const MAX_JSON: u64 = 16 << 20;

/// Why the demo data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoDataError {
    /// The compressed file is damaged.
    #[error("the demo data does not unpack: run `tools/make_fixtures.py` and build again")]
    Unpack(#[source] std::io::Error),
    /// The file is larger than this program is willing to read.
    #[error("the demo data is larger than {MAX_JSON} bytes unpacked: reduce it in `tools/make_fixtures.py`")]
    TooLarge,
    /// The file's shape is not this program's.
    #[error("the demo data has another shape than this program reads: run `tools/make_fixtures.py` and build again")]
    Shape(#[source] serde_json::Error),
    /// The file was made for another version of this program.
    #[error(
        "the demo data has format {found}, this program reads {FORMAT}: run `tools/make_fixtures.py` and build again"
    )]
    Format {
        /// What the file says.
        found: u32,
    },
}

/// The mark that a record is test data: `HTEST` of HL7's v3-ActReason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Label {
    /// Test health data.
    #[serde(rename = "HTEST")]
    Test,
}

/// All demo clinics.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoData {
    /// The shape of the file: [`FORMAT`].
    pub format: u32,
    /// The generators and their versions, for the notice on the demo's pages.
    pub made_with: Vec<String>,
    /// The clinics.
    pub clinics: Vec<Clinic>,
}

/// One clinic with all that it holds. Identifiers are unique over all clinics and name their clinic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clinic {
    /// Test data.
    pub label: Label,
    /// The tenant's id, which is also its host's first label.
    pub tenant: String,
    /// The name for people.
    pub name: String,
    /// The town, invented.
    pub town: String,
    /// Everybody who works here.
    pub staff: Vec<Staff>,
    /// What payroll knows of the staff.
    pub employees: Vec<Employee>,
    /// The patients.
    pub patients: Vec<Patient>,
    /// Past visits.
    pub encounters: Vec<Encounter>,
    /// The diary, past and to come.
    pub appointments: Vec<Appointment>,
    /// Clinical notes.
    pub notes: Vec<Note>,
    /// Prescriptions.
    pub prescriptions: Vec<Prescription>,
    /// Measurements and laboratory results.
    pub results: Vec<TestResult>,
    /// Who cares for whom.
    pub care_team: Vec<Assignment>,
    /// Relatives with an account.
    pub family: Vec<FamilyMember>,
}

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

/// The demo clinics that this program carries.
///
/// # Errors
///
/// If the file built into this program is damaged, too large or of another format.
pub fn load() -> Result<DemoData, DemoDataError> {
    read(CLINICS)
}

/// Reads demo clinics from a gzip-compressed file.
///
/// # Errors
///
/// If the file is damaged, unpacks to more than [`MAX_JSON`] bytes, or is not of [`FORMAT`].
pub fn read(gzip: &[u8]) -> Result<DemoData, DemoDataError> {
    let mut json = Vec::new();
    // One byte more than allowed tells a full file from one that was cut.
    GzDecoder::new(gzip).take(MAX_JSON + 1).read_to_end(&mut json).map_err(DemoDataError::Unpack)?;
    if json.len() as u64 > MAX_JSON {
        return Err(DemoDataError::TooLarge);
    }
    let data: DemoData = serde_json::from_slice(&json).map_err(DemoDataError::Shape)?;
    if data.format != FORMAT {
        return Err(DemoDataError::Format { found: data.format });
    }
    Ok(data)
}
