//! What stands in a chart, for those who treat the patient.

use clinic::demo_data::CodeSystem;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

fn summary(id: Uuid) -> String {
    format!("/api/patients/{id}/summary")
}

async fn patch(client: &Client, id: Uuid, body: Value) -> Reply {
    client.send(Method::PATCH, &summary(id), Some(&body)).await
}

// Conditions and allergies were stored and read by nobody: a doctor prescribed blind.
#[tokio::test]
async fn whoever_treats_a_patient_reads_their_conditions_and_allergies() {
    let site = Site::start().await;
    let patients = site.patients();
    let data = data();
    let clinic = data.clinics.iter().find(|c| c.tenant == HOME).unwrap();
    let (mut conditions, mut allergies) = (0, 0);
    for role in ["doctor", "caregiver", "owner", "patient"] {
        let user = site.users(HOME, role).next().unwrap();
        let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
        for patient in &clinic.patients {
            let id = patients[&patient.id];
            let seen = me.get(&summary(id)).await;
            if !reach.contains(&id) {
                seen.expect_problem(404, &patient.allergies.iter().map(String::as_str).collect::<Vec<_>>());
                continue;
            }
            let want: Vec<Value> = patient
                .conditions
                .iter()
                .map(|c| {
                    let system = match c.system {
                        CodeSystem::Snomed => "snomed",
                        CodeSystem::Icd10Cm => "icd10-cm",
                        CodeSystem::Loinc => "loinc",
                    };
                    json!({ "code": c.code, "system": system, "display": c.display, "active": c.active })
                })
                .collect();
            assert_eq!(
                seen.expect(200).json(),
                json!({ "conditions": want, "allergies": patient.allergies, "version": 1 }),
                "{role}"
            );
            conditions += want.len();
            allergies += patient.allergies.len();
        }
    }
    assert!(conditions > 20 && allergies > 5, "{conditions} conditions, {allergies} allergies");
}

#[tokio::test]
async fn only_a_doctor_of_the_patient_changes_conditions_and_allergies() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let own = *site.reach(HOME, user).first().unwrap();
    let doctor = site.login_as(HOME, user).await;
    for role in ROLES.into_iter().filter(|role| *role != "doctor") {
        let me = site.login(HOME, role).await;
        patch(&me, own, json!({ "version": 1, "allergies": [] })).await.expect_problem(403, &[]);
    }
    let before = doctor.get(&summary(own)).await.json();
    assert_eq!(before["version"], 1);

    // What is absent stays, and what is there replaces.
    let changed = patch(&doctor, own, json!({ "version": 1, "allergies": ["Penicillin", "Latex"] })).await;
    assert_eq!(
        changed.expect(200).json(),
        json!({ "conditions": before["conditions"], "allergies": ["Penicillin", "Latex"], "version": 2 })
    );
    let asthma = json!([{ "code": "195967001", "system": "snomed", "display": "Asthma", "active": true }]);
    let changed = patch(&doctor, own, json!({ "version": 2, "conditions": asthma })).await;
    let want = json!({ "conditions": asthma, "allergies": ["Penicillin", "Latex"], "version": 3 });
    assert_eq!(changed.expect(200).json(), want);
    // Whoever read another version changes nothing.
    for version in [0, 2, 4] {
        patch(&doctor, own, json!({ "version": version, "allergies": ["Dust"] })).await.expect_problem(409, &["Dust"]);
    }
    assert_eq!(site.login(HOME, "owner").await.get(&summary(own)).await.json(), want);
    let timeline = site.login(HOME, "owner").await.get(&format!("/api/patients/{own}/timeline?limit=100")).await;
    let timeline = timeline.json();
    let entries = timeline["items"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["permission"] == "summary.read" && e["role"] == "doctor"));
    assert!(entries.iter().any(|e| e["action"] == "update" && e["entity"] == "patient_clinical"));
}

