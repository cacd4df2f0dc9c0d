//! The clinic's part of the ledger, as its owner reads it.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

/// Whether a record is asked for.
type Keep = Box<dyn Fn(&Value) -> bool>;

/// Every page of this query.
async fn pages(who: &Client, query: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = who.get(&format!("/api/ledger?limit=100{query}{cursor}")).await;
        let page = page.expect(200).json();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page.get("next") else { return all };
        cursor = format!("&cursor={}", next.as_str().unwrap());
    }
}

fn numbers(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
}

// proves GLM-19, CLA-20: for the whole clinic.
#[tokio::test]
async fn the_owner_reads_who_did_what_by_every_filter_and_is_on_record_for_it() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    doctor.get(&format!("/api/patients/{id}/notes")).await.expect(200);
    doctor.post(&format!("/api/patients/{id}/notes"), &json!({ "text": "Only for the ledger." })).await.expect(201);
    let desk = site.login(HOME, "receptionist").await;
    desk.get("/api/ledger").await.expect_problem(403, &[]);
    doctor.get("/api/ledger").await.expect_problem(403, &[]);
    let owner = site.login(HOME, "owner").await;
    let (me, him, her) = (owner.user_id().await, doctor.user_id().await, desk.user_id().await);

    // Nobody waits for the record of a refusal or of an end, so it may come a moment after the answer.
    let mut denied = Vec::new();
    for _ in 0..100 {
        denied = pages(&owner, "&action=denied&kind=refused").await;
        let both = |who: Uuid| denied.iter().any(|r| r["user"] == json!(who) && r["permission"] == "ledger.read");
        if both(him) && both(her) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (who, role) in [(him, "doctor"), (her, "receptionist")] {
        let refused = denied.iter().find(|r| r["user"] == json!(who) && r["permission"] == "ledger.read");
        let refused = refused.unwrap_or_else(|| panic!("{role}: {denied:#?}"));
        assert_eq!((&refused["role"], &refused["status"]), (&json!(role), &json!(403)));
    }

    // All of it, once forwards and once back: the clinic's chain without a gap.
    let until = "&until=2999-01-01T00:00:00Z";
    let mut forwards = pages(&owner, &format!("{until}&order=oldest")).await;
    assert!(numbers(&forwards).into_iter().eq(0..forwards.len() as u64), "a number is missing");
    let back = pages(&owner, until).await;
    assert!(back.len() > forwards.len(), "the first reading is in the second");
    forwards.reverse();
    assert_eq!(back[back.len() - forwards.len()..], forwards);
    let all = back;

    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let session = text(all.iter().find(|r| r["user"] == json!(him) && r["session"].is_string()).unwrap(), "session");
    let attempt = text(all.iter().find(|r| r["kind"] == "attempt" && r["user"] == json!(him)).unwrap(), "attempt");
    let trail = text(all.iter().find(|r| r["kind"] == "attempt" && r["user"] == json!(him)).unwrap(), "trail");
    let from = text(&all[all.len() / 2], "at");
    let is = |key: &'static str, value: &str| {
        let value = json!(value);
        move |r: &Value| r[key] == value
    };
    let cases: Vec<(String, Keep)> = vec![
        (format!("subject={id}"), Box::new(move |r| r["subjects"].as_array().unwrap().contains(&json!(id)))),
        (format!("user={him}"), Box::new(is("user", &him.to_string()))),
        (format!("session={session}"), Box::new(is("session", &session))),
        (format!("trail={trail}"), Box::new(is("trail", &trail))),
        (format!("attempt={attempt}"), Box::new(is("attempt", &attempt))),
        ("action=create,export".to_owned(), Box::new(|r| r["action"] == "create" || r["action"] == "export")),
        ("kind=login".to_owned(), Box::new(is("kind", "login"))),
        ("entity=notes".to_owned(), Box::new(is("entity", "notes"))),
        ("outcome=committed".to_owned(), Box::new(is("outcome", "committed"))),
        ("route=/api/patients/%7Bid%7D/notes".to_owned(), Box::new(is("route", "/api/patients/{id}/notes"))),
        (format!("user={him}&action=create&kind=attempt"), {
            let him = json!(him);
            Box::new(move |r| r["user"] == him && r["action"] == "create" && r["kind"] == "attempt")
        }),
        (format!("from={from}"), {
            let from: jiff::Timestamp = from.parse().unwrap();
            Box::new(move |r| r["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() >= from)
        }),
    ];
    let newest = all[0]["sequence"].as_u64().unwrap();
    for (query, keep) in cases {
        let expected: Vec<_> = all.iter().filter(|record| keep(record)).cloned().collect();
        assert!(!expected.is_empty(), "{query}");
        let mut found = pages(&owner, &format!("&{query}")).await;
        // What has come since.
        found.retain(|record| record["sequence"].as_u64().unwrap() <= newest);
        assert_eq!(numbers(&found), numbers(&expected), "{query}");
        assert_eq!(found, expected, "{query}");
    }

    // The reading itself, with whom it named.
    let seen = owner.get(&format!("/api/ledger?subject={id}&limit=5")).await;
    let named = seen.expect(200).json();
    let looks = pages(&owner, &format!("&user={me}&action=search&entity=ledger&subject={id}")).await;
    assert!(!named["items"].as_array().unwrap().is_empty() && !looks.is_empty());
    assert!(looks.iter().all(|look| look["kind"] == "opened" && look["permission"] == "ledger.read"));
    assert!(!seen.holds("Only for the ledger.") && !seen.holds("\"index\""));

    for query in [
        "limit=0",
        "limit=101",
        "action=peek",
        "action=",
        "kind=peek",
        "outcome=maybe",
        "subject=x",
        "attempt=x",
        "order=up",
        "from=yesterday",
        "from=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
        "entity=",
        "cursor=x",
        "cursor=",
        "tenant=meadow",
    ] {
        owner.get(&format!("/api/ledger?{query}")).await.expect_problem(400, &[]);
    }
}

// proves GLM-12, CLA-23
#[tokio::test]
async fn the_neighbours_owner_gets_nothing_of_the_clinics_ledger() {
    let site = Site::start().await;
    let (home, away) = (site.login(HOME, "owner").await, site.login(AWAY, "owner").await);
    let page = home.get("/api/ledger?limit=3").await.expect(200).json();
    let cursor = page["next"].as_str().unwrap();
    home.get(&format!("/api/ledger?limit=3&cursor={cursor}")).await.expect(200);
    away.get(&format!("/api/ledger?limit=3&cursor={cursor}")).await.expect_problem(400, &[cursor]);
    // Of another query of one's own, as well.
    home.get(&format!("/api/ledger?limit=3&action=read&cursor={cursor}")).await.expect_problem(400, &[cursor]);

    let patient = site.patient("harbour-patient-001");
    let (me, him) = (home.user_id().await, away.user_id().await);
    for query in [format!("subject={patient}"), format!("user={me}"), format!("about={me}")] {
        let found = away.get(&format!("/api/ledger?{query}")).await;
        assert_eq!(found.expect(200).json()["items"], json!([]), "{query}");
    }
    // The token of one clinic is none at the other's host.
    let borrowed = site.guest(AWAY).with_token(home.token.as_deref());
    borrowed.get("/api/ledger").await.expect_problem(403, &[]);

    // The record of a refusal is not waited for.
    let (mut all, mut tried) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        all = pages(&away, "").await;
        tried = all.iter().filter(|r| r["reason"] == "cursor_refused").cloned().collect();
        if !tried.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let patient = patient.to_string();
    // That he asked for the patient stands there, and nothing else of the patient.
    let (asked, rest): (Vec<_>, Vec<_>) = all.iter().partition(|r| r["subjects"].to_string().contains(&patient));
    let own = |r: &&Value| r["user"] == json!(him) && r["action"] == "search" && r["entity"] == "ledger";
    assert!(!asked.is_empty() && asked.iter().all(own), "{asked:#?}");
    assert!(rest.len() > 3 && all.iter().all(|r| r["user"] != json!(me)));
    assert_eq!(tried.len(), 1, "{tried:#?}");
    let tried = &tried[0];
    assert_eq!((&tried["user"], &tried["action"], &tried["status"]), (&json!(him), &json!("denied"), &json!(400)));
}

/// A legal hold, by who answers for the clinic and nobody else.
#[tokio::test]
async fn the_owner_holds_the_records_of_a_patient_or_of_all_and_says_why() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let hold = |held: bool| json!({ "held": held, "reason": "County court, file 4711." });
    let (one, all) = (format!("/api/patients/{id}/hold"), "/api/ledger/hold");
    for path in [&one, all] {
        doctor.post(path, &hold(false)).await.expect_problem(403, &[]);
    }
    let owner = site.login(HOME, "owner").await;
    for (path, held) in [(one.as_str(), true), (all, true), (all, false), (&one, false)] {
        owner.post(path, &hold(held)).await.expect(204);
    }
    owner.post(&format!("/api/patients/{}/hold", absent(id)), &hold(true)).await.expect_problem(404, &[]);
    for bad in [
        json!({ "held": true, "reason": "" }),
        json!({ "held": true, "reason": "r".repeat(201) }),
        json!({ "held": true }),
    ] {
        owner.post(&one, &bad).await.expect_problem(400, &[]);
    }
    let said: Vec<_> = pages(&owner, "&kind=held,released&order=oldest")
        .await
        .iter()
        .map(|r| (r["kind"].clone(), r["subjects"].clone(), r["permission"].clone(), r["reason"].clone()))
        .collect();
    let says =
        |kind: &str, subjects: Value| (json!(kind), subjects, json!("ledger.hold"), json!("County court, file 4711."));
    let expected = [("held", json!([id])), ("held", json!([])), ("released", json!([])), ("released", json!([id]))];
    assert_eq!(said, expected.map(|(kind, subjects)| says(kind, subjects)));
    // The other clinic's patient is nobody here.
    let away = site.login(AWAY, "owner").await;
    away.post(&one, &hold(false)).await.expect_problem(404, &[]);
}
