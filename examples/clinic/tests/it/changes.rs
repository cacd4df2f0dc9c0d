//! What was changed, before and after: who sees which fields, who sees their values, and that the ledger tells nobody else.

use http::Method;
use serde_json::{Value, json};
use tower_ward::audit::verify;
use uuid::Uuid;

use crate::harness::*;

const PHONE: &str = "07700 900177";
const NOTE: &str = "Sleeps badly since the canary died.";
const ACCOUNT: &str = "31926819";
const REASON: &str = "Canary of the diary.";

/// The changes that a route shows, newest first.
async fn changes(client: &Client, path: &str) -> Vec<Value> {
    let page = client.get(&format!("{path}?limit=100")).await;
    page.expect(200).json()["items"].as_array().unwrap().clone()
}

/// A field of the newest change: its name, before and after.
fn newest(changes: &[Value]) -> (String, Value, Value) {
    let field = &changes[0]["fields"][0];
    (field["name"].as_str().unwrap().to_owned(), field["before"].clone(), field["after"].clone())
}

fn value(value: impl Into<Value>) -> Value {
    json!({ "state": "value", "value": value.into() })
}

fn nothing() -> Value {
    json!({ "state": "nothing" })
}

async fn employee(site: &Site) -> Uuid {
    let staff = site.login(HOME, "owner").await.get("/api/staff").await.json();
    staff["items"].as_array().unwrap().iter().find_map(|s| s["employee"].as_str()).unwrap().parse().unwrap()
}

// proves CLM-06, CLM-07, CCA-24
#[tokio::test]
async fn what_was_and_what_became_is_shown_to_who_may_open_it_and_named_to_who_reads_the_timeline() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let id = *site.reach(HOME, user).first().unwrap();
    let (doctor, desk) = (site.login_as(HOME, user).await, site.login(HOME, "receptionist").await);
    let (owner, admin) = (site.login(HOME, "owner").await, site.login(HOME, "clinic_admin").await);
    let patient = format!("/api/patients/{id}");
    let master = format!("{patient}/changes");
    let chart = format!("{patient}/chart/changes");
    let diary = format!("{patient}/appointments/changes");
    let payroll = format!("/api/employees/{}/payroll", employee(&site).await);
    let wages = format!("{payroll}/changes");

    // Each is changed by who may.
    let before = desk.get(&patient).await.json();
    let patch = json!({ "version": before["version"], "phone": PHONE });
    desk.send(Method::PATCH, &patient, Some(&patch)).await.expect(200);
    doctor.post(&format!("{patient}/notes"), &json!({ "text": NOTE })).await.expect(201);
    let entry = appointment(&owner, id).await;
    let patch = json!({ "id": entry["id"], "version": entry["version"], "reason": REASON });
    desk.send(Method::PATCH, &format!("{patient}/appointments"), Some(&patch)).await.expect(200);
    let paid = admin.get(&payroll).await.json();
    let patch = json!({ "version": paid["version"], "account_number": ACCOUNT });
    admin.send(Method::PATCH, &payroll, Some(&patch)).await.expect(200);

    // Role by role: the values, or a refusal that holds none of them.
    let phone = ("phone".to_owned(), value(before["phone"].clone()), value(PHONE));
    let text = ("text".to_owned(), nothing(), value(NOTE));
    let reason = ("reason".to_owned(), value(entry["reason"].clone()), value(REASON));
    let account = ("account_number".to_owned(), value(paid["account_number"].clone()), value(ACCOUNT));
    let relative = site.login(HOME, "family_member").await;
    let rows = [
        ("the front desk", &desk, [Some(&phone), None, Some(&reason), None]),
        ("the doctor", &doctor, [Some(&phone), Some(&text), Some(&reason), None]),
        ("the owner", &owner, [Some(&phone), Some(&text), Some(&reason), Some(&account)]),
        ("the administrator", &admin, [None, None, None, Some(&account)]),
        ("a relative", &relative, [None, None, None, None]),
    ];
    for (who, client, sees) in rows {
        for (path, seen) in [&master, &chart, &diary, &wages].into_iter().zip(sees) {
            match seen {
                Some(expected) => assert_eq!(newest(&changes(client, path).await), *expected, "{who} {path}"),
                None => drop(client.get(path).await.expect_problem(403, &[PHONE, NOTE, REASON, ACCOUNT])),
            }
        }
    }
    // A class is not in the page of another.
    let shown = doctor.get(&format!("{master}?limit=100")).await;
    assert!(shown.holds(PHONE) && !shown.holds(NOTE) && !shown.holds(REASON));
    let shown = doctor.get(&format!("{chart}?limit=100")).await;
    assert!(shown.holds(NOTE) && !shown.holds(PHONE) && !shown.holds(REASON));

    // Somebody of another clinic, of whatever role, and a doctor of another patient: the same as of nobody.
    let away = site.login(AWAY, "owner").await;
    for path in [&master, &chart, &diary, &wages] {
        away.get(path).await.expect_problem(404, &[]);
    }
    let stranger = absent(id);
    doctor.get(&format!("/api/patients/{stranger}/chart/changes")).await.expect_problem(404, &[]);

    // The timeline names the fields, and holds no value.
    let timeline = owner.get(&format!("{patient}/timeline?limit=100")).await;
    for secret in [PHONE, NOTE, REASON, before["phone"].as_str().unwrap()] {
        assert!(!timeline.holds(secret), "{secret}");
    }
    let entries = timeline.json();
    let entries = entries["items"].as_array().unwrap();
    for (entity, action, field) in
        [("patients", "update", "phone"), ("notes", "create", "text"), ("appointments", "update", "reason")]
    {
        let changed = entries.iter().find(|e| e["kind"] == "changed" && e["entity"] == entity).unwrap();
        assert_eq!((&changed["action"], &changed["fields"]), (&json!(action), &json!([field])), "{entity}");
        let of_it: Vec<_> = entries.iter().filter(|e| e["attempt"] == changed["attempt"]).map(|e| &e["kind"]).collect();
        assert_eq!(of_it, ["outcome", "changed", "attempt"], "{entity}");
    }
    let clerk = desk.get(&format!("{patient}/timeline")).await;
    clerk.expect_problem(403, &[]);
}

