//! Who is recorded as having done what, and to whose account.

use super::{PASSWORD, World, account, tenant};
use crate::{
    audit::{Action, Actor, Event, Kind, Record, TrailError},
    id::UserId,
    identity::{AccountError, Fault, Tokens},
    secret::ExposeSecret,
};

async fn with_a_nurse() -> (World, UserId, Tokens) {
    let world = World::new().await;
    let nurse =
        world.identity.danger_create_account(&world.admin(), &world.clinic, account("nurse")).await.expect("made");
    let tokens = world.try_login("nurse", PASSWORD).await.expect("in");
    (world, nurse, tokens)
}

fn of<'a>(records: &'a [Record], kind: Kind, reason: Option<&str>) -> Vec<&'a Record> {
    records.iter().filter(|record| record.kind() == kind && record.reason() == reason).collect()
}

#[tokio::test]
async fn guessing_a_colleagues_password_is_recorded_as_the_guessers_doing() {
    let (world, nurse, tokens) = with_a_nurse().await;
    let trail = world.trail_of(&tokens);
    let guess = world.identity.login(&trail, &world.clinic, "dr.adeyemi", "a wild guess".into()).await;
    assert!(guess.is_err());
    trail.record(Event::new(Action::Read).with_reason("afterwards")).expect("recorded");
    assert!(world.try_login("dr.adeyemi", "a wild guess").await.is_err(), "and by a stranger");
    let records = world.records().await;
    let refused = of(&records, Kind::Refused, Some("login_invalid"));
    let seen: Vec<_> = refused.iter().map(|r| (r.user(), r.about(), r.session(), r.tenant())).collect();
    let victim = Some(world.user);
    let session = Some(tokens.principal().session());
    let clinic = Some(&world.clinic);
    assert_eq!(seen, [(Some(nurse), victim, session, clinic), (None, victim, None, clinic)]);
    let afterwards = of(&records, Kind::Event, Some("afterwards"));
    assert_eq!(
        (afterwards[0].user(), afterwards[0].role()),
        (Some(nurse), Some("doctor")),
        "the request is still theirs"
    );
}

