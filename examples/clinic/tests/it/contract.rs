//! What a script may rely on, and what the server refuses before any handler is asked.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use http::{Method, header};
use serde_json::{Value, json};

use crate::harness::*;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn demo_json_holds_what_scripts_read() {
    let site = Site::start().await;
    let path = site.path().join("demo.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let demo: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(keys(&demo), ["ca", "clinics", "listen"]);
    assert_eq!(demo["ca"], "ca.pem");
    assert_eq!(demo["listen"], site.address.to_string());
    let clinics = demo["clinics"].as_array().unwrap();
    assert!(clinics.len() >= 3);
    let (mut passwords, mut patients) = (BTreeSet::new(), BTreeSet::new());
    for clinic in clinics {
        assert_eq!(keys(clinic), ["host", "patients", "tenant", "users"]);
        assert_eq!(clinic["host"], format!("{}.localhost", clinic["tenant"].as_str().unwrap()));
        let mut roles = BTreeSet::new();
        for user in clinic["users"].as_array().unwrap() {
            let role = user["role"].as_str().unwrap();
            let subject: &[&str] = if role == "family_member" { &[] } else { &["subject"] };
            assert_eq!(keys(user), [&["password", "role"], subject, &["username"]].concat());
            assert!(passwords.insert(user["password"].as_str().unwrap()), "a password is used twice");
            assert!(user["password"].as_str().unwrap().len() >= 15);
            roles.insert(role);
        }
        assert_eq!(roles, BTreeSet::from(ROLES));
        for id in clinic["patients"].as_array().unwrap() {
            assert!(patients.insert(id.as_str().unwrap()), "two patients have one id");
        }
    }
    assert!(patients.len() >= 60);
}

#[tokio::test]
async fn every_login_that_is_printed_works() {
    let site = Site::start().await;
    for clinic in &site.demo.clinics {
        for role in ROLES {
            let user = site.users(&clinic.tenant, role).next().unwrap();
            let me = site.login_as(&clinic.tenant, user).await.get("/api/me").await;
            me.expect(200);
            let me = me.json();
            assert_eq!((me["role"].as_str(), me["tenant"].as_str()), (Some(role), Some(clinic.tenant.as_str())));
            let subject = user.subject.map(|s| json!(s)).unwrap_or_default();
            assert_eq!(me.get("subject").cloned().unwrap_or_default(), subject);
        }
    }
}

#[tokio::test]
async fn a_login_and_a_refresh_answer_as_oauth_does() {
    let site = Site::start().await;
    let user = site.users(HOME, "patient").next().unwrap();
    let guest = site.guest(HOME);
    let login = guest.try_login(&user.username, &user.password).await;
    let refresh = guest.try_refresh(login.json()["refresh_token"].as_str().unwrap()).await;
    for reply in [login, refresh] {
        reply.expect(200);
        assert_eq!(reply.header("content-type"), "application/json");
        let tokens = reply.json();
        assert_eq!(keys(&tokens), ["access_token", "expires_in", "refresh_token", "token_type"]);
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!(tokens["expires_in"], 600);
    }
}

#[tokio::test]
async fn what_is_written_is_what_is_read_back() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, owner) = (site.login_as(HOME, user).await, site.login(HOME, "owner").await);
    let new = json!({
        "given": "Mír", "family": "O\u{2019}Test-Løse", "birth_date": "2001-02-03", "sex": "unknown",
        "phone": "07700 900077", "email": "mir@example.org", "address": "1 Test Lane, ZZ99 1AA", "nhs_number": "9990000018",
    });
    let created = owner.post("/api/patients", &new).await;
    created.expect(201);
    let created = created.json();
    let path = format!("/api/patients/{}", created["id"].as_str().unwrap());
    for (key, value) in new.as_object().unwrap() {
        assert_eq!(&created[key], value);
    }
    assert_eq!((&created["version"], &created["test"]), (&json!(1), &json!(false)));
    assert_eq!(owner.get(&path).await.json(), created);
    // Nobody is assigned yet, so no doctor sees the new patient.
    doctor.get(&path).await.expect(404);
    owner.send(Method::PUT, &format!("{path}/assignments/{}", doctor.user_id().await), None).await.expect(204);

    let patch = json!({ "version": 1, "family": "Test", "phone": "07700 900078" });
    let changed = doctor.send(Method::PATCH, &path, Some(&patch)).await;
    changed.expect(200);
    assert_eq!((&changed.json()["version"], &changed.json()["family"]), (&json!(2), &json!("Test")));
    assert_eq!(changed.json()["given"], "Mír");
    // Whoever read the first version is told so, and changes nothing.
    doctor.send(Method::PATCH, &path, Some(&patch)).await.expect_problem(409, &["900078"]);
    assert_eq!(owner.get(&path).await.json()["version"], 2);
    assert_eq!(owner.list(5, "&q=m%C3%ADr%20TEST").await.len(), 1);
    assert!(owner.list(5, "&q=l%C3%B8se").await.is_empty());

    let text = "First line.\n\tSecond: µ, \u{1f600}, \"quoted\" and a \\.";
    let note = doctor.post(&format!("{path}/notes"), &json!({ "text": text })).await;
    note.expect(201);
    let notes = owner.get(&format!("{path}/notes")).await.json()["items"].clone();
    assert_eq!(notes, json!([note.json()]));
    assert_eq!(notes[0]["text"], text);
    assert_eq!(notes[0]["author"], json!(doctor.user_id().await));

    let prescription = json!({ "drug": "Paracetamol 500 mg", "dose": "1 tablet", "instructions": "When needed." });
    let written = doctor.post(&format!("{path}/prescriptions"), &prescription).await;
    written.expect(201);
    assert_eq!(owner.get(&format!("{path}/prescriptions")).await.json()["items"], json!([written.json()]));
}

