//! The store in PostgreSQL: what it refuses, what races, and what a server that goes away leaves behind.

mod erased;
mod guarded;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_ward::{
    clock::{Clock, ManualClock},
    id::TenantId,
    store::{Durable, MAX_VALUE, ObjectName, PostgresPlace, PostgresStore, Prefix, StoreError},
};

use super::{bouncer::Bouncer, cluster::Cluster};

fn name(key: &str) -> ObjectName {
    ObjectName::tenant(&TenantId::new("northgate").unwrap(), "key", key).unwrap()
}

fn prefix() -> Prefix {
    Prefix::tenant(&TenantId::new("northgate").unwrap(), "key").unwrap()
}

fn place_as(cluster: &Cluster, role: &str) -> PostgresPlace {
    PostgresPlace::new(&cluster.url(role)).unwrap()
}

/// A server with the tables of one store.
fn server(settings: &[&str]) -> (Cluster, PostgresPlace) {
    let cluster = Cluster::start(settings);
    let place = place_as(&cluster, "writer");
    cluster.run_as("keeper", &place.schema("writer").unwrap());
    (cluster, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_race_for_one_entry_lose_no_write() {
    let (cluster, place) = server(&[]);
    race(place.clone(), place.clone()).await;
    // And behind a pooler with two connections for all of them.
    let bouncer = Bouncer::start(&cluster, 2);
    let pooled = PostgresPlace::new(&bouncer.url("writer")).unwrap().with_pooler();
    cluster.sql("delete from ward_store.objects");
    race(pooled, place).await;
}

/// Many add one each to a number in turn, by what they have read, while somebody follows the writes.
async fn race(one: PostgresPlace, two: PostgresPlace) {
    let nodes = [PostgresStore::open(&one).await.unwrap(), PostgresStore::open(&two).await.unwrap()];
    assert!(nodes[0].insert_new(&name("number"), b"0", None).await.unwrap());
    let begun = nodes[0].newest_version().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let follower = {
        let (store, done) = (nodes[1].clone(), done.clone());
        tokio::spawn(async move {
            let (mut version, mut seen) = (begun, Vec::new());
            loop {
                let last = done.load(Ordering::SeqCst);
                let page = store.written_since(version, 100).await.unwrap();
                version = page.last().map_or(version, |(_, entry)| entry.version);
                seen.extend(page.into_iter().map(|(name, _)| name.as_str().to_owned()));
                if last {
                    return seen;
                }
            }
        })
    };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let store = nodes[task % 2].clone();
        tasks.spawn(async move {
            let mut won = 0_u32;
            for round in 0..15 {
                let entry = store.get(&name("number")).await.unwrap().unwrap();
                let next: u32 = std::str::from_utf8(&entry.value).unwrap().parse::<u32>().unwrap() + 1;
                let next = next.to_string();
                let swapped = store.compare_and_swap(&name("number"), entry.version, next.as_bytes(), None).await;
                won += u32::from(swapped.unwrap());
                // A write of its own besides, each of which the follower must see.
                assert!(store.insert_new(&name(&format!("t{task}-{round}")), b"", None).await.unwrap());
            }
            won
        });
    }
    let mut won = 0;
    while let Some(done) = tasks.join_next().await {
        won += done.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let seen = follower.await.unwrap();
    let number = nodes[0].get(&name("number")).await.unwrap().unwrap();
    assert_eq!(number.value, won.to_string().as_bytes(), "each swap that won counts, and no other");
    for task in 0..8 {
        for round in 0..15 {
            let written = name(&format!("t{task}-{round}"));
            assert!(seen.iter().any(|seen| seen == written.as_str()), "the follower missed {}", written.as_str());
        }
    }
    // What was not written was given no version.
    assert_eq!(nodes[1].newest_version().await.unwrap(), begun + u64::from(won) + 8 * 15);
    for node in nodes {
        node.close().await;
    }
}

/// What was acknowledged is there; what was said not to be done is not; of the rest nobody knows, and nobody says.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_not_guessed() {
    let (cluster, place) = server(&[]);
    let (mut done, mut undone, mut unknown) = (0, 0, 0);
    for (node, (end, times)) in [("terminate", 10), ("cancel", 10), ("stop", 3)].into_iter().enumerate() {
        let store = PostgresStore::open(&place).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..6_u32 {
            let (store, stop) = (store.clone(), stop.clone());
            tasks.spawn(async move {
                let mut said = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = name(&format!("n{node}-{task}-{n}"));
                    said.push((name.clone(), store.insert_new(&name, b"1", None).await));
                }
                said
            });
        }
        for _ in 0..times {
            tokio::time::sleep(Duration::from_millis(40)).await;
            match end {
                "stop" => {
                    cluster.down();
                    cluster.up();
                }
                end => cluster.sql(&format!(
                    "select pg_{end}_backend(pid) from pg_stat_activity where usename = 'writer' and state <> 'idle'"
                )),
            }
        }
        stop.store(true, Ordering::SeqCst);
        let mut said = BTreeMap::new();
        while let Some(some) = tasks.join_next().await {
            said.extend(some.unwrap());
        }
        // It is used on as if nothing had been.
        assert!(store.insert_new(&name(&format!("after-{end}")), b"1", None).await.unwrap(), "{end}");
        let mut found = BTreeSet::new();
        loop {
            let page = store.list(&prefix(), found.last().map(String::as_str), 1_000).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|(key, _)| key));
        }
        for (name, said) in said {
            let there = name.as_str().rsplit(':').next().is_some_and(|key| found.contains(key));
            match said {
                Ok(true) => {
                    done += 1;
                    assert!(there, "{end}: an acknowledged write is lost: {}", name.as_str());
                }
                Err(StoreError::Busy) => {
                    undone += 1;
                    assert!(!there, "{end}: {} was done, and said not to be", name.as_str());
                }
                Err(StoreError::Unavailable(_)) => unknown += 1,
                other => panic!("{end}: {other:?}"),
            }
        }
        store.close().await;
    }
    assert!(done > 50 && undone > 0 && unknown > 0, "{done} {undone} {unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_an_error_and_what_it_had_is_there_when_it_is_back() {
    let (cluster, place) = server(&[]);
    let store = PostgresStore::open(&place).await.unwrap();
    assert!(store.insert_new(&name("a"), b"1", None).await.unwrap());
    let before = store.get(&name("a")).await.unwrap().unwrap();
    cluster.down();
    let (a, all) = (name("a"), prefix());
    let (read, written, listed) = tokio::join!(store.get(&a), store.remove(&a), store.list(&all, None, 10));
    for error in [read.err(), written.err(), listed.err()] {
        assert!(matches!(error, Some(StoreError::Busy | StoreError::Unavailable(_))), "{error:?}");
    }
    assert!(matches!(PostgresStore::open(&place).await, Err(StoreError::Unavailable(_))));
    cluster.up();
    assert_eq!(store.get(&name("a")).await.unwrap().unwrap(), before);
    assert!(store.compare_and_swap(&name("a"), before.version, b"2", None).await.unwrap());
    store.close().await;
    assert!(matches!(store.get(&name("a")).await, Err(StoreError::Unavailable(_))), "closed");
}

