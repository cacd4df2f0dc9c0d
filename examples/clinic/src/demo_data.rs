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

mod office;
mod records;

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;

pub use office::*;
pub use records::*;

static CLINICS: &[u8] = include_bytes!("../fixtures/clinics.json.gz");

/// The shape of the file that this code reads.
pub const FORMAT: u32 = 2;

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
    /// What patients and the clinic wrote to each other.
    pub messages: Vec<Message>,
    /// What patients were offered.
    pub quotes: Vec<Quote>,
    /// What patients were billed.
    pub invoices: Vec<Invoice>,
    /// Files in patients' records.
    pub attachments: Vec<Attachment>,
    /// When the staff do not work.
    pub absences: Vec<Absence>,
    /// What the staff worked.
    pub timesheets: Vec<Timesheet>,
    /// The courses that the staff took.
    pub training: Vec<Training>,
    /// The registers that the staff are in, and the checks that they passed.
    pub credentials: Vec<Credential>,
    /// What went wrong, or nearly.
    pub incidents: Vec<Incident>,
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
