//! What the keyring promises.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    super::{Held, IndexMac, KeyError, Keyring, KeyringOptions, RootKey, SubjectKey, derive::label, in_place::InPlace},
    load, sound, text_of,
};
use crate::{
    clock::Timestamp,
    codec::base64url,
    id::{SubjectId, TenantId},
    store::{BoxFuture, DangerForgetful, Durable, Entry, MemoryStore, ObjectName, Prefix, StoreError},
};

pub(super) fn store() -> Arc<dyn Durable> {
    Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful())
}

pub(super) fn root() -> RootKey {
    load(&text_of(&sound())).unwrap()
}

pub(super) fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

pub(super) fn subject(byte: u8) -> SubjectId {
    SubjectId::from_bytes([byte; 16])
}

fn subject_name(tenant: &TenantId, subject: SubjectId) -> ObjectName {
    ObjectName::tenant(tenant, "key", &format!("subject-{subject}")).unwrap()
}

/// What a key does, for telling keys apart.
pub(super) fn trace_of(key: &SubjectKey, class: &'static str) -> Vec<u8> {
    let mut block = vec![0; 16];
    let tag = key.cipher(class).seal(&[0; 12], &[], &mut block).unwrap();
    block.extend_from_slice(&tag);
    block
}

async fn two_clinics(store: &Arc<dyn Durable>) -> (Keyring, TenantId, TenantId) {
    let keyring = Keyring::open(root(), Arc::clone(store)).await.unwrap();
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_tenant(&south).await.unwrap();
    (keyring, north, south)
}

#[tokio::test]
async fn a_keyring_gives_the_same_keys_after_it_was_opened_again() {
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    let made = keyring.create_subject(&north, subject(1)).await.unwrap();
    let again = keyring.create_subject(&north, subject(1)).await.unwrap();
    let reopened = Keyring::open(root(), Arc::clone(&store)).await.unwrap();
    let found = reopened.subject(&north, subject(1)).await.unwrap();
    assert_eq!((found.subject(), found.epoch()), (subject(1), 1));
    assert_eq!(trace_of(&made, "clinical"), trace_of(&found, "clinical"));
    assert_eq!(trace_of(&made, "clinical"), trace_of(&again, "clinical"), "creating again changes nothing");
    let tenant = reopened.tenant(&north).await.unwrap();
    assert_eq!((tenant.tenant(), tenant.epoch()), (&north, 1));
}

// proves CLM-05
#[tokio::test]
async fn a_wrong_root_opens_nothing_and_writes_nothing() {
    let store = store();
    two_clinics(&store).await;
    let before = store.list(&Prefix::platform("key").unwrap(), None, 10).await.unwrap();
    assert!(!before.is_empty());
    let opened = Keyring::open(RootKey::generate(), Arc::clone(&store)).await;
    assert!(matches!(opened, Err(KeyError::WrongRoot)));
    assert_eq!(store.list(&Prefix::platform("key").unwrap(), None, 10).await.unwrap(), before);
}

/// Who deletes the platform's secret lets another root start, but not open: every record carries its MAC.
#[tokio::test]
async fn a_wrong_root_opens_nothing_without_the_platforms_secret_either() {
    let store = store();
    let (_, north, _) = two_clinics(&store).await;
    assert!(store.remove(&ObjectName::platform("key", "platform").unwrap()).await.unwrap());
    let other = Keyring::open(RootKey::generate(), Arc::clone(&store)).await.unwrap();
    assert!(matches!(other.tenant(&north).await, Err(KeyError::Corrupt)));
    assert!(matches!(other.create_tenant(&north).await, Err(KeyError::Corrupt)), "nor is it replaced");
}

#[tokio::test]
async fn unknown_is_unknown() {
    let store = store();
    let (keyring, north, south) = two_clinics(&store).await;
    keyring.create_subject(&north, subject(1)).await.unwrap();
    let nowhere = tenant("nowhere");
    assert!(matches!(keyring.tenant(&nowhere).await, Err(KeyError::Unknown)));
    assert!(matches!(keyring.create_subject(&nowhere, subject(1)).await, Err(KeyError::Unknown)));
    assert!(matches!(keyring.subject(&north, subject(2)).await, Err(KeyError::Unknown)));
    assert!(matches!(keyring.subject(&south, subject(1)).await, Err(KeyError::Unknown)), "another tenant's subject");
    assert!(matches!(keyring.erase_subject(&south, subject(1)).await, Err(KeyError::Unknown)));
    assert!(matches!(keyring.subjects(&north, &[subject(1), subject(2)]).await.unwrap()[..], [Some(_), None]));
    let keys = keyring.subjects(&north, &[subject(1), subject(1)]).await.unwrap();
    assert_eq!(keys.iter().flatten().map(|key| key.subject()).collect::<Vec<_>>(), [subject(1), subject(1)]);
    assert!(keyring.subjects(&north, &[]).await.unwrap().is_empty());
}

