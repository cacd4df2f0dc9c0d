//! Erasures in every copy of the key store, and what a crash or an absent copy leaves.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    super::{KeyError, Keyring, KeyringOptions, RootKey},
    keyring::{root, store, subject, tenant, trace_of},
};
use crate::{
    clock::Timestamp,
    store::{BoxFuture, DangerForgetful, Durable, Entry, MemoryStore, ObjectName, Prefix, StoreError},
};

/// A store that is out of reach when it is told to be, and that dies after so many writes.
#[derive(Debug)]
struct Frail {
    inner: DangerForgetful,
    away: AtomicBool,
    /// How many writes are left until the process is killed: from then on nothing is written any more.
    left: AtomicUsize,
    scrubs: AtomicUsize,
}

impl Frail {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(NonZeroUsize::MAX).danger_forgetful(),
            away: AtomicBool::new(false),
            left: AtomicUsize::new(usize::MAX),
            scrubs: AtomicUsize::new(0),
        })
    }

    fn reach(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }

    fn write(&self) -> Result<(), StoreError> {
        self.reach()?;
        let one_less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
        let alive = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        if alive { Ok(()) } else { Err(StoreError::Unavailable("killed".into())) }
    }
}

impl Durable for Frail {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            self.reach()?;
            self.inner.get(name).await
        })
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.write()?;
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
            self.write()?;
            self.inner.compare_and_swap(name, version, value, expires).await
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
        Box::pin(async move {
            self.write()?;
            self.inner.take_over(mark, entries).await
        })
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.write()?;
            self.scrubs.fetch_add(1, Ordering::SeqCst);
            self.inner.scrub().await
        })
    }
}

async fn with_copy(store: Arc<dyn Durable>, copy: Arc<dyn Durable>) -> Result<Keyring, KeyError> {
    Keyring::open_with(root(), store, &KeyringOptions::default().add_copy("b", copy).unwrap()).await
}

#[tokio::test]
async fn a_copy_opens_what_the_store_opens_and_an_erasure_reaches_it() {
    let (store, copy) = (store(), Frail::new());
    let keyring = with_copy(Arc::clone(&store), copy.clone()).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    let mut traces = Vec::new();
    for i in 0..=2 {
        traces.push(trace_of(&keyring.create_subject(&north, subject(i)).await.unwrap(), "clinical"));
    }
    let erased = keyring.erase_subject(&north, subject(1)).await.unwrap();
    assert_eq!((erased.is_complete(), erased.confirmed(), erased.pending()), (true, 2, &[][..]));
    assert!(copy.scrubs.load(Ordering::SeqCst) > 0, "the copy's older bytes are gone");

    // The store is lost; the copy takes its place.
    let rescued = Keyring::open(root(), copy.clone()).await;
    assert!(matches!(rescued, Err(KeyError::MissingCopy(name)) if name == "b"), "it is registered in its own copy");
    let options = KeyringOptions::default().danger_forget_copy("b");
    let rescued = Keyring::open_with(root(), copy, &options).await.unwrap();
    for i in [0, 2] {
        let key = rescued.subject(&north, subject(i)).await.unwrap();
        assert_eq!(trace_of(&key, "clinical"), traces[usize::from(i)]);
    }
    assert!(matches!(rescued.subject(&north, subject(1)).await, Err(KeyError::Erased)));
    assert!(rescued.is_shredded(&north, subject(1)).await.unwrap());
    assert!(!rescued.is_shredded(&north, subject(2)).await.unwrap());
}

