//! What is left of a value that was removed.

use std::{path::Path, sync::Arc};

use sqlx::{Connection as _, Executor as _};
use tower_ward::{
    id::{SubjectId, TenantId},
    keys::{KeyError, Keyring, KeyringOptions, RootKey},
    secret::ExposeSecret as _,
    store::{Durable as _, ObjectName, PostgresStore, SqliteStore, StoreError},
};

use super::{Cluster, name, prefix, server};

const CANARY: &[u8] = b"canary-5f0c7e2d91b84a36";

/// The files under a folder that hold these bytes.
fn holding(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle)) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn files(cluster: &Cluster) -> (Vec<String>, Vec<String>) {
    cluster.sql("checkpoint");
    holding(&cluster.data(), CANARY).into_iter().partition(|path| !path.contains("/pg_wal/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_value_is_in_no_file_of_the_server_once_its_log_has_moved_on() {
    let (cluster, place) = server(&["wal_recycle=off", "min_wal_size=32MB", "archive_mode=off"]);
    let store = PostgresStore::open(&place).await.unwrap();
    for i in 0..50 {
        assert!(store.insert_new(&name(&format!("neighbour-{i}")), &[7; 200], None).await.unwrap());
    }
    for key in ["shredded", "replaced"] {
        assert!(store.insert_new(&name(key), CANARY, None).await.unwrap());
    }
    // A large one lies elsewhere, in pieces.
    let large = CANARY.repeat(2_000);
    assert!(store.insert_new(&name("large"), &large, None).await.unwrap());
    // Somebody has a snapshot in which they stand, and the server has looked at the table.
    cluster.sql("analyze ward_store.objects");
    let mut old = sqlx::PgConnection::connect(&cluster.url("keeper")).await.unwrap();
    old.execute("begin isolation level repeatable read; select 1").await.unwrap();

    let version = store.get(&name("replaced")).await.unwrap().unwrap().version;
    assert!(store.compare_and_swap(&name("replaced"), version, b"gone", None).await.unwrap());
    assert!(store.remove(&name("large")).await.unwrap());
    let (tables, log) = files(&cluster);
    assert!(!tables.is_empty() && !log.is_empty(), "the search finds what is there: {tables:?} {log:?}");
    assert!(store.shred(&name("shredded")).await.unwrap());

    let (tables, log) = files(&cluster);
    assert_eq!(tables, [""; 0]);
    assert!(!log.is_empty(), "the log still has it, as the documentation says");
    cluster.sql("select pg_switch_wal()");
    cluster.sql("checkpoint");
    cluster.sql("select pg_switch_wal()");
    let (tables, log) = files(&cluster);
    assert_eq!((tables, log), (vec![], vec![]));

    drop(old);
    assert_eq!(store.list(&prefix(), None, 100).await.unwrap().len(), 51, "the neighbours stay");
    assert_eq!(store.get(&name("replaced")).await.unwrap().unwrap().value, b"gone");
    PostgresStore::open(&place).await.expect("the table is as it was, its statistics among it");
}

/// Scrubbing locks the table: who writes and reads meanwhile waits, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_who_scrub_at_once_and_write_meanwhile_lose_nothing() {
    let (_cluster, place) = server(&[]);
    let nodes = [PostgresStore::open(&place).await.unwrap(), PostgresStore::open(&place).await.unwrap()];
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..24_usize {
        let store = nodes[i % 2].clone();
        tasks.spawn(async move {
            let name = name(&format!("s{i}"));
            assert!(store.insert_new(&name, b"1", None).await.unwrap());
            let version = store.get(&name).await.unwrap().unwrap().version;
            assert!(store.compare_and_swap(&name, version, b"2", None).await.unwrap());
            store.scrub().await.unwrap();
            assert_eq!(store.get(&name).await.unwrap().unwrap().value, b"2");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(nodes[0].list(&prefix(), None, 100).await.unwrap().len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_archives_its_log_holds_no_keys_and_never_says_erased() {
    let (_cluster, place) = server(&["archive_mode=on", "archive_command=true"]);
    let refused = PostgresStore::open(&place).await;
    assert!(matches!(&refused, Err(StoreError::Unguarded { what }) if what.contains("archive")), "{refused:?}");
    let accounts = PostgresStore::open(&place.danger_archived()).await.unwrap();
    assert!(accounts.insert_new(&name("a"), b"1", None).await.unwrap());
    let shredded = accounts.shred(&name("a")).await;
    assert!(matches!(shredded, Err(StoreError::Unguarded { .. })), "{shredded:?}");
    assert!(accounts.get(&name("a")).await.unwrap().is_none(), "it is removed all the same");
}

/// The key store and one of its copies are here, another copy is a file: an erasure is confirmed by all, and outlives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_key_is_in_no_table_of_the_key_store_or_its_copy() {
    let (cluster, place) = server(&[]);
    let second = place.clone().with_schema("ward_copy").unwrap();
    cluster.run_as("keeper", &second.schema("writer").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (store, copy) = (PostgresStore::open(&place).await.unwrap(), PostgresStore::open(&second).await.unwrap());
    let file = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
    let options = KeyringOptions::default().add_copy("second", Arc::new(copy)).unwrap();
    let options = options.add_copy("file", Arc::new(file)).unwrap();
    let root = RootKey::generate();
    let again = RootKey::decode(root.encode().expose_secret(), "the test").unwrap();
    let (north, gone, stays) =
        (TenantId::new("northgate").unwrap(), SubjectId::from_bytes([1; 16]), SubjectId::from_bytes([2; 16]));

    let keyring = Keyring::open_with(root, Arc::new(store.clone()), &options).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    for subject in [gone, stays] {
        keyring.create_subject(&north, subject).await.unwrap();
    }
    let name = ObjectName::tenant(&north, "key", &format!("subject-{gone}")).unwrap();
    let wrapped = store.get(&name).await.unwrap().unwrap().value;
    // The first bytes say whose it is, as those of the tombstone do.
    let left = || {
        cluster.sql("checkpoint");
        let parts = wrapped[10..].chunks(16).filter(|part| part.len() >= 12);
        parts.flat_map(|part| holding(&cluster.data(), part)).any(|path| !path.contains("/pg_wal/"))
    };
    assert!(left(), "the search finds what is there");
    assert!(keyring.erase_subject(&north, gone).await.unwrap().is_complete());
    assert!(!left());
    drop(keyring);

    let keyring = Keyring::open_with(again, Arc::new(store), &options).await.unwrap();
    assert!(keyring.subject(&north, stays).await.is_ok());
    assert!(matches!(keyring.subject(&north, gone).await, Err(KeyError::Erased)));
}
