//! What the clinic keeps of those who work here: their own to them, everybody's to who runs it.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

const KINDS: [&str; 4] = ["absences", "timesheets", "training", "credentials"];

fn path(employee: Uuid, kind: &str) -> String {
    format!("/api/employees/{employee}/{kind}")
}

fn items(reply: &Reply) -> Vec<Value> {
    reply.expect(200).json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn staff_see_and_hand_in_what_is_their_own_and_nobody_elses() {
    let site = Site::start().await;
    let colleague = site.users(HOME, "owner").next().unwrap().subject.unwrap();
    let foreign = site.users(AWAY, "doctor").next().unwrap().subject.unwrap();
    let patient = site.clinic(HOME).patients[0];
    for role in ["receptionist", "doctor", "caregiver"] {
        let user = site.users(HOME, role).next().unwrap();
        let (me, own) = (site.login_as(HOME, user).await, user.subject.unwrap());
        for kind in KINDS {
            assert!(!items(&me.get(&path(own, kind)).await).is_empty(), "{role} has no {kind}");
            let absent = me.get(&path(absent(own), kind)).await;
            absent.expect(404);
            for other in [colleague, foreign, patient] {
                let reply = me.get(&path(other, kind)).await;
                assert_eq!(reply.fingerprint(), absent.fingerprint(), "{role} {kind}");
            }
        }
        for kind in ["absences", "timesheets"] {
            let new = valid_body(&Method::POST, kind).unwrap();
            let made = me.post(&path(own, kind), &new).await.expect(201).json();
            assert_eq!(made["author"], json!(me.user_id().await));
            assert!(items(&me.get(&format!("{}?limit=100", path(own, kind))).await).contains(&made), "{role} {kind}");
            me.post(&path(colleague, kind), &new).await.expect(404);
        }
        for kind in ["training", "credentials"] {
            me.post(&path(own, kind), &valid_body(&Method::POST, kind).unwrap()).await.expect(403);
        }
        me.get(&path(own, "payroll")).await.expect(403);
    }
    for role in ["patient", "family_member"] {
        let client = site.login(HOME, role).await;
        for kind in KINDS {
            client.get(&path(colleague, kind)).await.expect(403);
        }
    }
}

#[tokio::test]
async fn who_runs_the_clinic_sees_all_and_decides() {
    let site = Site::start().await;
    let user = site.users(HOME, "caregiver").next().unwrap();
    let (me, own) = (site.login_as(HOME, user).await, user.subject.unwrap());
    let admin = site.login(HOME, "clinic_admin").await;
    let note = "The canary is ill.";
    let new = json!({ "first_day": "2026-05-04", "last_day": "2026-05-08", "kind": "other", "note": note });
    let asked = me.post(&path(own, "absences"), &new).await.expect(201).json();
    assert_eq!((&asked["status"], &asked["version"], &asked["note"]), (&json!("requested"), &json!(1), &json!(note)));
    let decide = |version: i64| json!({ "id": asked["id"], "version": version, "status": "approved" });
    let send =
        async |client: &Client, body: &Value| client.send(Method::PATCH, &path(own, "absences"), Some(body)).await;
    send(&me, &decide(1)).await.expect(403);
    let decided = send(&admin, &decide(1)).await;
    assert_eq!((&decided.expect(200).json()["status"], &decided.json()["version"]), (&json!("approved"), &json!(2)));
    send(&admin, &decide(1)).await.expect(409);
    send(&admin, &json!({ "id": asked["id"], "version": 2, "status": "maybe" })).await.expect(400);
    let colleague = site.users(HOME, "owner").next().unwrap().subject.unwrap();
    let elsewhere = admin.send(Method::PATCH, &path(colleague, "absences"), Some(&decide(2))).await;
    elsewhere.expect(404);
    for kind in ["training", "credentials"] {
        let new = valid_body(&Method::POST, kind).unwrap();
        let made = admin.post(&path(own, kind), &new).await.expect(201).json();
        assert!(items(&me.get(&format!("{}?limit=100", path(own, kind))).await).contains(&made), "{kind}");
    }
    // What it says is sealed.
    let dir = site.stop().await;
    let needles = canaries([note.to_owned()]);
    for file in files(dir.path()) {
        assert_eq!(
            read(&file).and_then(|bytes| needles.found_in(&bytes).map(str::to_owned)),
            None,
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn days_and_hours_that_cannot_be_are_refused() {
    let site = Site::start().await;
    let user = site.users(HOME, "owner").next().unwrap();
    let (owner, own) = (site.login_as(HOME, user).await, user.subject.unwrap());
    for (kind, field, value) in [
        ("absences", "last_day", json!("2026-02-02")),
        ("absences", "last_day", json!("2027-02-05")),
        ("absences", "first_day", json!("1849-01-01")),
        ("absences", "kind", json!("bored")),
        ("absences", "note", json!("")),
        ("absences", "status", json!("approved")),
        ("timesheets", "minutes", json!(0)),
        ("timesheets", "minutes", json!(1441)),
        ("timesheets", "minutes", json!(7.5)),
        ("timesheets", "day", json!("2149-12-31")),
        ("timesheets", "day", json!("2026-02-30")),
        ("training", "expires", json!("2026-02-03")),
        ("training", "title", json!("a\nb")),
        ("credentials", "number", json!(" ")),
        ("credentials", "expires", json!("9999-12-31")),
    ] {
        let mut body = valid_body(&Method::POST, kind).unwrap();
        body[field] = value.clone();
        let reply = owner.post(&path(own, kind), &body).await;
        assert_eq!(reply.status, 400, "{kind} {field} {value}");
    }
}
