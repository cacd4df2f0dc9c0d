//! Revocation: at once, without a store, and never forgotten.

use std::{num::NonZeroUsize, time::Duration};

use super::{ISSUER, PASSWORD, World, account, tenant};
use crate::{
    clock::Clock,
    id::{SessionId, TenantId, UserId},
    identity::{
        IdentityOptions, TokenError,
        options::REVOCATION_HOLD,
        revocation::{Revocations, What},
    },
    secret::ExposeSecret,
};

// proves CCA-22, CCA-23
#[tokio::test]
async fn a_logout_is_felt_at_once_and_no_request_reads_the_store() {
    let world = World::new().await;
    let (gone, stays) = (world.login().await, world.login().await);
    assert!(world.verify(&gone).is_ok(), "warm");
    world.identity.logout(&world.trail(), gone.principal()).await.expect("out");
    let calls = world.store.calls();
    assert_eq!(world.verify(&gone).err(), Some(TokenError::Revoked));
    assert_eq!(world.verify(&gone).err(), Some(TokenError::Revoked), "cold as well");
    for _ in 0..1000 {
        assert!(world.verify(&stays).is_ok());
    }
    assert_eq!(world.store.calls(), calls);
    assert!(world.refresh(gone.refresh_token()).await.is_err());
    assert!(world.refresh(stays.refresh_token()).await.is_ok());
}

// proves CCA-22, CCA-23
#[tokio::test]
async fn whatever_changes_a_user_ends_all_their_sessions_and_nobody_elses() {
    let world = World::new().await;
    let other =
        world.identity.danger_create_account(&world.admin(), &world.clinic, account("nurse")).await.expect("made");
    let nurse = world.try_login("nurse", PASSWORD).await.expect("in");
    assert_eq!(nurse.principal().user(), other);
    for change in ["end_sessions", "set_role", "set_password", "set_disabled"] {
        let (one, two) = (world.login().await, world.login().await);
        let (clinic, user) = (&world.clinic, world.user);
        assert!(world.verify(&one).is_ok(), "{change}");
        match change {
            "end_sessions" => world.identity.danger_end_sessions(&world.admin(), clinic, user).await.expect(change),
            "set_role" => world.identity.danger_set_role(&world.admin(), clinic, user, "owner").await.expect(change),
            "set_password" => {
                world.identity.danger_set_password(&world.admin(), clinic, user, PASSWORD.into()).await.expect(change)
            }
            _ => world.identity.danger_set_disabled(&world.admin(), clinic, user, true).await.expect(change),
        }
        assert_eq!(world.verify(&one).err(), Some(TokenError::Revoked), "{change}, warm");
        assert_eq!(world.verify(&two).err(), Some(TokenError::Revoked), "{change}, cold");
        assert!(world.refresh(one.refresh_token()).await.is_err(), "{change}");
        assert!(world.verify(&nurse).is_ok(), "{change}: another user");
    }
    world.identity.danger_set_disabled(&world.admin(), &world.clinic, world.user, false).await.expect("enabled");
    assert!(world.verify(&world.login().await).is_ok(), "a new login is of the new epoch");
}

// proves CCA-22
#[tokio::test]
async fn a_restart_forgets_no_revocation() {
    let world = World::new().await;
    let (out, ended) = (world.login().await, world.login().await);
    world.identity.logout(&world.trail(), out.principal()).await.expect("out");
    let second = world.restarted().await;
    assert_eq!(second.verify(out.access_token().expose_secret()).err(), Some(TokenError::Revoked));
    assert!(second.verify(ended.access_token().expose_secret()).is_ok());
    world.identity.danger_end_sessions(&world.admin(), &world.clinic, world.user).await.expect("ended");
    world.identity.danger_end_sessions(&world.admin(), &world.clinic, world.user).await.expect("twice");
    let third = world.restarted().await;
    assert_eq!(third.verify(ended.access_token().expose_secret()).err(), Some(TokenError::Revoked));
}

#[tokio::test]
async fn a_logout_that_the_store_cannot_keep_holds_in_this_process() {
    let world = World::new().await;
    let tokens = world.login().await;
    world.store.breaks(true);
    assert!(world.identity.logout(&world.trail(), tokens.principal()).await.is_err(), "the caller is told");
    assert_eq!(world.verify(&tokens).err(), Some(TokenError::Revoked));
    world.store.breaks(false);
    assert!(world.refresh(tokens.refresh_token()).await.is_err(), "nor does the session that is still stored give any");
}

#[tokio::test]
async fn revocations_go_when_nothing_is_left_to_refuse() {
    let world = World::new().await;
    let tokens = world.login().await;
    world.identity.logout(&world.trail(), tokens.principal()).await.expect("out");
    world.clock.advance(REVOCATION_HOLD);
    assert!(world.verify(&tokens).is_err(), "expired by then");
    let fresh = world.restarted().await;
    assert!(fresh.verify(tokens.access_token().expose_secret()).is_err());
}