#[tokio::test]
async fn a_new_patient_has_nothing_recorded_and_that_shows() {
    let site = Site::start().await;
    let (owner, doctor) = (site.login(HOME, "owner").await, site.login(HOME, "doctor").await);
    let new = json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" });
    let created = owner.post("/api/patients", &new).await.expect(201).json();
    let id: Uuid = created["id"].as_str().unwrap().parse().unwrap();
    let assignment = format!("/api/patients/{id}/assignments/{}", doctor.user_id().await);
    owner.send(Method::PUT, &assignment, None).await.expect(204);
    let nothing = json!({ "conditions": [], "allergies": [], "version": 0 });
    assert_eq!(doctor.get(&summary(id)).await.expect(200).json(), nothing);
    patch(&doctor, id, json!({ "version": 1, "allergies": [] })).await.expect_problem(409, &[]);
    // None are known: that is something.
    patch(&doctor, id, json!({ "version": 0, "allergies": [] })).await.expect(200);
    assert_eq!(doctor.get(&summary(id)).await.json(), json!({ "conditions": [], "allergies": [], "version": 1 }));
}

#[tokio::test]
async fn conditions_and_allergies_that_cannot_be_are_refused() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let before = doctor.get(&summary(id)).await.json();
    let condition = |field: &str, value: Value| {
        let mut one = json!({ "code": "1", "system": "snomed", "display": "Canary", "active": true });
        one[field] = value;
        json!({ "version": 1, "conditions": [one] })
    };
    for body in [
        json!({ "version": 1 }),
        json!({ "allergies": [] }),
        json!({ "version": 1, "allergies": null }),
        json!({ "version": 1, "conditions": null, "allergies": [] }),
        json!({ "version": 1, "allergies": "Canary" }),
        json!({ "version": 1, "allergies": [""] }),
        json!({ "version": 1, "allergies": ["a\nb"] }),
        json!({ "version": 1, "allergies": ["x".repeat(201)] }),
        json!({ "version": 1, "allergies": vec!["x"; 101] }),
        json!({ "version": 1, "allergies": [], "notes": "Canary" }),
        json!({ "version": 1, "conditions": vec![condition("code", json!("1"))["conditions"][0].clone(); 101] }),
        condition("code", json!("x".repeat(65))),
        condition("code", json!("")),
        condition("system", json!("icd-9")),
        condition("display", json!("x".repeat(201))),
        condition("display", json!("a\u{1b}b")),
        condition("active", json!("yes")),
        condition("since", json!("2020")),
    ] {
        let reply = patch(&doctor, id, body.clone()).await;
        assert_eq!(reply.status, 400, "{body}");
        reply.expect_problem(400, &["Canary"]);
    }
    assert_eq!(doctor.get(&summary(id)).await.json(), before);
    // The largest lists of the longest texts fit into their columns.
    let mut long = condition("display", json!("\"".repeat(200)));
    long["conditions"][0]["code"] = json!("\\".repeat(64));
    long["conditions"][0]["system"] = json!("icd10-cm");
    long["conditions"][0]["active"] = json!(false);
    let largest = json!({
        "version": 1, "conditions": vec![long["conditions"][0].clone(); 100], "allergies": vec!["\"".repeat(200); 100],
    });
    patch(&doctor, id, largest.clone()).await.expect(200);
    assert_eq!(doctor.get(&summary(id)).await.json()["allergies"], largest["allergies"]);
}

// A page of a hundred notes was six and a half megabytes.
#[tokio::test]
async fn a_page_of_long_notes_ends_early_and_the_pages_together_are_the_list() {
    const MOST: usize = 256 << 10;
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let path = format!("/api/patients/{id}/notes");
    let mut want: Vec<String> = doctor.get(&format!("{path}?limit=100")).await.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note["id"].as_str().unwrap().to_owned())
        .collect();
    for (n, size) in [65_536, 65_536, 10, 65_536, 60_000, 65_536, 65_536, 3, 65_536].into_iter().enumerate() {
        let text = format!("{n}{}", "x".repeat(size - 1));
        let note = doctor.post(&path, &json!({ "text": text })).await;
        want.insert(0, note.expect(201).json()["id"].as_str().unwrap().to_owned());
    }
    for limit in [1, 2, 100] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = doctor.get(&format!("{path}?limit={limit}{cursor}")).await;
            let page = page.expect(200).json();
            let items = page["items"].as_array().unwrap();
            let texts: usize = items.iter().map(|note| note["text"].as_str().unwrap().len()).sum();
            assert!((1..=limit).contains(&items.len()) && texts <= MOST, "{} notes, {texts} bytes", items.len());
            seen.extend(items.iter().map(|note| note["id"].as_str().unwrap().to_owned()));
            pages += 1;
            let Some(next) = page.get("next") else { break };
            cursor = format!("&cursor={}", next.as_str().unwrap());
        }
        assert_eq!(seen, want, "{limit} a page");
        assert!(limit < 100 || pages == 2, "{pages} pages");
    }
}

