//! What went wrong, or nearly.

use http::Method;
use serde_json::{Value, json};

use crate::harness::*;

const TEXT: &str = "The canary's cage stood open all night.";

#[tokio::test]
async fn whoever_works_here_reports_and_who_answers_for_it_reads_and_closes() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let list = async |client: &Client| client.get("/api/incidents?limit=100").await;
    let before = list(&owner).await.expect(200).json()["items"].as_array().unwrap().len();
    assert!(before >= 3, "the demo has incidents");
    let new = json!({ "kind": "near_miss", "title": "Open cage", "text": TEXT });
    let mut made = Vec::new();
    for role in ["receptionist", "doctor", "caregiver", "clinic_admin", "owner"] {
        let me = site.login(HOME, role).await;
        let reported = me.post("/api/incidents", &new).await;
        assert!(!reported.expect(201).holds("cage"));
        made.push((reported.json()["id"].clone(), me.user_id().await));
        list(&me).await.expect(if ["clinic_admin", "owner"].contains(&role) { 200 } else { 403 });
    }
    for role in ["patient", "family_member"] {
        let client = site.login(HOME, role).await;
        client.post("/api/incidents", &new).await.expect(403);
        list(&client).await.expect(403);
    }
    let seen = list(&site.login(HOME, "clinic_admin").await).await.expect(200).json();
    let seen: Vec<&Value> = seen["items"].as_array().unwrap().iter().collect();
    assert_eq!(seen.len(), before + made.len());
    for (id, reporter) in &made {
        let one = seen.iter().find(|incident| incident["id"] == *id).unwrap();
        assert_eq!((&one["reporter"], &one["text"], &one["status"]), (&json!(reporter), &json!(TEXT), &json!("open")));
    }
    // Newest first.
    assert_eq!(seen[0]["id"], made.last().unwrap().0);

    let id = &made[0].0;
    let close = json!({ "id": id, "version": 1, "outcome": "A lock was bought." });
    let send = async |client: &Client, body: &Value| client.send(Method::PATCH, "/api/incidents", Some(body)).await;
    send(&site.login(HOME, "doctor").await, &close).await.expect(403);
    send(&site.login(AWAY, "owner").await, &close).await.expect(404);
    let closed = send(&owner, &close).await.expect(200).json();
    let expected = (&json!("closed"), &json!("A lock was bought."), &json!(2));
    assert_eq!((&closed["status"], &closed["outcome"], &closed["version"]), expected);
    for version in [1, 2] {
        send(&owner, &json!({ "id": id, "version": version, "outcome": "Again." })).await.expect(409);
    }
    for wrong in [
        json!({ "kind": "odd", "title": "x", "text": "x" }),
        json!({ "kind": "data", "title": "a\nb", "text": "x" }),
        json!({ "kind": "data", "title": "x", "text": "" }),
        json!({ "kind": "data", "title": "x", "text": "x", "patient": id }),
    ] {
        owner.post("/api/incidents", &wrong).await.expect(400);
    }
    // Another clinic's are its own, and what they say is sealed.
    assert!(!list(&site.login(AWAY, "owner").await).await.expect(200).holds("cage"));
    let dir = site.stop().await;
    let needles = canaries([TEXT.to_owned()]);
    for file in files(dir.path()) {
        assert_eq!(
            read(&file).and_then(|bytes| needles.found_in(&bytes).map(str::to_owned)),
            None,
            "{}",
            file.display()
        );
    }
}
