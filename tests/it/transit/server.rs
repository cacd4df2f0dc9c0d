//! Against a real server: what it gives, what it refuses, and what it does when it is taken away.

use serde_json::json;
use tower_ward::{
    keys::{
        KeyContext, KeyProvider as _, KeySource,
        ProviderErrorKind::{Denied, Mismatch, Unavailable},
        TransitError, TransitOptions, TransitProvider,
    },
    secret::ExposeSecret as _,
};

use super::{KEY, TOKEN, assert_refused, blob, key, north, opens, restrict, south};
use crate::support::bao::{Authority, Bao};

#[tokio::test]
async fn transit_wraps_unwraps_and_says_which_key_it_is() {
    let bao = Bao::start();
    for (name, settings) in
        [("plain", json!({ "type": "aes256-gcm96" })), ("derived", json!({ "type": "aes256-gcm96", "derived": true }))]
    {
        bao.create_key_with(name, &settings);
        let provider = TransitProvider::open(bao.options(name)).await.unwrap();
        for context in [north(), KeyContext::platform()] {
            let wrapped = provider.wrap(&key(), &context).await.unwrap();
            assert!(blob(&wrapped).starts_with("vault:v1:") && wrapped.len() == 89, "{name}");
            assert_ne!(wrapped, provider.wrap(&key(), &context).await.unwrap(), "{name}: never twice the same");
            assert_eq!(provider.unwrap(&wrapped, &context).await.unwrap().expose_secret(), &KEY, "{name}");
        }

        let wrapped = provider.wrap(&key(), &north()).await.unwrap();
        bao.rotate(name);
        opens("wrapped before the rotation", &provider, &wrapped).await;
        let renewed = provider.wrap(&key(), &north()).await.unwrap();
        assert!(blob(&renewed).starts_with("vault:v2:"), "{name}");
        opens("wrapped after the rotation", &provider, &renewed).await;

        let described = provider.describe().await.unwrap();
        assert_eq!((described.provider, described.key), ("transit", format!("transit:transit/{name}")));
        assert_eq!(described.version.as_deref(), Some("2"));
        // The server's clock is this machine's; the year is enough to tell seconds from anything else.
        assert!(described.created.unwrap() > "2025-01-01T00:00:00Z".parse().unwrap());
        assert!(described.enabled && described.confined);
    }

    bao.configure_key("plain", &json!({ "allow_plaintext_backup": true }));
    let provider = TransitProvider::open(bao.options("plain")).await.unwrap();
    assert!(!provider.describe().await.unwrap().confined, "it can be read from a backup");
    assert_eq!(format!("{provider:?}"), "TransitProvider(\"transit:transit/plain\")");
}

