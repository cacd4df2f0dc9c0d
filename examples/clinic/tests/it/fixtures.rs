//! The demo data: what the seeding relies on.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
};

use clinic::demo_data::{self, AppointmentStatus, Clinic, DemoData, DemoDataError, NoteKind, Role};
use flate2::{Compression, write::GzEncoder};

fn load() -> DemoData {
    demo_data::load().unwrap()
}

fn gzip(json: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json).unwrap();
    encoder.finish().unwrap()
}

/// Fails on the second of a kind.
struct Once(HashSet<String>);

impl Once {
    fn new() -> Self {
        Self(HashSet::new())
    }

    fn see(&mut self, value: &str) {
        assert!(!value.is_empty());
        assert!(self.0.insert(value.to_owned()), "twice: {value}");
    }
}

fn staff(clinic: &Clinic) -> HashMap<&str, Role> {
    clinic.staff.iter().map(|staff| (staff.id.as_str(), staff.role)).collect()
}

fn patients(clinic: &Clinic) -> HashSet<&str> {
    clinic.patients.iter().map(|patient| patient.id.as_str()).collect()
}

#[test]
fn there_is_enough_of_everything() {
    let data = load();
    let tenants: Vec<_> = data.clinics.iter().map(|clinic| clinic.tenant.as_str()).collect();
    assert_eq!(tenants, ["harbour", "meadow", "northgate"]);
    for clinic in &data.clinics {
        let name = &clinic.tenant;
        assert!(clinic.patients.len() >= 20, "{name}");
        assert!(clinic.family.len() >= 4, "{name}");
        assert!(clinic.encounters.len() >= 100, "{name}");
        assert!(clinic.prescriptions.len() >= 40, "{name}");
        assert!(clinic.results.len() >= 100, "{name}");
        assert_eq!(clinic.employees.len(), clinic.staff.len(), "{name}");
        for role in [Role::Receptionist, Role::Doctor, Role::Owner, Role::ClinicAdmin, Role::Caregiver] {
            assert!(clinic.staff.iter().any(|staff| staff.role == role), "{name} has no {role:?}");
        }
        assert!(clinic.messages.len() >= 50 && clinic.quotes.len() >= 10 && clinic.invoices.len() >= 10, "{name}");
        assert!(clinic.attachments.len() >= clinic.patients.len() && clinic.incidents.len() >= 4, "{name}");
        for staff in &clinic.staff {
            assert!(clinic.absences.iter().any(|a| a.staff == staff.id), "{} is never away", staff.id);
            assert!(clinic.timesheets.iter().any(|t| t.staff == staff.id), "{} never works", staff.id);
            assert!(clinic.training.iter().any(|t| t.staff == staff.id), "{} learned nothing", staff.id);
            assert!(clinic.credentials.iter().any(|c| c.staff == staff.id), "{} is in no register", staff.id);
        }
        assert!(clinic.appointments.iter().any(|a| a.day == 0 && a.status == AppointmentStatus::Booked), "{name}");
        for kind in [NoteKind::Consultation, NoteKind::Telephone, NoteKind::CareVisit] {
            assert!(clinic.notes.iter().any(|note| note.kind == kind), "{name} has no {kind:?}");
        }
    }
    assert!(data.clinics.iter().map(|clinic| clinic.patients.len()).sum::<usize>() >= 60);
    let notes: HashSet<_> = data.clinics.iter().flat_map(|clinic| &clinic.notes).map(|note| &note.text).collect();
    assert!(notes.len() >= 500, "{} notes with a text of their own", notes.len());
}

#[test]
fn every_patient_has_notes_and_a_doctor_who_does_not_have_every_patient() {
    for clinic in &load().clinics {
        let roles = staff(clinic);
        let mut of_doctor: HashMap<&str, HashSet<&str>> = HashMap::new();
        for assignment in &clinic.care_team {
            if roles[assignment.staff.as_str()] == Role::Doctor {
                of_doctor.entry(&assignment.staff).or_default().insert(&assignment.patient);
            }
        }
        for patient in patients(clinic) {
            assert!(of_doctor.values().any(|cared| cared.contains(patient)), "{patient} has no doctor");
            assert!(clinic.notes.iter().any(|note| note.patient == patient), "{patient} has no note");
        }
        for (doctor, cared) in of_doctor {
            assert!((1..clinic.patients.len()).contains(&cared.len()), "{doctor}");
        }
    }
}

