//! Refresh tokens: rotation, reuse, and the ends of a session.

use super::{PASSWORD, World, account, tenant};
use crate::{
    identity::{IdentityOptions, RefreshError, TokenError},
    secret::ExposeSecret,
    store::{Durable, Prefix},
};

fn invalid<T>(result: &Result<T, RefreshError>) -> bool {
    matches!(result, Err(RefreshError::Invalid))
}

// proves GLM-08, CCA-21
#[tokio::test]
async fn a_refresh_spends_the_old_token_and_gives_a_new_one() {
    let world = World::new().await;
    let first = world.login().await;
    world.advance(60);
    let second = world.refresh(first.refresh_token()).await.expect("current");
    assert_ne!(first.refresh_token().expose_secret(), second.refresh_token().expose_secret());
    assert_eq!(first.principal().session(), second.principal().session());
    assert_eq!(first.principal().authenticated_at(), second.principal().authenticated_at(), "a refresh proves nobody");
    let third = world.refresh(second.refresh_token()).await.expect("current");
    assert!(world.verify(&third).is_ok());
}

// proves GLM-08
#[tokio::test]
async fn a_stolen_refresh_token_that_is_used_again_ends_the_session_for_both() {
    let world = World::new().await;
    let other_device = world.login().await;
    let victim = world.login().await;
    let thief = world.refresh(victim.refresh_token()).await.expect("the thief is first");
    assert!(invalid(&world.refresh(victim.refresh_token()).await), "the victim comes second");
    assert!(invalid(&world.refresh(thief.refresh_token()).await), "the thief's is worth nothing now");
    assert_eq!(world.verify(&thief).err(), Some(TokenError::Revoked));
    assert_eq!(world.verify(&victim).err(), Some(TokenError::Revoked));
    assert!(world.verify(&other_device).is_ok(), "another session of the same user goes on");
    assert!(world.trails.recorded().await.contains("refresh_token_reused"));
}