/// Breaks the convention of names on purpose: the records are bound to their owners all the same.
// proves CLM-18
#[tokio::test]
async fn a_record_moved_to_another_name_opens_nothing() {
    let store = store();
    let (keyring, north, south) = two_clinics(&store).await;
    keyring.create_subject(&north, subject(1)).await.unwrap();
    keyring.create_subject(&north, subject(2)).await.unwrap();
    assert!(keyring.erase_subject(&north, subject(2)).await.unwrap().is_complete());
    let value = |name: ObjectName| {
        let store = Arc::clone(&store);
        async move { store.get(&name).await.unwrap().unwrap().value }
    };
    let living = value(subject_name(&north, subject(1))).await;
    let erased = value(subject_name(&north, subject(2))).await;
    let tenants = value(ObjectName::tenant(&north, "key", "tenant").unwrap()).await;
    let check = value(ObjectName::platform("key", "platform").unwrap()).await;
    let rows = [
        ("to another tenant", &south, subject(1), living.clone()),
        ("to another subject", &north, subject(9), living),
        ("a tombstone to another subject", &north, subject(10), erased),
        ("a tenant's key to a subject", &north, subject(11), tenants),
        ("the platform's secret to a subject", &north, subject(12), check),
        ("no record at all", &north, subject(13), b"{}".to_vec()),
    ];
    for (attack, tenant, subject, value) in rows {
        assert!(store.insert_new(&subject_name(tenant, subject), &value, None).await.unwrap(), "{attack}");
        assert!(matches!(keyring.subject(tenant, subject).await, Err(KeyError::Corrupt)), "{attack}");
        assert!(matches!(keyring.create_subject(tenant, subject).await, Err(KeyError::Corrupt)), "{attack}");
    }
}

#[tokio::test]
async fn an_erased_key_is_gone_and_its_name_is_never_used_again() {
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    keyring.create_subject(&north, subject(1)).await.unwrap();
    keyring.create_subject(&north, subject(2)).await.unwrap();
    let wrapped = store.get(&subject_name(&north, subject(1))).await.unwrap().unwrap().value;
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)));
    assert!(matches!(keyring.create_subject(&north, subject(1)).await, Err(KeyError::Erased)));
    assert!(keyring.erase_subject(&north, subject(1)).await.expect("again, after an interruption").is_complete());
    let reopened = Keyring::open(root(), Arc::clone(&store)).await.unwrap();
    assert!(matches!(reopened.subject(&north, subject(1)).await, Err(KeyError::Erased)));
    assert!(reopened.subject(&north, subject(2)).await.is_ok(), "the others stay");

    let left = store.get(&subject_name(&north, subject(1))).await.unwrap().unwrap().value;
    assert!(!left.windows(32).any(|part| wrapped.windows(32).any(|was| was == part)), "nothing of the wrapped key");
}

#[tokio::test]
async fn a_damaged_key_can_still_be_erased() {
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    assert!(store.insert_new(&subject_name(&north, subject(1)), b"damaged", None).await.unwrap());
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Corrupt)));
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)));
}

#[tokio::test]
async fn no_key_does_the_work_of_another() {
    let store = store();
    let (keyring, north, south) = two_clinics(&store).await;
    let mut traces = BTreeMap::new();
    let mut add = |name: &'static str, trace: Vec<u8>| {
        if let Some(other) = traces.insert(trace, name) {
            panic!("{name} is {other}");
        }
    };
    let one = keyring.create_subject(&north, subject(1)).await.unwrap();
    let two = keyring.create_subject(&north, subject(2)).await.unwrap();
    let elsewhere = keyring.create_subject(&south, subject(1)).await.unwrap();
    add("subject 1, clinical", trace_of(&one, "clinical"));
    add("subject 1, payroll", trace_of(&one, "payroll"));
    add("subject 2, clinical", trace_of(&two, "clinical"));
    add("subject 1 of another clinic", trace_of(&elsewhere, "clinical"));
    for (clinic, classes) in [(&north, ["north, a", "north, b"]), (&south, ["south, a", "south, b"])] {
        let key = keyring.tenant(clinic).await.unwrap();
        for (name, class) in classes.into_iter().zip(["a", "b"]) {
            let mut block = vec![0; 16];
            let tag = key.cipher(class).seal(&[0; 24], &[], &mut block);
            block.extend_from_slice(&tag.unwrap());
            add(name, block);
        }
    }
    let north_key = keyring.tenant(&north).await.unwrap();
    let south_key = keyring.tenant(&south).await.unwrap();
    let index = |mac: Held<'_, IndexMac>| mac.tag(b"value").to_vec();
    add("index of t.a", index(north_key.index_mac("t", "a")));
    add("index of t.b", index(north_key.index_mac("t", "b")));
    add("index of ta.", index(north_key.index_mac("ta", "")));
    add("index of t.a in another clinic", index(south_key.index_mac("t", "a")));
    assert_eq!(index(north_key.index_mac("t", "a")), index(north_key.index_mac("t", "a")));
    add("use 1", keyring.derive("tower-ward/v1/tokens").to_vec());
    add("use 2", keyring.derive("tower-ward/v1/cursors").to_vec());
    add("a use with the label of the wrap", keyring.derive(label::WRAP).to_vec());
    add("the wrap", root().derive(label::WRAP, &[]).to_vec());
    add("the root's own use of that label", root().derive(label::PLATFORM_USE, &[b"tower-ward/v1/tokens"]).to_vec());
}