#[tokio::test]
async fn transit_refusals_have_the_kind_that_follows_from_their_fault() {
    let bao = Bao::start();

    // What is unwrapped is not what was wrapped.
    bao.create_key("changed");
    bao.create_key("another");
    let provider = TransitProvider::open(bao.options("changed")).await.unwrap();
    let another = TransitProvider::open(bao.options("another")).await.unwrap();
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();
    opens("untouched", &provider, &wrapped).await;
    for (row, context) in [("another tenant", south()), ("the platform", KeyContext::platform())] {
        assert_refused(row, provider.unwrap(&wrapped, &context).await, Mismatch, "changed", "in this context");
    }
    assert_refused("another key", another.unwrap(&wrapped, &north()).await, Mismatch, "another", "by this key");
    let text = blob(&wrapped);
    for at in 9..text.len() {
        // One bit of the six of each character: IV, ciphertext and tag, all of them.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let value = alphabet.find(&text[at..=at]).unwrap() ^ (1 << (at % 6));
        let flipped = format!("{}{}{}", &text[..at], &alphabet[value..=value], &text[at + 1..]);
        let row = format!("character {at} flipped");
        assert_refused(&row, provider.unwrap(flipped.as_bytes(), &north()).await, Mismatch, "changed", "were changed");
    }
    let ahead = text.replacen("v1", "v2", 1);
    let refused = provider.unwrap(ahead.as_bytes(), &north()).await;
    assert_refused("a version that the key has not", refused, Unavailable, "changed", "this version");

    // The operator takes the key away, and gives it back where that can be.
    bao.create_key("old");
    let provider = TransitProvider::open(bao.options("old")).await.unwrap();
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();
    bao.disable_old_versions("old");
    let refused = provider.unwrap(&wrapped, &north()).await;
    assert_refused("a version disallowed by policy", refused, Denied, "old", "min_decryption_version");
    bao.enable_old_versions("old");
    opens("the version is allowed again", &provider, &wrapped).await;
    bao.soft_delete("old");
    assert_refused("unwrap, key soft-deleted", provider.unwrap(&wrapped, &north()).await, Denied, "old", "deleted");
    assert_refused("wrap, key soft-deleted", provider.wrap(&key(), &north()).await, Denied, "old", "deleted");
    assert!(!provider.describe().await.unwrap().enabled);
    bao.restore("old");
    opens("the key is restored", &provider, &wrapped).await;
    bao.delete("old");
    assert_refused("unwrap, key deleted", provider.unwrap(&wrapped, &north()).await, Denied, "old", "`key`");
    assert_refused("wrap, key deleted", provider.wrap(&key(), &north()).await, Denied, "old", "");
    assert_refused("describe, key deleted", provider.describe().await, Denied, "old", "no such key");
    bao.create_key("old");
    let refused = provider.unwrap(&wrapped, &north()).await;
    assert_refused("a new key of the old name", refused, Mismatch, "old", "not wrapped by this key");

    // The token is taken away, or may too little.
    bao.create_key("token");
    let token = bao.token("token");
    let provider = TransitProvider::open(bao.options_with("token", &token)).await.unwrap();
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();
    bao.revoke(&token);
    for (row, result) in [
        ("wrap, token revoked", provider.wrap(&key(), &north()).await.map(|_| ())),
        ("unwrap, token revoked", provider.unwrap(&wrapped, &north()).await.map(|_| ())),
        ("describe, token revoked", provider.describe().await.map(|_| ())),
    ] {
        let shown = format!("{result:?}");
        assert_refused(row, result, Denied, "token", "renew the token");
        assert!(!shown.contains(&token), "{row}");
    }
    let narrow = bao.options_with("token", &bao.token_for("token", &["encrypt", "decrypt"]));
    let narrow = TransitProvider::open(narrow).await.expect("the description is not needed");
    opens("token that may not read the key", &narrow, &wrapped).await;
    assert_refused("describe without permission", narrow.describe().await, Denied, "token", "policy");
    for (row, verbs) in [
        ("token that may not encrypt", &["decrypt", "keys"][..]),
        ("token that may not decrypt", &["encrypt", "keys"][..]),
        ("token of another key", &[][..]),
    ] {
        let token = if verbs.is_empty() { bao.token("another") } else { bao.token_for("token", verbs) };
        let refused = TransitProvider::open(bao.options_with("token", &token)).await.unwrap_err();
        let TransitError::Provider(refused) = refused else { panic!("{row}: {refused}") };
        assert_refused(row, Err::<(), _>(refused), Denied, "token", "policy");
    }
}

#[tokio::test]
async fn transit_opens_with_no_key_that_can_leave_or_is_of_another_kind() {
    let bao = Bao::start();
    for (name, settings, expected) in [
        ("exportable", json!({ "type": "aes256-gcm96", "exportable": true }), "the key is exportable"),
        ("aes128", json!({ "type": "aes128-gcm96" }), "not `aes256-gcm96`"),
        ("chacha20", json!({ "type": "chacha20-poly1305" }), "not `aes256-gcm96`"),
        ("rsa", json!({ "type": "rsa-2048" }), "not `aes256-gcm96`"),
        ("ed25519", json!({ "type": "ed25519" }), "not `aes256-gcm96`"),
    ] {
        bao.create_key_with(name, &settings);
        let refused = TransitProvider::open(bao.options(name)).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with(&format!("transit:transit/{name}: ")) && text.contains(expected), "{name}: {text}");
        assert_eq!(matches!(refused, TransitError::Exportable { .. }), name == "exportable", "{name}");
    }
    for (row, options, key) in [
        ("no such key", bao.options("absent"), "transit/absent"),
        ("no such mount", bao.options("absent").with_mount("elsewhere"), "elsewhere/absent"),
        ("no such namespace", bao.options("absent").with_namespace("north"), "north:transit/absent"),
    ] {
        let refused = TransitProvider::open(options).await.unwrap_err();
        assert!(refused.to_string().starts_with(&format!("transit:{key}: ")), "{row}: {refused}");
        assert!(matches!(refused, TransitError::Provider(refused) if refused.kind() == Denied), "{row}");
    }
    let keys = bao.ok("GET", "transit/keys?list=true", &json!(null));
    assert!(!keys["data"]["keys"].to_string().contains("absent"), "asking made no key: {keys}");
}

