//! Which host was meant: everything that is not one registered clinic, named once and alike everywhere, is 421.

use http::{Method, header};

use crate::harness::*;

const HOST: &str = "harbour.localhost";

// proves CLM-17
#[tokio::test]
async fn an_unknown_host_is_421_before_anything_is_looked_at() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let port = site.address.port();
    for host in [
        format!("nowhere.localhost:{port}"),
        "nowhere.localhost".to_owned(),
        format!("x.harbour.localhost:{port}"),
        format!("harbour.localhost.:{port}"),
        format!("HARBOUR.localhost:{port}"),
        format!("harbourlocalhost:{port}"),
        format!("harbour.localhost.example:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        "2130706433".to_owned(),
        "platform.localhost".to_owned(),
    ] {
        // Over HTTP/1.1, as the bytes stand; a right token changes nothing.
        let token = owner.token.as_ref().unwrap();
        let head = format!("GET /api/me HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n");
        let reply = site.raw(HOST, &format!("{head}connection: close\r\n\r\n")).await;
        reply.expect_problem(421, &["nowhere", token]);
        assert!(reply.headers.get("www-authenticate").is_none());
    }
    for authority in ["nowhere.localhost", "127.0.0.1:8443", "meadow.localhost"] {
        owner.with_authority(authority).get("/api/me").await.expect_problem(421, &[authority]);
    }
    owner.get("/api/me").await.expect(200);
}

// proves CLM-17
#[tokio::test]
async fn no_host_two_hosts_and_hosts_that_differ_are_421() {
    let site = Site::start().await;
    for (name, head) in [
        ("no host", "GET /healthz HTTP/1.1\r\n".to_owned()),
        ("an empty host", "GET /healthz HTTP/1.1\r\nhost:\r\n".to_owned()),
        ("two hosts", format!("GET /healthz HTTP/1.1\r\nhost: {HOST}\r\nhost: meadow.localhost\r\n")),
        ("the same host twice", format!("GET /healthz HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n")),
        ("a list", format!("GET /healthz HTTP/1.1\r\nhost: {HOST}, meadow.localhost\r\n")),
        ("user information", format!("GET /healthz HTTP/1.1\r\nhost: meadow.localhost@{HOST}\r\n")),
        ("the target's differs", format!("GET https://meadow.localhost/healthz HTTP/1.1\r\nhost: {HOST}\r\n")),
        ("another than the handshake's", "GET /healthz HTTP/1.1\r\nhost: meadow.localhost\r\n".to_owned()),
        ("HTTP/1.0 without one", "GET /healthz HTTP/1.0\r\n".to_owned()),
    ] {
        let reply = site.raw(HOST, &format!("{head}connection: close\r\n\r\n")).await;
        assert_eq!(reply.status, 421, "{name}");
        reply.expect_problem(421, &["meadow"]);
    }
    let fine =
        site.raw(HOST, &format!("GET /healthz HTTP/1.1\r\nhost: {HOST}:8443\r\nconnection: close\r\n\r\n")).await;
    fine.expect(200);
}

// proves CLM-17
#[tokio::test]
async fn the_name_of_the_handshake_must_be_the_name_of_the_request() {
    let site = Site::start().await;
    // HTTP/2 on a connection that was opened for another clinic, and one opened for an address, which names nobody.
    let fronted = site.at("meadow.localhost").with_authority(HOST);
    fronted.get("/healthz").await.expect_problem(421, &[HOST]);
    let twice = site.guest(HOME).request(Method::GET, "/healthz").header(header::HOST, "meadow.localhost");
    let reply = site.guest(HOME).exchange(twice, "").await;
    reply.expect_problem(421, &["meadow"]);
    let same = site.guest(HOME).request(Method::GET, "/healthz").header(header::HOST, HOST);
    site.guest(HOME).exchange(same, "").await.expect(200);
    site.at("localhost").get("/healthz").await.expect(200);
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_421() {
    let site = Site::start().await;
    // The certificate is valid for it, and still no clinic is there.
    site.at("127.0.0.1").get("/healthz").await.expect_problem(421, &["127.0.0.1"]);
    let reply = site.guest(HOME).with_authority("127.0.0.1").get("/healthz").await;
    reply.expect_problem(421, &["127.0.0.1"]);
}

/// What does not parse as HTTP never becomes a request: it is refused with an empty answer, before any header is put on.
#[tokio::test]
async fn what_is_no_http_is_refused_without_a_word() {
    let site = Site::start().await;
    let host = format!("host: {HOST}\r\n");
    for (name, bytes) in [
        ("no method", format!(" / HTTP/1.1\r\n{host}")),
        ("no version", format!("GET /canary-7f3a\r\n{host}")),
        ("version 3", format!("GET /canary-7f3a HTTP/3.0\r\n{host}")),
        ("a header without a colon", format!("GET / HTTP/1.1\r\n{host}canary-7f3a\r\n")),
        ("a space before the colon", format!("GET / HTTP/1.1\r\n{host}x-a : canary-7f3a\r\n")),
        ("a folded header", format!("GET / HTTP/1.1\r\n{host}x-a: b\r\n canary-7f3a\r\n")),
        ("NUL in a header", format!("GET / HTTP/1.1\r\n{host}x-a: canary-7f3a\0\r\n")),
        ("a bare carriage return", format!("GET / HTTP/1.1\r\n{host}x-a: canary-7f3a\rx-b: c\r\n")),
        ("two lengths", format!("POST /api/login HTTP/1.1\r\n{host}content-length: 3\r\ncontent-length: 4\r\n")),
        ("a signed length", format!("POST /api/login HTTP/1.1\r\n{host}content-length: +3\r\n")),
        ("an unknown coding", format!("POST /api/login HTTP/1.1\r\n{host}transfer-encoding: canary-7f3a\r\n")),
        ("chunked, but not last", format!("POST /api/login HTTP/1.1\r\n{host}transfer-encoding: chunked, gzip\r\n")),
        ("too many headers", format!("GET / HTTP/1.1\r\n{host}{}", "x-a: canary-7f3a\r\n".repeat(200))),
        ("a head too long", format!("GET / HTTP/1.1\r\n{host}x-a: {}\r\n", "a".repeat(64 << 10))),
        ("a path too long", format!("GET /{} HTTP/1.1\r\n{host}", "a".repeat(64 << 10))),
    ] {
        let reply = site.raw(HOST, &format!("{bytes}connection: close\r\n\r\n")).await;
        assert!([400, 414, 431].contains(&reply.status.as_u16()), "{name}: {reply:?}");
        assert!(reply.body.is_empty() && !reply.holds("canary"), "{name}: {reply:?}");
        assert!(!reply.headers.contains_key("server"), "{name}");
    }
    // A length and chunks at once: one of the two lies, and the chunks are what counts (RFC 9112 §6.3).
    let both = format!("POST /api/login HTTP/1.1\r\n{host}content-length: 5\r\ntransfer-encoding: chunked\r\n");
    let smuggled = format!("0\r\n\r\nGET /api/me HTTP/1.1\r\n{host}\r\n");
    let reply = site.raw(HOST, &format!("{both}connection: close\r\n\r\n{smuggled}")).await;
    assert!(reply.status.is_client_error(), "{reply:?}");
}
