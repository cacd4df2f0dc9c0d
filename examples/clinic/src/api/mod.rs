//! The JSON interface, a module per thing; each handler begins with the grant that it needs.

pub(crate) mod appointments;
mod assignments;
pub(crate) mod attachments;
pub(crate) mod billing;
mod changes;
pub(crate) mod chart;
pub(crate) mod hr;
pub(crate) mod incidents;
mod ledger;
pub(crate) mod messages;
mod patch;
mod patients;
mod people;
mod session;
mod summary;
mod timeline;
mod window;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tower_ward::{
    axum::{Operation, Router},
    clock::SharedClock,
    privacy::Erasures,
    problem::Problem,
    stack::Ward,
};

pub use billing::Line;
pub use chart::results::ResultBody;
pub use summary::Condition;

use crate::data::Data;

/// Inserts a demo patient whom `chart` admitted.
pub(crate) async fn insert_patient<G>(
    tx: &mut impl crate::data::Tx,
    chart: &G,
    subject: tower_ward::id::SubjectId,
    patient: &crate::demo_data::Patient,
    now: Timestamp,
) -> Result<(), Problem>
where
    G: tower_ward::access::Opener<crate::model::Identity> + tower_ward::access::Indexer<crate::model::Identity> + Sync,
{
    patients::insert(tx, chart, subject, &patients::NewPatient::demo(patient), now, true).await
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// The accounts, sessions and tokens.
    pub identity: tower_ward::identity::Identity,
    /// The clinics' data.
    pub data: Data,
    /// What erases people.
    pub erasures: Erasures,
    /// The time.
    pub clock: SharedClock,
}

macro_rules! app_parts {
    ($($part:ident: $type:ty),+) => { $(
        impl axum::extract::FromRef<App> for $type {
            fn from_ref(app: &App) -> Self {
                app.$part.clone()
            }
        }
    )+ };
}
app_parts!(identity: tower_ward::identity::Identity, data: Data);