#[tokio::test]
async fn transit_says_nothing_while_the_server_is_away_and_recovers() {
    let mut bao = Bao::start();
    bao.create_key("kek");
    let provider = TransitProvider::open(bao.options("kek")).await.unwrap();
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();

    bao.seal();
    assert_refused("sealed", provider.unwrap(&wrapped, &north()).await, Unavailable, "kek", "unseal it");
    bao.unseal();
    opens("unsealed again", &provider, &wrapped).await;

    bao.stop();
    for (row, result) in [
        ("wrap, stopped", provider.wrap(&key(), &north()).await.map(|_| ())),
        ("unwrap, stopped", provider.unwrap(&wrapped, &north()).await.map(|_| ())),
        ("describe, stopped", provider.describe().await.map(|_| ())),
    ] {
        assert_refused(row, result, Unavailable, "kek", "check `address`");
    }
    bao.restart();
    opens("started again", &provider, &wrapped).await;

    // Another authority than the one that signed, and a name that is not in the certificate.
    let other = bao.ca_file().with_file_name("other.pem");
    std::fs::write(&other, Authority::new().ca).unwrap();
    let token = bao.keep(&bao.token("kek"));
    let by_name = bao.address().replace("127.0.0.1", "localhost");
    for (row, options) in [
        ("another authority", bao.options("kek").with_ca_file(other)),
        ("another name", TransitOptions::new(by_name, "kek", token.clone()).with_ca_file(bao.ca_file())),
    ] {
        let TransitError::Provider(refused) = TransitProvider::open(options).await.unwrap_err() else {
            panic!("{row}")
        };
        assert_refused(row, Err::<(), _>(refused), Unavailable, "kek", "check `ca_file`");
    }
    let plain = TransitOptions::new(bao.address().replace("https", "http"), "kek", token).danger_plain_http();
    let TransitError::Provider(refused) = TransitProvider::open(plain).await.unwrap_err() else { panic!("plain HTTP") };
    assert_refused("plain HTTP to a TLS listener", Err::<(), _>(refused), Unavailable, "kek", "neither yes nor no");
}

#[tokio::test]
async fn transit_takes_up_a_token_that_was_renewed() {
    let bao = Bao::start();
    bao.create_key("kek");
    let first = bao.token("kek");
    let source = bao.keep(&first);
    let KeySource::File(file) = source.clone() else { panic!("a file") };
    let options = TransitOptions::new(bao.address(), "kek", source).with_ca_file(bao.ca_file());
    let provider = TransitProvider::open(options).await.unwrap();
    let wrapped = provider.wrap(&key(), &north()).await.unwrap();

    bao.revoke(&first);
    for (row, text) in [
        ("the same token", Some(first.as_str())),
        ("an empty file", Some("")),
        ("two tokens", Some("hvs.one\nhvs.two\n")),
        ("no file", None),
        ("a token that the server does not know", Some(TOKEN)),
    ] {
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        restrict(&file, 0o600);
        assert_refused(row, provider.unwrap(&wrapped, &north()).await, Denied, "kek", "renew the token");
    }
    // As an agent does it: written aside, and moved into place.
    let second = bao.token("kek");
    let KeySource::File(aside) = bao.keep(&second) else { panic!("a file") };
    std::fs::rename(aside, &file).unwrap();
    opens("a renewed token", &provider, &wrapped).await;
    bao.revoke(&second);
    assert_refused("revoked again", provider.unwrap(&wrapped, &north()).await, Denied, "kek", "renew the token");
}
