//! Disks that err while they are written: what the client gets, what the ledger holds, and how it recovers.

use std::path::Path;

use http::{Method, StatusCode};
use serde_json::json;
use tower_ward::audit::{Kind, Outcome, Record, verify};

use super::{Faults, end};
use crate::process::{CANARY, Clinic, Records, Rows, Users, data_folder, drug, somebody, until};

/// What a fault of the ledger's disk does to requests that open a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doors {
    Open,
    Refused,
}

const LEDGER_FAULTS: [(&str, Doors); 4] = [
    ("write-eio", Doors::Refused),
    ("sync-eio", Doors::Refused),
    ("torn", Doors::Refused),
    // A write that takes less than it was given is no error: the rest is written by the next.
    ("short", Doors::Open),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_cannot_be_written_opens_no_door_until_it_can() {
    let (faults, data) = (Faults::new(), data_folder());
    let ledger = data.path().join("ledger");
    let clinic = faults.start(data.path());
    let mut users = Users::of(&clinic).await;
    for (fault, doors) in LEDGER_FAULTS {
        for (name, expected, answer) in users.open_doors().await {
            assert_eq!(answer.status, expected, "before {fault}: {name}: {:?}", answer.body);
        }
        faults.set(&format!("{fault} /ledger/"));
        if doors == Doors::Open {
            for (name, expected, answer) in users.open_doors().await {
                assert_eq!(answer.status, expected, "{fault}: {name}: {:?}", answer.body);
            }
            faults.end();
            continue;
        }
        until(async || users.owner.get("/api/staff").await.unwrap().status == StatusCode::SERVICE_UNAVAILABLE).await;
        let before = Rows::read(data.path(), &users.tenant).await;
        for _ in 0..3 {
            for (name, _, answer) in users.open_doors().await {
                users.check_refusal(&format!("{fault}: {name}"), &answer);
            }
            refused_without_a_door(&mut users, fault).await;
        }
        assert_eq!(before, Rows::read(data.path(), &users.tenant).await, "{fault}: a change without a record");
        // What the ledger held before the fault is still there to be read.
        verify(&ledger).unwrap_or_else(|error| panic!("{fault}: {error}"));

        faults.end();
        until(async || users.owner.get("/api/staff").await.unwrap().status == StatusCode::OK).await;
        for (name, expected, answer) in users.open_doors().await {
            assert_eq!(answer.status, expected, "after {fault}: {name}: {:?}", answer.body);
        }
    }
    settle(clinic, data.path()).await;
}

/// What opens no door is answered as ever.
async fn refused_without_a_door(users: &mut Users, fault: &str) {
    let mut stranger = users.owner.clone();
    stranger.token = None;
    let notes = format!("/api/patients/{}/notes", users.patient);
    assert_eq!(stranger.get("/healthz").await.unwrap().status, StatusCode::OK, "{fault}");
    assert_eq!(stranger.get(&notes).await.unwrap().status, StatusCode::UNAUTHORIZED, "{fault}");
    assert_eq!(users.receptionist.get(&notes).await.unwrap().status, StatusCode::FORBIDDEN, "{fault}");
    let nobody = "/api/patients/01900000-0000-7000-8000-000000000000/notes";
    assert_eq!(users.doctor.get(nobody).await.unwrap().status, StatusCode::NOT_FOUND, "{fault}");
}

/// Ends the server, and another one that settles what this one had to leave open.
async fn settle(clinic: Clinic, data: &Path) -> Records {
    clinic.terminate();
    assert!(clinic.ended().await.success());
    let again = Clinic::start(data);
    again.login(0, "owner").await;
    end(again, data).await.0
}

/// Faults of one clinic's file, and what becomes of its changes: the status, and the outcome in the ledger. Where the
/// disk erred, what it holds is not known before the next start.
const CLINIC_FAULTS: [(&str, u16, Outcome); 4] = [
    ("write-eio", 500, Outcome::Unknown),
    ("sync-eio", 500, Outcome::Unknown),
    ("torn", 503, Outcome::RolledBack),
    ("short", 201, Outcome::Committed),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clinic_whose_file_cannot_be_written_changes_nothing_and_disturbs_no_other() {
    let (faults, data) = (Faults::new(), data_folder());
    let clinic = faults.start(data.path());
    let mut users = Users::of(&clinic).await;
    let mut other = clinic.login(1, "doctor").await;
    let others = format!("/api/patients/{}/notes", other.patients().await[0]);
    let notes = format!("/api/patients/{}/notes", users.patient);
    let mut written = Vec::new();
    for (fault, status, outcome) in CLINIC_FAULTS {
        faults.set(&format!("{fault} /clinics/harbour"));
        let mut changes = Vec::new();
        for _ in 0..5 {
            let answer = users.doctor.post(&notes, &json!({ "text": CANARY })).await.unwrap();
            assert_eq!(answer.status, status, "{fault}: {:?}", answer.body);
            assert!(status == 201 || !answer.text().contains(CANARY), "{fault}");
            if status == 201 {
                written.push(answer.json()["id"].as_str().unwrap().to_owned());
            }
            changes.push(answer.request_id);
            let answer = other.post(&others, &json!({ "text": "next door" })).await.unwrap();
            assert_eq!(answer.status, StatusCode::CREATED, "{fault}: {:?}", answer.body);
            // What is read needs no room and no sync.
            let answer = users.doctor.get(&notes).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{fault}: {:?}", answer.body);
        }
        faults.end();
        let answer = users.doctor.post(&notes, &json!({ "text": "mended" })).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "after {fault}: {:?}", answer.body);
        written.push(answer.json()["id"].as_str().unwrap().to_owned());

        // Each change was announced, and its outcome is no guess.
        let mut records = Records::of(&data.path().join("ledger"));
        records.until_settled().await;
        for id in &changes {
            let of = |kind| records.all.iter().filter(move |r| r.kind() == kind && r.request_id() == Some(id));
            let outcomes: Vec<_> = of(Kind::Outcome).map(|record| record.outcome().unwrap()).collect();
            assert_eq!(outcomes, [outcome], "{fault}");
            let closed: Vec<_> = of(Kind::Closed).map(|record| record.status().unwrap()).collect();
            assert_eq!(closed, [status], "{fault}");
        }
    }
    settle(clinic, data.path()).await;
    let rows = Rows::read(data.path(), &users.tenant).await;
    assert!(written.iter().all(|id| rows.holds("notes", id)), "an acknowledged note is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_and_keys_that_cannot_be_written_admit_nobody_half_way() {
    let (faults, data) = (Faults::new(), data_folder());
    let clinic = faults.start(data.path());
    let mut users = Users::of(&clinic).await;
    let owner = clinic.demo.clinics[0].users.iter().find(|user| user.role == "owner").unwrap();
    let login = json!({ "username": owner.username, "password": owner.password });
    let mut stranger = users.owner.clone();
    stranger.token = None;
    let (mut logins, mut registrations) = (Vec::new(), Vec::new());
    for fault in ["write-eio", "sync-eio", "torn"] {
        faults.set(&format!("{fault} /accounts.sqlite"));
        for _ in 0..3 {
            let answer = stranger.post("/api/login", &login).await.unwrap();
            users.check_refusal(&format!("{fault}: login"), &answer);
            logins.push(answer.request_id);
            // Who is logged in is not disturbed: no request reads the accounts.
            assert_eq!(users.owner.get("/api/staff").await.unwrap().status, StatusCode::OK, "{fault}");
        }
        faults.end();
        let answer = stranger.post("/api/login", &login).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "after {fault}: {:?}", answer.body);

        faults.set(&format!("{fault} /keys.sqlite"));
        let before = Rows::read(data.path(), &users.tenant).await;
        for _ in 0..3 {
            let answer = users.receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
            users.check_refusal(&format!("{fault}: register"), &answer);
            registrations.push(answer.request_id);
            // Those who have a key are looked after as before.
            let prescriptions = format!("/api/patients/{}/prescriptions", users.patient);
            let answer = users.doctor.post(&prescriptions, &drug("Paracetamol")).await.unwrap();
            assert_eq!(answer.status, StatusCode::CREATED, "{fault}: {:?}", answer.body);
        }
        let after = Rows::read(data.path(), &users.tenant).await;
        assert_eq!(before.rows["patients"], after.rows["patients"], "{fault}: somebody without a key");
        faults.end();
        let answer = users.receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "after {fault}: {:?}", answer.body);
    }
    let records = settle(clinic, data.path()).await;
    // A login is recorded before its session is made, and stands there although none was; nobody was registered.
    for (ids, kind) in [(logins, Kind::Login), (registrations, Kind::Refused)] {
        for id in ids {
            let kinds: Vec<_> = records.all.iter().filter(|r| r.request_id() == Some(&id)).map(Record::kind).collect();
            assert_eq!(kinds, [kind]);
        }
    }
}

