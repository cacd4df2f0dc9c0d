//! The suite that every backend passes. A new backend adds one function to `suite!` below; one that is a server is started once
//! for all of it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    BoxFuture, DangerForgetful, Durable, Entry, MAX_PAGE, MAX_VALUE, MemoryStore, ObjectName, Prefix, StoreError,
    Volatile, from_micros, micros,
};
use crate::{
    clock::{Clock, ManualClock, Timestamp},
    id::TenantId,
};

/// A backend under test, with the clock it reads.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Durable>,
    pub(crate) clock: ManualClock,
    /// Keeps the folder until the test ends.
    _folder: Option<tempfile::TempDir>,
}

/// A real server, which the tests of the whole crate start the same way.
#[cfg(all(feature = "postgres", feature = "testing"))]
#[expect(dead_code, reason = "others do more with it")]
#[path = "../../tests/it/postgres/cluster.rs"]
mod cluster;

#[cfg(all(feature = "postgres", feature = "testing"))]
#[path = "../../tests/it/postgres/bouncer.rs"]
mod bouncer;

/// One server for all checks of a suite: each has a schema of its own.
#[cfg(all(feature = "postgres", feature = "testing"))]
struct Server {
    bouncer: Option<bouncer::Bouncer>,
    cluster: cluster::Cluster,
    schemas: usize,
}

#[cfg(all(feature = "postgres", feature = "testing"))]
impl Server {
    fn direct() -> Self {
        Self { bouncer: None, cluster: cluster::Cluster::start(&[]), schemas: 0 }
    }

    /// Behind a pooler that has fewer connections than there are clients.
    fn pooled() -> Self {
        let cluster = cluster::Cluster::start(&[]);
        Self { bouncer: Some(bouncer::Bouncer::start(&cluster, 2)), cluster, schemas: 0 }
    }

    async fn backend(&mut self) -> Backend {
        let clock = clock();
        self.schemas += 1;
        let place = super::PostgresPlace::new(&self.cluster.url("writer")).unwrap();
        let place = place.with_schema(&format!("s{}", self.schemas)).unwrap();
        self.cluster.run_as("keeper", &place.schema("writer").unwrap());
        let place = match &self.bouncer {
            None => place,
            Some(bouncer) => {
                let pooled = super::PostgresPlace::new(&bouncer.url("writer")).unwrap();
                pooled.with_schema(&format!("s{}", self.schemas)).unwrap().with_pooler()
            }
        };
        let store = super::PostgresStore::open_with_clock(&place, clock.shared()).await.unwrap();
        Backend { store: Arc::new(store), clock, _folder: None }
    }
}

/// Lets the suite's one form ask a [`Volatile`] store.
#[derive(Debug)]
struct Asked<V>(V);

impl<V: Volatile> Durable for Asked<V> {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.0.get(name)
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.insert_new(name, value, expires)
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.compare_and_swap(name, version, value, expires)
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.remove(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        self.0.list(prefix, after, limit)
    }

    fn written_since(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        unreachable!("a volatile store has no copies")
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        unreachable!("a volatile store has no copies")
    }

    fn take_over<'a>(
        &'a self,
        _: (&'a ObjectName, Option<u64>, &'a [u8]),
        _: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        unreachable!("a volatile store has no copies")
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn key(text: &str) -> ObjectName {
    ObjectName::tenant(&TenantId::new("northgate").unwrap(), "key", text).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap())
}

fn memory(clock: &ManualClock) -> MemoryStore {
    MemoryStore::new(NonZeroUsize::new(10_000).unwrap()).with_clock(clock.shared())
}

async fn volatile_memory() -> Backend {
    let clock = clock();
    Backend { store: Arc::new(Asked(memory(&clock))), clock, _folder: None }
}

pub(crate) async fn forgetful() -> Backend {
    let clock = clock();
    let store: DangerForgetful = memory(&clock).danger_forgetful();
    Backend { store: Arc::new(store), clock, _folder: None }
}

#[cfg(feature = "sqlite")]
pub(crate) async fn sqlite() -> Backend {
    let clock = clock();
    let folder = tempfile::tempdir().unwrap();
    let store = super::SqliteStore::open_with_clock(folder.path().join("keys.db"), clock.shared()).await.unwrap();
    Backend { store: Arc::new(store), clock, _folder: Some(folder) }
}

