//! Who holds a key is away, and comes back.

use tower_ward::keys::{KeyError, ProviderErrorKind::Unavailable, TransitError, TransitProvider};

use super::{HEALTH, MILLISECOND, NORTH, Note, OUTAGE, Owners, PLATFORM, Place, SECOND, SOUTH, id};

/// Served from memory while the last yes is younger than the outage that is endured, and then refused; for nobody else.
async fn is_outlasted(
    row: &str,
    owners: &mut Owners,
    place: &Place,
    own: &Note,
    other: &Note,
    [away, back]: [fn(&mut Owners); 2],
) {
    let held = place.hold(own).await.unwrap();
    away(owners);
    let mut elapsed = HEALTH;
    while elapsed < OUTAGE {
        place.later(HEALTH).await;
        assert_eq!(place.reads(own).await, Ok(()), "{row}: after {elapsed:?}");
        elapsed += HEALTH;
    }
    place.later(HEALTH - MILLISECOND).await;
    assert_eq!(place.reads(own).await, Ok(()), "{row}: a millisecond is left");
    place.later(MILLISECOND).await;
    assert_eq!(place.reads(own).await, Err(Unavailable), "{row}");
    assert_eq!(place.reads(other).await, Ok(()), "{row}: the other clinic");
    assert!(held.opens(own), "{row}: nobody has said that the key is withdrawn");
    back(owners);
    place.later(HEALTH).await;
    assert_eq!(place.reads(own).await, Ok(()), "{row}: it is back");
}

// proves CLM-24
#[tokio::test]
async fn a_holder_that_is_away_is_outlasted_for_ten_minutes_and_its_clinic_is_refused_alone() {
    const TEST: &str =
        "own_keys::outage::a_holder_that_is_away_is_outlasted_for_ten_minutes_and_its_clinic_is_refused_alone";
    let Some(mut owners) = Owners::of(TEST) else { return };
    let (place, north, south) = owners.place().await;
    let stop: [fn(&mut Owners); 2] = [|owners| owners.bao.stop(), |owners| owners.bao.restart()];
    is_outlasted("a server that is stopped", &mut owners, &place, &south, &north, stop).await;
    let seal: [fn(&mut Owners); 2] = [|owners| owners.bao.seal(), |owners| owners.bao.unseal()];
    is_outlasted("a server that is sealed", &mut owners, &place, &south, &north, seal).await;
    let take_out: [fn(&mut Owners); 2] = [|owners| owners.token.take_out(), |owners| owners.token.put_back()];
    is_outlasted("a token that is taken out", &mut owners, &place, &north, &south, take_out).await;
}

// proves CLM-24
#[tokio::test]
async fn a_start_while_a_clinics_server_is_away_refuses_that_clinic_alone() {
    const TEST: &str = "own_keys::outage::a_start_while_a_clinics_server_is_away_refuses_that_clinic_alone";
    let Some(mut owners) = Owners::of(TEST) else { return };
    let (place, north, south) = owners.place().await;
    let (platform, on_token) = (owners.on_token(PLATFORM).await, owners.on_token(NORTH).await);
    let in_server = owners.in_server(SOUTH).await;
    let options = owners.bao.options(SOUTH);
    owners.bao.stop();

    // With what was opened before it went away: nothing is in memory, and nothing is given out.
    let cold = place.restarted(platform.clone(), &[on_token.clone(), in_server]).await.unwrap();
    assert_eq!(cold.reads(&south).await, Err(Unavailable));
    assert_eq!(cold.reads(&north).await, Ok(()));

    // A process that starts now cannot open it: it begins without, and takes it up when it can.
    let refused = TransitProvider::open(options.clone()).await.unwrap_err();
    assert!(matches!(refused, TransitError::Provider(error) if error.kind() == Unavailable));
    let without = place.restarted(platform, &[on_token]).await.unwrap();
    assert!(matches!(without.open_note(&south).await, Err(KeyError::UnknownKek(kek)) if kek == id(SOUTH)));
    assert_eq!(without.reads(&north).await, Ok(()));

    owners.bao.restart();
    without.keyring.add_kek(super::in_server(SOUTH, options).await);
    assert_eq!(without.reads(&south).await, Ok(()));
    cold.later(SECOND).await;
    assert_eq!(cold.reads(&south).await, Ok(()));
}

/// Without the platform's key nothing vouches for the records: there is no start at all.
#[tokio::test]
async fn there_is_no_start_while_the_platforms_token_is_out() {
    const TEST: &str = "own_keys::outage::there_is_no_start_while_the_platforms_token_is_out";
    let Some(owners) = Owners::of(TEST) else { return };
    let (place, north, south) = owners.place().await;
    let (platform, own) =
        (owners.on_token(PLATFORM).await, [owners.on_token(NORTH).await, owners.in_server(SOUTH).await]);
    owners.token.take_out();
    let refused = place.restarted(platform.clone(), &own).await.map(|_| ());
    assert!(matches!(refused, Err(KeyError::Provider(error)) if error.kind() == Unavailable));
    owners.token.put_back();
    let back = place.restarted(platform, &own).await.unwrap();
    assert_eq!((back.reads(&north).await, back.reads(&south).await), (Ok(()), Ok(())));
}