/// Every route of the clinic.
pub fn routes(ward: &Ward, app: App) -> Router {
    let one = |name: &'static str| Operation::new(name);
    Router::new(ward)
        .public_get("/healthz", "liveness, holds no data", || async { "ok\n" })
        .about(one("Whether the server answers.").with_response(200, schema::<String>()))
        .public_post("/api/login", "this is where identity begins", session::login)
        .about(
            one("Log in.").with_request(schema::<session::Login>()).with_response(200, schema::<session::TokenView>()),
        )
        .public_post("/api/refresh", "the refresh token is the credential", session::refresh)
        .about(
            one("Renew a session.")
                .with_request(schema::<session::Refresh>())
                .with_response(200, schema::<session::TokenView>()),
        )
        .post("/api/logout", session::logout)
        .about(one("End this session.").with_response(204, serde_json::json!({})))
        .get_best_effort("/api/me", session::me)
        .about(one("Who the token says one is.").with_response(200, schema::<session::Me>()))
        .get("/api/patients", patients::list)
        .about(
            paged("List or search patients.")
                .add_query("q", words())
                .with_response(200, schema::<Page<patients::PatientSummary>>()),
        )
        .post("/api/patients", patients::create)
        .about(
            one("Register a patient.")
                .with_request(schema::<patients::NewPatient>())
                .with_response(201, schema::<patients::PatientView>()),
        )
        .get("/api/patients/{id}", patients::read)
        .about(one("A patient's master data.").with_response(200, schema::<patients::PatientView>()))
        .patch("/api/patients/{id}", patients::update)
        .about(
            one("Change a patient's master data.")
                .with_request(schema::<patients::PatientPatch>())
                .with_response(200, schema::<patients::PatientView>()),
        )
        .delete("/api/patients/{id}", patients::erase)
        .reason_required()
        .about(
            one("Erase a patient: their keys are destroyed in every copy. Asked again, it says how far that has come.")
                .with_response(200, schema::<patients::ErasedView>()),
        )
        .get("/api/patients/{id}/summary", summary::read)
        .about(one("A patient's conditions and allergies.").with_response(200, schema::<summary::SummaryView>()))
        .patch("/api/patients/{id}/summary", summary::update)
        .about(
            one("Replace a patient's conditions, allergies, or both.")
                .with_request(schema::<summary::SummaryPatch>())
                .with_response(200, schema::<summary::SummaryView>()),
        )
        .get("/api/patients/{id}/notes", chart::notes::list)
        .about(paged("A patient's notes, newest first.").with_response(200, schema::<Page<chart::notes::NoteView>>()))
        .post("/api/patients/{id}/notes", chart::notes::write)
        .about(
            one("Write a note.")
                .with_request(schema::<chart::notes::NewNote>())
                .with_response(201, schema::<chart::notes::NoteView>()),
        )
        .get("/api/patients/{id}/prescriptions", chart::prescriptions::list)
        .about(
            paged("A patient's prescriptions, newest first.")
                .with_response(200, schema::<Page<chart::prescriptions::PrescriptionView>>()),
        )
        .post("/api/patients/{id}/prescriptions", chart::prescriptions::prescribe)
        .about(
            one("Prescribe.")
                .with_request(schema::<chart::prescriptions::NewPrescription>())
                .with_response(201, schema::<chart::prescriptions::PrescriptionView>()),
        )
        .get("/api/patients/{id}/results", chart::results::list)
        .about(
            paged("A patient's results, newest first.")
                .with_response(200, schema::<Page<chart::results::ResultView>>()),
        )
        .get("/api/patients/{id}/encounters", chart::encounters::list)
        .about(
            paged("A patient's visits, newest first.")
                .with_response(200, schema::<Page<chart::encounters::EncounterView>>()),
        )
        .post("/api/patients/{id}/results", chart::results::write)
        .about(
            one("Record a result.")
                .with_request(schema::<chart::results::NewResult>())
                .with_response(201, schema::<chart::results::ResultView>()),
        )
        .post("/api/patients/{id}/encounters", chart::encounters::write)
        .about(
            one("Record a visit.")
                .with_request(schema::<chart::encounters::NewEncounter>())
                .with_response(201, schema::<chart::encounters::EncounterView>()),
        )
        .get("/api/patients/{id}/attachments", attachments::list)
        .about(
            paged("The files in a patient's record, newest first.")
                .with_response(200, schema::<Page<attachments::AttachmentView>>()),
        )
        .post("/api/patients/{id}/attachments", attachments::attach)
        .about(
            one("Put a file into a patient's record.")
                .with_request(schema::<attachments::NewAttachment>())
                .with_response(201, schema::<attachments::AttachmentView>()),
        )
        .get("/api/patients/{id}/attachments/{attachment}", attachments::read)
        .about(one("A file in a patient's record.").with_response(200, schema::<attachments::ContentView>()))
        .get("/api/patients/{id}/quotes", billing::quotes::list)
        .about(
            paged("What a patient was offered, newest first.")
                .with_response(200, schema::<Page<billing::quotes::QuoteView>>()),
        )
        .post("/api/patients/{id}/quotes", billing::quotes::create)
        .about(
            one("Write a quote.")
                .with_request(schema::<billing::quotes::NewQuote>())
                .with_response(201, schema::<billing::quotes::QuoteView>()),
        )
        .patch("/api/patients/{id}/quotes", billing::quotes::update)
        .about(
            one("Change one of a patient's quotes.")
                .with_request(schema::<billing::quotes::QuotePatch>())
                .with_response(200, schema::<billing::quotes::QuoteView>()),
        )
        .get("/api/patients/{id}/invoices", billing::invoices::list)
        .about(
            paged("What a patient was billed, newest first.")
                .with_response(200, schema::<Page<billing::invoices::InvoiceView>>()),
        )
        .post("/api/patients/{id}/invoices", billing::invoices::create)
        .about(
            one("Write an invoice, from a quote or without.")
                .with_request(schema::<billing::invoices::NewInvoice>())
                .with_response(201, schema::<billing::invoices::InvoiceView>()),
        )
        .patch("/api/patients/{id}/invoices", billing::invoices::update)
        .about(
            one("Change one of a patient's invoices.")
                .with_request(schema::<billing::invoices::InvoicePatch>())
                .with_response(200, schema::<billing::invoices::InvoiceView>()),
        )
        .get("/api/patients/{id}/billing/changes", changes::of_billing)
        .about(changed("What a patient's quotes and invoices were before they were changed, newest first."))
        .get("/api/patients/{id}/timeline", timeline::timeline)
        .about(
            paged("Who opened or changed this patient's record, newest first. A page may be empty and not the last.")
                .with_response(200, schema::<Page<timeline::Entry>>()),
        )
        .get("/api/patients/{id}/changes", changes::of_patient)
        .about(changed("What a patient's master data were before they were changed, newest first."))
        .get("/api/patients/{id}/chart/changes", changes::of_chart)
        .about(changed("What was written about a patient, before and after it was changed, newest first."))
        .get("/api/patients/{id}/appointments/changes", changes::of_appointments)
        .about(changed("What the reasons of a patient's appointments were before they were changed, newest first."))
        .post("/api/patients/{id}/appointments", appointments::book)
        .about(
            one("Book an appointment.")
                .with_request(schema::<appointments::NewAppointment>())
                .with_response(201, schema::<appointments::BookedView>()),
        )
        .patch("/api/patients/{id}/appointments", appointments::update)
        .about(
            one("Change one of a patient's appointments.")
                .with_request(schema::<appointments::AppointmentPatch>())
                .with_response(200, schema::<appointments::ChangedView>()),
        )
        .get("/api/patients/{id}/messages", messages::list)
        .about(
            paged("What a patient and the clinic wrote to each other, newest first.")
                .with_response(200, schema::<Page<messages::MessageView>>()),
        )
        .post("/api/patients/{id}/messages", messages::write)
        .about(
            one("Write to a patient, or as a patient to the clinic.")
                .with_request(schema::<messages::NewMessage>())
                .with_response(201, schema::<messages::MessageView>()),
        )
        .put("/api/patients/{id}/assignments/{user}", assignments::assign)
        .about(one("Assign a patient to somebody.").with_response(204, serde_json::json!({})))
        .delete("/api/patients/{id}/assignments/{user}", assignments::unassign)
        .about(one("End an assignment, from the next request on.").with_response(204, serde_json::json!({})))
        .get("/api/appointments", appointments::list)
        .about(
            paged("The diary between two days.")
                .add_query("from", serde_json::json!({ "type": "string", "format": "date" }))
                .add_query("to", serde_json::json!({ "type": "string", "format": "date" }))
                .with_response(200, schema::<Page<appointments::AppointmentView>>()),
        )
        .get("/api/ledger", ledger::read)
        .about(ledger::about())
        .post("/api/ledger/hold", ledger::hold)
        .about(
            one("Keep all of the ledger's records of the clinic beyond their time, or end that.")
                .with_request(schema::<ledger::Hold>())
                .with_response(204, serde_json::json!({})),
        )
        .post("/api/patients/{id}/hold", ledger::hold_patient)
        .about(
            one("Keep the ledger's records of a patient beyond their time, or end that.")
                .with_request(schema::<ledger::Hold>())
                .with_response(204, serde_json::json!({})),
        )
        .get("/api/staff", people::staff)
        .about(paged("Who works here.").with_response(200, schema::<Page<people::StaffView>>()))
        .get("/api/employees/{id}/payroll", people::payroll)
        .about(one("What payroll knows of an employee.").with_response(200, schema::<people::PayrollView>()))
        .patch("/api/employees/{id}/payroll", people::change_payroll)
        .about(
            one("Change what payroll knows of an employee.")
                .with_request(schema::<people::PayrollPatch>())
                .with_response(200, schema::<people::PayrollView>()),
        )
        .get("/api/employees/{id}/payroll/changes", changes::of_payroll)
        .about(changed("What payroll knew of an employee before it was changed, newest first."))
        .get("/api/employees/{id}/absences", hr::absences::list)
        .about(
            paged("When an employee does not work, newest first.")
                .with_response(200, schema::<Page<hr::absences::AbsenceView>>()),
        )
        .post("/api/employees/{id}/absences", hr::absences::request)
        .about(
            one("Ask for an absence, or report one.")
                .with_request(schema::<hr::absences::NewAbsence>())
                .with_response(201, schema::<hr::absences::AbsenceView>()),
        )
        .patch("/api/employees/{id}/absences", hr::absences::decide)
        .about(
            one("Decide about an absence.")
                .with_request(schema::<hr::absences::Decision>())
                .with_response(200, schema::<hr::absences::AbsenceView>()),
        )
        .get("/api/employees/{id}/timesheets", hr::timesheets::list)
        .about(
            paged("What an employee worked, newest first.")
                .with_response(200, schema::<Page<hr::timesheets::TimesheetView>>()),
        )
        .post("/api/employees/{id}/timesheets", hr::timesheets::hand_in)
        .about(
            one("Hand in what an employee worked.")
                .with_request(schema::<hr::timesheets::NewTimesheet>())
                .with_response(201, schema::<hr::timesheets::TimesheetView>()),
        )
        .get("/api/employees/{id}/training", hr::training::list)
        .about(
            paged("The courses that an employee took, newest first.")
                .with_response(200, schema::<Page<hr::training::TrainingView>>()),
        )
        .post("/api/employees/{id}/training", hr::training::record)
        .about(
            one("Record a course that an employee took.")
                .with_request(schema::<hr::training::NewTraining>())
                .with_response(201, schema::<hr::training::TrainingView>()),
        )
        .get("/api/employees/{id}/credentials", hr::credentials::list)
        .about(
            paged("An employee's registers and checks, newest first.")
                .with_response(200, schema::<Page<hr::credentials::CredentialView>>()),
        )
        .post("/api/employees/{id}/credentials", hr::credentials::record)
        .about(
            one("Record a register that an employee is in, or a check.")
                .with_request(schema::<hr::credentials::NewCredential>())
                .with_response(201, schema::<hr::credentials::CredentialView>()),
        )
        .get("/api/incidents", incidents::list)
        .about(
            paged("What went wrong, or nearly, newest first.")
                .with_response(200, schema::<Page<incidents::IncidentView>>()),
        )
        .post("/api/incidents", incidents::report)
        .about(
            one("Report what went wrong, or nearly.")
                .with_request(schema::<incidents::NewIncident>())
                .with_response(201, schema::<incidents::ReportedView>()),
        )
        .patch("/api/incidents", incidents::close)
        .about(
            one("Say what was done about an incident, which closes it.")
                .with_request(schema::<incidents::Closing>())
                .with_response(200, schema::<incidents::IncidentView>()),
        )
        .openapi_at("/api/openapi.json", "Clinic", env!("CARGO_PKG_VERSION"))
        .with_state(app)
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// Send it back as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How many entries a page holds unless asked otherwise, and at the most.
const PAGE: (usize, usize) = (25, 100);

/// The size of a page.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE.0);
    if (1..=PAGE.1).contains(&limit) { Ok(limit) } else { Err(Problem::bad_request("limit")) }
}

