//! Attacks on access tokens.

mod attacks;

use aws_lc_rs::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use super::{ISSUER, World};
use crate::{
    codec::{base64url, unbase64url},
    identity::{Factor, Identity, IdentityOptions, TokenError, signing_key},
    secret::ExposeSecret,
};

/// The issuer's own key, which no attacker has: what it signs passes the signature and meets the checks behind it.
struct Key {
    kid: String,
    public: [u8; 32],
    pair: Ed25519KeyPair,
}

async fn key(world: &World) -> Key {
    let keys = signing_key::open(&*world.store, &world.keyring, &world.clock).await.expect("keys");
    let pair = Ed25519KeyPair::from_pkcs8(&keys[0].pkcs8).expect("a key");
    Key { kid: keys[0].kid.clone(), public: keys[0].public, pair }
}

impl Key {
    fn header(&self) -> Value {
        json!({"typ": "at+jwt", "alg": "EdDSA", "kid": self.kid})
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        sign_with(&self.pair, header, claims)
    }
}

fn sign_with(pair: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    format!("{message}.{}", base64url(pair.sign(message.as_bytes()).as_ref()))
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&unbase64url(part).expect("base64url")).expect("JSON")
}

fn with(value: &Value, name: &str, to: Value) -> String {
    let mut value = value.clone();
    value[name] = to;
    value.to_string()
}

fn without(value: &Value, name: &str) -> String {
    let mut value = value.clone();
    value.as_object_mut().expect("an object").remove(name).expect("was there");
    value.to_string()
}

fn hmac(secret: &[u8], header: &str, claims: &str) -> String {
    use ::hmac::{Hmac, KeyInit, Mac};
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("any length");
    mac.update(message.as_bytes());
    format!("{message}.{}", base64url(&mac.finalize().into_bytes()))
}