/// Nothing of it stands in the files of the ledger, whose every record says who, in which role, did what to whom, by which
/// request, from where and with which client.
// proves CCA-24, CCA-19, CLA-17
#[tokio::test]
async fn the_ledgers_files_hold_no_value_and_each_record_holds_the_rest() {
    let site = Site::start().await;
    let admin = site.login(HOME, "clinic_admin").await;
    let employee = employee(&site).await;
    let payroll = format!("/api/employees/{employee}/payroll");
    let paid = admin.get(&payroll).await.json();
    let patch = json!({ "version": paid["version"], "account_number": ACCOUNT, "sort_code": "040004" });
    let request = admin.request(Method::PATCH, &payroll).header("user-agent", "canary/1 \"quoted\"");
    let request = request.header("content-type", "application/json");
    admin.exchange(request, patch.to_string()).await.expect(200);
    let user = admin.user_id().await;

    let dir = site.stop().await;
    let ledger = dir.path().join("ledger");
    verify(&ledger).unwrap();
    let old = paid["account_number"].as_str().unwrap().to_owned();
    for file in std::fs::read_dir(&ledger).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in [ACCOUNT, &old, "040004"] {
            assert!(!find(&bytes, secret.as_bytes()), "the ledger holds {secret}");
        }
    }
    let records = records(&ledger);
    let changed = records.iter().rfind(|r| r["kind"] == "changed" && r["entity"] == "employees").unwrap();
    let class = &changed["changes"][0];
    let fields: Vec<_> =
        class["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!((class["class"].as_str().unwrap(), fields), ("payroll", vec!["account_number", "sort_code"]));
    let of_it: Vec<_> = records.iter().filter(|r| r["attempt"] == changed["attempt"]).collect();
    assert_eq!(of_it.iter().map(|r| &r["kind"]).collect::<Vec<_>>(), ["attempt", "changed", "outcome"]);
    assert_eq!(of_it[2]["outcome"], "committed");
    for record in of_it {
        for (field, expected) in [
            ("user", json!(user)),
            ("role", json!("clinic_admin")),
            ("permission", json!("payroll.write")),
            ("action", json!("update")),
            ("entity", json!("employees")),
            ("subjects", json!([employee])),
            ("row", json!(employee)),
            ("why", json!("clinic")),
            ("agent", json!("canary/1 \"quoted\"")),
            ("peer", json!("127.0.0.1")),
            ("method", json!("PATCH")),
            ("route", json!("/api/employees/{id}/payroll")),
            ("stream", json!(HOME)),
        ] {
            assert_eq!(record[field], expected, "{field}");
        }
        for field in ["at", "mono", "request", "session", "trail"] {
            assert!(!record[field].is_null(), "{field}");
        }
    }
}

