//! The owner takes a key away, tells nobody, and gives it back.

use std::{fs, path::Path};

use serde_json::Value;
use tower_ward::keys::{KeyError, KeySource, ProviderErrorKind::Denied, TransitOptions};

use super::{
    HEALTH, MILLISECOND, NORTH, Note, Owners, PLATFORM, Place, SECOND, SOUTH, backup_of_north, in_server, memory,
};
use crate::support::{bao::Bao, softhsm::SoftToken};

/// Up to the health interval's end it is served from memory, and from then on refused, whoever holds an open door too.
async fn is_revoked_and_restored(
    row: &str,
    place: &Place,
    own: &Note,
    other: &Note,
    revoke: impl FnOnce(),
    restore: impl AsyncFnOnce(),
) {
    let (held, others) = (place.hold(own).await.unwrap(), place.hold(other).await.unwrap());
    revoke();
    place.later(HEALTH - MILLISECOND).await;
    assert_eq!(place.reads(own).await, Ok(()), "{row}: not yet");
    assert!(held.opens(own), "{row}: not yet");
    place.later(MILLISECOND).await;
    assert_eq!(place.reads(own).await, Err(Denied), "{row}");
    assert!(!held.opens(own), "{row}: an open door is stopped");
    assert!(matches!(place.admit(&own.clinic).await, Err(KeyError::Provider(_))), "{row}: nor is anything new sealed");
    assert_eq!(place.reads(other).await, Ok(()), "{row}: the other clinic");
    assert!(others.opens(other), "{row}: the other clinic's open door");

    restore().await;
    place.later(SECOND).await;
    assert_eq!(place.reads(own).await, Ok(()), "{row}: restored, with nothing to migrate");
    assert!(!held.opens(own), "{row}: a door that was stopped stays shut");
    place.admit(&own.clinic).await.unwrap();
}

// proves CLM-25, CCA-07: at both sides of the edge, whatever the owner of a key in a server does.
#[tokio::test]
async fn what_is_revoked_in_a_server_alone_is_refused_once_the_health_interval_is_over() {
    const TEST: &str =
        "own_keys::revoked::what_is_revoked_in_a_server_alone_is_refused_once_the_health_interval_is_over";
    let Some(owners) = Owners::of(TEST) else { return };
    let bao = &owners.bao;
    let KeySource::File(file) = bao.keep(&bao.token(SOUTH)) else { panic!("a file") };
    let options = TransitOptions::new(bao.address(), SOUTH, KeySource::File(file.clone()));
    let south = in_server(SOUTH, options.with_ca_file(bao.ca_file())).await;
    let own = [owners.on_token(NORTH).await, south];
    let place = Place::open(owners.on_token(PLATFORM).await, &own, memory()).await.unwrap();
    let (north, south) = (place.found(NORTH, NORTH).await, place.found(SOUTH, SOUTH).await);

    type Deed = fn(&Bao, &Path);
    let rows: [(&str, Deed, Deed); 4] = [
        (
            "the versions before the newest disabled",
            |bao, _| bao.disable_old_versions(SOUTH),
            |bao, _| bao.enable_old_versions(SOUTH),
        ),
        ("the key deleted, and undeleted", |bao, _| bao.soft_delete(SOUTH), |bao, _| bao.restore(SOUTH)),
        (
            "the token's policy removed, and written again",
            |bao, _| drop(bao.ok("DELETE", &format!("sys/policies/acl/{SOUTH}-encrypt-decrypt-keys"), &Value::Null)),
            |bao, _| drop(bao.token(SOUTH)),
        ),
        (
            "the token revoked, and another one in its file",
            |bao, file| bao.revoke(fs::read_to_string(file).unwrap().trim()),
            |bao, file| {
                let KeySource::File(aside) = bao.keep(&bao.token(SOUTH)) else { panic!("a file") };
                fs::rename(aside, file).unwrap();
            },
        ),
    ];
    for (row, revoke, restore) in rows {
        is_revoked_and_restored(row, &place, &south, &north, || revoke(bao, &file), async || restore(bao, &file)).await;
    }
}

// proves CLM-25, CCA-07
#[tokio::test]
async fn what_is_revoked_on_a_token_alone_is_refused_once_the_health_interval_is_over() {
    const TEST: &str =
        "own_keys::revoked::what_is_revoked_on_a_token_alone_is_refused_once_the_health_interval_is_over";
    let Some(owners) = Owners::of(TEST) else { return };
    let (place, north, south) = owners.place().await;
    type Deed = fn(&SoftToken);
    let rows: [(&str, Deed, Deed); 2] = [
        (
            "the key may not decrypt",
            |token| token.allow_decrypt(NORTH, false),
            |token| token.allow_decrypt(NORTH, true),
        ),
        (
            "the key destroyed, and brought again from its owner's safe",
            |token| token.delete(NORTH),
            |token| token.make(&backup_of_north()),
        ),
    ];
    let token = &owners.token;
    for (row, revoke, restore) in rows {
        is_revoked_and_restored(row, &place, &north, &south, || revoke(token), async || restore(token)).await;
    }
}

/// As long as the token knows this process, it does not ask for the PIN.
#[tokio::test]
async fn a_pin_that_was_changed_holds_from_the_next_login_until_the_key_is_opened_anew() {
    const TEST: &str =
        "own_keys::revoked::a_pin_that_was_changed_holds_from_the_next_login_until_the_key_is_opened_anew";
    let Some(owners) = Owners::of(TEST) else { return };
    let (place, north, south) = owners.place().await;
    let held = place.hold(&north).await.unwrap();
    owners.token.change_pin("canary-new-pin");
    owners.token.take_out();
    place.later(HEALTH).await;
    assert_eq!(place.reads(&north).await, Ok(()), "a token that is not there has said nothing");
    owners.token.put_back();
    place.later(HEALTH).await;
    assert_eq!(place.reads(&north).await, Err(Denied));
    assert!(!held.opens(&north));
    assert_eq!(place.reads(&south).await, Ok(()));

    owners.token.write_pin("canary-new-pin");
    place.later(SECOND).await;
    assert_eq!(place.reads(&north).await, Err(Denied), "a PIN that was refused is not tried again by itself");
    place.keyring.add_kek(owners.on_token(NORTH).await);
    place.later(SECOND).await;
    assert_eq!(place.reads(&north).await, Ok(()));
}
