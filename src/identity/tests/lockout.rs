//! The progressive refusal, at its edges.

use std::{num::NonZeroUsize, time::Duration};

use super::{PASSWORD, World, tenant};
use crate::{
    clock::{Clock, ManualClock},
    identity::{
        LoginError,
        lockout::{Lockout, Refused},
    },
};

fn lockout(capacity: usize) -> (ManualClock, Lockout) {
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
    let lockout = Lockout::new(clock.shared(), NonZeroUsize::new(capacity).expect("not zero"));
    (clock, lockout)
}

fn fail(lockout: &Lockout, name: &str) {
    lockout.begin(&tenant("northgate"), name).expect("may be tried").failed();
}

fn refused(lockout: &Lockout, name: &str) -> Option<u64> {
    match lockout.begin(&tenant("northgate"), name) {
        Ok(attempt) => {
            attempt.not_made();
            None
        }
        Err(Refused::Until(left)) => Some(left.as_secs()),
        Err(Refused::Crowded) => panic!("nothing runs"),
    }
}

// proves MED-09
#[test]
fn the_refusal_grows_to_its_cap_and_ends_at_its_edge() {
    let (clock, lockout) = lockout(100);
    for _ in 0..4 {
        fail(&lockout, "a");
        assert_eq!(refused(&lockout, "a"), None);
    }
    for seconds in [30, 60, 120, 240, 480, 900, 900, 900] {
        fail(&lockout, "a");
        assert_eq!(refused(&lockout, "a"), Some(seconds));
        assert_eq!(refused(&lockout, "b"), None, "another name is free");
        clock.advance(Duration::from_secs(seconds) - Duration::from_nanos(1));
        assert_eq!(refused(&lockout, "a"), Some(0), "one tick before the edge");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(refused(&lockout, "a"), None, "at the edge");
    }
}

#[test]
fn tries_during_a_refusal_do_not_extend_it() {
    let (clock, lockout) = lockout(100);
    (0..5).for_each(|_| fail(&lockout, "a"));
    for left in (1..=30).rev() {
        assert_eq!(refused(&lockout, "a"), Some(left));
        clock.advance(Duration::from_secs(1));
    }
    fail(&lockout, "a");
    assert_eq!(refused(&lockout, "a"), Some(60), "the next one, as if nobody had tried in between");
}

#[test]
fn a_success_forgets_the_failures_and_so_does_an_hour() {
    let (clock, lockout) = lockout(100);
    (0..4).for_each(|_| fail(&lockout, "a"));
    lockout.begin(&tenant("northgate"), "a").expect("the fifth").succeeded();
    (0..4).for_each(|_| fail(&lockout, "a"));
    assert_eq!(refused(&lockout, "a"), None);
    clock.advance(Duration::from_secs(3600));
    (0..4).for_each(|_| fail(&lockout, "a"));
    assert_eq!(refused(&lockout, "a"), None);
    clock.advance(Duration::from_secs(3599));
    fail(&lockout, "a");
    assert_eq!(refused(&lockout, "a"), Some(30), "one second earlier it is the fifth");
}

#[test]
fn a_burst_gains_no_guesses() {
    let (_clock, lockout) = lockout(100);
    let clinic = tenant("northgate");
    let running: Vec<_> = (0..20).filter_map(|_| lockout.begin(&clinic, "a").ok()).collect();
    assert_eq!(running.len(), 5);
    assert_eq!(lockout.begin(&clinic, "a").err(), Some(Refused::Crowded), "which does not count");
    drop(running);
    assert!(refused(&lockout, "a").is_some(), "hanging up counts as failing");
}

#[test]
fn after_a_refusal_guesses_go_one_by_one() {
    let (clock, lockout) = lockout(100);
    let clinic = tenant("northgate");
    (0..5).for_each(|_| fail(&lockout, "a"));
    clock.advance(Duration::from_secs(30));
    let one = lockout.begin(&clinic, "a").expect("the refusal is over");
    assert_eq!(lockout.begin(&clinic, "a").err(), Some(Refused::Crowded));
    one.failed();
    assert_eq!(lockout.begin(&clinic, "a").err(), Some(Refused::Until(Duration::from_secs(60))));
}

#[test]
fn the_same_name_in_another_clinic_is_another_name() {
    let (_clock, lockout) = lockout(100);
    (0..5).for_each(|_| fail(&lockout, "a"));
    assert!(lockout.begin(&tenant("southgate"), "a").is_ok());
}

#[test]
fn a_flood_of_names_does_not_free_the_one_that_is_refused() {
    let (clock, lockout) = lockout(8);
    (0..5).for_each(|_| fail(&lockout, "victim"));
    let before = clock.monotonic();
    for i in 0..1000 {
        fail(&lockout, &format!("flood{i}"));
        assert!(lockout.len() <= 8, "bounded");
    }
    assert_eq!(clock.monotonic(), before);
    assert_eq!(refused(&lockout, "victim"), Some(30));
}

// proves MED-09
#[tokio::test]
async fn five_wrong_passwords_then_the_right_one_waits_known_or_not() {
    let world = World::new().await;
    for username in ["dr.adeyemi", "dr.nobody"] {
        for _ in 0..5 {
            assert!(matches!(world.try_login(username, "not the password").await, Err(LoginError::Invalid)));
        }
        let runs = world.identity.argon2_runs();
        match world.try_login(username, PASSWORD).await {
            Err(LoginError::TooMany { retry_after }) => assert_eq!(retry_after.as_secs(), 30, "{username}"),
            other => panic!("{username}: {other:?}"),
        }
        assert_eq!(world.identity.argon2_runs(), runs, "the password is not looked at");
    }
    world.advance(30);
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok());
    assert!(world.try_login("dr.adeyemi", "not the password").await.is_err());
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok(), "the count began again");
}