#[tokio::test]
async fn a_login_in_somebodys_request_does_not_replace_who_acts() {
    let (world, nurse, tokens) = with_a_nurse().await;
    let trail = world.trail_of(&tokens);
    let login = world.identity.login(&trail, &world.clinic, "dr.adeyemi", PASSWORD.into()).await.expect("in");
    let next = world.identity.refresh(&trail, &world.clinic, login.refresh_token().expose_secret()).await.expect("in");
    world.identity.logout(&trail, next.principal()).await.expect("out");
    trail.record(Event::new(Action::Read).with_reason("afterwards")).expect("recorded");
    let records = world.records().await;
    let (new, own) = (login.principal().session(), tokens.principal().session());
    for (kind, reason, about, session) in [
        (Kind::Login, None, Some(world.user), new),
        (Kind::Refresh, None, Some(world.user), new),
        (Kind::Logout, Some("logout"), Some(world.user), new),
        (Kind::Event, Some("afterwards"), None, own),
    ] {
        let record = *of(&records, kind, reason).last().expect("recorded");
        let seen = (record.user(), record.about(), record.session());
        assert_eq!(seen, (Some(nurse), about, Some(session)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_login_in_nobodys_request_says_who_acts_from_then_on() {
    let world = World::new().await;
    let trail = world.trail();
    let tokens = world.identity.login(&trail, &world.clinic, "dr.adeyemi", PASSWORD.into()).await.expect("in");
    trail.record(Event::new(Action::Read).with_reason("afterwards")).expect("recorded");
    let records = world.records().await;
    let expected = (Some(world.user), Some(tokens.principal().session()), Some("doctor"));
    for record in [of(&records, Kind::Login, None)[0], of(&records, Kind::Event, Some("afterwards"))[0]] {
        assert_eq!((record.user(), record.session(), record.role()), expected);
    }
}

#[tokio::test]
async fn a_refresh_that_is_refused_names_the_account_and_not_its_user() {
    let (world, nurse, tokens) = with_a_nurse().await;
    let victim = world.login().await;
    let used = victim.refresh_token().expose_secret();
    let _next = world.refresh(victim.refresh_token()).await.expect("current");
    let trail = world.trail_of(&tokens);
    assert!(world.identity.refresh(&trail, &world.clinic, used).await.is_err(), "the nurse found a used one");
    let alone = world.login().await;
    let _next = world.refresh(alone.refresh_token()).await.expect("current");
    assert!(world.refresh(alone.refresh_token()).await.is_err(), "and so did a stranger");
    let records = world.records().await;
    for (kind, reason) in [(Kind::Logout, "refresh_token_reused"), (Kind::Refused, "refresh_invalid")] {
        let found = of(&records, kind, Some(reason));
        let seen: Vec<_> = found.iter().map(|r| (r.user(), r.about())).collect();
        assert_eq!(seen, [(Some(nurse), Some(world.user)), (None, Some(world.user))], "{reason}");
    }
}

const CHANGES: [(&str, &str); 7] = [
    ("create", "account_created"),
    ("role", "role_changed"),
    ("password", "password_changed"),
    ("end", "sessions_ended"),
    ("disable", "account_disabled"),
    ("enable", "account_enabled"),
    ("remove", "account_removed"),
];

async fn change(world: &World, trail: &crate::audit::Trail, change: &str) -> Result<(), AccountError> {
    let (identity, clinic, user) = (&world.identity, &world.clinic, world.user);
    match change {
        "create" => identity.danger_create_account(trail, clinic, account("new")).await.map(drop),
        "role" => identity.danger_set_role(trail, clinic, user, "owner").await,
        "password" => identity.danger_set_password(trail, clinic, user, PASSWORD.into()).await,
        "end" => identity.danger_end_sessions(trail, clinic, user).await,
        "disable" => identity.danger_set_disabled(trail, clinic, user, true).await,
        "enable" => identity.danger_set_disabled(trail, clinic, user, false).await,
        _ => identity.danger_remove_account(trail, clinic, user).await,
    }
}

#[tokio::test]
async fn an_account_is_not_changed_by_nobody_or_from_another_clinic() {
    let world = World::new().await;
    let stranger = world.trail();
    let south = world.trail();
    let actor = Actor { role: Some("owner".into()), tenant: Some(tenant("southgate")), ..Actor::default() };
    assert!(south.set_actor(actor));
    let (before, runs) = (world.store.calls(), world.identity.argon2_runs());
    for (name, _) in CHANGES {
        for (trail, expected) in [(&stranger, TrailError::Anonymous), (&south, TrailError::OtherActor)] {
            match change(&world, trail, name).await {
                Err(AccountError::Fault(Fault::Ledger(error))) => assert_eq!(error, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert_eq!((world.store.calls(), world.identity.argon2_runs()), (before, runs), "nothing was touched");
}

#[tokio::test]
async fn every_change_of_an_account_is_recorded_before_it_happens() {
    let (world, nurse, tokens) = with_a_nurse().await;
    let trail = world.trail_of(&tokens);
    for (name, _) in CHANGES {
        change(&world, &trail, name).await.expect(name);
    }
    assert!(matches!(change(&world, &trail, "remove").await, Err(AccountError::Unknown)));
    let records = world.records().await;
    for (name, reason) in CHANGES {
        let record = *of(&records, Kind::Event, Some(reason)).last().expect(name);
        assert_eq!((record.action(), record.user()), (Some(Action::Configuration), Some(nurse)), "{name}");
        assert_eq!((record.tenant(), record.entity()), (Some(&world.clinic), Some("account")), "{name}");
        let new = name == "create";
        assert_eq!(record.about() == Some(world.user), !new, "{name}");
        assert!(record.about().is_some(), "{name}");
    }
    let unchanged = of(&records, Kind::Refused, Some("account_unchanged"));
    assert_eq!(unchanged.iter().map(|r| r.about()).collect::<Vec<_>>(), [Some(world.user)], "there was none any more");
}

#[tokio::test]
async fn without_a_record_no_account_is_changed() {
    let world = World::new().await;
    let trail = world.admin();
    world.trails.recorded().await;
    let before = world.store.calls();
    for (name, _) in CHANGES {
        let result = change(&world, &trail, name).await;
        assert!(matches!(result, Err(AccountError::Fault(Fault::Ledger(_)))), "{name}: {result:?}");
    }
    assert_eq!(world.store.calls(), before);
}
