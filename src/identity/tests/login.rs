//! Logins: one answer, one cost, one record.

use std::{num::NonZeroUsize, sync::Arc};

use super::{ISSUER, PASSWORD, World};
use crate::identity::{IdentityOptions, LoginError, PasswordHashing};

#[tokio::test]
async fn unknown_wrong_and_disabled_are_one_answer_at_one_cost() {
    let world = World::new().await;
    let disabled = world
        .identity
        .danger_create_account(&world.admin(), &world.clinic, super::account("left"))
        .await
        .expect("made");
    world.identity.danger_set_disabled(&world.admin(), &world.clinic, disabled, true).await.expect("changed");
    let mut seen = Vec::new();
    for (attack, username, password) in [
        ("wrong password", "dr.adeyemi", "not the password"),
        ("unknown user", "dr.nobody", PASSWORD),
        ("disabled", "left", PASSWORD),
        ("disabled and wrong", "left", "not the password"),
        ("user of another spelling", "Dr.Adeyemi", PASSWORD),
        ("user that no store could name", "x:account:dr.adeyemi", PASSWORD),
        ("no user", "", PASSWORD),
        ("no password", "dr.adeyemi", ""),
        ("a password with a tail", "dr.adeyemi", &format!("{PASSWORD}x")),
        ("a shorter password", "dr.second", &PASSWORD[..20]),
        ("an endless password", "dr.third", &"a".repeat(100_000)),
    ] {
        let before = world.identity.argon2_runs();
        let error = world.try_login(username, password).await.expect_err(attack);
        assert!(matches!(error, LoginError::Invalid), "{attack}: {error:?}");
        assert_eq!(world.identity.argon2_runs() - before, 1, "{attack}: the work of one hash");
        seen.push(error.to_string());
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "one sentence");
}

#[tokio::test]
async fn the_decoy_costs_what_a_real_hash_costs() {
    let options = IdentityOptions::new(ISSUER).with_passwords(PasswordHashing::default().with_cost(12_288, 3, 1));
    let world = World::with(options).await;
    let written = String::from_utf8_lossy(&world.store.written()).into_owned();
    assert!(written.contains("$argon2id$v=19$m=12288,t=3,p=1$"), "the account's");
    let decoy = world.identity.decoy();
    assert!(decoy.starts_with("$argon2id$v=19$m=12288,t=3,p=1$"), "{decoy}");
}

#[tokio::test]
async fn the_password_of_the_decoy_is_no_key() {
    let world = World::new().await;
    // What the pool hashes where there is no password to hash.
    assert!(world.try_login("dr.nobody", "no password is this one").await.is_err());
    assert!(world.try_login("", "").await.is_err());
}

#[tokio::test]
async fn passwords_are_not_truncated() {
    let world = World::new().await;
    let long = "p".repeat(1024);
    let new = crate::identity::NewAccount::new("long", long.as_str().into(), "doctor");
    world.identity.danger_create_account(&world.admin(), &world.clinic, new).await.expect("1,024 bytes are allowed");
    assert!(world.try_login("long", &long).await.is_ok());
    assert!(world.try_login("long", &long[..1023]).await.is_err());
    assert!(world.try_login("long", &format!("{}q", &long[..1023])).await.is_err());
    assert!(world.try_login("long", &format!("{long}p")).await.is_err());
}

#[tokio::test]
async fn logins_beyond_the_line_are_shed_and_do_not_count_as_failures() {
    let passwords = PasswordHashing::default().with_workers(NonZeroUsize::MIN).with_line(2);
    let world = Arc::new(World::with(IdentityOptions::new(ISSUER).with_passwords(passwords)).await);
    let tasks: Vec<_> = (0..12)
        .map(|i| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.try_login(&format!("nobody{i}"), PASSWORD).await })
        })
        .collect();
    let (mut busy, mut invalid) = (0, 0);
    for task in tasks {
        match task.await.expect("no panic") {
            Err(LoginError::Busy) => busy += 1,
            Err(LoginError::Invalid) => invalid += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((busy, invalid), (9, 3), "one works, two wait");
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok(), "and then there is room again");
}