macro_rules! suite {
    ($($backend:ident $(if $feature:literal)?),+ => $checks:tt) => { $(
        $(#[cfg(feature = $feature)])?
        mod $backend {
            suite!(@checks $backend $checks);
        }
    )+
        #[cfg(all(feature = "postgres", feature = "testing"))]
        mod postgres {
            suite!(@server direct $checks);
            suite!(@server pooled $checks);
        }
    };
    (@server $server:ident [$($check:ident),+ $(,)?]) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $server() {
            let mut server = super::super::Server::$server();
            $(
                eprintln!("{}", stringify!($check));
                super::$check(&server.backend().await).await;
            )+
        }
    };
    (@checks $backend:ident [$($check:ident),+ $(,)?]) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            super::$check(&super::super::$backend().await).await;
        }
    )+ };
}

mod follow {
    use super::*;

    suite!(forgetful, sqlite if "sqlite" => [
        what_was_written_since_comes_in_the_order_of_the_writes,
        a_take_over_is_all_or_nothing,
        of_racing_take_overs_one_wins,
    ]);

    async fn what_was_written_since_comes_in_the_order_of_the_writes(b: &Backend) {
        let keys = async |version, limit| {
            let page = b.store.written_since(version, limit).await.unwrap();
            let entries: Vec<_> = page.iter().map(|(name, entry)| (name.as_str().to_owned(), entry.version)).collect();
            assert!(entries.is_sorted_by_key(|(_, version)| *version));
            entries
        };
        assert!(keys(0, 10).await.is_empty());
        for name in ["c", "a", "b"] {
            assert!(b.store.insert_new(&key(name), name.as_bytes(), None).await.unwrap());
        }
        let a = b.store.get(&key("a")).await.unwrap().unwrap();
        assert!(b.store.compare_and_swap(&key("a"), a.version, b"again", None).await.unwrap());
        let all = keys(0, 10).await;
        let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(
            names,
            [key("c"), key("b"), key("a")].map(|name| name.as_str().to_owned()),
            "the newest write counts"
        );
        assert_eq!(keys(0, 2).await, all[..2]);
        assert_eq!(keys(all[1].1, 10).await, all[2..]);
        assert!(keys(all[2].1, 10).await.is_empty() && keys(u64::MAX, 10).await.is_empty());
        let (_, newest) = b.store.written_since(all[1].1, 1).await.unwrap().remove(0);
        assert_eq!(newest, b.store.get(&key("a")).await.unwrap().unwrap());
        let soon = b.clock.now() + Duration::from_secs(1);
        assert!(b.store.insert_new(&key("d"), b"", Some(soon)).await.unwrap());
        b.clock.advance(Duration::from_secs(1));
        assert!(keys(all[2].1, 10).await.is_empty(), "what expired does not stand");
        assert!(b.store.newest_version().await.unwrap() > all[2].1, "what expired was written too");
        let long = b.store.written_since(0, MAX_PAGE + 1).await;
        assert!(matches!(long, Err(StoreError::PageTooLarge)));
    }

    async fn a_take_over_is_all_or_nothing(b: &Backend) {
        let mark = key("mark");
        let entries = |value: &str| vec![(key("a"), value.into()), (key("b"), value.into())];
        let read = async |name| b.store.get(&key(name)).await.unwrap().map(|entry| entry.value);
        assert!(b.store.insert_new(&key("a"), b"before", None).await.unwrap());
        assert!(!b.store.take_over((&mark, Some(1), b"1"), &entries("no")).await.unwrap(), "there is no mark");
        assert_eq!((read("a").await, read("b").await), (Some(b"before".to_vec()), None));
        assert!(b.store.take_over((&mark, None, b"1"), &entries("one")).await.unwrap());
        assert!(!b.store.take_over((&mark, None, b"2"), &entries("no")).await.unwrap(), "there is one");
        let version = b.store.get(&mark).await.unwrap().unwrap().version;
        assert!(!b.store.take_over((&mark, Some(version + 1), b"2"), &entries("no")).await.unwrap());
        let large = b.store.take_over((&mark, Some(version), b"2"), &[(key("a"), vec![0; MAX_VALUE + 1])]).await;
        assert!(matches!(large, Err(StoreError::ValueTooLarge)));
        let one = Some(b"one".to_vec());
        assert_eq!((read("a").await, read("b").await, read("mark").await), (one.clone(), one, Some(b"1".to_vec())));
        assert!(b.store.take_over((&mark, Some(version), b"2"), &[]).await.unwrap());
        assert_eq!((read("a").await, read("mark").await), (Some(b"one".to_vec()), Some(b"2".to_vec())));
        // Each entry has a version of its own, so whoever follows this one finds them.
        let found = b.store.written_since(0, 10).await.unwrap();
        assert_eq!(found.len(), 3);
    }