/// Waits until the copies have all that the store has.
async fn caught_up(keyring: &Keyring) {
    let began = tokio::time::Instant::now();
    while keyring.report().await.unwrap().copies.iter().any(|copy| copy.behind != Some(0)) {
        assert!(began.elapsed() < Duration::from_secs(10), "the watch does not bring the copy up to date");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A scrub writes the whole file anew: a newcomer is no reason for one, nor is what is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_scrubs_when_keys_were_destroyed_and_not_for_every_newcomer() {
    let (store, copy) = (Frail::new(), Frail::new());
    let scrubs = || (store.scrubs.load(Ordering::SeqCst), copy.scrubs.load(Ordering::SeqCst));
    let keyring = with_copy(store.clone(), copy.clone()).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    caught_up(&keyring).await;
    let (here, there) = scrubs();
    for i in 1..=2 {
        keyring.create_subject(&north, subject(i)).await.unwrap();
        caught_up(&keyring).await;
    }
    assert_eq!(scrubs(), (here, there), "for newcomers");
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    assert_eq!(scrubs(), (here + 1, there + 1), "for a destroyed key");
    caught_up(&keyring).await;
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    caught_up(&keyring).await;
    assert_eq!(scrubs(), (here + 1, there + 1), "for one that is long done");
    // While the copy is away the store does not scrub every second.
    copy.away.store(true, Ordering::SeqCst);
    assert!(!keyring.erase_subject(&north, subject(2)).await.unwrap().is_complete());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(scrubs(), (here + 2, there + 1));
    // One that was killed before it scrubbed does it when it goes on, although only a newcomer came after.
    copy.left.store(1, Ordering::SeqCst);
    copy.away.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    while copy.left.load(Ordering::SeqCst) > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "nothing is written to the copy");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    keyring.create_subject(&north, subject(6)).await.unwrap();
    copy.left.store(usize::MAX, Ordering::SeqCst);
    caught_up(&keyring).await;
    assert_eq!(scrubs(), (here + 2, there + 2));
    assert!(keyring.erase_subject(&north, subject(2)).await.unwrap().is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_a_copy_that_is_away_and_is_finished_when_it_is_back() {
    let (store, copy) = (store(), Frail::new());
    let keyring = with_copy(Arc::clone(&store), copy.clone()).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_subject(&north, subject(1)).await.unwrap();
    let done = async || {
        let journal = store.list(&Prefix::platform("shred").unwrap(), None, 10).await.unwrap();
        assert_eq!(journal.len(), 1);
        journal[0].1.value[2] == 2
    };
    copy.away.store(true, Ordering::SeqCst);
    let erased = keyring.erase_subject(&north, subject(1)).await.unwrap();
    assert_eq!((erased.is_complete(), erased.confirmed(), erased.pending()), (false, 1, &["b".to_owned()][..]));
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)), "here it is erased");
    assert!(!done().await);
    // Nor does a restart forget it.
    drop(keyring);
    let keyring = with_copy(Arc::clone(&store), copy.clone()).await.unwrap();
    assert!(!done().await);
    copy.away.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(10), "the watch does not finish it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete(), "asking again says the same");
    let rescued = Keyring::open_with(root(), copy, &KeyringOptions::default().danger_forget_copy("b")).await.unwrap();
    assert!(matches!(rescued.subject(&north, subject(1)).await, Err(KeyError::Erased)));
}

#[tokio::test]
async fn a_keyring_does_not_open_without_a_copy_that_was_registered() {
    let (store, copy) = (store(), Frail::new());
    drop(with_copy(Arc::clone(&store), copy.clone()).await.unwrap());
    match Keyring::open(root(), Arc::clone(&store)).await {
        Err(error @ KeyError::MissingCopy(_)) => assert_eq!(
            error.to_string(),
            "the copy `b` of the key store is registered: add it with `KeyringOptions::add_copy`, or, if it was \
             destroyed, say so with `danger_forget_copy`"
        ),
        other => panic!("{other:?}"),
    }
    // Another copy in its place is none, and was not registered by the open that was refused.
    let another = KeyringOptions::default().add_copy("c", Frail::new()).unwrap();
    let another = Keyring::open_with(root(), Arc::clone(&store), &another).await;
    assert!(matches!(another, Err(KeyError::MissingCopy(name)) if name == "b"));
    drop(with_copy(Arc::clone(&store), copy.clone()).await.expect("the copy that it has is enough"));
    let itself = with_copy(Arc::clone(&store), Arc::clone(&store)).await;
    assert!(matches!(itself, Err(KeyError::CopyOfItself(name)) if name == "b"));
    let options = KeyringOptions::default().danger_forget_copy("b").danger_forget_copy("never was");
    drop(Keyring::open_with(root(), Arc::clone(&store), &options).await.unwrap());
    drop(Keyring::open(root(), store).await.expect("it is forgotten for good"));
    assert!(KeyringOptions::default().add_copy("no name:", copy).is_err());
}

/// Two processes bring one copy up to date, from what each of them read; what one of them read is old by then.
#[tokio::test]
async fn a_copy_is_never_brought_back_to_what_was_erased_by_a_process_that_was_slow() {
    let (store, copy) = (store(), Frail::new());
    let keyring = with_copy(Arc::clone(&store), copy.clone()).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_subject(&north, subject(1)).await.unwrap();
    let name = ObjectName::tenant(&north, "key", &format!("subject-{}", subject(1))).unwrap();
    // What the slow one read: the mark, and the key before it was erased.
    let mark = ObjectName::platform("key-store", "taken").unwrap();
    let read = copy.get(&mark).await.unwrap();
    let key = store.get(&name).await.unwrap().unwrap().value;
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    let late = copy.take_over((&mark, read.map(|entry| entry.version), b"late"), &[(name.clone(), key.clone())]).await;
    assert!(!late.unwrap(), "it comes too late");
    assert_ne!(copy.get(&name).await.unwrap().unwrap().value, key);
}