/// attack on oneself: a change that the database refused at its commit is on record, and is not shown as one that was made.
// proves CLM-06
#[tokio::test]
async fn a_change_that_was_rolled_back_is_shown_as_that() {
    const NEVER: &str = "Never stood in the chart.";
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let id = *site.reach(HOME, user).first().unwrap();
    let doctor = site.login_as(HOME, user).await;
    let notes = format!("/api/patients/{id}/notes");
    doctor.post(&notes, &json!({ "text": NOTE })).await.expect(201);
    // From now on, a note is refused when it is committed and not before.
    if on_postgres() {
        site.folder()
            .sql(
                "create table gone (id bigint primary key); alter table notes add broken bigint;
                 alter table notes alter broken set default 1;
                 alter table notes add foreign key (broken) references gone (id) deferrable initially deferred",
            )
            .await;
    } else {
        let mut file = open_file(site.path(), HOME).await;
        sqlx::raw_sql(
            "pragma foreign_keys = off; create table gone (id integer primary key) strict;
             alter table notes add column broken integer default 1 references gone (id) deferrable initially deferred",
        )
        .execute(&mut file)
        .await
        .unwrap();
        sqlx::Connection::close(file).await.unwrap();
    }
    let refused = doctor.post(&notes, &json!({ "text": NEVER })).await;
    assert!(refused.status.is_server_error(), "{}", refused.status);

    let shown = changes(&doctor, &format!("/api/patients/{id}/chart/changes")).await;
    let newest_two: Vec<_> =
        shown[..2].iter().map(|c| (&c["outcome"], &c["fields"][0]["after"], &c["unreadable"])).collect();
    let expected = [(json!("rolled_back"), value(NEVER)), (json!("committed"), value(NOTE))];
    for ((outcome, after, unreadable), (is, text)) in newest_two.into_iter().zip(&expected) {
        assert_eq!((outcome, after, unreadable), (is, text, &json!(false)));
    }
    assert!(!doctor.get(&notes).await.expect(200).holds(NEVER));
}

/// Once a patient is erased, what the ledger holds of their values opens for nobody, and the ledger verifies.
#[tokio::test]
async fn an_erased_patients_changes_are_gone_and_the_ledger_verifies() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let id = *site.reach(HOME, user).first().unwrap();
    let (doctor, owner) = (site.login_as(HOME, user).await, site.login(HOME, "owner").await);
    let path = format!("/api/patients/{id}");
    doctor.post(&format!("{path}/notes"), &json!({ "text": NOTE })).await.expect(201);
    assert!(doctor.get(&format!("{path}/chart/changes")).await.expect(200).holds(NOTE));
    owner.send(Method::DELETE, &path, None).await.expect(200);
    for client in [&doctor, &owner] {
        for part in ["changes", "chart/changes", "appointments/changes"] {
            client.get(&format!("{path}/{part}")).await.expect_problem(404, &[NOTE]);
        }
    }
    let dir = site.stop().await;
    let ledger = dir.path().join("ledger");
    verify(&ledger).unwrap();
    let sealed =
        records(&ledger).into_iter().filter(|r| r["kind"] == "changed" && r["subjects"] == json!([id])).count();
    assert!(sealed > 0, "what was sealed stays where it is");
}