#[tokio::test]
async fn a_route_that_is_not_there_is_404() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let id = site.clinic(HOME).patients[0];
    let paths = [
        "/",
        "/api",
        "/api/",
        "/API/me",
        "/api/me/",
        "//api/me",
        "/api//me",
        "/api/me/x",
        "/api/%6De%2F",
        "/.git/config",
        "/.env",
        "/admin",
        "/metrics",
        "/debug/pprof",
        "/robots.txt",
        "/api/patients/",
        "/canary-path-7f3a",
        &format!("/api/patients/{id}/"),
        &format!("/api/patients/{id}/secrets"),
        "/api/patients/../me",
    ];
    for client in [&owner, &site.guest(HOME)] {
        let mut seen = BTreeSet::new();
        for path in paths {
            let reply = client.get(path).await;
            assert_eq!(reply.status, 404, "{path}");
            reply.expect_problem(404, &["canary-path"]);
            seen.insert(reply.fingerprint());
        }
        assert_eq!(seen.len(), 1, "{seen:#?}");
    }
}

#[tokio::test]
async fn another_method_is_405_and_says_which_are_allowed() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let id = site.clinic(HOME).patients[0];
    let routes = crate::matrix::golden();
    let paths: BTreeSet<&str> = routes.iter().map(|row| row.path.as_str()).collect();
    for path in paths {
        let mut allowed: BTreeSet<String> =
            routes.iter().filter(|r| r.path == path).flat_map(|r| &r.methods).map(ToString::to_string).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"] {
            if allowed.contains(method) {
                continue;
            }
            let reply = owner.send(method.parse().unwrap(), &fill(path, id, id), None).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            if method != "HEAD" {
                reply.expect_problem(405, &["BREW"]);
            }
            let said: BTreeSet<String> =
                reply.header("allow").split(',').map(|m| m.trim().to_owned()).filter(|m| !m.is_empty()).collect();
            assert_eq!(said, allowed, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_of_another_size_type_or_shape_is_refused_and_not_repeated() {
    const MARK: &str = "canary-body-7f3a";
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let path = format!("/api/patients/{id}/notes");
    let before = doctor.get(&path).await.json();
    let ask = || doctor.request(Method::POST, &path);
    let typed = |kind: &str| ask().header(header::CONTENT_TYPE, kind);
    let good = json!({ "text": MARK }).to_string();

    for size in [262_145, 400_000, 1 << 20] {
        let reply =
            doctor.exchange(typed("application/json"), format!("{good}{}", " ".repeat(size - good.len()))).await;
        reply.expect_problem(413, &[MARK]);
    }
    for (name, request) in [
        ("none", ask()),
        ("text", typed("text/plain")),
        ("a form", typed("application/x-www-form-urlencoded")),
        ("a form with files", typed("multipart/form-data; boundary=x")),
        ("javascript", typed("application/javascript")),
        ("almost", typed("application/jsonp")),
        ("nonsense", typed(MARK)),
        ("empty", typed("")),
    ] {
        let reply = doctor.exchange(request, good.clone()).await;
        assert_eq!(reply.status, 415, "{name}");
        reply.expect_problem(415, &[MARK]);
    }
    let deep = format!("{{\"text\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let long = json!({ "text": MARK.repeat(5000) }).to_string();
    for (name, body) in [
        ("nothing", String::new()),
        ("half", format!("{{\"text\": \"{MARK}")),
        ("not JSON", MARK.to_owned()),
        ("more than one", format!("{good}{good}")),
        ("a comment", format!("{good} // {MARK}")),
        ("an unknown field", format!("{{\"text\": \"a\", \"{MARK}\": 1}}")),
        ("the author", format!("{{\"text\": \"{MARK}\", \"author\": \"{id}\"}}")),
        ("the patient", format!("{{\"text\": \"{MARK}\", \"patient\": \"{id}\"}}")),
        ("a field twice", format!("{{\"text\": \"a\", \"text\": \"{MARK}\"}}")),
        ("another type", "{\"text\": 7}".to_owned()),
        ("null", "{\"text\": null}".to_owned()),
        ("a text", format!("\"{MARK}\"")),
        ("half a surrogate pair", format!("{{\"text\": \"{MARK}\\ud800\"}}")),
        ("a raw control character", format!("{{\"text\": \"{MARK}\u{7}\"}}")),
        ("NUL", format!("{{\"text\": \"{MARK}\\u0000\"}}")),
        ("escape", format!("{{\"text\": \"{MARK}\\u001b[2J\"}}")),
        ("carriage return", format!("{{\"text\": \"{MARK}\\r\\nSet-Cookie: a=b\"}}")),
        ("delete", format!("{{\"text\": \"{MARK}\\u007f\"}}")),
        ("a control character beyond ASCII", format!("{{\"text\": \"{MARK}\\u0085\"}}")),
        ("nothing but space", "{\"text\": \" \\n\\t \"}".to_owned()),
        ("empty", "{\"text\": \"\"}".to_owned()),
        ("too long", long),
        ("too deep", deep),
    ] {
        let reply = doctor.exchange(typed("application/json"), body).await;
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        reply.expect_problem(400, &[MARK, "Set-Cookie"]);
    }
    // What is wrong is named, or its place is told.
    let missing = doctor.exchange(typed("application/json"), "{}").await;
    assert_eq!((missing.status.as_u16(), missing.json()["field"].as_str()), (400, Some("text")), "{missing:?}");
    let wrong = doctor.exchange(typed("application/json"), format!("{{\"text\":\n 7, \"{MARK}\": 1}}")).await;
    let wrong = wrong.json();
    assert_eq!((&wrong["field"], &wrong["line"], &wrong["column"]), (&json!("body"), &json!(2), &json!(2)), "{wrong}");
    let not_utf8 = doctor.exchange(typed("application/json"), b"{\"text\": \"\xff\xfe\"}".to_vec()).await;
    not_utf8.expect_problem(400, &[]);
    assert_eq!(doctor.get(&path).await.json(), before, "a refused note was written");
    doctor.exchange(typed("application/json; charset=utf-8"), good).await.expect(201);
}

// A stranger's body and a user's: neither holds a place for longer than any request may take.
#[tokio::test]
async fn a_body_that_trickles_is_ended_by_the_deadline() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let host = &site.clinic(HOME).host;
    let head = |path: &str, token: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {host}:{}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n{token}\r\n",
            site.address.port(),
        )
    };
    let token = format!("authorization: Bearer {}\r\n", doctor.token.as_deref().unwrap());
    let (login, note) = (head("/api/login", ""), head(&format!("/api/patients/{id}/notes"), &token));
    let started = site.ward.clock().monotonic();
    let (stranger, user) = tokio::join!(site.trickle(host, &login), site.trickle(host, &note));
    // The ward's default: 30 s.
    let took = site.ward.clock().monotonic() - started;
    assert!(took.as_secs() >= 29, "{took:?}");
    for reply in [stranger, user] {
        reply.expect_problem(503, &[]);
    }
    doctor.get("/api/me").await.expect(200);
}