#[tokio::test]
async fn a_token_of_long_ago_is_still_recognised() {
    let world = World::new().await;
    let first = world.login().await;
    let mut tokens = world.refresh(first.refresh_token()).await.expect("current");
    for _ in 0..200 {
        tokens = world.refresh(tokens.refresh_token()).await.expect("current");
    }
    assert!(invalid(&world.refresh(first.refresh_token()).await));
    assert_eq!(world.verify(&tokens).err(), Some(TokenError::Revoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_refreshes_exactly_one_wins() {
    let world = std::sync::Arc::new(World::new().await);
    let tokens = world.login().await;
    let text = tokens.refresh_token().clone();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (world, text) = (world.clone(), text.clone());
            tokio::spawn(async move { world.refresh(&text).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.expect("no panic").ok());
    }
    assert_eq!(won.len(), 1);
    // The others have shown that the token was copied.
    assert_eq!(world.verify(&won[0]).err(), Some(TokenError::Revoked));
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_without_asking_the_store_and_ends_nothing() {
    let world = World::new().await;
    let tokens = world.login().await;
    let good = tokens.refresh_token().expose_secret();
    let (id, secret) = good.split_once('.').expect("two parts");
    let other_session = world.login().await;
    let other_id = other_session.principal().session();
    let flip = |at: usize| {
        let mut bytes = crate::codec::unbase64url(secret).expect("base64url");
        bytes[at] ^= 1;
        format!("{id}.{}", crate::codec::base64url(&bytes))
    };
    let calls = world.store.calls();
    let no_tag = format!("{id}.{}", &secret[..43]);
    for (attack, text) in [
        ("empty", ""),
        ("the session's id alone", id),
        ("the session's id and a guess", &format!("{id}.{}", "A".repeat(64))),
        ("another session's id", &format!("{other_id}.{secret}")),
        ("a random byte changed", &flip(0)),
        ("a byte of the tag changed", &flip(47)),
        ("without its tag", &no_tag),
        ("longer", &format!("{good}A")),
        ("padded", &format!("{good}==")),
        ("in capitals", &good.to_uppercase()),
        ("white space", &format!(" {good}")),
        ("an access token", tokens.access_token().expose_secret()),
        ("as long and not ASCII", &"é".repeat(50)[..100]),
    ] {
        let result = world.identity.refresh(&world.trail(), &world.clinic, text).await;
        assert!(invalid(&result), "{attack}");
    }
    // proves CLA-14
    let elsewhere = world.identity.refresh(&world.trail(), &tenant("southgate"), good).await;
    assert!(invalid(&elsewhere), "in another clinic");
    assert_eq!(world.store.calls(), calls, "nothing was read");
    assert!(world.refresh(tokens.refresh_token()).await.is_ok(), "nobody's session has ended");
}

// proves MED-10
#[tokio::test]
async fn an_idle_session_ends_at_its_edge() {
    let world = World::new().await;
    let (early, late) = (world.login().await, world.login().await);
    world.advance(15 * 60 - 1);
    assert!(world.refresh(early.refresh_token()).await.is_ok());
    world.advance(1);
    assert!(invalid(&world.refresh(late.refresh_token()).await));
}

// proves MED-10
#[tokio::test]
async fn a_session_ends_at_its_absolute_edge_however_busy_and_so_does_its_last_token() {
    let world = World::new().await;
    let mut tokens = world.login().await;
    for _ in 0..47 {
        world.advance(600);
        tokens = world.refresh(tokens.refresh_token()).await.expect("not over yet");
    }
    world.advance(599);
    let last = world.refresh(tokens.refresh_token()).await.expect("one second before the end");
    assert_eq!(last.expires_in().as_secs(), 1, "no token outlives its session");
    world.advance(1);
    assert!(invalid(&world.refresh(last.refresh_token()).await));
    world.advance(5);
    assert_eq!(world.verify(&last).err(), Some(TokenError::Expired));
}

/// A clock that ran a year ahead for a minute left sessions that lasted a year.
#[tokio::test]
async fn a_session_of_a_time_that_has_not_come_is_over() {
    let world = World::new().await;
    let right = crate::clock::Clock::now(&world.clock);
    let ahead = async |seconds| {
        world.clock.set(right + std::time::Duration::from_secs(seconds));
        let tokens = world.login().await;
        world.clock.set(right);
        world.refresh(tokens.refresh_token()).await
    };
    assert!(ahead(5).await.is_ok(), "within the leeway");
    assert!(invalid(&ahead(6).await));
    assert!(invalid(&ahead(365 * 86_400).await));
    // It cannot be told from a session of the right time whose clock was then set back: that one is over as well.
    let tokens = world.login().await;
    world.clock.set(right - std::time::Duration::from_secs(3_600));
    assert!(invalid(&world.refresh(tokens.refresh_token()).await));
}

#[tokio::test]
async fn the_store_is_told_when_a_session_is_over() {
    let world = World::new().await;
    let tokens = world.login().await;
    let prefix = Prefix::tenant(&world.clinic, "session").expect("a prefix");
    let mut expiries = Vec::new();
    for _ in 0..2 {
        let all = world.store.list(&prefix, None, 10).await.expect("listed");
        expiries.push(all[0].1.expires.expect("not for ever").to_string());
        world.advance(60);
        if expiries.len() == 1 {
            let _second = world.refresh(tokens.refresh_token()).await.expect("current");
        }
    }
    assert_eq!(expiries, ["2026-03-01T08:15:00Z", "2026-03-01T08:16:00Z"]);
}

#[tokio::test]
async fn no_character_of_a_refresh_token_can_be_changed() {
    let world = World::new().await;
    let tokens = world.login().await;
    let good = tokens.refresh_token().expose_secret();
    for at in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        let text = String::from_utf8(bytes).expect("ASCII");
        let result = world.identity.refresh(&world.trail(), &world.clinic, &text).await;
        assert!(invalid(&result), "character {at}");
    }
    assert!(world.refresh(tokens.refresh_token()).await.is_ok());
}

#[tokio::test]
async fn an_outage_of_the_store_costs_no_session() {
    let world = World::new().await;
    let tokens = world.login().await;
    world.store.breaks(true);
    assert!(matches!(world.refresh(tokens.refresh_token()).await, Err(RefreshError::Unavailable(_))));
    assert!(world.verify(&tokens).is_ok(), "verification needs no store");
    world.store.breaks(false);
    assert!(world.refresh(tokens.refresh_token()).await.is_ok());
}

#[tokio::test]
async fn a_refresh_sees_what_has_become_of_the_account() {
    let world = World::with(IdentityOptions::new(super::ISSUER)).await;
    let tokens = world.login().await;
    world.identity.danger_set_role(&world.admin(), &world.clinic, world.user, "owner").await.expect("changed");
    assert!(invalid(&world.refresh(tokens.refresh_token()).await), "a new role needs a new login");
    let tokens = world.login().await;
    assert_eq!(tokens.principal().role(), "owner");
    world.identity.danger_set_disabled(&world.admin(), &world.clinic, world.user, true).await.expect("changed");
    assert!(invalid(&world.refresh(tokens.refresh_token()).await));
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_err());
}

#[tokio::test]
async fn a_login_beyond_the_bound_ends_the_oldest_session_and_no_other() {
    let world = World::new().await;
    let other =
        world.identity.danger_create_account(&world.admin(), &world.clinic, account("nurse")).await.expect("made");
    let nurse = world.try_login("nurse", PASSWORD).await.expect("in");
    let mut sessions = Vec::new();
    for _ in 0..16 {
        sessions.push(world.login().await);
    }
    for tokens in &sessions {
        assert!(world.verify(tokens).is_ok(), "sixteen are allowed");
    }
    sessions.push(world.login().await);
    assert_eq!(world.verify(&sessions[0]).err(), Some(TokenError::Revoked));
    assert!(invalid(&world.refresh(sessions[0].refresh_token()).await));
    for tokens in &sessions[1..] {
        assert!(world.verify(tokens).is_ok());
    }
    assert!(world.verify(&nurse).is_ok(), "another user's are not counted");
    // One that ended by itself makes room: nobody else has to go.
    world.identity.logout(&world.trail(), sessions[8].principal()).await.expect("out");
    sessions.push(world.login().await);
    assert!(world.verify(&sessions[1]).is_ok());
    let ended: Vec<_> = world.records().await.into_iter().filter(|r| r.reason() == Some("too_many_sessions")).collect();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].about(), ended[0].session()), (Some(world.user), Some(sessions[0].principal().session())));
    assert_ne!(other, world.user);
}