/// A copy of the keys on a disk that errs: the erasure is done where it can be, says what is missing, and is finished by
/// itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_a_copy_that_cannot_be_written_and_says_so() {
    let (faults, data) = (Faults::new(), data_folder());
    let clinic = faults.start(data.path());
    let (mut owner, mut receptionist) = (clinic.login(0, "owner").await, clinic.login(0, "receptionist").await);
    for fault in ["write-eio", "sync-eio", "torn"] {
        let new = receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
        let path = format!("/api/patients/{}", new.json()["id"].as_str().unwrap());
        faults.set(&format!("{fault} /keys-copy.sqlite"));
        for _ in 0..2 {
            let answer = owner.send(&Method::DELETE, &path, None).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{fault}: {:?}", answer.body);
            let waiting = json!({ "erased": true, "complete": false, "copies": 1 });
            assert_eq!(answer.json(), waiting, "{fault}");
            assert_eq!(owner.get(&path).await.unwrap().status, StatusCode::NOT_FOUND, "{fault}");
        }
        // Nobody else waits for it.
        let another = receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
        assert_eq!(another.status, StatusCode::CREATED, "{fault}: {:?}", another.body);
        let mut records = Records::of(&data.path().join("ledger"));
        let confirmed = |records: &mut Records| {
            records.read_on();
            records.all.iter().filter(|record| record.reason() == Some("confirmed")).count()
        };
        let before = confirmed(&mut records);
        faults.end();
        until(async || confirmed(&mut records) > before).await;
        let answer = owner.send(&Method::DELETE, &path, None).await.unwrap();
        assert_eq!(answer.json(), json!({ "erased": true, "complete": true, "copies": 2 }), "after {fault}");
    }
    settle(clinic, data.path()).await;
}
