//! Against a server that answers as no real one does.

use std::time::Duration;

use tower_ward::{
    keys::{
        KeyProvider as _, KeySource,
        ProviderErrorKind::{Denied, Garbled, Mismatch, Unavailable},
        TransitError, TransitOptions, TransitProvider,
    },
    secret::ExposeSecret as _,
};

use super::{
    KEY, TOKEN, assert_refused,
    fake::{self, Fake, Script},
    key, north, opens,
};
use crate::support::bao::Authority;

/// A provider of a server that behaves, and that server.
async fn behaving() -> (TransitProvider, Fake) {
    let fake = Fake::start().await;
    let provider = TransitProvider::open(options_of(&fake)).await.unwrap();
    fake.seen();
    (provider, fake)
}

/// With little time, so that who waits for nothing does not wait long.
fn options_of(fake: &Fake) -> TransitOptions {
    let token = KeySource::File(fake.keep(TOKEN));
    TransitOptions::new(fake.address(), "kek", token).with_timeout(Duration::from_millis(500)).danger_plain_http()
}

#[tokio::test]
async fn transit_answers_that_are_none_are_told_apart() {
    let (provider, fake) = behaving().await;
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();
    let asked = fake.seen().concat();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let context = base64(&north().to_bytes());
    assert!(asked.starts_with("POST /v1/transit/encrypt/kek HTTP/1.1\r\n"), "{asked}");
    for sent in [
        format!("x-vault-token: {TOKEN}\r\n"),
        "x-vault-request: true\r\n".to_owned(),
        format!("\"associated_data\":\"{context}\",\"context\":\"{context}\",\"plaintext\":\"{}\"}}", base64(&KEY)),
    ] {
        assert!(asked.contains(&sent), "{asked}");
    }

    let errors = r#"{"errors":["permission denied"]}"#;
    let half = fake::head(200, "content-type: application/json\r\n", 100, r#"{"data":{"plai"#);
    let shouts = format!(r#"{{"errors":["{} {TOKEN}"]}}"#, base64(&KEY));
    // Of any question.
    let all = [
        ("throttled", Script::json(429, r#"{"errors":["rate limit quota exceeded"]}"#), Unavailable, "throttles us"),
        ("failed", Script::json(500, r#"{"errors":["internal error"]}"#), Unavailable, "the server failed"),
        ("bad gateway", Script::answer(502, "text/html", "<html>"), Unavailable, "the server failed"),
        ("sealed", Script::json(503, r#"{"errors":["Vault is sealed"]}"#), Unavailable, "unseal it"),
        ("disaster-recovery standby", Script::json(472, "{}"), Unavailable, "standby"),
        ("performance standby", Script::json(473, "{}"), Unavailable, "standby"),
        (
            "lags behind",
            Script::json(412, r#"{"errors":["required index state not present"]}"#),
            Unavailable,
            "neither yes nor no",
        ),
        (
            "a 400 that nobody knows",
            Script::json(400, r#"{"errors":["moon is full"]}"#),
            Unavailable,
            "neither yes nor no",
        ),
        ("a 400 without a word", Script::json(400, r#"{"errors":[]}"#), Unavailable, "neither yes nor no"),
        ("a 400 that quotes what it was sent", Script::json(400, &shouts), Unavailable, "neither yes nor no"),
        ("forbidden", Script::json(403, errors), Denied, "renew the token"),
        ("a proxy's 403", Script::answer(403, "text/html", "<html>no</html>"), Unavailable, "what stands between"),
        ("a proxy's 404", Script::answer(404, "text/html", "<html>no</html>"), Unavailable, "what stands between"),
        ("the 403 of something else", Script::json(403, r#"{"message":"no"}"#), Unavailable, "what stands between"),
        ("not found", Script::json(404, r#"{"errors":[]}"#), Denied, "there is no such key"),
        ("nothing comes", Script::Hang, Unavailable, "within `timeout`"),
        ("a byte now and then", Script::Drip, Unavailable, "within `timeout`"),
        ("closed before a word", Script::Send(vec![]), Unavailable, "ended before the answer did"),
        ("closed in the head", Script::Send(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()), Unavailable, "ended before"),
        ("closed in the body", Script::Send(half), Unavailable, "ended before the answer did"),
        ("not HTTP", Script::Send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()), Garbled, "not that of a transit engine"),
        (
            "a head without end",
            Script::Send([&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 100_000]].concat()),
            Garbled,
            "not that",
        ),
        ("no content", Script::json(204, ""), Garbled, "not that of a transit engine"),
        ("no JSON", Script::json(200, "{\"data\":"), Garbled, "not that of a transit engine"),
        ("a page", Script::answer(200, "text/html", "<html>"), Garbled, "not that of a transit engine"),
        ("no field", Script::json(200, r#"{"data":{}}"#), Garbled, "not that of a transit engine"),
        ("no data", Script::json(200, r#"{"data":null}"#), Garbled, "not that of a transit engine"),
        (
            "a body that says it is too large",
            Script::Send(fake::head(200, "content-type: application/json\r\n", 65_537, "")),
            Garbled,
            "not that",
        ),
        ("a body without end", Script::Endless, Garbled, "not that of a transit engine"),
    ];
    for (row, script, kind, tells) in all {
        fake.play(Some(script));
        let began = tokio::time::Instant::now();
        assert_refused(row, provider.wrap(&key(), &north()).await, kind, "kek", tells);
        assert_refused(row, provider.unwrap(&wrapped, &north()).await, kind, "kek", tells);
        assert_refused(row, provider.describe().await, kind, "kek", tells);
        assert!(began.elapsed() < Duration::from_secs(3), "{row}: each ends within its time");
        assert_eq!(fake.seen().len(), 3, "{row}: nothing is asked twice");
        fake.play(None);
        opens(row, &provider, &wrapped).await;
        fake.seen();
    }

    // Of a key that should be wrapped.
    let sealed = |length: usize| base64(&vec![7; length]);
    let good = sealed(60);
    for (row, text) in [
        ("no prefix", good.clone()),
        ("another prefix", format!("vault:v1:{good}").replace("vault", "bao")),
        ("no version", format!("vault:v:{good}")),
        ("version 0", format!("vault:v0:{good}")),
        ("version with a zero before", format!("vault:v01:{good}")),
        ("version with a sign", format!("vault:v+1:{good}")),
        ("version beyond any", format!("vault:v4294967296:{good}")),
        ("31 bytes", format!("vault:v1:{}", sealed(59))),
        ("33 bytes", format!("vault:v1:{}", sealed(61))),
        ("base64 of another alphabet", format!("vault:v1:{}", good.replace("Bw", "B-"))),
        ("a line more", format!("vault:v1:{good}\\n")),
        ("the key itself", base64(&KEY)),
    ] {
        fake.play(Some(Script::json(200, &format!(r#"{{"data":{{"ciphertext":"{text}"}}}}"#))));
        assert_refused(row, provider.wrap(&key(), &north()).await, Garbled, "kek", "not that of a transit engine");
        fake.play(None);
        fake.seen();
        let refused = provider.unwrap(text.as_bytes(), &north()).await;
        assert_refused(row, refused, Mismatch, "kek", "was not wrapped by a transit key");
        assert_eq!(fake.seen(), [""; 0], "{row}: nobody was asked");
    }
    let refused = provider.unwrap(&[0xff; 89], &north()).await;
    assert_refused("no text", refused, Mismatch, "kek", "was not wrapped by a transit key");

    // Of a key that should be unwrapped.
    for (row, text) in [
        ("nothing", String::new()),
        ("31 bytes", base64(&KEY[1..])),
        ("33 bytes", base64(&[&KEY[..], &[1]].concat())),
        ("no base64", "!".repeat(44)),
        ("no padding", base64(&KEY)[..43].to_owned()),
        ("bits beyond the end", base64(&KEY).replace("Y=", "Z=").replace("c=", "d=").replace("m=", "n=")),
        ("an escape", base64(&KEY).replacen('Y', "\\u0059", 1)),
        ("a key twice", base64(&KEY) + &base64(&KEY)),
    ] {
        assert_ne!(text, base64(&KEY), "{row}");
        fake.play(Some(Script::json(200, &format!(r#"{{"data":{{"plaintext":"{text}"}}}}"#))));
        let refused = provider.unwrap(&wrapped, &north()).await;
        assert_refused(row, refused, Garbled, "kek", "not that of a transit engine");
    }
    let twice = format!(r#"{{"data":{{"plaintext":"{0}","plaintext":"{0}"}}}}"#, base64(&KEY));
    fake.play(Some(Script::json(200, &twice)));
    assert_refused("two of one field", provider.unwrap(&wrapped, &north()).await, Garbled, "kek", "not that");

    // The provider cannot know. The keyring's commitment to the key does.
    fake.play(Some(Script::json(200, &format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, base64(&[9; 32])))));
    assert_eq!(provider.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[9; 32]);
}

#[tokio::test]
async fn transit_takes_its_token_nowhere_else() {
    let (provider, fake) = behaving().await;
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();
    let elsewhere = Fake::start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}/v1/transit/decrypt/kek\r\n", elsewhere.address());
        fake.play(Some(Script::Send(fake::head(status, &location, 0, ""))));
        let refused = provider.unwrap(&wrapped, &north()).await;
        assert_refused(&status.to_string(), refused, Unavailable, "kek", "to the active node");
    }
    assert_eq!(elsewhere.seen(), [""; 0]);
}

#[tokio::test]
async fn transit_asks_again_only_with_another_token() {
    let fake = Fake::start().await;
    let provider = TransitProvider::open(options_of(&fake)).await.unwrap();
    fake.seen();
    fake.play(Some(Script::json(403, r#"{"errors":["permission denied"]}"#)));
    for (row, token, asked) in [("the same", TOKEN, 1), ("another", "hvs.other", 2), ("the same other", "hvs.other", 1)]
    {
        fake.keep(token);
        assert_refused(row, provider.wrap(&key(), &north()).await, Denied, "kek", "renew the token");
        let seen = fake.seen();
        assert_eq!(seen.len(), asked, "{row}");
        assert!(seen.last().unwrap().contains(&format!("x-vault-token: {token}\r\n")), "{row}");
    }
}

#[tokio::test]
async fn transit_does_not_open_a_server_that_it_cannot_believe() {
    let fake = Fake::start().await;
    fake.forget_contexts();
    let refused = TransitProvider::open(options_of(&fake)).await.unwrap_err();
    assert!(matches!(refused, TransitError::Unbound { .. }), "{refused:?}");
    assert!(refused.to_string().starts_with("transit:transit/kek: the server does not bind"), "{refused}");

    for (row, script) in [
        ("half a description", Script::json(200, r#"{"data":{"type":"aes256-gcm96"}}"#)),
        ("no description", Script::json(200, r#"{"data":[]}"#)),
    ] {
        fake.play(Some(script));
        let refused = TransitProvider::open(options_of(&fake)).await.unwrap_err();
        assert!(matches!(refused, TransitError::Provider(error) if error.kind() == Garbled), "{row}");
    }
}

#[tokio::test]
async fn transit_speaks_tls_of_both_versions_and_ends_in_time_with_who_speaks_none() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, ca) = (Authority::new(), folder.path().join("ca.pem"));
    std::fs::write(&ca, &authority.ca).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let fake = Fake::start_tls(&authority, version).await;
        let provider = TransitProvider::open(options_of(&fake).with_ca_file(&ca)).await.unwrap();
        let wrapped = provider.wrap(&key(), &north()).await.unwrap();
        opens(&format!("{version:?}"), &provider, &wrapped).await;
    }
    // It waits for the end of a head that never comes.
    let plain = Fake::start().await;
    let token = KeySource::File(plain.keep(TOKEN));
    let options = TransitOptions::new(plain.address().replace("http", "https"), "kek", token)
        .with_ca_file(&ca)
        .with_timeout(Duration::from_millis(200));
    let began = tokio::time::Instant::now();
    let TransitError::Provider(refused) = TransitProvider::open(options).await.unwrap_err() else { panic!("no TLS") };
    assert_refused("no TLS", Err::<(), _>(refused), Unavailable, "kek", "within `timeout`");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(plain.seen(), [""; 0], "nothing was sent in the clear");
}