/// A route that answers with a page.
fn paged(summary: &'static str) -> Operation {
    let limit = serde_json::json!({ "type": "integer", "minimum": 1, "maximum": PAGE.1, "default": PAGE.0 });
    Operation::new(summary).add_query("limit", limit).add_query("cursor", schema::<String>())
}

/// A route that answers with a page of changes.
fn changed(summary: &'static str) -> Operation {
    paged(summary).with_response(200, schema::<Page<changes::ChangeView>>())
}

/// What a search takes.
fn words() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": patients::MAX_SEARCH,
        "description": "Whole words, separated by white space: each must be a word of the patient's given or family name. Case does not matter, accents do. At most 128 bytes.",
    })
}

/// Ends a page whose query asked for one row more than fits: says where the next page begins, and lets go of that row.
/// In a cohort this comes before any door opens, so that the record names those who are shown and nobody else.
fn end_page<R>(rows: &mut Vec<R>, limit: usize, place: impl Fn(&R) -> String) -> Option<String> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map(place)
}

fn schema<T: JsonSchema>() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The time as a column keeps it, so that what is answered now is what is read later.
fn now(app: &App) -> Timestamp {
    time(app.clock.now().as_millisecond())
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// A text that people typed: not empty, not longer than `most` bytes, and without control characters, nor those by which
/// Unicode shows what follows in another order than it stands (UAX #9): of a dose as little as of a name. The marks of
/// direction, which belong to the writing of some languages, are let through.
fn text(field: &'static str, value: &str, most: usize) -> Result<(), Problem> {
    let reorders = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let control = value.chars().any(|c| reorders(c) || c.is_control() && !matches!(c, '\n' | '\t'));
    if value.trim().is_empty() || value.len() > most || control {
        return Err(Problem::bad_request(field));
    }
    Ok(())
}

/// A one-line text.
fn line(field: &'static str, value: &str, most: usize) -> Result<(), Problem> {
    if value.contains(['\n', '\t', '\u{2028}', '\u{2029}']) {
        Err(Problem::bad_request(field))
    } else {
        text(field, value, most)
    }
}
