//! Accounts: names, roles, the demo mark, and what is stored.

use super::{PASSWORD, World, account, tenant};
use crate::{
    id::{SubjectId, UserId},
    identity::{AccountError, NewAccount, generate_password},
    secret::ExposeSecret,
};

#[tokio::test]
async fn fields_that_break_their_rule_are_refused_before_anything_is_hashed() {
    let world = World::new().await;
    let runs = world.identity.argon2_runs();
    let new = |name: &str, password: &str, role: &str| NewAccount::new(name, password.into(), role);
    let long = "a".repeat(65);
    for (attack, new, expected) in [
        ("no name", new("", PASSWORD, "doctor"), "username"),
        ("name of 65", new(&long, PASSWORD, "doctor"), "username"),
        ("capitals", new("Dr.Adeyemi", PASSWORD, "doctor"), "username"),
        ("a colon, to reach another clinic", new("x:account:y", PASSWORD, "doctor"), "username"),
        ("a path", new("../x", PASSWORD, "doctor"), "username"),
        ("a homoglyph", new("dr.\u{430}deyemi", PASSWORD, "doctor"), "username"),
        ("white space", new("dr adeyemi", PASSWORD, "doctor"), "username"),
        ("NUL", new("dr.adeyemi\0", PASSWORD, "doctor"), "username"),
        ("password of 14", new("x", "fourteen-chars", "doctor"), "password"),
        ("password of 14 characters in 28 bytes", new("x", &"é".repeat(14), "doctor"), "password"),
        ("password of 1025", new("x", &"a".repeat(1025), "doctor"), "password"),
        ("no role", new("x", PASSWORD, ""), "role"),
        ("role in capitals", new("x", PASSWORD, "Doctor"), "role"),
        ("role that no policy could name", new("x", PASSWORD, "clinic-admin"), "role"),
        ("role of four words", new("x", PASSWORD, "a.b.c.d"), "role"),
        ("role of 65", new("x", PASSWORD, &long), "role"),
    ] {
        match world.identity.danger_create_account(&world.admin(), &world.clinic, new).await {
            Err(AccountError::Field { field, .. }) => assert_eq!(field, expected, "{attack}"),
            other => panic!("{attack}: {other:?}"),
        }
    }
    assert_eq!(world.identity.argon2_runs(), runs);
    let fifteen = NewAccount::new("nurse@northgate", "fifteen-charact".into(), "nurse");
    assert!(world.identity.danger_create_account(&world.admin(), &world.clinic, fifteen).await.is_ok());
}

#[tokio::test]
async fn a_name_is_taken_once_in_each_clinic() {
    let world = World::new().await;
    let again = world.identity.danger_create_account(&world.admin(), &world.clinic, account("dr.adeyemi")).await;
    assert!(matches!(again, Err(AccountError::Taken)));
    let south = tenant("southgate");
    let other = world
        .identity
        .danger_create_account(&world.admin(), &south, account("dr.adeyemi"))
        .await
        .expect("another clinic");
    assert_ne!(other, world.user);
    let tokens = world.identity.login(&world.trail(), &south, "dr.adeyemi", PASSWORD.into()).await.expect("in");
    assert_eq!((tokens.principal().user(), tokens.principal().tenant()), (other, &south));
}

#[tokio::test]
async fn accounts_are_listed_by_name_page_by_page_and_by_clinic() {
    let world = World::new().await;
    let person = SubjectId::generate(&world.clock);
    let patient = NewAccount::new("amina", PASSWORD.into(), "patient").with_subject(person);
    world.identity.danger_create_account(&world.admin(), &world.clinic, patient).await.expect("made");
    world
        .identity
        .danger_create_account(&world.admin(), &tenant("southgate"), account("elsewhere"))
        .await
        .expect("made");
    let all = world.identity.danger_accounts(&world.clinic, None, usize::MAX).await.expect("listed");
    assert_eq!(all.iter().map(|a| a.username()).collect::<Vec<_>>(), ["amina", "dr.adeyemi"]);
    assert_eq!((all[0].role(), all[0].subject(), all[0].is_disabled()), ("patient", Some(person), false));
    let page = world.identity.danger_accounts(&world.clinic, Some("amina"), 1).await.expect("listed");
    assert_eq!((page.len(), page[0].user()), (1, world.user));
    let tokens = world.try_login("amina", PASSWORD).await.expect("in");
    assert_eq!(world.verify(&tokens).expect("valid").subject(), Some(person), "for the relation `own`");
}

#[tokio::test]
async fn a_demo_account_is_seen_until_it_is_removed() {
    let world = World::new().await;
    assert!(!world.identity.has_demo_accounts().await.expect("asked"));
    let demo = account("demo").marked_as_demo();
    let user = world.identity.danger_create_account(&world.admin(), &tenant("southgate"), demo).await.expect("made");
    assert!(world.identity.has_demo_accounts().await.expect("asked"));
    assert!(world.restarted().await.has_demo_accounts().await.expect("asked"));
    // A second of the same name is not made, and takes no mark with it.
    let taken = world
        .identity
        .danger_create_account(&world.admin(), &tenant("southgate"), account("demo").marked_as_demo())
        .await;
    assert!(matches!(taken, Err(AccountError::Taken)));
    assert!(world.identity.has_demo_accounts().await.expect("asked"));
    world.identity.danger_remove_account(&world.admin(), &tenant("southgate"), user).await.expect("removed");
    assert!(!world.identity.has_demo_accounts().await.expect("asked"));
    world.store.breaks(true);
    assert!(world.identity.has_demo_accounts().await.is_err(), "an outage is no `no`");
}

#[tokio::test]
async fn a_user_of_another_clinic_is_no_user_here() {
    let world = World::new().await;
    let south = tenant("southgate");
    for user in [world.user, UserId::generate(&world.clock)] {
        let identity = &world.identity;
        assert!(matches!(
            identity.danger_set_disabled(&world.admin(), &south, user, true).await,
            Err(AccountError::Unknown)
        ));
        assert!(matches!(
            identity.danger_set_role(&world.admin(), &south, user, "owner").await,
            Err(AccountError::Unknown)
        ));
        assert!(matches!(identity.danger_end_sessions(&world.admin(), &south, user).await, Err(AccountError::Unknown)));
        assert!(matches!(
            identity.danger_remove_account(&world.admin(), &south, user).await,
            Err(AccountError::Unknown)
        ));
    }
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_removed_account_does_not_come_back_with_its_name() {
    let world = World::new().await;
    let old = world.login().await;
    world.identity.danger_remove_account(&world.admin(), &world.clinic, world.user).await.expect("removed");
    assert!(world.try_login("dr.adeyemi", PASSWORD).await.is_err());
    let again =
        world.identity.danger_create_account(&world.admin(), &world.clinic, account("dr.adeyemi")).await.expect("made");
    assert_ne!(again, world.user);
    assert!(world.verify(&old).is_err());
    assert!(world.refresh(old.refresh_token()).await.is_err());
}

#[test]
fn generated_passwords_are_long_and_differ() {
    let (a, b) = (generate_password(), generate_password());
    assert_eq!(a.expose_secret().len(), 26);
    assert!(a.expose_secret().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    assert_ne!(a.expose_secret(), b.expose_secret());
}
