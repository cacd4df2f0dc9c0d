//! Logins, tokens and sessions under attack.

use std::collections::BTreeSet;

use http::{Method, header};

use crate::harness::*;

#[tokio::test]
async fn without_a_token_every_route_but_the_public_ones_is_401_and_says_how_to_ask() {
    let site = Site::start().await;
    let guest = site.guest(HOME);
    let id = site.clinic(HOME).patients[0];
    let mut seen = BTreeSet::new();
    for row in crate::matrix::golden().into_iter().filter(|row| !row.cells.is_empty()) {
        for method in row.methods.into_iter().filter(|m| *m != Method::HEAD) {
            let reply = guest.send(method.clone(), &fill(&row.path, id, id), None).await;
            reply.expect_problem(401, &[&id.to_string()]);
            assert_eq!(reply.header("www-authenticate"), "Bearer", "{method} {}", row.path);
            seen.insert(reply.fingerprint());
        }
    }
    assert_eq!(seen.len(), 1, "they can be told apart");
    guest.get("/healthz").await.expect(200);
}

// proves CLA-14: a claim that was changed fails at the signature.
#[tokio::test]
async fn a_token_that_is_garbage_foreign_or_tampered_with_is_401() {
    let site = Site::start().await;
    let doctor = site.login(HOME, "doctor").await;
    let token = doctor.token.clone().unwrap();
    let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("no JWS") };
    let claim = |from: &str, to: &str| {
        let text = String::from_utf8(unbase64url(claims)).unwrap();
        assert!(text.contains(from), "{text}");
        base64url(text.replacen(from, to, 1).as_bytes())
    };
    let none = base64url(br#"{"alg":"none","typ":"at+jwt"}"#);
    let hmac = base64url(br#"{"alg":"HS256","typ":"at+jwt"}"#);
    let mut flipped = unbase64url(signature);
    flipped[0] ^= 1;
    let elsewhere = Site::start().await.login(HOME, "doctor").await.token.unwrap();
    assert_ne!(elsewhere, token);
    for (name, forged) in [
        ("text", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("another role", format!("{head}.{}.{signature}", claim("\"doctor\"", "\"owner\""))),
        ("another clinic", format!("{head}.{}.{signature}", claim("\"harbour\"", "\"meadow\""))),
        ("alg none", format!("{none}.{claims}.")),
        ("alg none, signed", format!("{none}.{claims}.{signature}")),
        ("alg HS256", format!("{hmac}.{claims}.{signature}")),
        ("no signature", format!("{head}.{claims}.")),
        ("a flipped bit", format!("{head}.{claims}.{}", base64url(&flipped))),
        ("padded", format!("{token}=")),
        ("a fourth part", format!("{token}.{signature}")),
        ("the refresh token", doctor.refresh.clone().unwrap()),
        ("far too long", "a".repeat(17 << 10)),
    ] {
        let reply = doctor.with_token(Some(&forged)).get("/api/me").await;
        assert_eq!(reply.status, 401, "{name}");
        reply.expect_problem(401, &[&forged]);
        assert_eq!(reply.header("www-authenticate"), r#"Bearer error="invalid_token""#, "{name}");
        // A route that is public does not let a wrong token pass as none.
        assert_eq!(doctor.with_token(Some(&forged)).get("/healthz").await.status, 401, "{name}");
    }
    let ask = || doctor.with_token(None).request(Method::GET, "/api/me");
    for (name, request) in [
        ("another scheme", ask().header(header::AUTHORIZATION, "Basic ZG9jdG9yOnBhc3N3b3Jk")),
        ("no scheme", ask().header(header::AUTHORIZATION, &token)),
        ("no token", ask().header(header::AUTHORIZATION, "Bearer ")),
        ("two words", ask().header(header::AUTHORIZATION, format!("Bearer {token} {token}"))),
        (
            "two headers",
            ask().header(header::AUTHORIZATION, format!("Bearer {token}")).header(header::AUTHORIZATION, "Bearer x"),
        ),
        ("in a cookie", ask().header(header::COOKIE, format!("token={token}; access_token={token}"))),
        ("in another header", ask().header("x-access-token", &token)),
    ] {
        let reply = doctor.exchange(request, "").await;
        assert_eq!(reply.status, 401, "{name}");
        reply.expect_problem(401, &[&token]);
    }
    doctor.with_token(None).get(&format!("/api/me?access_token={token}")).await.expect_problem(401, &[&token]);
    doctor.get("/api/me").await.expect(200);
}

// proves CCA-22
#[tokio::test]
async fn a_token_is_refused_from_the_moment_of_logout_and_so_is_its_refresh_token() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (here, there) = (site.login_as(HOME, user).await, site.login_as(HOME, user).await);
    let out = here.send(Method::POST, "/api/logout", None).await;
    out.expect(204);
    assert!(out.body.is_empty());
    assert_eq!(out.header("clear-site-data"), r#""cache","cookies","storage""#);
    for path in ["/api/me", "/api/patients", "/api/logout"] {
        let method = if path == "/api/logout" { Method::POST } else { Method::GET };
        here.send(method, path, None).await.expect_problem(401, &[here.token.as_ref().unwrap()]);
    }
    here.try_refresh(here.refresh.as_ref().unwrap()).await.expect_problem(401, &[here.refresh.as_ref().unwrap()]);
    // The other session of the same user goes on.
    there.get("/api/me").await.expect(200);
    there.try_refresh(there.refresh.as_ref().unwrap()).await.expect(200);
}

// proves GLM-08: its second half, that a spent refresh token ends the whole session.
#[tokio::test]
async fn a_spent_refresh_token_ends_the_session_of_whoever_stole_it_and_of_whoever_lost_it() {
    let site = Site::start().await;
    let user = site.users(HOME, "caregiver").next().unwrap();
    let (mut me, bystander) = (site.login_as(HOME, user).await, site.login_as(HOME, user).await);
    let (stolen, first_access) = (me.refresh.clone().unwrap(), me.clone());
    for _ in 0..2 {
        let spent = me.refresh.clone().unwrap();
        let renewed = me.try_refresh(&spent).await;
        renewed.expect(200);
        me.use_tokens(&renewed);
        assert_ne!(me.refresh.as_deref(), Some(spent.as_str()));
        me.get("/api/me").await.expect(200);
    }
    me.try_refresh(&stolen).await.expect_problem(401, &[&stolen]);
    me.get("/api/me").await.expect_problem(401, &[]);
    first_access.get("/api/me").await.expect_problem(401, &[]);
    me.try_refresh(me.refresh.as_ref().unwrap()).await.expect_problem(401, &[]);
    bystander.get("/api/me").await.expect(200);
}

#[tokio::test]
async fn a_refresh_token_is_worth_nothing_at_another_clinics_host() {
    let site = Site::start().await;
    let me = site.login(HOME, "owner").await;
    let refresh = me.refresh.as_ref().unwrap();
    let garbage = site.guest(AWAY).try_refresh("garbage").await;
    let reply = site.guest(AWAY).try_refresh(refresh).await;
    reply.expect_problem(401, &[refresh]);
    assert_eq!(reply.fingerprint(), garbage.fingerprint());
    // And trying it there costs its owner nothing.
    me.get("/api/me").await.expect(200);
    me.try_refresh(refresh).await.expect(200);
}

// proves ASVS V6.3.8 but for time, which the library's own tests measure.
#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_bytes() {
    let site = Site::start().await;
    let guest = site.guest(HOME);
    // Two, since a name has five failures before it has to wait.
    let [known, other, ..] = site.users(HOME, "doctor").collect::<Vec<_>>()[..] else { panic!("two doctors") };
    let foreign = &site.users(AWAY, "doctor").next().unwrap();
    let mut seen = BTreeSet::new();
    for (username, password) in [
        (known.username.as_str(), "not the password at all"),
        (&known.username, ""),
        (&known.username, &known.password.to_uppercase()),
        (&other.username, &known.password),
        (&other.username, &other.password[1..]),
        (&other.username, &"x".repeat(5000)),
        ("nobody.here", "not the password at all"),
        ("nobody.here.either", &known.password),
        ("", ""),
        ("NOT A NAME \u{e9}\u{2603}", "not the password at all"),
        (&"n".repeat(5000), "not the password at all"),
        ("' or 1=1 --", "' or 1=1 --"),
        // Right at home, and nobody here.
        (&foreign.username, &foreign.password),
    ] {
        let reply = guest.try_login(username, password).await;
        reply.expect_problem(401, &[username, password].iter().copied().filter(|s| s.len() > 6).collect::<Vec<_>>());
        assert!(reply.headers.get("retry-after").is_none());
        seen.insert(reply.fingerprint());
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
    // At the platform's host there is no clinic to log in to.
    site.at("localhost").try_login(&known.username, &known.password).await.expect_problem(404, &[&known.username]);
    guest.try_login(&known.username, &known.password).await.expect(200);
}

// proves MED-09
#[tokio::test]
async fn after_five_failed_logins_the_sixth_waits_whoever_is_asked_for() {
    let site = Site::start().await;
    let guest = site.guest(HOME);
    let [victim, colleague] = site.users(HOME, "receptionist").collect::<Vec<_>>()[..] else { panic!("two desks") };
    let mut last = BTreeSet::new();
    for name in [victim.username.as_str(), "nobody.here"] {
        for _ in 0..5 {
            guest.try_login(name, "not the password at all").await.expect_problem(401, &[name]);
        }
        let sixth = guest.try_login(name, "not the password at all").await;
        sixth.expect_problem(429, &[name]);
        let wait: u64 = sixth.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        last.insert(sixth.fingerprint());
    }
    assert_eq!(last.len(), 1, "a locked name tells whether it is known");
    // The right password does not help, and waiting is not made longer by trying.
    let right = guest.try_login(&victim.username, &victim.password).await;
    right.expect_problem(429, &[&victim.password]);
    assert!(right.header("retry-after").parse::<u64>().unwrap() <= 30);
    // Nobody else is locked out: not a colleague, not the same name in another clinic.
    guest.try_login(&colleague.username, &colleague.password).await.expect(200);
    site.guest(AWAY).try_login(&victim.username, "not the password at all").await.expect(401);
}

#[tokio::test]
async fn sessions_and_their_ends_outlive_a_restart() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (stays, ended) = (site.login_as(HOME, user).await, site.login_as(HOME, user).await);
    ended.send(Method::POST, "/api/logout", None).await.expect(204);
    let site = Site::start_in(site.stop().await).await;
    let guest = site.guest(HOME);
    guest.with_token(stays.token.as_deref()).get("/api/me").await.expect(200);
    guest.with_token(ended.token.as_deref()).get("/api/me").await.expect_problem(401, &[]);
    guest.try_refresh(ended.refresh.as_ref().unwrap()).await.expect_problem(401, &[]);
    guest.try_refresh(stays.refresh.as_ref().unwrap()).await.expect(200);
}

#[tokio::test]
async fn a_flood_of_one_address_or_of_one_user_is_429() {
    let dir = demo_folder().await;
    let mut args = args(dir.path());
    args.user_quota = 5.try_into().unwrap();
    args.peer_quota = 40.try_into().unwrap();
    let site = Site::start_with(dir, &args).await;
    let (one, other) = (site.login(HOME, "doctor").await, site.login(HOME, "owner").await);
    let mut refused = None;
    for _ in 0..12 {
        let reply = one.get("/api/me").await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        reply.expect(200);
    }
    let refused = refused.expect("a user is never refused");
    refused.expect_problem(429, &[]);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    other.get("/api/me").await.expect(200);

    // The address: whatever it claims to be, and before any token is looked at.
    let guest = site.guest(HOME);
    let mut seen = BTreeSet::new();
    for n in 0..60 {
        let request = guest.request(Method::GET, "/healthz").header("x-forwarded-for", format!("192.0.2.{n}"));
        seen.insert(guest.exchange(request.header("x-real-ip", format!("192.0.2.{n}")), "").await.status.as_u16());
    }
    assert_eq!(seen, BTreeSet::from([200, 429]), "an address is never refused");
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        seen.insert(guest.with_token(Some("garbage")).get("/api/me").await.status.as_u16());
    }
    assert!(seen.contains(&429), "a token is looked at before the address is counted: {seen:?}");
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, b| (word << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * n)) as usize & 63]));
        }
    }
    out
}

fn unbase64url(text: &str) -> Vec<u8> {
    let (mut word, mut bits, mut out) = (0_u32, 0, Vec::new());
    for c in text.bytes() {
        word = (word << 6) | u32::try_from(ALPHABET.iter().position(|a| *a == c).unwrap()).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(word >> bits & 0xff).unwrap());
        }
    }
    out
}