// proves CLA-14, GLM-05
#[tokio::test]
async fn attacks_on_the_header_and_the_signature() {
    let world = World::new().await;
    let key = key(&world).await;
    let stranger = Ed25519KeyPair::generate().expect("a key");
    let tokens = world.login().await;
    let good = tokens.access_token().expose_secret();
    let (header, claims) = (key.header(), part(good, 1));
    let (h, c) = (header.to_string(), claims.to_string());
    let parts: Vec<_> = good.split('.').collect();
    assert!(world.identity.verify(&key.sign(&h, &c)).is_ok(), "the workshop makes good tokens");

    let no_alg = |alg: &str| {
        let header = with(&header, "alg", json!(alg));
        format!("{}.{}.", base64url(header.as_bytes()), parts[1])
    };
    let hs = with(&header, "alg", json!("HS256"));
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64url(&key.public));
    let own_kid = base64url(&[7; 32]);
    let flipped = {
        let mut signature = unbase64url(parts[2]).expect("base64url");
        signature[0] ^= 1;
        format!("{}.{}.{}", parts[0], parts[1], base64url(&signature))
    };
    let cut = {
        let signature = unbase64url(parts[2]).expect("base64url");
        format!("{}.{}.{}", parts[0], parts[1], base64url(&signature[..60]))
    };
    let noncanonical = {
        // The last character of 64 bytes carries two bits that have to be zero.
        let mut text = good.to_owned();
        let last = text.pop().expect("not empty");
        text.push(if last == 'A' { 'B' } else { char::from(last as u8 + 1) });
        text
    };
    use TokenError::{Algorithm, Header, Malformed, Signature, TooLong, Type, UnknownKey};
    let rows = [
        ("no token", String::new(), Malformed),
        ("one part", "abc".into(), Malformed),
        ("two parts", format!("{}.{}", parts[0], parts[1]), Malformed),
        ("four parts", format!("{good}.{}", parts[2]), Malformed),
        ("five parts, a JWE", format!("{good}.a.b"), Malformed),
        ("null signature", format!("{}.{}.", parts[0], parts[1]), Malformed),
        ("signature cut by four bytes", cut, Signature),
        ("signature of one bit flipped", flipped, Signature),
        ("signature of 64 zero bytes", format!("{}.{}.{}", parts[0], parts[1], base64url(&[0; 64])), Signature),
        ("signature in another spelling", noncanonical, Malformed),
        ("padding", format!("{good}="), Malformed),
        ("white space before", format!(" {good}"), Malformed),
        ("white space after", format!("{good}\n"), Malformed),
        ("the scheme left on", format!("Bearer {good}"), Malformed),
        ("alg none", no_alg("none"), Malformed),
        ("alg None", no_alg("None"), Malformed),
        ("alg nOnE and a signature", format!("{}{}", no_alg("nOnE"), parts[2]), Algorithm),
        ("alg none and a signature", format!("{}{}", no_alg("none"), parts[2]), Algorithm),
        ("alg empty", key.sign(&with(&header, "alg", json!("")), &c), Algorithm),
        ("alg in another case", key.sign(&with(&header, "alg", json!("eddsa")), &c), Algorithm),
        ("alg Ed448", key.sign(&with(&header, "alg", json!("Ed448")), &c), Algorithm),
        ("alg RS256", key.sign(&with(&header, "alg", json!("RS256")), &c), Algorithm),
        ("alg ES256", key.sign(&with(&header, "alg", json!("ES256")), &c), Algorithm),
        ("alg a list", key.sign(&with(&header, "alg", json!(["EdDSA"])), &c), Header),
        ("no alg", key.sign(&without(&header, "alg"), &c), Header),
        ("HS256 with the public key", hmac(&key.public, &hs, &c), Algorithm),
        ("HS256 with the public key as text", hmac(pem.as_bytes(), &hs, &c), Algorithm),
        ("HS256 with the kid", hmac(key.kid.as_bytes(), &hs, &c), Algorithm),
        ("HS256 with an empty key", hmac(b"", &hs, &c), Algorithm),
        ("HMAC under alg EdDSA", hmac(&key.public, &h, &c), Signature),
        ("another key under our kid", sign_with(&stranger, &h, &c), Signature),
        ("another key under its own kid", sign_with(&stranger, &with(&header, "kid", json!(own_kid)), &c), UnknownKey),
        ("no kid", key.sign(&without(&header, "kid"), &c), Header),
        ("kid empty", key.sign(&with(&header, "kid", json!("")), &c), UnknownKey),
        ("kid a path", key.sign(&with(&header, "kid", json!("../../../../dev/null")), &c), UnknownKey),
        ("kid a device", key.sign(&with(&header, "kid", json!("/dev/null")), &c), UnknownKey),
        ("kid a command", key.sign(&with(&header, "kid", json!("|sleep 10")), &c), UnknownKey),
        ("kid SQL", key.sign(&with(&header, "kid", json!("x' UNION SELECT '1';--")), &c), UnknownKey),
        ("kid a URL", key.sign(&with(&header, "kid", json!("https://attacker.example/k")), &c), UnknownKey),
        ("kid a number", key.sign(&with(&header, "kid", json!(1)), &c), Header),
        ("kid with an escape", key.sign(&h.replace(&key.kid, &format!("\\u0020{}", key.kid)), &c), Header),
        ("kid twice", key.sign(&h.replacen('{', &format!("{{\"kid\":\"{}\",", key.kid), 1), &c), Header),
        ("alg twice", key.sign(&h.replacen('{', "{\"alg\":\"none\",", 1), &c), Header),
        ("jku", key.sign(&with(&header, "jku", json!("https://attacker.example/jwks")), &c), Header),
        ("x5u", key.sign(&with(&header, "x5u", json!("https://attacker.example/x")), &c), Header),
        ("x5c", key.sign(&with(&header, "x5c", json!(["MIIB"])), &c), Header),
        ("jwk", key.sign(&with(&header, "jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": ""})), &c), Header),
        ("crit", key.sign(&with(&header, "crit", json!(["exp"])), &c), Header),
        ("crit empty", key.sign(&with(&header, "crit", json!([])), &c), Header),
        ("b64 false (RFC 7797)", key.sign(&with(&header, "b64", json!(false)), &c), Header),
        ("zip", key.sign(&with(&header, "zip", json!("DEF")), &c), Header),
        ("a header of our own", key.sign(&with(&header, "ward", json!(1)), &c), Header),
        ("no typ", key.sign(&without(&header, "typ"), &c), Header),
        ("typ JWT: an identity token", key.sign(&with(&header, "typ", json!("JWT")), &c), Type),
        ("typ in another case", key.sign(&with(&header, "typ", json!("AT+JWT")), &c), Type),
        ("typ of a logout token", key.sign(&with(&header, "typ", json!("logout+jwt")), &c), Type),
        ("header a list", key.sign(&json!(["EdDSA", "at+jwt", key.kid]).to_string(), &c), Header),
        ("header null", key.sign("null", &c), Header),
        ("header empty", key.sign("", &c), Header),
        ("header and a tail", key.sign(&format!("{h} x"), &c), Header),
        ("header with a byte order mark", key.sign(&format!("\u{feff}{h}"), &c), Header),
        ("header not UTF-8", format!("{}.{}.{}", base64url(b"\xff\xfe"), parts[1], parts[2]), Header),
        ("longer than 16 KiB", key.sign(&h, &with(&claims, "role", json!("a".repeat(16_384)))), TooLong),
    ];
    for (attack, token, expected) in rows {
        assert_eq!(world.identity.verify(&token).err(), Some(expected), "{attack}");
        assert_eq!(world.identity.verify(&token).err(), Some(expected), "{attack}, again");
    }
    assert!(world.identity.verify(good).is_ok(), "the original still works");
}