#[tokio::test]
async fn a_cipher_is_made_once_and_the_map_of_them_is_bounded() {
    const CLASSES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    let key = keyring.create_subject(&north, subject(1)).await.unwrap();
    let first: Vec<_> = CLASSES.iter().map(|class| (key.cipher(class), trace_of(&key, class))).collect();
    let is_kept = |class, cipher| std::ptr::eq(cipher, &raw const *key.cipher(class));
    let kept = CLASSES.iter().zip(&first).filter(|(class, (cipher, _))| is_kept(class, &raw const **cipher)).count();
    assert_eq!(kept, 8);
    for (class, (_, trace)) in CLASSES.iter().zip(&first) {
        assert_eq!(&trace_of(&key, class), trace, "{class}: kept or not, it is the same key");
    }
}

#[tokio::test]
async fn the_cache_is_bounded_and_lets_keys_go() {
    let store = store();
    let options = KeyringOptions::default().with_subjects(NonZeroUsize::new(32).unwrap());
    let keyring = Keyring::open_with(root(), store, &options).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    let mut seen = Vec::new();
    for i in 0..=u8::MAX {
        seen.push(Arc::downgrade(&keyring.create_subject(&north, subject(i)).await.unwrap()));
    }
    let alive = seen.iter().filter(|key| key.upgrade().is_some()).count();
    assert!((1..=64).contains(&alive), "{alive} of 256 keys are still in memory");
    assert_eq!(keyring.subject(&north, subject(0)).await.unwrap().subject(), subject(0), "evicted, not lost");
}

#[tokio::test]
async fn an_erased_key_leaves_the_cache() {
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    let weak = Arc::downgrade(&keyring.create_subject(&north, subject(1)).await.unwrap());
    assert!(weak.upgrade().is_some(), "cached");
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    assert!(weak.upgrade().is_none(), "dropped, and wiped by that");
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_keyrings_that_race_both_get_one_key() {
    use crate::store::SqliteStore;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    // Two stores, as in two processes: they share nothing but the file.
    let (one, two) = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    let (one, two): (Arc<dyn Durable>, Arc<dyn Durable>) = (Arc::new(one.unwrap()), Arc::new(two.unwrap()));
    let (one, two) = tokio::join!(Keyring::open(root(), one), Keyring::open(root(), two));
    let (one, two) = (one.unwrap(), two.unwrap());
    for round in 0..10u8 {
        let tenant = tenant(&format!("clinic-{round}"));
        let race = |keyring: Keyring| {
            let tenant = tenant.clone();
            tokio::spawn(async move {
                keyring.create_tenant(&tenant).await.unwrap();
                trace_of(&keyring.create_subject(&tenant, subject(round)).await.unwrap(), "clinical")
            })
        };
        let (one, two) = (race(one.clone()), race(two.clone()));
        assert_eq!(one.await.unwrap(), two.await.unwrap(), "round {round}");
    }
}

#[tokio::test]
async fn no_output_holds_key_bytes() {
    let store = store();
    let (keyring, north, _) = two_clinics(&store).await;
    let subject_key = keyring.create_subject(&north, subject(1)).await.unwrap();
    let tenant_key = keyring.tenant(&north).await.unwrap();
    let root = root();
    let record = store.get(&subject_name(&north, subject(1))).await.unwrap().unwrap();
    let shown = format!(
        "{root:?} {:?} {keyring:?} {subject_key:?} {tenant_key:?} {record:?} {store:?} {} {}",
        root.encode(),
        root.fingerprint(),
        KeyError::WrongRoot,
    );
    let key = sound();
    let spellings = [base64url(&key), hex::encode(key), format!("{key:?}"), base64url(&record.value)];
    for spelling in spellings {
        assert!(!shown.contains(&spelling[..spelling.len().min(20)]), "{shown}");
    }
    assert!(shown.contains("RootKey([REDACTED])"));
}

/// Fails, or stops after its next read, or its next swap, until it is told to go on.
#[derive(Debug)]
struct Hindered {
    inner: DangerForgetful,
    broken: AtomicBool,
    stop: AtomicBool,
    stop_swap: AtomicBool,
    stopped: Notify,
    go_on: Notify,
}

impl Hindered {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(NonZeroUsize::MAX).danger_forgetful(),
            broken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            stop_swap: AtomicBool::new(false),
            stopped: Notify::new(),
            go_on: Notify::new(),
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) { Err(StoreError::Unavailable("broken".into())) } else { Ok(()) }
    }
}

