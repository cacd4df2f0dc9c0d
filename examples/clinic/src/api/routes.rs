//! Every route, with what the description of the interface says of it.

use schemars::JsonSchema;
use tower_ward::{
    axum::{Operation, Router},
    stack::Ward,
};

use super::{
    App, PAGE, Page, appointments, assignments, attachments, billing, changes, chart, circle, hr, incidents, ledger,
    messages, patients, people, session, summary, timeline,
};

/// Every route of the clinic.
pub fn routes(ward: &Ward, app: App) -> Router {
    let parts: [fn(Router<App>) -> Router<App>; 7] =
        [of_session, of_patients, of_chart, of_evidence, of_desk, of_people, of_staff];
    let router = parts.into_iter().fold(Router::new(ward), |router, add| add(router));
    router.openapi_at("/api/openapi.json", "Clinic", env!("CARGO_PKG_VERSION")).with_state(app)
}

/// Who one is.
fn of_session(router: Router<App>) -> Router<App> {
    router
        .public_get("/healthz", "liveness, holds no data", || async { "ok\n" })
        .about(Operation::new("Whether the server answers.").with_response(200, schema::<String>()))
        .public_post("/api/login", "this is where identity begins", session::login)
        .about(
            Operation::new("Log in.")
                .with_request(schema::<session::Login>())
                .with_response(200, schema::<session::TokenView>()),
        )
        .public_post("/api/refresh", "the refresh token is the credential", session::refresh)
        .about(
            Operation::new("Renew a session.")
                .with_request(schema::<session::Refresh>())
                .with_response(200, schema::<session::TokenView>()),
        )
        .post("/api/logout", session::logout)
        .about(Operation::new("End this session.").with_response(204, serde_json::json!({})))
        .get_best_effort("/api/me", session::me)
        .about(Operation::new("Who the token says one is.").with_response(200, schema::<session::Me>()))
}

/// Patients' master data.
fn of_patients(router: Router<App>) -> Router<App> {
    router
        .get("/api/patients", patients::list)
        .about(
            paged("List or search patients.")
                .add_query("q", words())
                .with_response(200, schema::<Page<patients::PatientSummary>>()),
        )
        .post("/api/patients", patients::create)
        .about(
            Operation::new("Register a patient.")
                .with_request(schema::<patients::NewPatient>())
                .with_response(201, schema::<patients::PatientView>()),
        )
        .get("/api/patients/{id}", patients::read)
        .about(Operation::new("A patient's master data.").with_response(200, schema::<patients::PatientView>()))
        .patch("/api/patients/{id}", patients::update)
        .about(
            Operation::new("Change a patient's master data.")
                .with_request(schema::<patients::PatientPatch>())
                .with_response(200, schema::<patients::PatientView>()),
        )
        .delete("/api/patients/{id}", patients::erase)
        .reason_required()
        .about(
            Operation::new(
                "Erase a patient: their keys are destroyed in every copy. Asked again, it says how far that has come.",
            )
            .with_response(200, schema::<patients::ErasedView>()),
        )
}

/// What stands in a patient's chart.
fn of_chart(router: Router<App>) -> Router<App> {
    router
        .get("/api/patients/{id}/summary", summary::read)
        .about(
            Operation::new("A patient's conditions and allergies.")
                .with_response(200, schema::<summary::SummaryView>()),
        )
        .patch("/api/patients/{id}/summary", summary::update)
        .about(
            Operation::new("Replace a patient's conditions, allergies, or both.")
                .with_request(schema::<summary::SummaryPatch>())
                .with_response(200, schema::<summary::SummaryView>()),
        )
        .get("/api/patients/{id}/notes", chart::notes::list)
        .about(paged("A patient's notes, newest first.").with_response(200, schema::<Page<chart::notes::NoteView>>()))
        .post("/api/patients/{id}/notes", chart::notes::write)
        .about(
            Operation::new("Write a note.")
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
            Operation::new("Prescribe.")
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
            Operation::new("Record a result.")
                .with_request(schema::<chart::results::NewResult>())
                .with_response(201, schema::<chart::results::ResultView>()),
        )
        .post("/api/patients/{id}/encounters", chart::encounters::write)
        .about(
            Operation::new("Record a visit.")
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
            Operation::new("Put a file into a patient's record.")
                .with_request(schema::<attachments::NewAttachment>())
                .with_response(201, schema::<attachments::AttachmentView>()),
        )
        .get("/api/patients/{id}/attachments/{attachment}", attachments::read)
        .about(Operation::new("A file in a patient's record.").with_response(200, schema::<attachments::ContentView>()))
}

/// What was done, by whom, and how long that is kept.
fn of_evidence(router: Router<App>) -> Router<App> {
    router
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
        .get("/api/ledger", ledger::read)
        .about(ledger::about())
        .post("/api/ledger/hold", ledger::hold)
        .about(
            Operation::new("Keep all of the ledger's records of the clinic beyond their time, or end that.")
                .with_request(schema::<ledger::Hold>())
                .with_response(204, serde_json::json!({})),
        )
        .post("/api/patients/{id}/hold", ledger::hold_patient)
        .about(
            Operation::new("Keep the ledger's records of a patient beyond their time, or end that.")
                .with_request(schema::<ledger::Hold>())
                .with_response(204, serde_json::json!({})),
        )
}