#[tokio::test]
async fn whoever_treats_a_patient_records_visits_and_results_and_books() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let id = *reach.first().unwrap();
    let path = |kind: &str| format!("/api/patients/{id}/{kind}");
    let visit = json!({ "kind": "home", "reason": "Fell out of bed", "at": "2026-01-02T03:04:05.678Z" });
    let visit = doctor.post(&path("encounters"), &visit).await.expect(201).json();
    assert_eq!(
        (&visit["at"], &visit["clinician"]),
        (&json!("2026-01-02T03:04:05.678Z"), &json!(doctor.user_id().await))
    );
    let visits = doctor.get(&format!("{}?limit=100", path("encounters"))).await.expect(200).json();
    assert!(visits["items"].as_array().unwrap().contains(&visit));

    let result = json!({ "code": "718-7", "display": "Haemoglobin", "value": 13.9, "unit": "g/dL", "flag": "normal" });
    let result = doctor.post(&path("results"), &result).await.expect(201).json();
    let newest = doctor.get(&format!("{}?limit=1", path("results"))).await.expect(200).json();
    assert_eq!(newest["items"], json!([result]));

    let now = site.ward.clock().now();
    let soon = now + jiff::SignedDuration::from_hours(26);
    let booking = json!({
        "clinician": doctor.user_id().await, "starts_at": soon.to_string(), "minutes": 20, "reason": "Plaster off",
    });
    let booked = doctor.post(&path("appointments"), &booking).await.expect(201).json();
    assert_eq!((&booked["status"], &booked["version"]), (&json!("booked"), &json!(1)));
    let diary = site.login(HOME, "receptionist").await.get("/api/appointments?limit=100").await.expect(200).json();
    assert!(diary["items"].as_array().unwrap().iter().any(|entry| entry["id"] == booked["id"]));

    // What cannot be.
    let with = |body: &Value, field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    let tomorrow = json!((now + jiff::SignedDuration::from_hours(24)).to_string());
    let visit = json!({ "kind": "home", "reason": "x" });
    let result = valid_body(&Method::POST, "results").unwrap();
    for (kind, body) in [
        ("encounters", with(&visit, "kind", json!("away"))),
        ("encounters", with(&visit, "reason", json!(""))),
        ("encounters", with(&visit, "at", tomorrow.clone())),
        ("encounters", with(&visit, "at", json!("1700-01-01T00:00:00Z"))),
        ("encounters", with(&visit, "clinician", json!(id))),
        ("results", with(&result, "flag", json!("odd"))),
        ("results", with(&result, "value", json!("13.9"))),
        ("results", with(&result, "at", tomorrow)),
        ("appointments", with(&booking, "starts_at", json!("2020-01-01T00:00:00Z"))),
        ("appointments", with(&booking, "starts_at", json!("2999-01-01T00:00:00Z"))),
        ("appointments", with(&booking, "minutes", json!(0))),
        ("appointments", with(&booking, "reason", json!("a\nb"))),
    ] {
        let reply = doctor.post(&path(kind), &body).await;
        assert_eq!(reply.status, 400, "{kind} {body}");
    }
    // With somebody who does not work here, or with nobody.
    let relative = site.login(HOME, "family_member").await.user_id().await;
    let away = site.login(AWAY, "doctor").await.user_id().await;
    for clinician in [relative, away, Uuid::nil()] {
        doctor.post(&path("appointments"), &with(&booking, "clinician", json!(clinician))).await.expect(404);
    }
    // Nobody records at another's patient, and who may not record does not.
    let stranger = *site.clinic(HOME).patients.iter().find(|other| !reach.contains(other)).unwrap();
    for (kind, body) in [("encounters", &visit), ("results", &result), ("appointments", &booking)] {
        doctor.post(&format!("/api/patients/{stranger}/{kind}"), body).await.expect(404);
        for role in ["caregiver", "patient", "family_member", "clinic_admin"] {
            site.login(HOME, role).await.post(&path(kind), body).await.expect(403);
        }
    }
}