#[tokio::test]
async fn sessions_that_are_over_are_not_counted() {
    let one = std::num::NonZeroUsize::new(2).expect("not zero");
    let world = World::with(IdentityOptions::new(super::ISSUER).with_sessions_per_user(one)).await;
    let idle = world.login().await;
    world.advance(15 * 60);
    let stays = world.login().await;
    let newest = world.login().await;
    assert!(world.verify(&idle).is_err());
    assert!(world.verify(&stays).is_ok() && world.verify(&newest).is_ok());
    // Nor those of an earlier epoch.
    world.identity.danger_end_sessions(&world.admin(), &world.clinic, world.user).await.expect("ended");
    let (first, second) = (world.login().await, world.login().await);
    assert!(world.verify(&first).is_ok() && world.verify(&second).is_ok());
    let third = world.login().await;
    assert!(world.verify(&first).is_err() && world.verify(&second).is_ok() && world.verify(&third).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_logins_do_not_get_past_the_bound() {
    let two = std::num::NonZeroUsize::new(2).expect("not zero");
    let world = std::sync::Arc::new(World::with(IdentityOptions::new(super::ISSUER).with_sessions_per_user(two)).await);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.login().await })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.expect("no panic"));
    }
    let live = tokens.iter().filter(|tokens| world.verify(tokens).is_ok()).count();
    assert_eq!(live, 2);
}
