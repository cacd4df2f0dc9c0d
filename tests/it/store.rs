//! What the SQLite store promises about its file.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{path::Path, sync::Arc, time::Duration};

use tower_ward::{
    clock::{Clock, ManualClock},
    id::TenantId,
    store::{Durable, ObjectName, Prefix, SqliteStore, StoreError},
};

fn name(key: &str) -> ObjectName {
    ObjectName::tenant(&TenantId::new("northgate").unwrap(), "key", key).unwrap()
}

/// Whether any file of the folder holds these bytes: the database, its log, its index.
fn anywhere(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let expires = clock.now() + Duration::from_secs(60);
    let store = SqliteStore::open_with_clock(&path, clock.shared()).await.unwrap();
    assert!(store.insert_new(&name("stays"), b"1", None).await.unwrap());
    assert!(store.insert_new(&name("ends"), b"2", Some(expires)).await.unwrap());
    assert!(store.insert_new(&name("removed"), b"3", None).await.unwrap());
    let removed = store.get(&name("removed")).await.unwrap().unwrap().version;
    assert!(store.remove(&name("removed")).await.unwrap());
    let before = store.get(&name("stays")).await.unwrap().unwrap();
    store.close().await;
    assert!(matches!(store.get(&name("stays")).await, Err(StoreError::Unavailable(_))), "closed");

    let store = SqliteStore::open_with_clock(&path, clock.shared()).await.unwrap();
    assert_eq!(store.get(&name("stays")).await.unwrap().unwrap(), before);
    assert_eq!(store.get(&name("ends")).await.unwrap().unwrap().expires, Some(expires));
    assert!(store.get(&name("removed")).await.unwrap().is_none());
    assert!(store.insert_new(&name("removed"), b"4", None).await.unwrap());
    let again = store.get(&name("removed")).await.unwrap().unwrap().version;
    assert!(again > removed, "no version comes back, not even after a restart");
    clock.advance(Duration::from_secs(60));
    assert!(store.get(&name("ends")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_shredded_value_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
    let canary = b"canary-5f0c7e2d91b84a36";
    for i in 0..50 {
        assert!(store.insert_new(&name(&format!("neighbour-{i}")), &[7; 200], None).await.unwrap());
    }
    assert!(store.insert_new(&name("shredded"), canary, None).await.unwrap());
    assert!(anywhere(folder.path(), canary), "the search finds what is there");
    assert!(store.shred(&name("shredded")).await.unwrap());
    assert!(!anywhere(folder.path(), canary));
    assert_eq!(store.list(&prefix(), None, 100).await.unwrap().len(), 50, "the neighbours stay");
}

/// An erasure replaces the key by a tombstone and scrubs: the old bytes are gone from the pages and from the log.
#[tokio::test]
async fn a_replaced_value_is_in_no_file_after_a_scrub() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
    let canary = [b"canary-5f0c7e2d91b84a36".as_slice(), &[9; 80]].concat();
    assert!(store.insert_new(&name("a"), &canary, None).await.unwrap());
    let version = store.get(&name("a")).await.unwrap().unwrap().version;
    assert!(store.compare_and_swap(&name("a"), version, b"gone", None).await.unwrap());
    assert!(anywhere(folder.path(), &canary[..23]), "the log still has it: this is why there is `scrub`");
    store.scrub().await.unwrap();
    assert!(!anywhere(folder.path(), &canary[..23]));
    assert_eq!(store.get(&name("a")).await.unwrap().unwrap().value, b"gone");
}

/// SQLite moves values to other pages as a tree grows, and leaves what they were in the gaps of the old ones:
/// `secure_delete` and an empty log are not enough.
#[tokio::test]
async fn values_that_moved_before_they_were_replaced_are_in_no_file_after_a_scrub() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
    let canary = b"canary-5f0c7e2d9";
    let names: Vec<_> = (0..300).map(|i| name(&format!("{:016x}", scattered(i)))).collect();
    for (i, each) in (0..).zip(&names) {
        let times = usize::try_from(3 + scattered(i) % 50).unwrap();
        assert!(store.insert_new(each, &canary.repeat(times), None).await.unwrap());
    }
    for each in &names {
        let version = store.get(each).await.unwrap().unwrap().version;
        assert!(store.compare_and_swap(each, version, b"gone", None).await.unwrap());
    }
    store.scrub().await.unwrap();
    assert!(!anywhere(folder.path(), canary));
}