#[tokio::test]
async fn a_patient_with_an_impossible_field_is_not_registered() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let before = desk.list(100, "").await;
    let tomorrow = site.ward.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap();
    for (field, value) in [
        ("given", json!("")),
        ("given", json!("a\nb")),
        ("given", json!("x".repeat(101))),
        ("family", json!(" ")),
        ("family", json!("a\u{0}b")),
        ("birth_date", json!(tomorrow)),
        ("birth_date", json!("1849-12-31")),
        ("birth_date", json!("2020-02-30")),
        ("birth_date", json!("20.2.2020")),
        ("sex", json!("yes")),
        ("phone", json!("x".repeat(301))),
        ("email", json!("a\tb")),
        ("address", json!("")),
        ("nhs_number", json!("\u{1b}")),
        ("id", json!(before[0])),
        ("test", json!(true)),
        ("version", json!(7)),
    ] {
        let mut new = json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" });
        new[field] = value.clone();
        let reply = desk.post("/api/patients", &new).await;
        assert_eq!(reply.status, 400, "{field} {value}");
        reply.expect_problem(400, &["Nova"]);
    }
    assert_eq!(desk.list(100, "").await, before);
}

#[tokio::test]
async fn a_query_that_does_not_parse_is_400_and_not_everything() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=1e1",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "cursor=x",
        "filter=canary-query",
        "q=a&q=b",
        "Limit=1",
        &format!("q={}", "x".repeat(129)),
        "limit",
    ] {
        let reply = owner.get(&format!("/api/patients?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        reply.expect_problem(400, &["canary-query"]);
    }
    for query in [
        "from=today",
        "to=2026-02-30",
        "from=2026-01-01&to=2026-02-28",
        "from=2026-01-02&to=2026-01-01",
        "day=1",
        "from=-009999-01-01&to=9999-12-31",
        "from=9999-12-31",
        "to=9999-12-31&from=9999-12-31",
        "from=",
    ] {
        let reply = owner.get(&format!("/api/appointments?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        reply.expect_problem(400, &[]);
    }
}

#[tokio::test]
async fn an_injection_is_a_text_like_any_other() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let all = doctor.list(100, "").await;
    for text in [
        "'; drop table notes; --",
        "\" or \"1\"=\"1",
        "${jndi:ldap://x}",
        "{{7*7}}",
        "<script>alert(1)</script>",
        "%s%n",
    ] {
        let note = doctor.post(&format!("/api/patients/{id}/notes"), &json!({ "text": text })).await;
        note.expect(201);
        assert_eq!(note.json()["text"], text);
        let q: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        assert!(doctor.list(100, &format!("&q={q}")).await.is_empty(), "{text}");
    }
    assert_eq!(doctor.list(100, "").await, all);
}
