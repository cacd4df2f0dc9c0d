//! Keys are wrapped under other keys while the clinics work.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use tower_ward::keys::{KeyError, ProviderErrorKind::Denied};

use super::{HEALTH, NORTH, Note, Owners, PLATFORM, Place, SOUTH, clinic, id, memory, stored::Wrapped};

// proves CLA-07: rotation wraps anew and touches no value.
#[tokio::test]
async fn a_clinic_moves_to_a_server_and_back_to_the_token_with_its_doors_open() {
    const TEST: &str = "own_keys::moved::a_clinic_moves_to_a_server_and_back_to_the_token_with_its_doors_open";
    let Some(owners) = Owners::of(TEST) else { return };
    let own = [owners.in_server(SOUTH).await, owners.on_token(NORTH).await];
    let place = Place::open(owners.on_token(PLATFORM).await, &own, memory()).await.unwrap();
    let note = place.found("harbour", PLATFORM).await;
    let held = place.hold(&note).await.unwrap();
    for kek in [SOUTH, PLATFORM, NORTH, SOUTH] {
        place.keyring.rewrap_tenant(&note.clinic, &id(kek)).await.unwrap();
        assert_eq!(place.keyring.kek_of(&note.clinic).await.unwrap(), id(kek));
        assert!(held.opens(&note), "{kek}: an open door stays open");
        assert_eq!(place.reads(&note).await, Ok(()), "{kek}");
        let cold = place.restarted(owners.on_token(PLATFORM).await, &own).await.unwrap();
        assert_eq!(cold.reads(&note).await, Ok(()), "{kek}: after a restart");
    }
    // A key that refuses takes nobody in and lets nobody go: what it holds is where it was.
    owners.bao.soft_delete(SOUTH);
    let refused = place.keyring.rewrap_tenant(&note.clinic, &id(PLATFORM)).await;
    assert!(matches!(refused, Err(KeyError::Provider(error)) if error.kind() == Denied));
    let other = place.found("meadow", PLATFORM).await;
    let refused = place.keyring.rewrap_tenant(&other.clinic, &id(SOUTH)).await;
    assert!(matches!(refused, Err(KeyError::Provider(error)) if error.kind() == Denied));
    assert_eq!(place.reads(&other).await, Ok(()));
    owners.bao.restore(SOUTH);
    place.keyring.rewrap_tenant(&note.clinic, &id(PLATFORM)).await.unwrap();
    assert_eq!(place.reads(&note).await, Ok(()));
}

// proves CLA-07
#[tokio::test]
async fn a_new_version_in_the_server_is_taken_up_and_the_old_ones_can_be_disabled() {
    const TEST: &str = "own_keys::moved::a_new_version_in_the_server_is_taken_up_and_the_old_ones_can_be_disabled";
    let Some(owners) = Owners::of(TEST) else { return };
    let (place, _, south) = owners.place().await;
    let version = async || {
        let blob = Wrapped::of(&place, &south.clinic).await.blob;
        blob[..9].to_vec()
    };
    assert_eq!(version().await, b"vault:v1:");
    owners.bao.rotate(SOUTH);
    assert_eq!(version().await, b"vault:v1:", "by itself nothing changes");
    let held = place.hold(&south).await.unwrap();
    place.keyring.rewrap_tenant(&south.clinic, &id(SOUTH)).await.unwrap();
    assert_eq!(version().await, b"vault:v2:");
    owners.bao.configure_key(SOUTH, &json!({ "min_decryption_version": 2 }));
    place.later(HEALTH).await;
    assert_eq!(place.reads(&south).await, Ok(()));
    assert!(held.opens(&south));
    let own = [owners.on_token(NORTH).await, owners.in_server(SOUTH).await];
    let cold = place.restarted(owners.on_token(PLATFORM).await, &own).await.unwrap();
    assert_eq!(cold.reads(&south).await, Ok(()));
}

// proves GLM-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_key_moves_from_the_token_to_the_server_under_load_and_the_old_one_is_destroyed() {
    const TEST: &str =
        "own_keys::moved::the_platforms_key_moves_from_the_token_to_the_server_under_load_and_the_old_one_is_destroyed";
    let Some(owners) = Owners::of(TEST) else { return };
    owners.bao.create_key("next");
    let next = owners.in_server("next").await;
    let own = [next.clone(), owners.in_server(SOUTH).await];
    let place = Place::open(owners.on_token(PLATFORM).await, &own, memory()).await.unwrap();
    let mut notes = vec![place.found(SOUTH, SOUTH).await];
    for i in 0..6 {
        notes.push(place.found(&format!("clinic-{i}"), PLATFORM).await);
    }

    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_until(Arc::clone(&stop), place.clone(), notes.clone()));
    let writer = tokio::spawn(write_until(Arc::clone(&stop), place.clone()));
    let mut told = Vec::new();
    let moved = place.keyring.rewrap_all(&id(PLATFORM), &id("next"), |done| told.push(done)).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    let (reads, written) = (reader.await.unwrap(), writer.await.unwrap());
    assert_eq!((moved, told), (7, (1..=7).collect()), "six clinics, and the platform's secret");
    println!("meanwhile {reads} notes were read and {} written", written.len());
    assert!(reads > 0 && !written.is_empty());
    assert_eq!(place.keyring.rewrap_all(&id(PLATFORM), &id("next"), |_| ()).await.unwrap(), 0, "nothing is left");

    owners.token.delete(PLATFORM);
    notes.extend(written);
    let cold = place.restarted(next, &own[1..]).await.unwrap();
    for place in [&place, &cold] {
        place.later(HEALTH).await;
        for note in &notes {
            assert_eq!(place.reads(note).await, Ok(()), "{}", note.clinic);
        }
    }
}

async fn read_until(stop: Arc<AtomicBool>, place: Place, notes: Vec<Note>) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        for note in &notes {
            assert_eq!(place.reads(note).await, Ok(()));
            reads += 1;
            tokio::task::yield_now().await;
        }
    }
    reads
}

async fn write_until(stop: Arc<AtomicBool>, place: Place) -> Vec<Note> {
    let mut written = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        for i in 0..6 {
            written.push(place.admit(&clinic(&format!("clinic-{i}"))).await.unwrap());
            tokio::task::yield_now().await;
        }
    }
    written
}
