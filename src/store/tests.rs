//! What only one backend promises.

use std::{num::NonZeroUsize, time::Duration};

use super::{MemoryStore, ObjectName, StoreError, Volatile};
use crate::clock::{Clock, ManualClock};

fn name(key: &str) -> ObjectName {
    ObjectName::platform("key", key).unwrap()
}

#[tokio::test]
async fn a_full_memory_store_refuses_and_drops_nothing() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let store = MemoryStore::new(NonZeroUsize::new(2).unwrap()).with_clock(clock.shared());
    let expires = clock.now() + Duration::from_secs(1);
    assert!(store.insert_new(&name("a"), b"1", Some(expires)).await.unwrap());
    assert!(store.insert_new(&name("b"), b"1", None).await.unwrap());
    assert!(matches!(store.insert_new(&name("c"), b"1", None).await, Err(StoreError::Full)));
    assert!(!store.insert_new(&name("a"), b"2", None).await.unwrap(), "an entry that is there is not `Full`");
    assert!(store.get(&name("a")).await.unwrap().is_some());
    assert!(store.get(&name("b")).await.unwrap().is_some());

    clock.advance(Duration::from_secs(1));
    assert!(store.insert_new(&name("c"), b"1", None).await.unwrap(), "the expired one made room");
    assert!(matches!(store.insert_new(&name("d"), b"1", None).await, Err(StoreError::Full)));
    assert!(store.remove(&name("b")).await.unwrap());
    assert!(store.insert_new(&name("d"), b"1", None).await.unwrap(), "the removed one made room");
}

#[tokio::test]
async fn entries_that_expired_do_not_pile_up() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let store = MemoryStore::new(NonZeroUsize::new(100).unwrap()).with_clock(clock.shared());
    for i in 0..10_000 {
        let expires = clock.now() + Duration::from_secs(1);
        assert!(store.insert_new(&name(&format!("k{i}")), b"1", Some(expires)).await.unwrap());
        clock.advance(Duration::from_millis(20));
    }
    let shown = format!("{store:?}");
    assert!(shown.contains("entries: 51") || shown.contains("entries: 50"), "{shown}");
}

#[test]
fn debug_of_an_entry_hides_its_value() {
    let entry = super::Entry { value: b"canary-3e71".to_vec(), version: 1, expires: None };
    assert!(!format!("{entry:?}").contains("canary") && !format!("{entry:?}").contains("99, 97"));
}