#[test]
fn identifiers_are_unique_over_all_clinics() {
    let data = load();
    let (mut ids, mut emails, mut numbers) = (Once::new(), Once::new(), Once::new());
    for clinic in &data.clinics {
        let records = (clinic.staff.iter().map(|r| &r.id))
            .chain(clinic.patients.iter().map(|r| &r.id))
            .chain(clinic.encounters.iter().map(|r| &r.id))
            .chain(clinic.appointments.iter().map(|r| &r.id))
            .chain(clinic.notes.iter().map(|r| &r.id))
            .chain(clinic.prescriptions.iter().map(|r| &r.id))
            .chain(clinic.results.iter().map(|r| &r.id))
            .chain(clinic.family.iter().map(|r| &r.id))
            .chain(clinic.messages.iter().map(|r| &r.id))
            .chain(clinic.quotes.iter().map(|r| &r.id))
            .chain(clinic.invoices.iter().map(|r| &r.id))
            .chain(clinic.attachments.iter().map(|r| &r.id))
            .chain(clinic.absences.iter().map(|r| &r.id))
            .chain(clinic.timesheets.iter().map(|r| &r.id))
            .chain(clinic.training.iter().map(|r| &r.id))
            .chain(clinic.credentials.iter().map(|r| &r.id))
            .chain(clinic.incidents.iter().map(|r| &r.id));
        for id in records {
            ids.see(id);
            assert!(id.starts_with(&format!("{}-", clinic.tenant)), "{id}");
        }
        clinic.staff.iter().for_each(|staff| emails.see(&staff.email));
        clinic.patients.iter().for_each(|patient| emails.see(&patient.email));
        clinic.family.iter().for_each(|member| emails.see(&member.email));
        clinic.patients.iter().for_each(|patient| numbers.see(&patient.nhs_test_number));
        clinic.patients.iter().for_each(|patient| numbers.see(&patient.phone));
        clinic.employees.iter().for_each(|employee| numbers.see(&employee.ni_number));
        clinic.employees.iter().for_each(|employee| numbers.see(&employee.bank.account_number));
    }
}

#[test]
fn references_stay_inside_the_clinic_and_resolve() {
    for clinic in &load().clinics {
        let (roles, patients) = (staff(clinic), patients(clinic));
        let visits: HashMap<_, _> = clinic.encounters.iter().map(|visit| (visit.id.as_str(), visit)).collect();
        let doctor = |id: &str| assert_eq!(roles.get(id), Some(&Role::Doctor), "{id}");
        let patient = |id: &str| assert!(patients.contains(id), "{id}");

        for visit in &clinic.encounters {
            patient(&visit.patient);
            doctor(&visit.clinician);
        }
        for appointment in &clinic.appointments {
            patient(&appointment.patient);
            doctor(&appointment.clinician);
        }
        for note in &clinic.notes {
            patient(&note.patient);
            assert_eq!(roles[note.author.as_str()], note.author_role, "{}", note.id);
            let writes = if note.kind == NoteKind::CareVisit { Role::Caregiver } else { Role::Doctor };
            assert_eq!(note.author_role, writes, "{}", note.id);
            assert!(
                clinic.care_team.iter().any(|a| a.staff == note.author && a.patient == note.patient),
                "the author of {} is not in the care team",
                note.id
            );
            if let Some(visit) = &note.encounter {
                let visit = visits[visit.as_str()];
                assert_eq!((&visit.patient, &visit.clinician, visit.day), (&note.patient, &note.author, note.day));
            }
        }
        for prescription in &clinic.prescriptions {
            patient(&prescription.patient);
            doctor(&prescription.prescriber);
        }
        clinic.results.iter().for_each(|result| patient(&result.patient));
        let mut assigned = HashSet::new();
        for assignment in &clinic.care_team {
            patient(&assignment.patient);
            assert!(matches!(roles[assignment.staff.as_str()], Role::Doctor | Role::Caregiver));
            assert!(assigned.insert((&assignment.staff, &assignment.patient)), "assigned twice");
        }
        for member in &clinic.family {
            assert!(!member.members_of.is_empty(), "{}", member.id);
            member.members_of.iter().for_each(|place| patient(&place.patient));
        }
        let works = |id: &str| assert!(roles.contains_key(id), "{id}");
        // The first two have an account, and can have written.
        let with_account: HashSet<&str> = clinic.patients.iter().take(2).map(|p| p.id.as_str()).collect();
        for message in &clinic.messages {
            patient(&message.patient);
            match &message.author {
                Some(author) => works(author),
                None => assert!(with_account.contains(message.patient.as_str()), "{}", message.id),
            }
        }
        let quotes: HashMap<_, _> = clinic.quotes.iter().map(|q| (q.id.as_str(), q)).collect();
        for quote in &clinic.quotes {
            patient(&quote.patient);
            works(&quote.author);
        }
        for invoice in &clinic.invoices {
            patient(&invoice.patient);
            works(&invoice.author);
            if let Some(quote) = &invoice.quote {
                let quote = quotes[quote.as_str()];
                assert_eq!((&quote.patient, quote.status), (&invoice.patient, demo_data::QuoteStatus::Accepted));
                assert!(quote.day < invoice.day, "{}", invoice.id);
            }
        }
        for attachment in &clinic.attachments {
            patient(&attachment.patient);
            works(&attachment.author);
        }
        clinic.absences.iter().for_each(|r| works(&r.staff));
        clinic.timesheets.iter().for_each(|r| works(&r.staff));
        clinic.training.iter().for_each(|r| works(&r.staff));
        clinic.credentials.iter().for_each(|r| works(&r.staff));
        clinic.incidents.iter().for_each(|r| works(&r.reporter));
        let paid: HashSet<_> = clinic.employees.iter().map(|employee| employee.staff.as_str()).collect();
        assert_eq!(paid, roles.keys().copied().collect());
    }
}