// proves CLA-14, GLM-05
#[tokio::test]
async fn attacks_on_the_claims() {
    let world = World::new().await;
    let key = key(&world).await;
    let tokens = world.login().await;
    let good = tokens.access_token().expose_secret();
    let (h, claims) = (key.header().to_string(), part(good, 1));
    let (iat, exp) = (claims["iat"].as_i64().expect("a time"), claims["exp"].as_i64().expect("a time"));
    assert_eq!(exp - iat, 600);

    for (name, to) in [
        ("tenant", json!("southgate")),
        ("role", json!("owner")),
        ("sub", json!("018f4e3a-7b1c-7def-8abc-0123456789ab")),
        ("sid", json!("018f4e3a-7b1c-7def-8abc-0123456789ab")),
        ("exp", json!(exp + 1)),
        ("epoch", json!(2)),
        ("auth_time", json!(iat + 1)),
        ("aud", json!("https://other.example")),
        ("jti", json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ] {
        let parts: Vec<_> = good.split('.').collect();
        let tampered = format!("{}.{}.{}", parts[0], base64url(with(&claims, name, to).as_bytes()), parts[2]);
        assert_eq!(world.identity.verify(&tampered).err(), Some(TokenError::Signature), "{name} tampered with");
    }

    // From here on signed by the issuer's own key.
    for name in
        ["cv", "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "auth_time", "amr", "tenant", "sid", "role", "epoch"]
    {
        let token = key.sign(&h, &without(&claims, name));
        assert_eq!(world.identity.verify(&token).err(), Some(TokenError::Claims), "without {name}");
        let token = key.sign(&h, &with(&claims, name, Value::Null));
        assert_eq!(world.identity.verify(&token).err(), Some(TokenError::Claims), "{name} null");
        let doubled = claims.to_string().replacen('{', &format!("{{\"{name}\":{},", claims[name]), 1);
        assert_eq!(world.identity.verify(&key.sign(&h, &doubled)).err(), Some(TokenError::Claims), "{name} twice");
    }
    let order =
        ["cv", "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "auth_time", "amr", "tenant", "sid", "role", "epoch"];
    let list = Value::from(order.map(|name| claims[name].clone()).to_vec()).to_string();
    use TokenError::{Audience, Claims, Issuer, NotYetValid, TooLongLived};
    let day = 24 * 60 * 60;
    for (attack, claims, expected) in [
        ("another issuer", with(&claims, "iss", json!("https://attacker.example")), Issuer),
        ("issuer with a slash", with(&claims, "iss", json!(format!("{ISSUER}/"))), Issuer),
        ("issuer a list", with(&claims, "iss", json!([ISSUER])), Claims),
        ("another audience", with(&claims, "aud", json!("https://other.example")), Audience),
        ("audience a list with ours", with(&claims, "aud", json!([ISSUER])), Claims),
        ("audience empty", with(&claims, "aud", json!("")), Audience),
        ("tenant empty", with(&claims, "tenant", json!("")), Claims),
        ("tenant the platform", with(&claims, "tenant", json!("platform")), Claims),
        ("tenant a path", with(&claims, "tenant", json!("../northgate")), Claims),
        ("tenant in capitals", with(&claims, "tenant", json!("Northgate")), Claims),
        ("tenant a list", with(&claims, "tenant", json!(["northgate"])), Claims),
        ("sub in capitals", with(&claims, "sub", json!(world.user.to_string().to_uppercase())), Claims),
        ("role empty", with(&claims, "role", json!("")), Claims),
        ("role with a space", with(&claims, "role", json!("doctor owner")), Claims),
        ("role with a hyphen", with(&claims, "role", json!("doctor-owner")), Claims),
        ("claims of a newer version", with(&claims, "cv", json!(2)), Claims),
        ("claims of no version", with(&claims, "cv", json!(0)), Claims),
        (
            "a newer version and its new claim",
            {
                let mut newer = claims.clone();
                newer["cv"] = json!(2);
                with(&newer, "cnf", json!({"jkt": "x"}))
            },
            Claims,
        ),
        ("no factor", with(&claims, "amr", json!([])), Claims),
        ("one factor twice", with(&claims, "amr", json!(["pwd", "pwd"])), Claims),
        ("a factor that this server does not know", with(&claims, "amr", json!(["pwd", "telepathy"])), Claims),
        ("a factor that is no list", with(&claims, "amr", json!("pwd")), Claims),
        ("epoch negative", with(&claims, "epoch", json!(-1)), Claims),
        ("exp a text", with(&claims, "exp", json!(exp.to_string())), Claims),
        ("exp a fraction", with(&claims, "exp", json!(exp as f64 + 0.5)), Claims),
        ("exp negative", with(&claims, "exp", json!(-1)), Claims),
        ("exp far beyond", with(&claims, "exp", json!(i64::MAX)), TooLongLived),
        ("exp a day later", with(&claims, "exp", json!(iat + day)), TooLongLived),
        ("exp one second over the ceiling", with(&claims, "exp", json!(iat + 901)), TooLongLived),
        ("issued in the future", with(&claims, "iat", json!(iat + 6)), NotYetValid),
        ("nbf after exp", with(&claims, "nbf", json!(exp + 1)), Claims),
        ("an unknown claim", with(&claims, "admin", json!(true)), Claims),
        ("claims a list", json!([ISSUER, ISSUER]).to_string(), Claims),
        ("claims a list in the order of the fields", list, Claims),
        ("claims empty", String::from("{}"), Claims),
    ] {
        assert_eq!(world.identity.verify(&key.sign(&h, &claims)).err(), Some(expected), "{attack}");
    }
    let at_the_ceiling = key.sign(&h, &with(&claims, "exp", json!(iat + 900)));
    assert!(world.identity.verify(&at_the_ceiling).is_ok(), "the ceiling itself is allowed");
}

// proves GLM-08
#[tokio::test]
async fn a_token_ends_at_its_edge_cold_and_warm() {
    let world = World::new().await;
    let (cold, warm) = (world.login().await, world.login().await);
    assert!(world.verify(&warm).is_ok());
    world.advance(604);
    assert!(world.verify(&warm).is_ok(), "599 s and the leeway of 5 s");
    assert!(world.verify(&cold).is_ok());
    world.advance(1);
    assert_eq!(world.verify(&warm).err(), Some(TokenError::Expired));
    assert_eq!(world.verify(&cold).err(), Some(TokenError::Expired));
    let late = world.restarted().await;
    assert_eq!(late.verify(cold.access_token().expose_secret()).err(), Some(TokenError::Expired));
}

#[tokio::test]
async fn a_token_begins_at_its_edge() {
    let world = World::new().await;
    let key = key(&world).await;
    let tokens = world.login().await;
    let claims = part(tokens.access_token().expose_secret(), 1);
    let iat = claims["iat"].as_i64().expect("a time");
    let ahead = |by: i64| key.sign(&key.header().to_string(), &with(&claims, "nbf", json!(iat + by)));
    assert!(world.identity.verify(&ahead(5)).is_ok(), "within the leeway");
    let early = ahead(6);
    assert_eq!(world.identity.verify(&early).err(), Some(TokenError::NotYetValid));
    world.advance(1);
    assert!(world.identity.verify(&early).is_ok());
}

#[tokio::test]
async fn a_token_says_who_and_no_more() {
    let world = World::new().await;
    let tokens = world.login().await;
    let principal = world.verify(&tokens).expect("valid");
    assert_eq!((principal.user(), principal.role()), (world.user, "doctor"));
    assert_eq!((principal.tenant(), principal.subject()), (&world.clinic, None));
    assert_eq!(principal.session(), tokens.principal().session());
    assert_eq!(principal.authenticated_at(), tokens.principal().authenticated_at());
    let claims = part(tokens.access_token().expose_secret(), 1);
    let names: Vec<_> = claims.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected =
        ["amr", "aud", "auth_time", "cv", "epoch", "exp", "iat", "iss", "jti", "nbf", "role", "sid", "sub", "tenant"];
    assert_eq!(names, expected);
    assert_eq!((&claims["cv"], &claims["amr"]), (&json!(1), &json!(["pwd"])));
    assert_eq!((principal.factors(), tokens.principal().factors()), (&[Factor::Password][..], &[Factor::Password][..]));
    let next = world.refresh(tokens.refresh_token()).await.expect("current");
    assert_eq!(next.principal().factors()[0].as_str(), "pwd", "a refresh adds none");
}

#[tokio::test]
async fn the_key_survives_a_restart_and_does_not_open_under_another_root() {
    let world = World::new().await;
    let tokens = world.login().await;
    let again = world.restarted().await;
    assert!(again.verify(tokens.access_token().expose_secret()).is_ok());

    let other = crate::keys::RootKey::generate();
    let elsewhere = std::sync::Arc::new(
        crate::store::MemoryStore::new(std::num::NonZeroUsize::MIN.saturating_add(99)).danger_forgetful(),
    );
    let other = crate::keys::Keyring::open(other, elsewhere).await.expect("a keyring");
    let options = IdentityOptions::new(ISSUER);
    let opened = Identity::open(world.store.clone(), &other, world.clock.shared(), options).await;
    assert!(matches!(opened, Err(crate::identity::IdentityError::WrongRoot)));
}

#[tokio::test]
async fn no_character_of_an_access_token_can_be_changed() {
    let world = World::new().await;
    let tokens = world.login().await;
    let good = tokens.access_token().expose_secret();
    assert!(world.verify(&tokens).is_ok());
    for at in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        let text = String::from_utf8(bytes).expect("ASCII");
        assert!(world.identity.verify(&text).is_err(), "character {at}");
    }
}

#[tokio::test]
async fn two_processes_that_start_at_once_agree_on_one_key() {
    let world = World::new().await;
    let name = crate::store::ObjectName::platform("identity", "signing-keys").expect("a name");
    assert!(crate::store::Durable::remove(&*world.store, &name).await.expect("removed"));
    let (one, two) = tokio::join!(world.restarted(), world.restarted());
    let login = one.login(&world.trail(), &world.clinic, "dr.adeyemi", super::PASSWORD.into()).await;
    let tokens = login.expect("in");
    assert!(two.verify(tokens.access_token().expose_secret()).is_ok());
}

// proves GLM-05
#[tokio::test]
async fn a_token_of_another_issuer_with_the_same_name_is_refused() {
    let (ours, theirs) = (World::new().await, World::new().await);
    let tokens = theirs.login().await;
    assert_eq!(ours.verify(&tokens).err(), Some(TokenError::UnknownKey));
}

proptest::proptest! {
    /// Nothing that a stranger makes up is a token, and nothing makes the parser panic.
    #[test]
    fn no_text_is_a_token(header in ".{0,80}", claims in ".{0,80}", signature in ".{0,80}") {
        let options = IdentityOptions::new(ISSUER);
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).expect("a key");
        let key = signing_key::parse(zeroize::Zeroizing::new(pkcs8.as_ref().to_vec())).expect("a key");
        let issuer = crate::identity::token::Issuer::new(&options, &[key]).expect("an issuer");
        let plain = [&*header, &*claims, &*signature].join(".");
        proptest::prop_assert!(issuer.verify(&plain).is_err());
        let encoded = [&header, &claims, &signature].map(|part| base64url(part.as_bytes())).join(".");
        proptest::prop_assert!(issuer.verify(&encoded).is_err());
    }
}

#[test]
fn settings_weaker_than_their_bounds_are_refused() {
    use std::time::Duration;
    let secs = Duration::from_secs;
    let good = || IdentityOptions::new(ISSUER);
    assert!(good().check().is_ok());
    assert!(good().with_access_ttl(secs(900)).check().is_ok(), "the ceiling itself");
    assert!(good().with_leeway(secs(30)).check().is_ok(), "the ceiling itself");
    for (attack, options) in [
        // proves GLM-08
        ("an access token above the ceiling", good().with_access_ttl(secs(901))),
        ("an access token of no life", good().with_access_ttl(secs(0))),
        ("a fraction of a second", good().with_access_ttl(Duration::from_millis(1500))),
        ("leeway above the ceiling", good().with_leeway(secs(31))),
        ("leeway of the whole life", good().with_access_ttl(secs(5)).with_leeway(secs(5))),
        ("idle below the access token", good().with_idle(secs(599))),
        ("idle above absolute", good().with_idle(secs(9 * 3600))),
        ("a session without end", good().with_absolute(Duration::MAX)),
        ("too many sessions", good().with_sessions_per_user(std::num::NonZeroUsize::MAX)),
        ("a short password", good().with_min_password(14)),
        ("no issuer", IdentityOptions::new("")),
        ("an audience with a space", good().with_audience("a b")),
    ] {
        assert!(options.check().is_err(), "{attack}");
    }
}
