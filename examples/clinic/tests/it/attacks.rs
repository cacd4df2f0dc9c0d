//! Attacks on the clinic's own socket, as tables: each row is named, and the name is in the message that it breaks.

use std::io::Write as _;

use http::{Method, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

const MARK: &str = "canary-attack-5c11";
const HOST: &str = "harbour.localhost";

/// A doctor, and a patient of theirs.
async fn doctor(site: &Site) -> (Client, Uuid) {
    let user = site.users(HOME, "doctor").next().unwrap();
    (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap())
}

// proves CLM-17
#[tokio::test]
async fn a_host_in_any_other_spelling_is_refused_on_the_socket() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let token = owner.token.as_ref().unwrap();
    let long = format!("{}.localhost", "a".repeat(300));
    let rows = [
        ("a letter percent-encoded", "%68arbour.localhost"),
        ("a dot percent-encoded", "harbour%2elocalhost"),
        ("NUL percent-encoded", "harbour.localhost%00"),
        ("punycode", "xn--hrbour-bua.localhost"),
        ("Unicode", "h\u{e0}rbour.localhost"),
        ("a tab within", "harbour\t.localhost"),
        ("a space within", "harbour .localhost"),
        ("a user and a password", "a:b@harbour.localhost"),
        ("ours as user information", "harbour.localhost@meadow.localhost"),
        ("a scheme", "https://harbour.localhost"),
        ("a path", "harbour.localhost/x"),
        ("a backslash", "harbour.localhost\\x"),
        ("a signed port", "harbour.localhost:+443"),
        ("a port too large", "harbour.localhost:65536"),
        ("a port of letters", "harbour.localhost:https"),
        ("no port after the colon", "harbour.localhost:"),
        ("two ports", "harbour.localhost:443:443"),
        ("IPv6 with a zone", "[fe80::1%25lo]"),
        ("IPv6 with an IPv4 inside", "[::ffff:127.0.0.1]"),
        ("IPv4 in two parts", "127.1"),
        ("IPv4 with a trailing dot", "127.0.0.1."),
        ("an underscore", "harbour_.localhost"),
        ("a hyphen last", "harbour-.localhost"),
        ("an empty label", "harbour..localhost"),
        ("a leading dot", ".harbour.localhost"),
        ("a pattern", "*.localhost"),
        ("a quote", "\"harbour.localhost\""),
        ("a semicolon", "harbour.localhost;meadow.localhost"),
        ("300 bytes", &long),
    ];
    for (name, host) in rows {
        let head = format!("GET /api/me HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n");
        let reply = site.raw(HOST, &format!("{head}connection: close\r\n\r\n")).await;
        assert_eq!(reply.status, 421, "{name}");
        reply.expect_problem(421, &[host, token]);
    }
    // What no parser of HTTP takes is refused before there is a request.
    for (name, host) in [("NUL", "harbour.localhost\0"), ("a bare carriage return", "harbour.localhost\rx-a: b")] {
        let reply = site.raw(HOST, &format!("GET /api/me HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(reply.status, 400, "{name}");
    }
    for (name, target) in [
        ("the target is another clinic", "https://meadow.localhost/api/me"),
        ("the target is nobody", "https://nowhere.localhost/api/me"),
        ("the target is an address", "https://127.0.0.1/api/me"),
        ("the target is in capitals", "https://HARBOUR.localhost/api/me"),
        ("the target has a dot", "https://harbour.localhost./api/me"),
        ("the target has a user", "https://meadow.localhost@harbour.localhost/api/me"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n");
        let reply = site.raw(HOST, &format!("{head}connection: close\r\n\r\n")).await;
        assert!([400, 421].contains(&reply.status.as_u16()), "{name}: {reply:?}");
    }
    println!("host, on the socket: {} rows", rows.len() + 8);
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused_and_changes_nothing() {
    let site = Site::start().await;
    let (doctor, id) = doctor(&site).await;
    let path = format!("/api/patients/{id}/notes");
    let before = doctor.get(&path).await.json();
    let good = json!({ "text": MARK }).to_string();
    let ask = || doctor.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");

    // Two megabytes, said and unsaid.
    let large = json!({ "text": MARK.repeat(120_000) }).to_string();
    assert!(large.len() > 2 << 20);
    doctor.exchange(ask(), large).await.expect_problem(413, &[MARK]);
    let open = format!("{{\"text\":{}", "[".repeat(50_000));
    let objects = format!("{{\"text\":{}", "{\"a\":".repeat(40_000));
    for (name, body, status) in [
        ("50,000 brackets, left open", open, 400),
        ("40,000 objects", objects, 400),
        ("50,000 brackets alone", "[".repeat(50_000), 400),
        ("a number of 200,000 digits", format!("{{\"text\":{}}}", "9".repeat(200_000)), 400),
        ("an exponent too large", "{\"text\":1e999999}".to_owned(), 400),
        ("an array for the object", json!([[MARK]]).to_string(), 400),
        ("a byte order mark", format!("\u{feff}{good}"), 400),
        ("single quotes", good.replace('"', "'"), 400),
        ("a comma last", good.replace('}', ",}"), 400),
        ("NaN", "{\"text\":NaN}".to_owned(), 400),
        ("a member of another case", json!({ "Text": MARK }).to_string(), 400),
        ("a member with NUL", json!({ "text\u{0}": MARK }).to_string(), 400),
        ("a member without a name", json!({ "text": MARK, "": 1 }).to_string(), 400),
        ("a prototype", json!({ "text": MARK, "__proto__": { "admin": true } }).to_string(), 400),
        ("a member twice, escaped", format!("{{\"text\":\"a\",\"te\\u0078t\":\"{MARK}\"}}"), 400),
        ("an object for a text", json!({ "text": { "text": MARK } }).to_string(), 400),
        ("a list for a text", json!({ "text": [MARK] }).to_string(), 400),
        ("true for a text", json!({ "text": true }).to_string(), 400),
        ("cut in an escape", format!("{{\"text\":\"{MARK}\\u00"), 400),
        ("a low surrogate first", format!("{{\"text\":\"{MARK}\\udc00\\ud800\"}}"), 400),
        ("a right-to-left override", json!({ "text": format!("{MARK}\u{202e}gm 01") }).to_string(), 400),
        ("a left-to-right override", json!({ "text": format!("{MARK}\u{202d}") }).to_string(), 400),
        ("a right-to-left embedding", json!({ "text": format!("{MARK}\u{202b}") }).to_string(), 400),
        ("an isolate", json!({ "text": format!("{MARK}\u{2067}") }).to_string(), 400),
        ("an override, escaped", format!("{{\"text\":\"{MARK}\\u202e\"}}"), 400),
    ] {
        let reply = doctor.exchange(ask(), body).await;
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        reply.expect_problem(status, &[MARK]);
    }
    for (name, bytes) in [
        ("a lone continuation", &b"{\"text\":\"canary-attack-5c11\x80\"}"[..]),
        ("an overlong slash", b"{\"text\":\"canary-attack-5c11\xc0\xaf\"}"),
        ("an overlong NUL", b"{\"text\":\"canary-attack-5c11\xc0\x80\"}"),
        ("a surrogate in UTF-8", b"{\"text\":\"canary-attack-5c11\xed\xa0\x80\"}"),
        ("beyond Unicode", b"{\"text\":\"canary-attack-5c11\xf5\x80\x80\x80\"}"),
        ("a sequence that is cut", b"{\"text\":\"canary-attack-5c11\xe2\x82\"}"),
        ("a member that is not UTF-8", b"{\"te\xff\":\"canary-attack-5c11\"}"),
        ("UTF-16", b"\xff\xfe{\0\"\0t\0e\0x\0t\0\"\0:\0\"\0a\0\"\0}\0"),
        ("UTF-16 without a mark", b"\0{\0\"\0t\0e\0x\0t\0\"\0:\0\"\0a\0\"\0}"),
    ] {
        let reply = doctor.exchange(ask(), bytes.to_vec()).await;
        assert_eq!(reply.status, 400, "{name}");
        reply.expect_problem(400, &[MARK]);
    }

    // A coding is not undone, so a body that claims one is not what it says, packed or not.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(good.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    for coding in ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "aes128gcm", MARK]
    {
        for (name, body) in [("packed", packed.clone()), ("as it is", good.clone().into_bytes())] {
            let reply = doctor.exchange(ask().header(header::CONTENT_ENCODING, coding), body).await;
            assert_eq!(reply.status, 415, "{coding}, {name}: {reply:?}");
            reply.expect_problem(415, &[MARK]);
        }
    }
    doctor.exchange(ask(), packed).await.expect_problem(400, &[]);
    for (name, kinds) in [
        ("two types", ["application/json", "text/plain"]),
        ("the same type twice", ["application/json", "application/json"]),
    ] {
        let request = doctor.request(Method::POST, &path);
        let request = kinds.iter().fold(request, |request, kind| request.header(header::CONTENT_TYPE, *kind));
        assert_eq!(doctor.exchange(request, good.clone()).await.status, 415, "{name}");
    }
    for kind in [
        "application/json, text/plain",
        "application/problem+json",
        "application/x-ndjson",
        "application/json+xml",
        "text/json",
        "*/*",
        "application/*",
        ";application/json",
        "\"application/json\"",
    ] {
        let request = doctor.request(Method::POST, &path).header(header::CONTENT_TYPE, kind);
        assert_eq!(doctor.exchange(request, good.clone()).await.status, 415, "{kind}");
    }
    assert_eq!(doctor.get(&path).await.json(), before, "a refused note was written");
    doctor.exchange(ask().header(header::CONTENT_ENCODING, "identity"), good.clone()).await.expect(201);
    // Marks of direction belong to the writing of some languages.
    let marks = json!({ "text": "\u{200f}\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200e} and \u{627}\u{644}\u{62f}\u{61c}" });
    doctor.post(&path, &marks).await.expect(201);
}

/// A name is shown in lists, next to others: what changes their order, or breaks the line, is no part of one.
#[tokio::test]
async fn a_name_cannot_rearrange_the_line_that_it_stands_in() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let new = |given: &str| json!({ "given": given, "family": "Test", "birth_date": "1990-02-03", "sex": "other" });
    for (name, given) in [
        ("a right-to-left override", "Ada\u{202e}"),
        ("a left-to-right override", "\u{202d}Ada"),
        ("a right-to-left embedding", "A\u{202b}da"),
        ("a left-to-right embedding", "A\u{202a}da"),
        ("a pop", "Ada\u{202c}"),
        ("a left-to-right isolate", "A\u{2066}da"),
        ("a right-to-left isolate", "A\u{2067}da"),
        ("a first-strong isolate", "A\u{2068}da"),
        ("the end of an isolate", "A\u{2069}da"),
        ("a line separator", "A\u{2028}da"),
        ("a paragraph separator", "A\u{2029}da"),
        ("a line end", "A\nda"),
        ("a carriage return", "A\rda"),
        ("a vertical tab", "A\u{b}da"),
        ("a next line", "A\u{85}da"),
        ("NUL", "A\0da"),
        ("escape", "A\u{1b}[2Jda"),
        ("a bell", "A\u{7}da"),
        ("nothing but ideographic space", "\u{3000}"),
    ] {
        let reply = desk.post("/api/patients", &new(given)).await;
        // Who may not register patients shows nothing.
        let reply = if reply.status == 403 {
            site.login(HOME, "owner").await.post("/api/patients", &new(given)).await
        } else {
            reply
        };
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        assert_eq!(reply.json()["field"], "given", "{name}");
    }
}

/// Whatever two parsers may disagree on: a request that follows is never answered as a second one, unless the first was
/// beyond doubt.
#[tokio::test]
async fn no_body_hides_a_second_request() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let token = owner.token.as_ref().unwrap();
    let hidden =
        format!("GET /api/me HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    let user = owner.user_id().await.to_string();
    // The plain case, so that a second answer is known to show: two requests, one after the other.
    let head = format!("POST /api/login HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n");
    let reply = site.raw(HOST, &format!("{head}content-length: 2\r\n\r\n{{}}{hidden}")).await;
    assert!(reply.status == 400 && reply.holds(&user), "two requests are two: {reply:?}");
    let chunked = "transfer-encoding: chunked\r\n";
    let reply = site.raw(HOST, &format!("{head}{chunked}\r\n2\r\n{{}}\r\n0\r\n\r\n{hidden}")).await;
    assert!(reply.status == 400 && reply.holds(&user), "two requests are two, in chunks: {reply:?}");

    let end = "2\r\n{}\r\n0\r\n\r\n";
    let rows: Vec<(&str, String, String)> = [
        ("a length, then chunks", "content-length: 2\r\ntransfer-encoding: chunked\r\n", end),
        ("chunks, then a length", "transfer-encoding: chunked\r\ncontent-length: 2\r\n", end),
        ("chunks and a length that fits them", "transfer-encoding: chunked\r\ncontent-length: 12\r\n", end),
        ("chunks and a length of zero", "content-length: 0\r\ntransfer-encoding: chunked\r\n", end),
        ("chunks and a length beyond", "content-length: 9999\r\ntransfer-encoding: chunked\r\n", end),
        ("chunks and two lengths", "content-length: 2\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n", end),
        ("chunked twice", "transfer-encoding: chunked, chunked\r\n", end),
        ("chunked in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", end),
        ("identity and chunked, in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", end),
        ("identity, and a length", "transfer-encoding: identity\r\ncontent-length: 2\r\n", "{}"),
        ("another coding, and a length", "transfer-encoding: xchunked\r\ncontent-length: 2\r\n", "{}"),
        ("a coding that is cut, and a length", "transfer-encoding: chunke\r\ncontent-length: 2\r\n", "{}"),
        ("quoted, and a length", "transfer-encoding: \"chunked\"\r\ncontent-length: 2\r\n", "{}"),
        ("a vertical tab before", "transfer-encoding: \x0bchunked\r\ncontent-length: 2\r\n", "{}"),
        ("a vertical tab after", "transfer-encoding: chunked\x0b\r\ncontent-length: 2\r\n", "{}"),
        ("a space before the colon", "transfer-encoding : chunked\r\ncontent-length: 2\r\n", "{}"),
        ("a tab before the colon", "transfer-encoding\t: chunked\r\ncontent-length: 2\r\n", "{}"),
        ("folded", "transfer-encoding:\r\n chunked\r\ncontent-length: 2\r\n", "{}"),
        ("a space before the name", " transfer-encoding: chunked\r\ncontent-length: 2\r\n", "{}"),
        ("a parameter", "transfer-encoding: chunked;q=1\r\ncontent-length: 2\r\n", "{}"),
        ("empty, and a length", "transfer-encoding:\r\ncontent-length: 2\r\n", "{}"),
        ("two lengths in one", "content-length: 2, 2\r\n", "{}"),
        ("two lengths that differ", "content-length: 2\r\ncontent-length: 0\r\n", "{}"),
        ("a length in hexadecimal", "content-length: 0x2\r\n", "{}"),
        ("a length with a sign", "content-length: +2\r\n", "{}"),
        ("a negative length", "content-length: -2\r\n", "{}"),
        ("a length with an exponent", "content-length: 2e0\r\n", "{}"),
        ("a length with a point", "content-length: 2.0\r\n", "{}"),
        ("a length with a space within", "content-length: 2 2\r\n", "{}"),
        ("a length beyond 64 bits", "content-length: 18446744073709551618\r\n", "{}"),
        ("a length of other digits", "content-length: \u{662}\r\n", "{}"),
        ("a length and an underscore", "content_length: 0\r\ncontent-length: 2_0\r\n", "{}"),
    ]
    .into_iter()
    .map(|(name, head, body)| (name, head.to_owned(), body.to_owned()))
    .chain(
        [
            ("a chunk's size with 0x", "0x2\r\n{}\r\n0\r\n\r\n"),
            ("a chunk's size with a sign", "+2\r\n{}\r\n0\r\n\r\n"),
            ("a negative chunk", "-2\r\n{}\r\n0\r\n\r\n"),
            ("a chunk's size beyond 64 bits", "10000000000000002\r\n{}\r\n0\r\n\r\n"),
            ("a chunk's size with an underscore", "0_2\r\n{}\r\n0\r\n\r\n"),
            ("a chunk's size with a space before", " 2\r\n{}\r\n0\r\n\r\n"),
            ("an empty chunk's size", "\r\n{}\r\n0\r\n\r\n"),
            ("a chunk's size ended by a bare line feed", "2\n{}\r\n0\r\n\r\n"),
            ("a chunk's size ended by a bare carriage return", "2\r{}\r\n0\r\n\r\n"),
            ("a chunk without its end", "2\r\n{}0\r\n\r\n"),
            ("a chunk longer than its size", "2\r\n{}  \r\n0\r\n\r\n"),
            ("a chunk ended by a bare line feed", "2\r\n{}\n0\r\n\r\n"),
            ("a last chunk ended by bare line feeds", "2\r\n{}\r\n0\n\n"),
            ("an extension with a line feed", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ]
        .map(|(name, body)| (name, chunked.to_owned(), body.to_owned())),
    )
    .collect();
    let mut two = Vec::new();
    for (name, framing, body) in &rows {
        let reply = site.raw(HOST, &format!("{head}{framing}\r\n{body}{hidden}")).await;
        assert!(reply.status.is_client_error(), "{name}: {reply:?}");
        if reply.holds(&user) || find(&reply.body, b"HTTP/") {
            two.push(name);
        }
    }
    assert!(two.is_empty(), "the second request was answered: {two:?}");
    // A body where none is asked for is part of its request, and no second one.
    for (name, framing, body) in [
        ("a length on a GET", format!("content-length: {}\r\n", hidden.len()), hidden.clone()),
        ("chunks on HTTP/1.0", String::new(), String::new()),
    ] {
        let version = if body.is_empty() { "1.0" } else { "1.1" };
        let framing = if body.is_empty() { chunked.to_owned() } else { framing };
        let body = if body.is_empty() { format!("{end}{hidden}") } else { body };
        let close = "connection: close\r\n";
        let request = format!("GET /healthz HTTP/{version}\r\nhost: {HOST}\r\n{close}{framing}\r\n{body}");
        let reply = site.raw(HOST, &request).await;
        assert!(!reply.holds(&user), "{name}: {reply:?}");
    }
    println!("smuggling: {} rows", rows.len() + 2);
}

/// Two hundred copies of a member, a field for each role: nothing that is not asked for is taken.
#[tokio::test]
async fn a_login_takes_two_members_and_no_more() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let guest = site.guest(HOME);
    let good = json!({ "username": user.username, "password": user.password });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (name, body) in [
        ("a role", with("role", json!("owner"))),
        ("a tenant", with("tenant", json!(AWAY))),
        ("a subject", with("subject", json!(Uuid::nil()))),
        ("an operator", with("username", json!({ "$ne": null }))),
        ("a list", with("username", json!([user.username]))),
        ("a password that is a list", with("password", json!([user.password]))),
        ("a password that is null", with("password", Value::Null)),
        ("a password that is true", with("password", json!(true))),
    ] {
        let reply = guest.post("/api/login", &body).await;
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        reply.expect_problem(400, &[&user.password]);
    }
    guest.post("/api/login", &good).await.expect(200);
}
