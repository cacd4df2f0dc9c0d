//! The security headers on every kind of answer, each exactly once.

use http::Method;
use serde_json::json;
use tower_ward::headers::{RETIRED, REVEALING};

use crate::harness::*;

/// Written out, so that no change of the library's defaults goes by unseen.
const SET: [(&str, &str); 11] = [
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    (
        "content-security-policy",
        "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "deny"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cache-control", "no-store, max-age=0"),
    ("x-dns-prefetch-control", "off"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// Demands the whole set on a reply.
pub(crate) fn check(name: &str, reply: &Reply) {
    for (header, value) in SET {
        assert_eq!(reply.header(header), value, "{name}: {header}");
    }
    let policy = reply.header("permissions-policy");
    for feature in ["camera", "microphone", "geolocation", "payment"] {
        assert!(policy.split(", ").any(|entry| entry == format!("{feature}=()")), "{name}: {feature}");
    }
    for header in REVEALING.iter().chain(RETIRED).chain(&["via", "x-runtime", "set-cookie"]) {
        assert!(!reply.headers.contains_key(*header), "{name}: {header}");
    }
    assert!(reply.headers.keys().all(|key| !key.as_str().starts_with("access-control-")), "{name}");
    let id = reply.header("x-request-id");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{name}: {id}");
}

// proves MED-15, CCA-05, MED-16: on each class of answer that the clinic gives, over the wire.
#[tokio::test]
async fn every_class_of_answer_wears_the_whole_set_once() {
    let dir = demo_folder().await;
    let mut few = args(dir.path());
    few.user_quota = 12.try_into().unwrap();
    let site = Site::start_with(dir, &few).await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let desk = site.login(HOME, "receptionist").await;
    let guest = site.guest(HOME);
    let notes = format!("/api/patients/{id}/notes");
    let mut seen = Vec::new();
    let mut note = |status: u16, reply: Reply| {
        reply.expect(status);
        check(&status.to_string(), &reply);
        seen.push(status);
    };
    note(200, doctor.get(&notes).await);
    note(200, doctor.send(Method::HEAD, &notes, None).await);
    note(200, guest.get("/healthz").await);
    note(200, guest.get("/api/openapi.json").await);
    note(201, doctor.post(&notes, &json!({ "text": "A note." })).await);
    note(400, doctor.post(&notes, &json!({ "text": "" })).await);
    note(401, guest.get("/api/me").await);
    note(401, guest.with_token(Some("garbage")).get("/api/me").await);
    note(403, desk.get(&notes).await);
    note(404, doctor.get(&format!("/api/patients/{}/notes", absent(id))).await);
    note(404, guest.get("/nowhere").await);
    note(405, guest.send(Method::DELETE, "/api/login", None).await);
    let patch = json!({ "version": 99, "sex": "other" });
    note(409, desk.send(Method::PATCH, &format!("/api/patients/{id}"), Some(&patch)).await);
    note(413, doctor.post(&notes, &json!({ "text": "x".repeat(300_000) })).await);
    note(415, doctor.exchange(doctor.request(Method::POST, &notes), "text=x").await);
    note(421, guest.with_authority("nowhere.localhost").get("/").await);
    note(204, desk.send(Method::POST, "/api/logout", None).await);
    let mut limited = doctor.get("/api/me").await;
    for _ in 0..100 {
        if limited.status != 429 {
            limited = doctor.get("/api/me").await;
        }
    }
    note(429, limited);
    assert_eq!(seen.len(), 18);

    // HTTP/1.1 too.
    let host = &site.clinic(HOME).host;
    let old = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    check("HTTP/1.1", &site.raw(host, &old).await);
}

#[tokio::test]
async fn a_request_id_is_the_servers_own_and_new_each_time() {
    let site = Site::start().await;
    let guest = site.guest(HOME);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let request = guest.request(Method::GET, "/healthz").header("x-request-id", "0".repeat(32));
        seen.insert(guest.exchange(request, "").await.header("x-request-id").to_owned());
    }
    assert_eq!(seen.len(), 5);
    assert!(!seen.contains(&"0".repeat(32)));
}

#[tokio::test]
async fn no_other_origin_is_ever_let_in() {
    let site = Site::start().await;
    let doctor = site.login(HOME, "doctor").await;
    for origin in ["https://evil.example", "null", "https://harbour.localhost.evil.example", "https://meadow.localhost"]
    {
        let preflight = doctor
            .with_token(None)
            .request(Method::OPTIONS, "/api/patients")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let reply = doctor.exchange(preflight, "").await;
        assert!(!reply.status.is_success(), "{origin}: {}", reply.status);
        check(origin, &reply);
        let simple = doctor.request(Method::GET, "/api/patients").header("origin", origin);
        check(origin, &doctor.exchange(simple, "").await);
    }
}

#[tokio::test]
async fn over_plain_http_nothing_is_promised_about_https() {
    let dir = demo_folder().await;
    let mut plain = args(dir.path());
    plain.plain_http = true;
    let site = Site::start_with(dir, &plain).await;
    let host = site.clinic(HOME).host.clone();
    let reply = site.plain(&format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
    reply.expect(200);
    // RFC 6797 §7.2.
    assert!(!reply.headers.contains_key("strict-transport-security"));
    for (header, value) in SET.into_iter().skip(1) {
        assert_eq!(reply.header(header), value);
    }
}