/// The process is killed before each write in turn; what the next one finds is erased, or not, and never half.
#[tokio::test]
async fn an_erasure_killed_at_any_write_is_done_or_not_begun() {
    let (mut erased, mut kept) = (0, 0);
    for writes in 0..40 {
        let (store, copy) = (Frail::new(), Frail::new());
        let north = tenant("northgate");
        let keyring = with_copy(store.clone(), copy.clone()).await.unwrap();
        keyring.create_tenant(&north).await.unwrap();
        let trace = trace_of(&keyring.create_subject(&north, subject(1)).await.unwrap(), "clinical");
        // Which of the two dies does not matter to the one that is left.
        for store in [&store, &copy] {
            store.left.store(writes, Ordering::SeqCst);
        }
        let ended = keyring.erase_subject(&north, subject(1)).await;
        drop(keyring);
        for store in [&store, &copy] {
            store.left.store(usize::MAX, Ordering::SeqCst);
        }
        let next = with_copy(store.clone(), copy.clone()).await.unwrap();
        match next.subject(&north, subject(1)).await {
            Ok(key) => {
                assert_eq!(trace_of(&key, "clinical"), trace, "after {writes}");
                assert!(ended.is_err(), "after {writes}: it was said to be erased");
                assert!(!next.is_shredded(&north, subject(1)).await.unwrap());
                kept += 1;
            }
            Err(KeyError::Erased) => {
                assert!(next.is_shredded(&north, subject(1)).await.unwrap());
                assert!(next.erase_subject(&north, subject(1)).await.unwrap().is_complete(), "after {writes}");
                let options = KeyringOptions::default().danger_forget_copy("b");
                let copy = Keyring::open_with(root(), copy, &options).await.unwrap();
                assert!(matches!(copy.subject(&north, subject(1)).await, Err(KeyError::Erased)), "after {writes}");
                erased += 1;
            }
            Err(error) => panic!("after {writes}: {error:?}"),
        }
    }
    assert!(kept > 0 && erased > 10, "{kept} kept, {erased} erased");
}

