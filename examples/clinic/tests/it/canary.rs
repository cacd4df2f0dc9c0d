//! A name and a note that must not be found anywhere but where they were asked for.

use std::path::Path;

use http::{Method, header};
use serde_json::json;
use tower_ward::testing::Canaries;

use crate::harness::*;

const GIVEN: &str = "Zephyrine-canary-7f3a";
const FAMILY: &str = "Quillfeather-canary-9c41";
const NOTE: &str = "The canary sang at dawn, 5d2e, and nobody was to know.";
const PHONE: &str = "07700 900666";
const ADDRESS: &str = "66 Canary Wharf Cottages 1b2c";
const DRUG: &str = "Canaricillin 66 MG 8d8d";
const TYPED: &str = "typed-canary-4e4e-wrong-password";
const TYPED_NAME: &str = "typed.canary.4e4e.name";
const HEADER: &str = "header-canary-6a6a";

const WRITTEN: [&str; 6] = [GIVEN, FAMILY, NOTE, PHONE, ADDRESS, DRUG];
const SENT: [&str; 3] = [TYPED, TYPED_NAME, HEADER];

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, b| (word << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            out.push(if n > chunk.len() { '=' } else { char::from(ALPHABET[(word >> (18 - 6 * n)) as usize & 63]) });
        }
    }
    out
}

/// A reply that must not repeat anything that was sent.
#[track_caller]
fn quiet(reply: &Reply) {
    for text in WRITTEN.iter().chain(&SENT) {
        assert!(!reply.holds(text), "`{text}` came back: {reply:?}");
    }
}

