//! The records of a clinic's office, one type each.

use jiff::civil::Time;
use serde::Deserialize;

use super::Label;

/// A message between a patient and the clinic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`](super::Patient::id).
    pub patient: String,
    /// [`Staff::id`](super::Staff::id); nothing if the patient wrote it, who then is one of those with an account.
    pub author: Option<String>,
    /// The day.
    pub day: i32,
    /// When it was written.
    pub time: Time,
    /// What it says.
    pub text: String,
}

/// A line of a quote or an invoice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillLine {
    /// For people.
    pub text: String,
    /// How many.
    pub quantity: i64,
    /// What one of it costs, in pence.
    pub unit_price_pence: i64,
}

/// What a patient is offered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`](super::Patient::id).
    pub patient: String,
    /// [`Staff::id`](super::Staff::id).
    pub author: String,
    /// The day.
    pub day: i32,
    /// When it was written.
    pub time: Time,
    /// What for.
    pub lines: Vec<BillLine>,
    /// Where it stands.
    pub status: QuoteStatus,
}

/// Where a quote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuoteStatus {
    /// Not answered.
    Open,
    /// Taken.
    Accepted,
    /// Not taken.
    Declined,
    /// Never answered.
    Expired,
}

/// What a patient is billed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`](super::Patient::id).
    pub patient: String,
    /// [`Staff::id`](super::Staff::id).
    pub author: String,
    /// The day.
    pub day: i32,
    /// When it was written.
    pub time: Time,
    /// [`Quote::id`], if it came from one.
    pub quote: Option<String>,
    /// What for.
    pub lines: Vec<BillLine>,
    /// Where it stands.
    pub status: InvoiceStatus,
}

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// To be paid.
    Open,
    /// Paid.
    Paid,
    /// Called off.
    Cancelled,
}

/// A file in a patient's record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Patient::id`](super::Patient::id).
    pub patient: String,
    /// [`Staff::id`](super::Staff::id).
    pub author: String,
    /// The day.
    pub day: i32,
    /// When it was put there.
    pub time: Time,
    /// As it is called.
    pub file_name: String,
    /// What it is (RFC 6838).
    pub media_type: String,
    /// What is in it.
    pub text: String,
}

/// Days on which somebody does not work.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Staff::id`](super::Staff::id).
    pub staff: String,
    /// Why.
    pub kind: AbsenceKind,
    /// The first day.
    pub first_day: i32,
    /// The last day.
    pub last_day: i32,
    /// Whatever else is to be said.
    pub note: Option<String>,
    /// Where it stands.
    pub status: AbsenceStatus,
}

/// Why somebody does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsenceKind {
    /// Leave.
    Holiday,
    /// Illness.
    Sick,
    /// Training.
    Training,
    /// Anything else.
    Other,
}

/// Where an absence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsenceStatus {
    /// Asked for.
    Requested,
    /// Granted.
    Approved,
    /// Refused.
    Refused,
}

/// What somebody worked on one day.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timesheet {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Staff::id`](super::Staff::id).
    pub staff: String,
    /// The day.
    pub day: i32,
    /// How long.
    pub minutes: u16,
    /// Whatever else is to be said.
    pub note: Option<String>,
}

/// A course that somebody took.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Staff::id`](super::Staff::id).
    pub staff: String,
    /// What it is called.
    pub title: String,
    /// The day on which it was passed.
    pub completed_day: i32,
    /// The day from which it has to be taken again.
    pub expires_day: Option<i32>,
}

/// A register that somebody is in, or a check that they passed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Staff::id`](super::Staff::id).
    pub staff: String,
    /// Which.
    pub kind: String,
    /// `TEST-` and six digits: no register's form.
    pub number: String,
    /// The day from which it does not hold any more.
    pub expires_day: Option<i32>,
}

/// Something that went wrong, or nearly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Test data.
    pub label: Label,
    /// Unique.
    pub id: String,
    /// [`Staff::id`](super::Staff::id).
    pub reporter: String,
    /// The day.
    pub day: i32,
    /// When it was reported.
    pub time: Time,
    /// What sort.
    pub kind: IncidentKind,
    /// In a few words.
    pub title: String,
    /// What happened.
    pub text: String,
    /// What was done about it: then it is closed.
    pub outcome: Option<String>,
}

/// What sort of incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Somebody was hurt, or might be.
    Safety,
    /// It nearly happened.
    NearMiss,
    /// Something was told to who should not know it.
    Data,
    /// Something is broken.
    Equipment,
    /// Anything else.
    Other,
}