/// A request that is hung up on may be holding the turn.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_hang_up_anywhere_keep_nobody_from_their_turn() {
    let (cluster, place) = server(&[]);
    let bouncer = Bouncer::start(&cluster, 2);
    let pooled = PostgresPlace::new(&bouncer.url("writer")).unwrap().with_pooler();
    for place in [place, pooled] {
        let store = PostgresStore::open(&place).await.unwrap();
        for i in 0..120_u64 {
            let (store, name) = (store.clone(), name(&format!("{}-{i}", i % 7)));
            let task = tokio::spawn(async move {
                let _ = store.insert_new(&name, b"1", None).await;
                let _ = store.remove(&name).await;
            });
            tokio::time::sleep(Duration::from_micros(i * 97 % 5_000)).await;
            task.abort();
        }
        let name = name("mine");
        let mine = tokio::time::timeout(Duration::from_secs(3), store.insert_new(&name, b"1", None)).await;
        assert!(mine.expect("the turn is held by nobody").unwrap());
        assert!(store.remove(&name).await.unwrap());
        store.close().await;
    }
}

/// One that stands still in its turn, as a machine that swaps or was suspended, loses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_holds_the_turn_is_busy_and_changes_nothing() {
    let (cluster, place) = server(&[]);
    let store = PostgresStore::open(&place).await.unwrap();
    let url = cluster.url("writer");
    let mut held = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; select from ward_store.versions for update").execute(&mut held).await.unwrap();
    let refused = store.insert_new(&name("a"), b"1", None).await;
    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    assert!(store.get(&name("a")).await.unwrap().is_none(), "readers do not wait");
    drop(held);
    assert!(store.insert_new(&name("a"), b"1", None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_sql_or_patterns_are_only_names() {
    let (_cluster, place) = server(&[]);
    let store = PostgresStore::open(&place).await.unwrap();
    let keys = ["drop-table-objects", "a_b", "axb", "a.b", "select", "null", "0x00", "a--b", "pg_sleep.10"];
    for key in keys {
        assert!(store.insert_new(&name(key), key.as_bytes(), None).await.unwrap());
    }
    assert!(store.remove(&name("a_b")).await.unwrap());
    assert_eq!(store.get(&name("axb")).await.unwrap().unwrap().value, b"axb", "`_` is no pattern");
    let mut sorted: Vec<_> = keys.into_iter().filter(|key| *key != "a_b").collect();
    sorted.sort_unstable();
    let listed = async |after: Option<&str>| -> Vec<String> {
        store.list(&prefix(), after, 100).await.unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(listed(None).await, sorted, "in the order of bytes");
    for after in
        ["'", "';drop table ward_store.objects;--", "%", "_", "a_", "\0", "a\0", "é", "a\u{7f}", "\u{10ffff}", "$1"]
    {
        let expected: Vec<_> = sorted.iter().filter(|key| **key > after).collect();
        assert_eq!(listed(Some(after)).await.iter().collect::<Vec<_>>(), expected, "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_at_its_bound_and_an_expiry_at_both_sides_of_its_edge() {
    let (_cluster, place) = server(&[]);
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let store = PostgresStore::open_with_clock(&place, clock.shared()).await.unwrap();
    let ends = clock.now() + Duration::from_secs(60);
    for (key, length) in [("none", 0), ("bound", MAX_VALUE)] {
        assert!(store.insert_new(&name(key), &vec![0xa5; length], Some(ends)).await.unwrap());
        assert_eq!(store.get(&name(key)).await.unwrap().unwrap().value, vec![0xa5; length]);
    }
    let over = store.insert_new(&name("over"), &vec![0; MAX_VALUE + 1], None).await;
    assert!(matches!(over, Err(StoreError::ValueTooLarge)));
    // The server's clock is decades away from this one: it is not asked.
    clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(store.list(&prefix(), None, 10).await.unwrap().len(), 2);
    assert!(!store.insert_new(&name("bound"), b"", None).await.unwrap(), "a microsecond before");
    clock.advance(Duration::from_micros(1));
    assert_eq!(store.list(&prefix(), None, 10).await.unwrap().len(), 0);
    assert!(store.insert_new(&name("bound"), b"", None).await.unwrap(), "at the edge");
}

/// Two clinics' servers may share a machine: a store in one schema does not know of another's.
#[tokio::test(flavor = "multi_thread")]
async fn two_stores_in_one_database_do_not_meet() {
    let (cluster, place) = server(&[]);
    let accounts = place.clone().with_schema("ward_accounts").unwrap();
    cluster.run_as("keeper", &accounts.schema("writer").unwrap());
    let (keys, accounts) = (PostgresStore::open(&place).await.unwrap(), PostgresStore::open(&accounts).await.unwrap());
    assert!(keys.insert_new(&name("a"), b"key", None).await.unwrap());
    assert!(accounts.get(&name("a")).await.unwrap().is_none());
    assert_eq!((keys.newest_version().await.unwrap(), accounts.newest_version().await.unwrap()), (1, 0));
}