async fn small(world: &World, capacity: usize) -> Revocations {
    let capacity = NonZeroUsize::new(capacity).expect("not zero");
    Revocations::open(world.store.clone(), world.clock.shared(), capacity).await.expect("opens")
}

fn check(table: &Revocations, clinic: &TenantId, session: SessionId, issued_at: i64) -> bool {
    table.check(clinic, session, UserId::from_bytes([9; 16]), 1, issued_at).is_ok()
}

#[tokio::test]
async fn a_full_table_refuses_the_whole_clinic_and_forgets_nobody() {
    let world = World::new().await;
    let table = small(&world, 2).await;
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let ids: Vec<_> = (0..4).map(|_| SessionId::generate(&world.clock)).collect();
    let bystander = SessionId::generate(&world.clock);
    let now = world.clock.now().as_second();
    table.remember(&north, What::Session(ids[0]));
    table.remember(&north, What::Session(ids[1]));
    assert!(check(&table, &north, bystander, now), "there is room");
    table.remember(&north, What::Session(ids[2]));
    for id in &ids[..3] {
        assert!(!check(&table, &north, *id, now), "each of the revoked is refused");
    }
    assert!(!check(&table, &north, bystander, now), "and so is everybody of that clinic who was in");
    assert!(check(&table, &north, bystander, now + 1), "but not who comes later");
    assert!(check(&table, &south, bystander, now), "nor another clinic");

    // Past the hold there is room again.
    world.clock.advance(REVOCATION_HOLD);
    table.remember(&north, What::Session(ids[3]));
    let now = world.clock.now().as_second();
    assert!(!check(&table, &north, ids[3], now));
    assert!(check(&table, &north, bystander, now), "the clinic's own mark has gone with its tokens");
}

#[tokio::test]
async fn up_to_now_covers_every_token_that_was_issued_whatever_the_clock_says() {
    let world = World::new().await;
    let table = small(&world, 1).await;
    let north = tenant("northgate");
    let ahead = world.clock.now().checked_add(Duration::from_secs(40)).expect("in range");
    table.issued(ahead);
    table.remember(&north, What::Session(SessionId::generate(&world.clock)));
    table.remember(&north, What::Session(SessionId::generate(&world.clock)));
    assert!(!check(&table, &north, SessionId::generate(&world.clock), ahead.as_second()));
}

#[tokio::test]
async fn more_clinics_than_the_table_holds_are_all_refused() {
    let world = World::new().await;
    let table = small(&world, 1).await;
    table.remember(&tenant("first"), What::Session(SessionId::generate(&world.clock)));
    for i in 0..1025 {
        table.remember(&tenant(&format!("clinic-{i}")), What::Session(SessionId::generate(&world.clock)));
    }
    let now = world.clock.now().as_second();
    assert!(!check(&table, &tenant("bystander"), SessionId::generate(&world.clock), now));
}

#[tokio::test]
async fn more_revocations_in_the_store_than_fit_fail_closed_after_a_restart() {
    let mut world = World::new().await;
    let (first, second, third) = (world.login().await, world.login().await, world.login().await);
    world.identity.logout(&world.trail(), first.principal()).await.expect("out");
    world.identity.logout(&world.trail(), second.principal()).await.expect("out");
    world.options = IdentityOptions::new(ISSUER).with_revocations(NonZeroUsize::MIN);
    let restarted = world.restarted().await;
    for tokens in [&first, &second, &third] {
        assert_eq!(restarted.verify(tokens.access_token().expose_secret()).err(), Some(TokenError::Revoked));
    }
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_half_way_still_revokes() {
    // The account's pointer, the account, the swap, the revocation: the caller goes away before each.
    for calls in 0..4 {
        let world = World::new().await;
        let tokens = world.login().await;
        assert!(world.verify(&tokens).is_ok());
        let admin = world.admin();
        world.store.pauses_after(calls);
        let before = world.store.arrived();
        let mut change = Box::pin(world.identity.danger_set_disabled(&admin, &world.clinic, world.user, true));
        while world.store.arrived() < before + calls as u64 + 1 {
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(change.as_mut().poll(context))).await;
            assert!(polled.is_pending(), "{calls}");
            tokio::task::yield_now().await;
        }
        drop(change);
        world.store.goes_on();
        let holds = async {
            while world.verify(&tokens).is_ok() {
                tokio::task::yield_now().await;
            }
            // The revocation is written down last.
            while !String::from_utf8_lossy(&world.store.written()).contains("p:revoked:user-") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), holds).await.unwrap_or_else(|_| panic!("{calls}: never"));
        assert_eq!(world.verify(&tokens).err(), Some(TokenError::Revoked), "{calls}");
        assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_err(), "{calls}: disabled");
        let restarted = world.restarted().await;
        let after = restarted.verify(tokens.access_token().expose_secret());
        assert_eq!(after.err(), Some(TokenError::Revoked), "{calls}: after a restart");
    }
}