#[tokio::test]
async fn a_client_that_hangs_up_makes_no_room_for_another_hash() {
    let passwords = PasswordHashing::default().with_workers(NonZeroUsize::MIN).with_line(0);
    let world = World::with(IdentityOptions::new(ISSUER).with_passwords(passwords)).await;
    let mut gone = Box::pin(world.try_login("nobody", PASSWORD));
    let runs = world.identity.argon2_runs();
    // Polled until its hash runs on the other thread, then dropped.
    while world.identity.argon2_runs() == runs {
        assert!(futures_poll(gone.as_mut()).is_none());
        tokio::task::yield_now().await;
    }
    drop(gone);
    assert!(matches!(world.try_login("dr.adeyemi", PASSWORD).await, Err(LoginError::Busy)));
}

/// Polls once.
fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_hash_of_another_cost_is_verified_and_made_again() {
    let mut world = World::new().await;
    world.options = IdentityOptions::new(ISSUER).with_passwords(PasswordHashing::default().with_cost(20_000, 2, 1));
    world.identity = world.restarted().await;
    let before = world.identity.argon2_runs();
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok());
    assert_eq!(world.identity.argon2_runs() - before, 2, "verified, and hashed again");
    let before = world.identity.argon2_runs();
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok());
    assert_eq!(world.identity.argon2_runs() - before, 1);
    assert!(String::from_utf8_lossy(&world.store.written()).contains("m=20000,t=2,p=1"));
}

#[tokio::test]
async fn an_outage_of_the_store_is_no_verdict() {
    let world = World::new().await;
    world.store.breaks(true);
    for _ in 0..10 {
        assert!(matches!(world.try_login("dr.adeyemi", PASSWORD).await, Err(LoginError::Unavailable(_))));
    }
    world.store.breaks(false);
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok(), "and no failure was counted");
}

#[tokio::test]
async fn without_a_record_there_is_no_login() {
    let world = World::new().await;
    let trail = world.trail();
    let before = world.store.written().len();
    world.trails.recorded().await;
    let login = world.identity.login(&trail, &world.clinic, "dr.adeyemi", PASSWORD.into()).await;
    assert!(matches!(login, Err(LoginError::Unavailable(_))), "{login:?}");
    assert_eq!(world.store.written().len(), before, "and no session was written");
}

#[tokio::test]
async fn a_login_that_is_overtaken_by_its_users_end_gives_nothing() {
    let world = Arc::new(World::new().await);
    let login = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.try_login("dr.adeyemi", PASSWORD).await })
    };
    let runs = world.identity.argon2_runs();
    while world.identity.argon2_runs() == runs {
        tokio::task::yield_now().await;
    }
    // The password is being verified; the account as it was has been read.
    world.identity.danger_set_disabled(&world.admin(), &world.clinic, world.user, true).await.expect("changed");
    assert!(matches!(login.await.expect("no panic"), Err(LoginError::Invalid)));
}

#[tokio::test]
async fn what_is_recorded() {
    let world = World::new().await;
    let tokens = world.login().await;
    assert!(world.try_login("dr.adeyemi", "typed-canary-77").await.is_err());
    assert!(world.try_login("name-canary-88", PASSWORD).await.is_err());
    let next = world.refresh(tokens.refresh_token()).await.expect("current");
    world.identity.logout(&world.trail(), next.principal()).await.expect("out");
    let recorded = world.trails.recorded().await;
    for expected in [
        r#""login""#,
        r#""refresh""#,
        r#""logout""#,
        "login_invalid",
        &world.user.to_string(),
        &tokens.principal().session().to_string(),
    ] {
        assert!(recorded.contains(expected), "{expected} in {recorded}");
    }
    for absent in ["typed-canary-77", "name-canary-88", "dr.adeyemi", PASSWORD] {
        assert!(!recorded.contains(absent), "{absent}");
    }
}