/// What the front desk and the patient have to do with each other.
fn of_desk(router: Router<App>) -> Router<App> {
    router
        .get("/api/patients/{id}/quotes", billing::quotes::list)
        .about(
            paged("What a patient was offered, newest first.")
                .with_response(200, schema::<Page<billing::quotes::QuoteView>>()),
        )
        .post("/api/patients/{id}/quotes", billing::quotes::create)
        .about(
            Operation::new("Write a quote.")
                .with_request(schema::<billing::quotes::NewQuote>())
                .with_response(201, schema::<billing::quotes::QuoteView>()),
        )
        .patch("/api/patients/{id}/quotes", billing::quotes::update)
        .about(
            Operation::new("Change one of a patient's quotes.")
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
            Operation::new("Write an invoice, from a quote or without.")
                .with_request(schema::<billing::invoices::NewInvoice>())
                .with_response(201, schema::<billing::invoices::InvoiceView>()),
        )
        .patch("/api/patients/{id}/invoices", billing::invoices::update)
        .about(
            Operation::new("Change one of a patient's invoices.")
                .with_request(schema::<billing::invoices::InvoicePatch>())
                .with_response(200, schema::<billing::invoices::InvoiceView>()),
        )
        .post("/api/patients/{id}/appointments", appointments::book)
        .about(
            Operation::new("Book an appointment.")
                .with_request(schema::<appointments::NewAppointment>())
                .with_response(201, schema::<appointments::BookedView>()),
        )
        .patch("/api/patients/{id}/appointments", appointments::update)
        .about(
            Operation::new("Change one of a patient's appointments.")
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
            Operation::new("Write to a patient, or as a patient to the clinic.")
                .with_request(schema::<messages::NewMessage>())
                .with_response(201, schema::<messages::MessageView>()),
        )
        .get("/api/appointments", appointments::list)
        .about(
            paged("The diary between two days.")
                .add_query("from", serde_json::json!({ "type": "string", "format": "date" }))
                .add_query("to", serde_json::json!({ "type": "string", "format": "date" }))
                .with_response(200, schema::<Page<appointments::AppointmentView>>()),
        )
}

/// Who looks after a patient, and who is in their circle.
fn of_people(router: Router<App>) -> Router<App> {
    router
        .put("/api/patients/{id}/assignments/{user}", assignments::assign)
        .about(Operation::new("Assign a patient to somebody.").with_response(204, serde_json::json!({})))
        .delete("/api/patients/{id}/assignments/{user}", assignments::unassign)
        .about(Operation::new("End an assignment, from the next request on.").with_response(204, serde_json::json!({})))
        .post("/api/patients/{id}/circle/invitations", circle::invite)
        .about(
            Operation::new("Invite somebody to a patient's circle: a token that holds once, for one e-mail address.")
                .with_request(schema::<circle::NewInvitation>())
                .with_response(201, schema::<circle::MadeView>()),
        )
        .get("/api/patients/{id}/circle/invitations", circle::invitations)
        .about(
            paged("Who was invited to a patient's circle, newest first.")
                .with_response(200, schema::<Page<circle::InvitationView>>()),
        )
        .delete("/api/patients/{id}/circle/{user}", circle::leave)
        .about(
            Operation::new("Take somebody out of a patient's circle, from the next request on.")
                .with_response(204, serde_json::json!({})),
        )
        .public_post("/api/circle/join", "the invitation's token is the credential", circle::join)
        .about(
            Operation::new("Join a patient's circle by an invitation.")
                .with_request(schema::<circle::Joining>())
                .with_response(201, schema::<circle::JoinedView>()),
        )
}

/// Those who work here, and what went wrong.
fn of_staff(router: Router<App>) -> Router<App> {
    router
        .get("/api/staff", people::staff)
        .about(paged("Who works here.").with_response(200, schema::<Page<people::StaffView>>()))
        .get("/api/employees/{id}/payroll", people::payroll)
        .about(Operation::new("What payroll knows of an employee.").with_response(200, schema::<people::PayrollView>()))
        .patch("/api/employees/{id}/payroll", people::change_payroll)
        .about(
            Operation::new("Change what payroll knows of an employee.")
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
            Operation::new("Ask for an absence, or report one.")
                .with_request(schema::<hr::absences::NewAbsence>())
                .with_response(201, schema::<hr::absences::AbsenceView>()),
        )
        .patch("/api/employees/{id}/absences", hr::absences::decide)
        .about(
            Operation::new("Decide about an absence.")
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
            Operation::new("Hand in what an employee worked.")
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
            Operation::new("Record a course that an employee took.")
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
            Operation::new("Record a register that an employee is in, or a check.")
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
            Operation::new("Report what went wrong, or nearly.")
                .with_request(schema::<incidents::NewIncident>())
                .with_response(201, schema::<incidents::ReportedView>()),
        )
        .patch("/api/incidents", incidents::close)
        .about(
            Operation::new("Say what was done about an incident, which closes it.")
                .with_request(schema::<incidents::Closing>())
                .with_response(200, schema::<incidents::IncidentView>()),
        )
}

/// A route that answers with a page.
pub(super) fn paged(summary: &'static str) -> Operation {
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

pub(super) fn schema<T: JsonSchema>() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
