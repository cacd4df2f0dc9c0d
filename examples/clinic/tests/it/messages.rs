//! Messages between a patient and the clinic.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

fn texts(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect()
}

// proves MED-06
#[tokio::test]
async fn a_patient_and_the_clinic_write_to_each_other_and_nobody_else_reads_it() {
    let site = Site::start().await;
    let [one, two] = site.users(HOME, "patient").collect::<Vec<_>>()[..] else { panic!("two patients can log in") };
    let id = one.subject.unwrap();
    let path = format!("/api/patients/{id}/messages");
    let (me, desk) = (site.login_as(HOME, one).await, site.login(HOME, "receptionist").await);
    let before = me.get(&format!("{path}?limit=100")).await.expect(200).json()["items"].as_array().unwrap().len();
    assert!(before >= 2, "the demo has messages for who can log in");

    let asked = me.post(&path, &json!({ "text": "May I come on Friday?\nIt itches." })).await.expect(201).json();
    assert_eq!((&asked["sender"], &asked["author"]), (&json!("patient"), &json!(me.user_id().await)));
    let answer = desk.post(&path, &json!({ "text": "Yes, at ten." })).await.expect(201).json();
    assert_eq!((&answer["sender"], &answer["author"]), (&json!("clinic"), &json!(desk.user_id().await)));

    // Newest first, the same to both, page by page.
    let newest = desk.get(&format!("{path}?limit=1")).await.expect(200).json();
    assert_eq!(newest["items"], json!([answer]));
    let next = newest["next"].as_str().unwrap();
    let older = me.get(&format!("{path}?limit=100&cursor={next}")).await.expect(200).json();
    assert_eq!(older["items"][0], asked);
    assert_eq!(texts(&older).len(), before + 1);

    let doctors = site.users(HOME, "doctor").chain(site.users(HOME, "caregiver"));
    let mut refused = 0;
    for user in doctors {
        let (client, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
        let reply = client.get(&path).await;
        reply.expect(if reach.contains(&id) { 200 } else { 404 });
        refused += usize::from(!reach.contains(&id));
    }
    assert!(refused > 0, "everybody is assigned to this patient: this shows nothing");
    let other = site.login_as(HOME, two).await;
    other.get(&path).await.expect_problem(404, &["Friday"]);
    other.post(&path, &json!({ "text": "x" })).await.expect(404);
    for role in ["clinic_admin", "family_member"] {
        let client = site.login(HOME, role).await;
        client.get(&path).await.expect_problem(403, &["Friday"]);
        client.post(&path, &json!({ "text": "x" })).await.expect(403);
    }
    site.login(AWAY, "owner").await.get(&path).await.expect(404);

    // On record, and without a word of it.
    let timeline = me.get(&format!("/api/patients/{id}/timeline?limit=20")).await;
    assert!(timeline.expect(200).holds("\"messages\"") && !timeline.holds("Friday"));
}

#[tokio::test]
async fn a_message_that_nobody_can_have_typed_is_refused() {
    let site = Site::start().await;
    let user = site.users(HOME, "patient").next().unwrap();
    let (me, id): (_, Uuid) = (site.login_as(HOME, user).await, user.subject.unwrap());
    let path = format!("/api/patients/{id}/messages");
    let before = me.get(&path).await.json();
    for wrong in [
        json!({ "text": "" }),
        json!({ "text": "a\u{0}b" }),
        json!({ "text": "\u{202e}txet" }),
        json!({ "text": "x".repeat(16_385) }),
        json!({ "text": "x", "sender": "clinic" }),
        json!({}),
    ] {
        me.post(&path, &wrong).await.expect_problem(400, &["txet"]);
    }
    assert_eq!(me.get(&path).await.json(), before);
}