#[test]
fn dates_make_sense() {
    // The day on which the histories were made; whoever is in them was born before.
    let reference = jiff::civil::date(2026, 1, 1);
    for clinic in &load().clinics {
        let mut slots = HashSet::new();
        let mut born = HashMap::new();
        for patient in &clinic.patients {
            let days = (patient.birth_date - reference).get_days();
            assert!((-110 * 366..0).contains(&days), "{}", patient.id);
            born.insert(patient.id.as_str(), days);
        }
        let alive = |patient: &str, day: i32| (born[patient]..0).contains(&day);
        let ill = |patient: &demo_data::Patient| patient.conditions.iter().all(|c| alive(&patient.id, c.onset_day));
        assert!(clinic.patients.iter().all(ill));
        assert!(clinic.encounters.iter().all(|visit| alive(&visit.patient, visit.day)));
        assert!(clinic.notes.iter().all(|note| alive(&note.patient, note.day)));
        assert!(clinic.results.iter().all(|result| alive(&result.patient, result.day)));
        assert!(clinic.prescriptions.iter().all(|prescription| alive(&prescription.patient, prescription.day)));
        assert!(clinic.employees.iter().all(|employee| employee.started_day < 0));
        assert!(clinic.messages.iter().all(|message| message.day < 0));
        assert!(clinic.quotes.iter().all(|quote| quote.day < 0) && clinic.invoices.iter().all(|bill| bill.day < 0));
        assert!(clinic.attachments.iter().all(|file| file.day < 0) && clinic.incidents.iter().all(|i| i.day < 0));
        assert!(clinic.absences.iter().all(|absence| absence.first_day <= absence.last_day));
        assert!(clinic.timesheets.iter().all(|sheet| sheet.day < 0 && (1..=1440).contains(&sheet.minutes)));
        assert!(clinic.training.iter().all(|t| t.completed_day < 0 && t.expires_day > Some(t.completed_day)));
        for appointment in &clinic.appointments {
            assert!((-28..=28).contains(&appointment.day), "{}", appointment.id);
            assert!((8..18).contains(&appointment.time.hour()), "{}", appointment.id);
            assert!(appointment.minutes > 0);
            let over = matches!(appointment.status, AppointmentStatus::Attended | AppointmentStatus::DidNotAttend);
            assert!(!over || appointment.day < 0, "{} is over before it began", appointment.id);
            assert!(
                slots.insert((&appointment.clinician, appointment.day, appointment.time)),
                "{} is booked twice",
                appointment.id
            );
        }
    }
}