    /// Two processes follow one store: what the slower read is not put over what the faster wrote.
    async fn of_racing_take_overs_one_wins(b: &Backend) {
        let mark = key("mark");
        let races: Vec<_> = (0..8)
            .map(|i: u8| {
                let (store, mark) = (Arc::clone(&b.store), mark.clone());
                tokio::spawn(async move { store.take_over((&mark, None, &[i]), &[(key("a"), vec![i])]).await.unwrap() })
            })
            .collect();
        let mut won = Vec::new();
        for (i, race) in races.into_iter().enumerate() {
            if race.await.unwrap() {
                won.push(u8::try_from(i).unwrap());
            }
        }
        let value = b.store.get(&key("a")).await.unwrap().unwrap().value;
        assert_eq!((won.len(), value), (1, won.clone()));
    }
}

mod run {
    use super::*;

    suite!(volatile_memory, forgetful, sqlite if "sqlite" => [
        an_inserted_value_is_found_and_stays,
        a_swap_needs_the_current_version,
        a_removed_entry_is_gone_once,
        versions_are_never_used_again,
        an_entry_ends_at_the_edge,
        an_expired_name_is_free,
        an_expired_entry_is_neither_swapped_nor_removed,
        a_swap_sets_the_expiry_anew,
        an_expiry_is_cut_to_microseconds,
        the_first_and_the_last_expiry_there_are,
        of_racing_inserts_one_wins,
        of_racing_swaps_one_wins,
        pages_follow_one_another,
        a_list_stays_in_its_tenant_and_kind,
        a_page_cannot_be_steered_out,
        a_list_leaves_out_what_expired,
        what_is_too_large_is_refused,
        any_bytes_are_kept,
        a_shredded_entry_is_gone,
    ]);

    async fn an_inserted_value_is_found_and_stays(b: &Backend) {
        let name = key("a");
        assert!(b.store.get(&name).await.unwrap().is_none());
        assert!(b.store.insert_new(&name, b"first", None).await.unwrap());
        assert!(!b.store.insert_new(&name, b"second", None).await.unwrap());
        let entry = b.store.get(&name).await.unwrap().unwrap();
        assert_eq!((entry.value.as_slice(), entry.expires), (&b"first"[..], None));
    }

    async fn a_swap_needs_the_current_version(b: &Backend) {
        let name = key("a");
        assert!(!b.store.compare_and_swap(&name, 1, b"x", None).await.unwrap(), "nothing to swap");
        assert!(b.store.insert_new(&name, b"1", None).await.unwrap());
        let first = b.store.get(&name).await.unwrap().unwrap();
        assert!(b.store.compare_and_swap(&name, first.version, b"2", None).await.unwrap());
        let second = b.store.get(&name).await.unwrap().unwrap();
        assert_ne!(first.version, second.version);
        for stale in [first.version, second.version + 1, 0, u64::MAX] {
            assert!(!b.store.compare_and_swap(&name, stale, b"3", None).await.unwrap(), "{stale}");
        }
        assert_eq!(b.store.get(&name).await.unwrap().unwrap(), second);
    }

    async fn a_removed_entry_is_gone_once(b: &Backend) {
        let name = key("a");
        assert!(!b.store.remove(&name).await.unwrap());
        assert!(b.store.insert_new(&name, b"1", None).await.unwrap());
        assert!(b.store.remove(&name).await.unwrap());
        assert!(b.store.get(&name).await.unwrap().is_none());
        assert!(!b.store.remove(&name).await.unwrap());
    }