impl Durable for Hindered {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            self.check()?;
            let entry = self.inner.get(name).await;
            if self.stop.swap(false, Ordering::SeqCst) {
                self.stopped.notify_one();
                self.go_on.notified().await;
            }
            entry
        })
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.insert_new(name, value, expires).await
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let swapped = self.inner.compare_and_swap(name, version, value, expires).await;
            if self.stop_swap.swap(false, Ordering::SeqCst) {
                self.stopped.notify_one();
                self.go_on.notified().await;
            }
            swapped
        })
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.remove(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        self.inner.list(prefix, after, limit)
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        self.inner.written_since(version, limit)
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.newest_version()
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.take_over(mark, entries)
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.scrub().await
        })
    }
}

/// A load that read the key before the erasure, and ends after it, must neither give it out nor put it
/// back into the cache.
#[tokio::test]
async fn an_erasure_is_not_undone_by_a_load_that_began_before_it() {
    let store = Hindered::new();
    let north = tenant("northgate");
    let writer = Keyring::open(root(), store.clone()).await.unwrap();
    writer.create_tenant(&north).await.unwrap();
    writer.create_subject(&north, subject(1)).await.unwrap();

    let keyring = Keyring::open(root(), store.clone()).await.unwrap();
    keyring.tenant(&north).await.unwrap();
    store.stop.store(true, Ordering::SeqCst);
    let load = tokio::spawn({
        let (keyring, north) = (keyring.clone(), north.clone());
        async move { keyring.subject(&north, subject(1)).await.map(|key| key.subject()) }
    });
    store.stopped.notified().await;
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    store.go_on.notify_one();
    assert!(
        matches!(load.await.unwrap(), Err(KeyError::Erased)),
        "it was there when it was read, and is not given out"
    );
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)));
}

/// A caller who goes away when the tombstone is written, and before the cache has forgotten the key.
#[tokio::test]
async fn an_erasure_goes_on_to_its_end_when_its_caller_goes_away() {
    let store = Hindered::new();
    let north = tenant("northgate");
    let keyring = Keyring::open(root(), store.clone()).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_subject(&north, subject(1)).await.unwrap();
    store.stop_swap.store(true, Ordering::SeqCst);
    tokio::select! {
        _ = keyring.erase_subject(&north, subject(1)) => panic!("the store has stopped"),
        () = store.stopped.notified() => {}
    }
    store.go_on.notify_one();
    let gone = async {
        while !matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.expect("the cache forgets an erased key");
}

#[tokio::test]
async fn a_store_that_fails_gives_no_key_and_remembers_no_failure() {
    let store = Hindered::new();
    let north = tenant("northgate");
    let keyring = Keyring::open(root(), store.clone()).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_subject(&north, subject(1)).await.unwrap();

    store.broken.store(true, Ordering::SeqCst);
    assert!(matches!(Keyring::open(root(), store.clone()).await, Err(KeyError::Store(_))));
    assert!(matches!(keyring.subject(&north, subject(2)).await, Err(KeyError::Store(_))));
    assert!(matches!(keyring.create_subject(&north, subject(2)).await, Err(KeyError::Store(_))));
    assert!(matches!(keyring.create_tenant(&tenant("southgate")).await, Err(KeyError::Store(_))));
    assert!(matches!(keyring.erase_subject(&north, subject(1)).await, Err(KeyError::Store(_))));

    store.broken.store(false, Ordering::SeqCst);
    assert!(matches!(keyring.subject(&north, subject(2)).await, Err(KeyError::Unknown)), "nothing was written");
    assert!(keyring.subject(&north, subject(1)).await.is_ok(), "the erasure that failed erased nothing");
    assert!(keyring.create_subject(&north, subject(2)).await.is_ok());
}