#[test]
fn no_identifier_can_belong_to_anybody() {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let reserved = |email: &str| {
        let (local, domain) = email.split_once('@').unwrap();
        assert!(!local.is_empty());
        ["example.com", "example.org", "example.net"].contains(&domain) || domain.ends_with(".example")
    };
    for clinic in &load().clinics {
        for patient in &clinic.patients {
            let number = &patient.nhs_test_number;
            assert!(number.len() == 10 && digits(number) && number.starts_with("999"), "{number}");
            let weighted: u32 =
                number.bytes().zip((1..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
            assert_eq!(weighted % 11, 0, "{number} has a wrong check digit");
            let drama = patient.phone.strip_prefix("07700 900").unwrap();
            assert!(drama.len() == 3 && digits(drama), "{}", patient.phone);
            assert!(reserved(&patient.email), "{}", patient.email);
            assert!(patient.address.contains(", ZZ99 "), "{}", patient.address);
        }
        for employee in &clinic.employees {
            let ni = employee.ni_number.strip_prefix("QQ").unwrap();
            assert!(ni.len() == 7 && digits(&ni[..6]) && matches!(&ni[6..], "A" | "B" | "C" | "D"));
            assert_eq!(employee.bank.sort_code, "00-00-00");
            let account = employee.bank.account_number.strip_prefix("0000").unwrap();
            assert!(account.len() == 4 && digits(account));
            assert!((15_000..250_000).contains(&employee.annual_salary_gbp));
        }
        assert!(clinic.credentials.iter().all(|c| c.number.strip_prefix("TEST-").is_some_and(digits)));
        assert!(clinic.staff.iter().all(|staff| reserved(&staff.email)));
        assert!(clinic.family.iter().all(|member| reserved(&member.email)));
    }
}

#[test]
fn notes_read_like_notes() {
    for clinic in &load().clinics {
        let given: HashMap<_, _> = clinic.patients.iter().map(|p| (p.id.as_str(), p.given.as_str())).collect();
        for note in &clinic.notes {
            assert!((80..4000).contains(&note.text.len()), "{}", note.id);
            assert!(note.text.contains(given[note.patient.as_str()]), "{} does not name its patient", note.id);
            // What the generator leaves behind when the wording forgets to take it out.
            for trace in ["(finding)", "(disorder)", "(procedure)", "{", "}", "None", "urn:uuid"] {
                assert!(!note.text.contains(trace), "{} contains {trace}", note.id);
            }
        }
    }
}

#[test]
fn the_generators_are_named_in_the_notice() {
    let notice = include_str!("../../fixtures/NOTICE");
    for source in load().made_with {
        let (name, version) = source.split_once("==").unwrap();
        assert!(notice.contains(&format!("{name} {version}")), "{source}");
    }
}

#[test]
fn a_record_without_its_mark_or_with_another_is_refused() {
    let member = |label: &str| format!(r#"{{{label}"patient":"p","relationship":"son"}}"#);
    let parse = |json: &str| serde_json::from_str::<demo_data::Membership>(json);
    assert!(parse(&member(r#""label":"HTEST","#)).is_ok());
    assert!(parse(&member("")).is_err());
    assert!(parse(&member(r#""label":"TREAT","#)).is_err());
    assert!(parse(&member(r#""label":"HTEST","nhs_number":"1","#)).is_err(), "an unknown field");
}

#[test]
fn files_that_are_damaged_large_or_of_another_format_are_refused() {
    let good = br#"{"format":2,"made_with":[],"clinics":[]}"#;
    assert!(demo_data::read(&gzip(good)).is_ok());
    assert!(matches!(demo_data::read(b"not gzip"), Err(DemoDataError::Unpack(_))));
    let packed = gzip(good);
    assert!(matches!(demo_data::read(&packed[..packed.len() - 4]), Err(DemoDataError::Unpack(_))));
    let newer = br#"{"format":3,"made_with":[],"clinics":[]}"#;
    assert!(matches!(demo_data::read(&gzip(newer)), Err(DemoDataError::Format { found: 3 })));
    assert!(matches!(demo_data::read(&gzip(b"{}")), Err(DemoDataError::Shape(_))));
    let bomb = vec![b' '; usize::try_from(demo_data::MAX_JSON).unwrap() + 1];
    assert!(matches!(demo_data::read(&gzip(&bomb)), Err(DemoDataError::TooLarge)));
}