/// Whose keys a copy holds is not asked by its name: another platform's are left as they are.
#[tokio::test]
async fn a_copy_that_holds_another_platforms_keys_is_not_touched() {
    let (one, copy) = (store(), Frail::new());
    let north = tenant("northgate");
    let keyring = with_copy(Arc::clone(&one), copy.clone()).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    let trace = trace_of(&keyring.create_subject(&north, subject(1)).await.unwrap(), "clinical");
    keyring.create_subject(&north, subject(2)).await.unwrap();
    assert!(keyring.erase_subject(&north, subject(2)).await.unwrap().is_complete());
    let held = copy.written_since(0, 100).await.unwrap();
    drop(keyring);

    // attack on oneself: the disk of the store is not mounted, and the server starts on an empty file.
    let lost = with_copy(store(), copy.clone()).await;
    assert!(matches!(lost, Err(KeyError::CopyOfAnother(name)) if name == "b"));
    // Another installation's store is named for a copy.
    let other = store();
    drop(Keyring::open(RootKey::generate(), Arc::clone(&other)).await.unwrap());
    let options = KeyringOptions::default().add_copy("b", copy.clone()).unwrap();
    let other_root = RootKey::generate();
    let mixed = Keyring::open_with(other_root, other, &options).await;
    assert!(mixed.is_err(), "its root is another one");
    assert_eq!(copy.written_since(0, 100).await.unwrap(), held, "nothing was written");

    // The copy takes the store's place, and who follows the old one is refused from then on.
    let old = with_copy(Arc::clone(&one), copy.clone()).await.unwrap();
    let rescued =
        Keyring::open_with(root(), copy.clone(), &KeyringOptions::default().danger_forget_copy("b")).await.unwrap();
    assert_eq!(trace_of(&rescued.subject(&north, subject(1)).await.unwrap(), "clinical"), trace);
    rescued.create_subject(&north, subject(3)).await.unwrap();
    assert!(rescued.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    let erased = old.erase_subject(&north, subject(1)).await.unwrap();
    assert_eq!(erased.pending(), ["b"], "it is nobody's copy any more");
    let again = Keyring::open_with(root(), copy, &KeyringOptions::default().danger_forget_copy("b")).await.unwrap();
    assert!(again.subject(&north, subject(3)).await.is_ok(), "what was made in it is there");
    assert!(matches!(again.subject(&north, subject(1)).await, Err(KeyError::Erased)));
}

/// A store that was set back to an older state of itself writes at versions that its copy has passed.
#[tokio::test]
async fn a_copy_of_a_store_that_was_set_back_confirms_nothing_that_it_does_not_hold() {
    // 40 more writes than after the older state, so that the versions meet again and again.
    for more in [1, 40] {
        let (store, copy) = (Frail::new(), Frail::new());
        let north = tenant("northgate");
        let keyring = with_copy(store.clone(), copy.clone()).await.unwrap();
        keyring.create_tenant(&north).await.unwrap();
        keyring.create_subject(&north, subject(1)).await.unwrap();
        let older = store.written_since(0, 100).await.unwrap();
        for i in 0..more {
            keyring.create_subject(&north, subject(100 + i)).await.unwrap();
        }
        assert!(keyring.erase_subject(&north, subject(100)).await.unwrap().is_complete());
        drop(keyring);
        // The file as it was: its entries, its name, and its count of writes.
        let back = Frail::new();
        for (name, entry) in &older {
            assert!(back.insert_new(name, &entry.value, None).await.unwrap());
        }
        let keyring = with_copy(back.clone(), copy.clone()).await.unwrap();
        let erased = keyring.erase_subject(&north, subject(1)).await.unwrap();
        let held =
            copy.get(&ObjectName::tenant(&north, "key", &format!("subject-{}", subject(1))).unwrap()).await.unwrap();
        let gone = held.is_none_or(|entry| entry.value[1] == 4);
        assert!(!erased.is_complete() || gone, "{more}: it was confirmed, and is not so");
        // Asked again, it is so.
        let again = keyring.erase_subject(&north, subject(1)).await.unwrap();
        assert!(again.is_complete(), "{more}");
        let held =
            copy.get(&ObjectName::tenant(&north, "key", &format!("subject-{}", subject(1))).unwrap()).await.unwrap();
        assert_eq!(held.unwrap().value[1], 4, "{more}: a tombstone");
    }
}

/// Between the pages of a long way a copy may hold people without the key that theirs are wrapped under.
#[tokio::test]
async fn a_copy_that_was_not_filled_to_its_end_is_no_store() {
    let (store, copy) = (store(), Frail::new());
    let north = tenant("northgate");
    let keyring = Keyring::open(root(), Arc::clone(&store)).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    for i in 0..600_u32 {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&i.to_be_bytes());
        keyring.create_subject(&north, crate::id::SubjectId::from_bytes(bytes)).await.unwrap();
    }
    drop(keyring);
    // Two pages; it dies after the first.
    copy.left.store(1, Ordering::SeqCst);
    let keyring = with_copy(Arc::clone(&store), copy.clone()).await.unwrap();
    assert!(!keyring.erase_subject(&north, crate::id::SubjectId::from_bytes([0; 16])).await.unwrap().is_complete());
    drop(keyring);
    copy.left.store(usize::MAX, Ordering::SeqCst);
    let options = KeyringOptions::default().danger_forget_copy("b");
    assert!(matches!(Keyring::open_with(root(), copy.clone(), &options).await, Err(KeyError::PartialCopy)));
    let keyring = with_copy(store, copy.clone()).await.unwrap();
    assert!(keyring.erase_subject(&north, crate::id::SubjectId::from_bytes([0; 16])).await.unwrap().is_complete());
    drop(keyring);
    assert!(Keyring::open_with(root(), copy, &options).await.is_ok(), "now it is whole");
}

/// What is damaged in the journal or among the notices stops nobody else.
#[tokio::test]
async fn a_damaged_line_of_the_journal_is_reported_and_damaged_notices_are_begun_anew() {
    let store = store();
    let north = tenant("northgate");
    let keyring = Keyring::open(root(), Arc::clone(&store)).await.unwrap();
    keyring.create_tenant(&north).await.unwrap();
    for i in 1..=3 {
        keyring.create_subject(&north, subject(i)).await.unwrap();
    }
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    let line = ObjectName::platform("shred", &format!("{north}.{}", subject(1))).unwrap();
    let notices = ObjectName::platform("key", "notices").unwrap();
    for name in [&line, &notices] {
        let there = store.get(name).await.unwrap().unwrap();
        assert!(store.compare_and_swap(name, there.version, b"damaged", None).await.unwrap());
    }
    let other = Keyring::open(root(), Arc::clone(&store)).await.unwrap();
    assert!(other.subject(&north, subject(2)).await.is_ok());
    assert!(other.erase_subject(&north, subject(3)).await.unwrap().is_complete());
    let report = other.report().await.unwrap();
    assert_eq!(report.damaged_lines, 1);
    assert!(report.findings().any(|finding| finding.starts_with("1 line(s) of the shred journal are damaged")));
    assert!(matches!(other.is_shredded(&north, subject(1)).await, Err(KeyError::Corrupt)), "it is no proof");
    assert!(matches!(keyring.erase_subject(&north, subject(2)).await, Ok(erased) if erased.is_complete()));
}