    /// A reader that kept a version across a removal must not swap the entry that came after it.
    async fn versions_are_never_used_again(b: &Backend) {
        let (name, other) = (key("a"), key("b"));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            for name in [&name, &other] {
                assert!(b.store.insert_new(name, b"1", None).await.unwrap());
                let version = b.store.get(name).await.unwrap().unwrap().version;
                assert!(seen.insert(version), "version {version} came back");
                assert!(b.store.compare_and_swap(name, version, b"2", None).await.unwrap());
                assert!(seen.insert(b.store.get(name).await.unwrap().unwrap().version));
                assert!(b.store.remove(name).await.unwrap());
            }
        }
        let stale = *seen.first().unwrap();
        assert!(b.store.insert_new(&name, b"new", None).await.unwrap());
        assert!(!b.store.compare_and_swap(&name, stale, b"old", None).await.unwrap());
    }

    async fn an_entry_ends_at_the_edge(b: &Backend) {
        let name = key("a");
        let expires = b.clock.now() + Duration::from_secs(60);
        assert!(b.store.insert_new(&name, b"1", Some(expires)).await.unwrap());
        b.clock.advance(Duration::from_micros(59_999_999));
        assert_eq!(b.store.get(&name).await.unwrap().unwrap().expires, Some(expires), "a microsecond before");
        b.clock.advance(Duration::from_micros(1));
        assert!(b.store.get(&name).await.unwrap().is_none(), "at the edge");
        b.clock.advance(Duration::from_micros(1));
        assert!(b.store.get(&name).await.unwrap().is_none(), "after it");
    }

    async fn an_expired_name_is_free(b: &Backend) {
        let name = key("a");
        let expires = b.clock.now() + Duration::from_secs(1);
        assert!(b.store.insert_new(&name, b"1", Some(expires)).await.unwrap());
        b.clock.advance(Duration::from_micros(999_999));
        assert!(!b.store.insert_new(&name, b"2", None).await.unwrap(), "still taken");
        b.clock.advance(Duration::from_micros(1));
        assert!(b.store.insert_new(&name, b"2", None).await.unwrap());
        let entry = b.store.get(&name).await.unwrap().unwrap();
        assert_eq!((entry.value.as_slice(), entry.expires), (&b"2"[..], None));
        b.clock.advance(Duration::from_secs(1_000_000));
        assert!(b.store.get(&name).await.unwrap().is_some(), "the old expiry is forgotten");
    }

    async fn an_expired_entry_is_neither_swapped_nor_removed(b: &Backend) {
        let expires = b.clock.now() + Duration::from_secs(1);
        for name in [key("a"), key("b")] {
            assert!(b.store.insert_new(&name, b"1", Some(expires)).await.unwrap());
        }
        let version = b.store.get(&key("a")).await.unwrap().unwrap().version;
        b.clock.advance(Duration::from_secs(1));
        assert!(!b.store.compare_and_swap(&key("a"), version, b"2", None).await.unwrap());
        assert!(b.store.get(&key("a")).await.unwrap().is_none(), "a swap does not bring it back");
        assert!(!b.store.remove(&key("b")).await.unwrap());
    }

    async fn a_swap_sets_the_expiry_anew(b: &Backend) {
        let name = key("a");
        let start = b.clock.now();
        assert!(b.store.insert_new(&name, b"1", Some(start + Duration::from_secs(1))).await.unwrap());
        let version = b.store.get(&name).await.unwrap().unwrap().version;
        let later = start + Duration::from_secs(10);
        assert!(b.store.compare_and_swap(&name, version, b"2", Some(later)).await.unwrap());
        b.clock.advance(Duration::from_secs(1));
        // Another insert sweeps what has expired; the entry must not be taken along by its old expiry.
        assert!(b.store.insert_new(&key("b"), b"", None).await.unwrap());
        assert_eq!(b.store.get(&name).await.unwrap().unwrap().expires, Some(later));
        b.clock.advance(Duration::from_secs(9));
        assert!(b.store.get(&name).await.unwrap().is_none());
    }

    async fn an_expiry_is_cut_to_microseconds(b: &Backend) {
        let name = key("a");
        let start = b.clock.now();
        assert!(b.store.insert_new(&name, b"1", Some(start + Duration::from_nanos(1_999))).await.unwrap());
        let kept = b.store.get(&name).await.unwrap().unwrap().expires;
        assert_eq!(kept, Some(start + Duration::from_micros(1)), "rounded down: never longer than asked");
        b.clock.advance(Duration::from_micros(1));
        assert!(b.store.get(&name).await.unwrap().is_none());
    }

    /// `Timestamp::MAX`, somebody's "never", was once written and could not be read.
    async fn the_first_and_the_last_expiry_there_are(b: &Backend) {
        let last = b.store.insert_new(&key("last"), b"1", Some(Timestamp::MAX)).await;
        assert!(last.unwrap());
        let kept = b.store.get(&key("last")).await.unwrap().unwrap().expires.unwrap();
        assert_eq!(micros(kept), micros(Timestamp::MAX));
        for before in [Timestamp::MIN, Timestamp::UNIX_EPOCH - Duration::from_micros(1)] {
            assert!(b.store.insert_new(&key("first"), b"1", Some(before)).await.unwrap());
            assert!(b.store.get(&key("first")).await.unwrap().is_none());
            assert_eq!(from_micros(micros(before)).unwrap(), before);
        }
    }

    async fn of_racing_inserts_one_wins(b: &Backend) {
        for round in 0..8 {
            let name = key(&format!("r{round}"));
            let tasks: Vec<_> = (0..4u8)
                .map(|i| {
                    let (store, name) = (Arc::clone(&b.store), name.clone());
                    tokio::spawn(async move { (i, store.insert_new(&name, &[i], None).await.unwrap()) })
                })
                .collect();
            let winners = winners(tasks).await;
            assert_eq!(winners.len(), 1, "one insert wins");
            assert_eq!(b.store.get(&name).await.unwrap().unwrap().value, winners);
        }
    }

    async fn of_racing_swaps_one_wins(b: &Backend) {
        let name = key("a");
        assert!(b.store.insert_new(&name, b"start", None).await.unwrap());
        for _ in 0..8 {
            let version = b.store.get(&name).await.unwrap().unwrap().version;
            let tasks: Vec<_> = (0..2u8)
                .map(|i| {
                    let (store, name) = (Arc::clone(&b.store), name.clone());
                    tokio::spawn(async move { (i, store.compare_and_swap(&name, version, &[i], None).await.unwrap()) })
                })
                .collect();
            let winners = winners(tasks).await;
            assert_eq!(winners.len(), 1, "one swap wins");
            assert_eq!(b.store.get(&name).await.unwrap().unwrap().value, winners);
        }
    }

    async fn pages_follow_one_another(b: &Backend) {
        for i in 0..25 {
            assert!(b.store.insert_new(&key(&format!("k{i:02}")), &[i], None).await.unwrap());
        }
        let prefix = Prefix::tenant(&tenant("northgate"), "key").unwrap();
        let (mut after, mut seen, mut pages) = (None::<String>, Vec::new(), 0);
        loop {
            let page = b.store.list(&prefix, after.as_deref(), 10).await.unwrap();
            pages += 1;
            let full = page.len() == 10;
            after = page.last().map(|(key, _)| key.clone());
            seen.extend(page.into_iter().map(|(key, entry)| (key, entry.value)));
            if !full {
                break;
            }
        }
        let expected: Vec<_> = (0..25u8).map(|i| (format!("k{i:02}"), vec![i])).collect();
        assert_eq!((pages, seen), (3, expected));
        assert!(b.store.list(&prefix, None, 0).await.unwrap().is_empty());
        assert!(b.store.list(&prefix, Some("k24"), 10).await.unwrap().is_empty(), "after the last");
    }

    // proves CLM-16
    async fn a_list_stays_in_its_tenant_and_kind(b: &Backend) {
        let names = [
            ObjectName::tenant(&tenant("north"), "key", "mine"),
            ObjectName::tenant(&tenant("north"), "key-x", "other-kind"),
            ObjectName::tenant(&tenant("north"), "ke", "other-kind"),
            ObjectName::tenant(&tenant("northgate"), "key", "longer-tenant"),
            ObjectName::tenant(&tenant("north-b"), "key", "dashed-tenant"),
            ObjectName::tenant(&tenant("nort"), "key", "shorter-tenant"),
            ObjectName::platform("key", "platform"),
        ];
        for name in names {
            assert!(b.store.insert_new(&name.unwrap(), b"", None).await.unwrap());
        }
        assert_eq!(listed(b, &Prefix::tenant(&tenant("north"), "key").unwrap(), None).await, ["mine"]);
        assert_eq!(listed(b, &Prefix::platform("key").unwrap(), None).await, ["platform"]);
    }

    async fn a_page_cannot_be_steered_out(b: &Backend) {
        for tenant_name in ["north", "south"] {
            let name = ObjectName::tenant(&tenant(tenant_name), "key", "k").unwrap();
            assert!(b.store.insert_new(&name, b"", None).await.unwrap());
        }
        let prefix = Prefix::tenant(&tenant("north"), "key").unwrap();
        for after in ["", "t:south:key:", "../t:south:key:", "\0", "%", "' OR 1=1 --", "zzzz", "\u{10ffff}", ";"] {
            let keys = listed(b, &prefix, Some(after)).await;
            assert!(keys.is_empty() || keys == ["k"], "{after:?} gave {keys:?}");
        }
    }

    async fn a_list_leaves_out_what_expired(b: &Backend) {
        let expires = b.clock.now() + Duration::from_secs(1);
        for (name, expires) in [("a", Some(expires)), ("b", None), ("c", Some(expires))] {
            assert!(b.store.insert_new(&key(name), b"", expires).await.unwrap());
        }
        let prefix = Prefix::tenant(&tenant("northgate"), "key").unwrap();
        assert_eq!(listed(b, &prefix, None).await, ["a", "b", "c"]);
        b.clock.advance(Duration::from_secs(1));
        assert_eq!(listed(b, &prefix, None).await, ["b"]);
        assert_eq!(b.store.list(&prefix, None, 1).await.unwrap().len(), 1, "what expired takes no place in a page");
    }

    async fn what_is_too_large_is_refused(b: &Backend) {
        let name = key("a");
        let largest = vec![7; MAX_VALUE];
        assert!(b.store.insert_new(&name, &largest, None).await.unwrap());
        let entry = b.store.get(&name).await.unwrap().unwrap();
        assert_eq!(entry.value, largest);
        let over = vec![7; MAX_VALUE + 1];
        assert!(matches!(b.store.insert_new(&key("b"), &over, None).await, Err(StoreError::ValueTooLarge)));
        let swapped = b.store.compare_and_swap(&name, entry.version, &over, None).await;
        assert!(matches!(swapped, Err(StoreError::ValueTooLarge)));
        let prefix = Prefix::tenant(&tenant("northgate"), "key").unwrap();
        assert_eq!(b.store.list(&prefix, None, MAX_PAGE).await.unwrap().len(), 1);
        assert!(matches!(b.store.list(&prefix, None, MAX_PAGE + 1).await, Err(StoreError::PageTooLarge)));
    }

    async fn any_bytes_are_kept(b: &Backend) {
        let all: Vec<u8> = (0..=255).collect();
        for (i, value) in [&b""[..], &[0], &[0xff, 0, 0xff], &all].into_iter().enumerate() {
            let name = key(&format!("v{i}"));
            assert!(b.store.insert_new(&name, value, None).await.unwrap());
            assert_eq!(b.store.get(&name).await.unwrap().unwrap().value, value);
        }
    }

    async fn a_shredded_entry_is_gone(b: &Backend) {
        assert!(b.store.insert_new(&key("a"), b"1", None).await.unwrap());
        assert!(b.store.shred(&key("a")).await.unwrap());
        assert!(!b.store.shred(&key("a")).await.unwrap());
        assert!(b.store.get(&key("a")).await.unwrap().is_none());
    }

    fn tenant(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    async fn listed(b: &Backend, prefix: &Prefix, after: Option<&str>) -> Vec<String> {
        b.store.list(prefix, after, 100).await.unwrap().into_iter().map(|(key, _)| key).collect()
    }

    async fn winners(tasks: Vec<tokio::task::JoinHandle<(u8, bool)>>) -> Vec<u8> {
        let mut winners = Vec::new();
        for task in tasks {
            let (i, won) = task.await.unwrap();
            if won {
                winners.push(i);
            }
        }
        winners
    }
}