// proves CLM-04, CCA-10, MED-08
#[tokio::test]
async fn what_was_written_is_in_no_file_no_log_no_error_and_no_document() {
    let dir = demo_folder().await;
    let child =
        Child::start(dir.path(), &["--peer-quota", "100000"], &[("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")]).await;
    let place = &child.place;
    let (owner, doctor) = (place.login(HOME, "owner").await, place.login(HOME, "doctor").await);
    let guest = place.guest(HOME);

    // Written, and read where it may be read: so it is really there.
    let new = json!({
        "given": GIVEN, "family": FAMILY, "birth_date": "1966-06-06", "sex": "other", "phone": PHONE, "address": ADDRESS,
    });
    let created = owner.post("/api/patients", &new).await;
    created.expect(201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/patients/{id}");
    owner.send(Method::PUT, &format!("{path}/assignments/{}", doctor.user_id().await), None).await.expect(204);
    doctor.post(&format!("{path}/notes"), &json!({ "text": NOTE })).await.expect(201);
    let prescription = json!({ "drug": DRUG, "dose": "1 a day", "instructions": NOTE });
    doctor.post(&format!("{path}/prescriptions"), &prescription).await.expect(201);
    doctor.post(&format!("{path}/messages"), &json!({ "text": NOTE })).await.expect(201);
    for (client, kind, body) in [
        (&owner, "quotes", json!({ "lines": [{ "text": NOTE, "quantity": 1, "unit_price_pence": 1 }] })),
        (&owner, "invoices", json!({ "lines": [{ "text": NOTE, "quantity": 1, "unit_price_pence": 1 }] })),
        (&doctor, "encounters", json!({ "kind": "home", "reason": NOTE })),
        (&doctor, "attachments", json!({ "file_name": NOTE, "media_type": "a/b", "content": base64(NOTE.as_bytes()) })),
    ] {
        client.post(&format!("{path}/{kind}"), &body).await.expect(201);
    }
    let incident = json!({ "kind": "other", "title": NOTE, "text": NOTE });
    owner.post("/api/incidents", &incident).await.expect(201);
    let summary = json!({ "version": 0, "allergies": [NOTE] });
    doctor.send(Method::PATCH, &format!("{path}/summary"), Some(&summary)).await.expect(200);
    assert!(doctor.get(&path).await.holds(FAMILY) && doctor.get(&format!("{path}/notes")).await.holds(NOTE));
    let found = owner.get(&format!("/api/patients?q={FAMILY}")).await;
    assert!(found.expect(200).holds(GIVEN));
    let patch = json!({ "version": 1, "given": GIVEN, "phone": PHONE });
    owner.send(Method::PATCH, &path, Some(&patch)).await.expect(200);

    // Every way to go wrong with it.
    let desk = place.login(HOME, "receptionist").await;
    let json = |client: &Client, method: Method, path: &str| {
        client.request(method, path).header(header::CONTENT_TYPE, "application/json")
    };
    let notes = format!("{path}/notes");
    let half = format!("{{\"text\": \"{NOTE}");
    let large = json!({ "text": NOTE.repeat(6000) }).to_string();
    for (status, reply) in [
        (409, owner.send(Method::PATCH, &path, Some(&patch)).await),
        (400, owner.post("/api/patients", &json!({ "given": GIVEN, "family": FAMILY, FAMILY: NOTE })).await),
        (400, owner.post("/api/patients", &json!({ "given": format!("{GIVEN}\0"), "family": FAMILY, "birth_date": "1966-06-06", "sex": FAMILY })).await),
        (400, doctor.exchange(json(&doctor, Method::POST, &notes), half).await),
        (413, doctor.exchange(json(&doctor, Method::POST, &notes), large).await),
        (415, doctor.exchange(doctor.request(Method::POST, &notes).header(header::CONTENT_TYPE, HEADER), NOTE).await),
        (403, desk.post(&notes, &json!({ "text": NOTE })).await),
        (404, doctor.get(&format!("/api/patients/{FAMILY}")).await),
        (404, doctor.get(&format!("/{FAMILY}/{GIVEN}")).await),
        (400, owner.get(&format!("/api/patients?cursor={FAMILY}")).await),
        (400, owner.get(&format!("/api/patients?{FAMILY}={GIVEN}")).await),
        (405, owner.exchange(json(&owner, Method::from_bytes(b"CANARY-4E4E").unwrap(), &path), NOTE).await),
        (421, guest.with_authority(&format!("{HEADER}.localhost")).get("/").await),
        (401, guest.with_token(Some(HEADER)).get("/api/me").await),
        (401, guest.try_login(TYPED_NAME, TYPED).await),
        (401, guest.try_login(&place.users(HOME, "owner").next().unwrap().username, TYPED).await),
        (401, guest.try_refresh(TYPED).await),
        (400, guest.post("/api/login", &json!({ "username": TYPED_NAME, "password": TYPED, TYPED_NAME: TYPED })).await),
        (401, guest.exchange(guest.request(Method::GET, "/api/me").header(header::AUTHORIZATION, format!("Basic {HEADER}")), "").await),
    ] {
        reply.expect(status);
        quiet(&reply);
    }
    for name in ["x-request-id", "user-agent", "referer", "x-forwarded-for", "forwarded", "cookie", "traceparent"] {
        let asked = guest.request(Method::GET, "/api/me").header(name, HEADER);
        quiet(&guest.exchange(asked, "").await);
    }
    quiet(guest.get("/api/openapi.json").await.expect(200));
    for reply in [owner.get(&format!("{path}/timeline")).await, owner.get("/healthz").await] {
        quiet(&reply);
    }

    let renewed = owner.try_refresh(owner.refresh.as_ref().unwrap()).await;
    renewed.expect(200);
    let fresh = renewed.json();
    doctor.send(Method::POST, "/api/logout", None).await.expect(204);
    let mut secrets: Vec<String> = Vec::new();
    for client in [&owner, &doctor, &desk] {
        secrets.extend(client.token.clone().into_iter().chain(client.refresh.clone()));
    }
    secrets.extend(["access_token", "refresh_token"].map(|key| fresh[key].as_str().unwrap().to_owned()));
    // The head of a JWS and the id of a session are no secrets; what follows them is.
    let secrets: Vec<String> =
        secrets.iter().map(|token| token.split_once('.').map_or(token.as_str(), |(_, rest)| rest).to_owned()).collect();
    assert!(secrets.iter().all(|secret| secret.len() > 40), "a token has another form than this test thinks");
    let passwords: Vec<String> = place.demo.clinics.iter().flat_map(|c| &c.users).map(|u| u.password.clone()).collect();

    // Also while it runs: what is deleted at the end has been there.
    let running = tempfile::tempdir().unwrap();
    copy(dir.path(), running.path());
    let (out, err) = child.stop().await;
    assert!(err.contains("TRACE"), "nothing was traced");

    let texts = WRITTEN.iter().chain(&SENT).map(|text| (*text).to_owned());
    let canaries = Canaries::new(texts.chain(secrets)).unwrap();
    assert_eq!(canaries.found_in(out.as_bytes()), None, "on stdout");
    let line = |found: &str| {
        err.lines().find(|l| l.to_lowercase().contains(&found.to_lowercase())).unwrap_or_default().to_owned()
    };
    assert_eq!(canaries.found_in(err.as_bytes()).map(|f| (f, line(f))), None, "on stderr");
    let passwords = Canaries::new(passwords).unwrap();
    assert_eq!(passwords.found_in(err.as_bytes()), None, "a password on stderr");
    // What was written is among these files, under the id that it was given.
    let id: uuid::Uuid = id.parse().unwrap();
    let holds_row = |dir: &Path| {
        files(&dir.join("clinics")).iter().filter_map(|file| read(file)).any(|bytes| find(&bytes, id.as_bytes()))
    };
    assert!(holds_row(running.path()) && holds_row(dir.path()));
    for folder in [running.path(), dir.path()] {
        for file in files(folder) {
            let Some(bytes) = read(&file) else { continue };
            assert_eq!(canaries.found_in(&bytes), None, "{}", file.display());
            if !file.ends_with("demo.json") {
                assert_eq!(passwords.found_in(&bytes), None, "{}", file.display());
            }
        }
    }
}