/// A search that returned 30 patients names 30.
// proves GLM-19
#[tokio::test]
async fn a_list_of_thirty_patients_names_thirty() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let mut known = owner.list(100, "").await.len();
    while known < 30 {
        let new = json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" });
        owner.post("/api/patients", &new).await.expect(201);
        known += 1;
    }
    let shown = owner.get("/api/patients?limit=30").await.expect(200).json();
    let shown: Vec<Uuid> =
        shown["items"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(shown.len(), 30);
    let dir = site.stop().await;
    let records = records(&dir.path().join("ledger"));
    let last = records.iter().rfind(|r| r["action"] == "search").unwrap();
    assert_eq!(last["subjects"], json!(shown));
}

#[tokio::test]
async fn payroll_and_appointments_take_what_they_should_and_no_more() {
    let site = Site::start().await;
    let (owner, admin) = (site.login(HOME, "owner").await, site.login(HOME, "clinic_admin").await);
    let payroll = format!("/api/employees/{}/payroll", employee(&site).await);
    let before = admin.get(&payroll).await.json();
    let bad = [
        ("nothing", json!({ "version": 1 })),
        ("letters", json!({ "version": 1, "sort_code": "04000x" })),
        ("too short", json!({ "version": 1, "account_number": "3192681" })),
        ("other digits", json!({ "version": 1, "sort_code": "０４０００４" })),
        ("less than nothing", json!({ "version": 1, "salary_gbp": -1 })),
        ("null", json!({ "version": 1, "sort_code": null })),
        ("somebody else", json!({ "version": 1, "sort_code": "040004", "id": Uuid::nil() })),
    ];
    for (name, body) in bad {
        let reply = admin.send(Method::PATCH, &payroll, Some(&body)).await;
        assert_eq!(reply.status, 400, "{name}");
    }
    let stale = json!({ "version": 7, "salary_gbp": 1 });
    admin.send(Method::PATCH, &payroll, Some(&stale)).await.expect_problem(409, &[]);
    assert_eq!(admin.get(&payroll).await.json(), before);

    let (one, two) = (site.patient("harbour-patient-001"), site.patient("harbour-patient-002"));
    let entry = appointment(&owner, one).await;
    let path = |id| format!("/api/patients/{id}/appointments");
    for (name, body, status) in [
        ("nothing", json!({ "id": entry["id"], "version": 1 }), 400),
        ("a state that is none", json!({ "id": entry["id"], "version": 1, "status": "late" }), 400),
        ("two lines", json!({ "id": entry["id"], "version": 1, "reason": "a\nb" }), 400),
        ("another version", json!({ "id": entry["id"], "version": 2, "status": "cancelled" }), 409),
        ("none of theirs", json!({ "id": Uuid::nil(), "version": 1, "status": "cancelled" }), 404),
    ] {
        assert_eq!(owner.send(Method::PATCH, &path(one), Some(&body)).await.status, status, "{name}");
    }
    let body = json!({ "id": entry["id"], "version": 1, "status": "cancelled" });
    owner.send(Method::PATCH, &path(two), Some(&body)).await.expect_problem(404, &[]);
    let done = owner.send(Method::PATCH, &path(one), Some(&body)).await.expect(200).json();
    assert_eq!(
        (&done["version"], &done["status"], &done["reason"]),
        (&json!(2), &json!("cancelled"), &entry["reason"])
    );
}