/// Neighbours in, strangers out (SplitMix64).
fn scattered(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Scrubbing writes the whole file: nobody who asks for it while one runs makes another run more than once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_scrub_at_once_and_write_meanwhile_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let (one, two) = (SqliteStore::open(&path).await.unwrap(), SqliteStore::open(&path).await.unwrap());
    let tasks: Vec<_> = (0..40u32)
        .map(|i| {
            let store = if i % 2 == 0 { one.clone() } else { two.clone() };
            let folder = folder.path().to_owned();
            tokio::spawn(async move {
                let (name, canary) = (name(&format!("s{i}")), format!("canary-{i}-5f0c7e2d91b84a36"));
                assert!(store.insert_new(&name, canary.as_bytes(), None).await.unwrap());
                let version = store.get(&name).await.unwrap().unwrap().version;
                assert!(store.compare_and_swap(&name, version, b"gone", None).await.unwrap());
                store.scrub().await.unwrap();
                assert!(!anywhere(&folder, canary.as_bytes()), "{i}");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(one.list(&prefix(), None, 100).await.unwrap().len(), 40);
}

#[tokio::test]
async fn two_stores_on_one_file_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let (one, two) = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    let (one, two) = (Arc::new(one.unwrap()), Arc::new(two.unwrap()));
    for round in 0..20u8 {
        let name = name(&format!("r{round}"));
        let (a, b) = tokio::join!(one.insert_new(&name, b"one", None), two.insert_new(&name, b"two", None));
        assert!(a.unwrap() ^ b.unwrap(), "round {round}");
        let (a, b) = tokio::join!(one.get(&name), two.get(&name));
        assert_eq!(a.unwrap(), b.unwrap());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_log_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
    assert!(store.insert_new(&name("a"), b"1", None).await.unwrap());
    let mut seen = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
        seen.push(file.file_name());
    }
    assert!(seen.len() >= 2, "the log is among them: {seen:?}");
}

#[tokio::test]
async fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clinic.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE patients (id INTEGER)").execute(&pool).await.unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Foreign)));
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&pool).await.unwrap();
    assert_eq!(tables, 1);

    let text = folder.path().join("text");
    std::fs::write(&text, "not a database, and longer than one hundred bytes so that its header is read: ".repeat(4))
        .unwrap();
    assert!(matches!(SqliteStore::open(&text).await, Err(StoreError::Unavailable(_))));

    let ours = folder.path().join("keys.db");
    SqliteStore::open(&ours).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&ours)).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 3").execute(&pool).await.unwrap();
    assert!(matches!(SqliteStore::open(&ours).await, Err(StoreError::Newer)));

    // As the first release wrote it: it is brought up to date.
    sqlx::raw_sql("DROP INDEX objects_by_version; PRAGMA user_version = 1").execute(&pool).await.unwrap();
    SqliteStore::open(&ours).await.unwrap().close().await;
    let index: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'objects_by_version'")
        .fetch_one(&pool)
        .await
        .unwrap();
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&pool).await.unwrap();
    assert_eq!((index, version), (1, 2));
    pool.close().await;
}

#[tokio::test]
async fn a_missing_folder_is_an_error_and_not_a_store_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(SqliteStore::open(folder.path().join("no/keys.db")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(SqliteStore::open(folder.path()).await, Err(StoreError::Unavailable(_))));
}

fn prefix() -> Prefix {
    Prefix::tenant(&TenantId::new("northgate").unwrap(), "key").unwrap()
}
