//! Keys of clinics under keys that somebody else holds: what a refusal, a silence and a lie come to.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    super::{
        Kek, KekId, KeyBytes, KeyContext, KeyDescription, KeyError, KeyProvider, Keyring, KeyringOptions,
        ProviderError, ProviderErrorKind, RootKey,
    },
    keyring::{store, subject, tenant, trace_of},
};
use crate::{
    clock::ManualClock,
    id::{SubjectId, TenantId},
    secret::Secret,
    store::{BoxFuture, Durable, ObjectName, Prefix},
};

const SECOND: Duration = Duration::from_secs(1);

/// What a held key does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Willing,
    Refuses(ProviderErrorKind),
    /// Never answers.
    Hangs,
    /// Gives back another key than it was given.
    Lies,
}

/// A key that somebody else holds, with a mood, and a count of how often it was asked to unwrap.
#[derive(Debug, Clone)]
struct Held {
    key: Arc<RootKey>,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

impl Held {
    fn new() -> Self {
        Self { key: Arc::new(RootKey::generate()), mood: Arc::new(Mutex::new(Mood::Willing)), asked: Arc::default() }
    }

    fn kek(&self, name: &str) -> Kek {
        Kek::new(KekId::new(name).unwrap(), self.clone())
    }

    fn turns(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(&self) -> Result<(), ProviderError> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Willing | Mood::Lies => Ok(()),
            Mood::Refuses(kind) => Err(ProviderError::new(kind, "held:key", "as the test says")),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

impl KeyProvider for Held {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(async move {
            self.answer().await?;
            self.key.wrap(key, context).await
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.answer().await?;
            if *self.mood.lock().unwrap() == Mood::Lies {
                return Ok(Secret::new(Box::new([0x66; 32])));
            }
            self.key.unwrap(wrapped, context).await
        })
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        Box::pin(async move {
            self.answer().await?;
            Ok(KeyDescription::new("held", "held:key"))
        })
    }
}

/// A keyring with one clinic whose key it brought itself, and a patient.
struct Place {
    keyring: Keyring,
    store: Arc<dyn Durable>,
    root: Arc<RootKey>,
    own: Held,
    clock: ManualClock,
    north: TenantId,
}

impl Place {
    async fn new() -> Self {
        let (store, own, root) = (store(), Held::new(), Arc::new(RootKey::generate()));
        let clock = ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap());
        let keyring = Self::another(&store, &root, &own, &clock).await.unwrap();
        let north = tenant("northgate");
        keyring.create_tenant_under(&north, &KekId::new("northgate-own").unwrap()).await.unwrap();
        keyring.create_subject(&north, subject(1)).await.unwrap();
        Self { keyring, store, root, own, clock, north }
    }

    /// As another process that shares the store.
    async fn another(
        store: &Arc<dyn Durable>,
        root: &Arc<RootKey>,
        own: &Held,
        clock: &ManualClock,
    ) -> Result<Keyring, KeyError> {
        let options = KeyringOptions::default().with_clock(clock.shared()).add_kek(own.kek("northgate-own"));
        Keyring::open_with(again(root), Arc::clone(store), &options).await
    }

    async fn reads(&self) -> Result<(), KeyErrorKind> {
        reads(&self.keyring, &self.north).await
    }
}

fn again(root: &RootKey) -> RootKey {
    use crate::secret::ExposeSecret as _;
    RootKey::decode(root.encode().expose_secret(), "the test").unwrap()
}

/// What a test compares of a [`KeyError`].
#[derive(Debug, PartialEq, Eq)]
enum KeyErrorKind {
    Revoked,
    Provider(ProviderErrorKind),
    Other(String),
}

impl From<KeyError> for KeyErrorKind {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Revoked => Self::Revoked,
            KeyError::Provider(error) => Self::Provider(error.kind()),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

async fn reads(keyring: &Keyring, tenant: &TenantId) -> Result<(), KeyErrorKind> {
    keyring.subject(tenant, subject(1)).await?;
    Ok(())
}

const DENIED: ProviderErrorKind = ProviderErrorKind::Denied;
const AWAY: ProviderErrorKind = ProviderErrorKind::Unavailable;

// proves CLM-24, CLM-25
#[tokio::test]
async fn a_revocation_that_we_are_told_of_cuts_at_once_and_restoring_brings_all_back() {
    let place = Place::new().await;
    let before = trace_of(&place.keyring.subject(&place.north, subject(1)).await.unwrap(), "clinical");
    let (held_clinic, held) = place.keyring.pair(&place.north, subject(1)).await.unwrap();
    assert!(!held.is_cut() && !held_clinic.is_cut());
    place.keyring.revoke_tenant(&place.north).await.unwrap();
    assert!(held.is_cut() && held_clinic.is_cut(), "whoever holds an open door is stopped");
    assert_eq!(place.reads().await, Err(KeyErrorKind::Revoked));
    assert!(matches!(place.keyring.create_subject(&place.north, subject(2)).await, Err(KeyError::Revoked)));
    place.keyring.revoke_tenant(&place.north).await.expect("again");
    // Also over a restart, and with the provider willing all the time.
    let other = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    assert_eq!(reads(&other, &place.north).await, Err(KeyErrorKind::Revoked));

    place.keyring.restore_tenant(&place.north).await.unwrap();
    let after = place.keyring.subject(&place.north, subject(1)).await.unwrap();
    assert_eq!(trace_of(&after, "clinical"), before, "with no migration");
    assert!(held.is_cut(), "a door that was cut stays shut");
    assert!(place.keyring.create_subject(&place.north, subject(2)).await.is_ok());
    assert!(matches!(place.keyring.revoke_tenant(&tenant("nowhere")).await, Err(KeyError::Unknown)));
}

/// A process once read its own notice of the revocation a moment after the restoration, and cut what was open again.
#[tokio::test]
async fn a_revocation_does_not_cut_once_more_what_was_opened_after_it_was_restored() {
    let place = Place::new().await;
    place.keyring.revoke_tenant(&place.north).await.unwrap();
    place.keyring.restore_tenant(&place.north).await.unwrap();
    let held = place.keyring.subject(&place.north, subject(1)).await.unwrap();
    place.clock.advance(5 * SECOND);
    let asked = place.own.asked();
    assert_eq!(place.reads().await, Ok(()));
    assert!(!held.is_cut());
    assert_eq!(place.own.asked(), asked, "nor is it asked for again");
    // What another process said between its own is not passed over.
    let other = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    other.revoke_tenant(&place.north).await.unwrap();
    let south = tenant("southgate");
    place.keyring.create_tenant(&south).await.unwrap();
    place.keyring.revoke_tenant(&south).await.unwrap();
    place.clock.advance(5 * SECOND);
    assert_eq!(place.reads().await, Err(KeyErrorKind::Revoked));
    assert!(held.is_cut());
}

// proves CLM-25: within 5 s in every process that shares the store, as its own clock and its own watch have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_a_process_that_shares_the_store_within_five_seconds() {
    let place = Place::new().await;
    // It has the keys in memory, and somebody holds an open door.
    let other = Keyring::open_with(
        again(&place.root),
        Arc::clone(&place.store),
        &KeyringOptions::default().add_kek(place.own.kek("northgate-own")),
    )
    .await
    .unwrap();
    let held = other.subject(&place.north, subject(1)).await.unwrap();
    place.keyring.revoke_tenant(&place.north).await.unwrap();
    let began = tokio::time::Instant::now();
    while !held.is_cut() {
        assert!(began.elapsed() < Duration::from_secs(5), "an open door of another process goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reads(&other, &place.north).await, Err(KeyErrorKind::Revoked));
    println!("after {:?}", began.elapsed());
}

/// The same without a watch, as when its runtime is stuck: on the request's own path.
#[tokio::test]
async fn a_process_whose_watch_does_not_run_reads_the_notices_before_it_gives_out_a_key() {
    let place = Place::new().await;
    let other = ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap());
    let keyring = Place::another(&place.store, &place.root, &place.own, &other).await.unwrap();
    reads(&keyring, &place.north).await.unwrap();
    place.keyring.revoke_tenant(&place.north).await.unwrap();
    other.advance(Duration::from_millis(4_999));
    assert_eq!(reads(&keyring, &place.north).await, Ok(()), "not yet");
    other.advance(Duration::from_millis(1));
    assert_eq!(reads(&keyring, &place.north).await, Err(KeyErrorKind::Revoked));
}

// proves CLA-07, CCA-07: at both sides of the edge.
#[tokio::test]
async fn a_revocation_made_at_the_provider_alone_holds_within_the_health_interval() {
    for refusal in [DENIED, ProviderErrorKind::Mismatch] {
        let place = Place::new().await;
        let held = place.keyring.subject(&place.north, subject(1)).await.unwrap();
        place.own.turns(Mood::Refuses(refusal));
        place.clock.advance(Duration::from_millis(59_999));
        assert_eq!(place.reads().await, Ok(()), "{refusal:?}: not yet");
        place.clock.advance(Duration::from_millis(1));
        assert_eq!(place.reads().await, Err(KeyErrorKind::Provider(refusal)));
        assert!(held.is_cut(), "{refusal:?}: a definite answer evicts, and stops whoever holds a key");
        // The owner takes it back.
        place.own.turns(Mood::Willing);
        place.clock.advance(SECOND);
        assert_eq!(place.reads().await, Ok(()), "{refusal:?}");
    }
}

/// The watch asks before anybody has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_notices_a_revocation_at_the_provider_while_nobody_asks() {
    let place = Place::new().await;
    let held = place.keyring.subject(&place.north, subject(1)).await.unwrap();
    place.own.turns(Mood::Refuses(DENIED));
    place.clock.advance(Duration::from_secs(31));
    let began = tokio::time::Instant::now();
    while !held.is_cut() {
        assert!(began.elapsed() < Duration::from_secs(10), "the watch does not look");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn while_a_provider_says_nothing_what_is_held_serves_until_it_is_too_old() {
    for silence in [AWAY, ProviderErrorKind::Garbled] {
        let place = Place::new().await;
        let held = place.keyring.subject(&place.north, subject(1)).await.unwrap();
        place.own.turns(Mood::Refuses(silence));
        for _ in 0..9 {
            place.clock.advance(Duration::from_secs(60));
            assert_eq!(place.reads().await, Ok(()), "{silence:?} is no refusal");
        }
        place.clock.advance(Duration::from_millis(59_999));
        assert_eq!(place.reads().await, Ok(()), "{silence:?}");
        place.clock.advance(Duration::from_millis(1));
        assert_eq!(place.reads().await, Err(KeyErrorKind::Provider(silence)), "ten minutes are over");
        assert!(!held.is_cut(), "nobody has said that the key is withdrawn");
        place.own.turns(Mood::Willing);
        place.clock.advance(Duration::from_secs(60));
        assert_eq!(place.reads().await, Ok(()), "{silence:?}: it came back");
    }
}

/// While the watch waits for an answer that does not come, those who have the key in memory do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_provider_whose_silence_is_known() {
    let place = Place::new().await;
    place.own.turns(Mood::Refuses(AWAY));
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(place.reads().await, Ok(()), "asked in vain, and served from memory");
    place.own.turns(Mood::Hangs);
    // Long enough for the watch to ask again; it holds the question from then on.
    place.clock.advance(Duration::from_secs(20));
    let asked = place.own.asked();
    while place.own.asked() == asked {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let read = tokio::time::timeout(SECOND, place.reads()).await;
    assert_eq!(read.expect("a request waits behind the watch"), Ok(()));
}

/// A subject whose record is damaged is nobody else's trouble, and what a copy of it may need is kept.
#[tokio::test]
async fn a_rotation_goes_past_a_damaged_record_and_keeps_the_old_key_for_it() {
    let place = Place::new().await;
    for i in 2..=3 {
        place.keyring.create_subject(&place.north, subject(i)).await.unwrap();
    }
    let name = ObjectName::tenant(&place.north, "key", &format!("subject-{}", subject(3))).unwrap();
    let sound = place.store.get(&name).await.unwrap().unwrap();
    assert!(place.store.compare_and_swap(&name, sound.version, b"damaged", None).await.unwrap());
    for _ in 0..2 {
        let rotated = place.keyring.rotate_tenant(&place.north).await;
        assert!(matches!(rotated, Err(KeyError::Damaged { subject: of, .. }) if of == subject(3)), "{rotated:?}");
    }
    let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    for (i, opens) in [(1, true), (2, true), (3, false)] {
        assert_eq!(cold.subject(&place.north, subject(i)).await.is_ok(), opens, "{i}");
    }
    let report = cold.report().await.unwrap();
    assert_eq!((report.subjects, report.damaged, report.rotating.len()), (2, 1, 1));
    assert!(report.findings().any(|finding| finding.starts_with("the keys of 1 subject(s) are damaged")));
    // From a copy.
    let there = place.store.get(&name).await.unwrap().unwrap();
    assert!(place.store.compare_and_swap(&name, there.version, &sound.value, None).await.unwrap());
    assert_eq!(place.keyring.rotate_tenant(&place.north).await.unwrap(), 1, "the rotation that was begun is ended");
    let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    assert!(cold.subject(&place.north, subject(3)).await.is_ok());
    assert!(cold.report().await.unwrap().rotating.is_empty());
}

#[tokio::test]
async fn a_key_that_was_never_held_is_not_given_out_while_its_provider_says_nothing() {
    let place = Place::new().await;
    place.own.turns(Mood::Refuses(AWAY));
    let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    assert_eq!(reads(&cold, &place.north).await, Err(KeyErrorKind::Provider(AWAY)));
    // A hundred who wait do not ask one after another.
    let asked = place.own.asked();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (cold, north) = (cold.clone(), place.north.clone());
            tokio::spawn(async move { reads(&cold, &north).await })
        })
        .collect();
    for waits in waiting {
        assert_eq!(waits.await.unwrap(), Err(KeyErrorKind::Provider(AWAY)));
    }
    assert_eq!(place.own.asked(), asked, "within a second the refusal is repeated");
    place.own.turns(Mood::Willing);
    place.clock.advance(SECOND);
    assert_eq!(reads(&cold, &place.north).await, Ok(()));
}

// proves CLM-24: other tenants unaffected when one errors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_provider_that_hangs_among_fifty_clinics_disturbs_nobody_else() {
    let (store, clock) = (store(), ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap()));
    let held: Vec<_> = (0..50).map(|_| Held::new()).collect();
    let name = |i: usize| format!("own-{i}");
    let options = held
        .iter()
        .enumerate()
        .fold(KeyringOptions::default(), |options, (i, held)| options.add_kek(held.kek(&name(i))));
    let options = options.with_clock(clock.shared());
    let keyring = Keyring::open_with(RootKey::generate(), store, &options).await.unwrap();
    let clinics: Vec<_> = (0..50).map(|i| tenant(&format!("clinic-{i}"))).collect();
    for (i, clinic) in clinics.iter().enumerate() {
        keyring.create_tenant_under(clinic, &KekId::new(&name(i)).unwrap()).await.unwrap();
        keyring.create_subject(clinic, subject(1)).await.unwrap();
    }
    held[7].turns(Mood::Hangs);
    // Every key is due; one provider takes the question and keeps it.
    clock.advance(Duration::from_secs(61));
    let stuck = tokio::spawn({
        let (keyring, clinic) = (keyring.clone(), clinics[7].clone());
        async move { reads(&keyring, &clinic).await }
    });
    for round in 0..3 {
        for (i, clinic) in clinics.iter().enumerate().filter(|(i, _)| *i != 7) {
            let read = tokio::time::timeout(SECOND, reads(&keyring, clinic)).await;
            assert_eq!(read.unwrap_or_else(|_| panic!("clinic {i} waits in round {round}")), Ok(()));
        }
        clock.advance(Duration::from_secs(61));
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

/// A clinic's own provider is not trusted by the platform: it may have built a blob that opens as two keys, or simply lie.
#[tokio::test]
async fn a_provider_that_gives_back_another_key_than_it_was_given_opens_nothing() {
    let place = Place::new().await;
    place.own.turns(Mood::Lies);
    let other = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    assert!(matches!(other.subject(&place.north, subject(1)).await, Err(KeyError::Corrupt)));
    // Nor can one begin with it: what was wrapped is unwrapped before it is relied on.
    let south = tenant("southgate");
    let made = other.create_tenant_under(&south, &KekId::new("northgate-own").unwrap()).await;
    assert!(matches!(made, Err(KeyError::Corrupt)));
    assert!(matches!(other.tenant(&south).await, Err(KeyError::Unknown)), "nothing was written");
    place.own.turns(Mood::Willing);
    assert_eq!(reads(&other, &place.north).await, Ok(()));
}

/// The attacker holds two key-encryption keys and made one blob that opens under both, each time as another key. He swaps the
/// name of the one for the other in the record; or, as the clinic's own provider, answers with the second key.
#[tokio::test]
async fn a_wrapped_key_built_to_unwrap_under_two_keks_is_refused() {
    use super::super::{
        derive::{derive, label, push_part},
        record::tests::gcm::opens_under_both,
    };
    use crate::secret::ExposeSecret as _;

    let (one, two) = ([0x31; 32], [0x72; 32]);
    let keys = [one, two].map(RootKey::decode_for_test);
    let context = KeyContext::tenant(tenant("northgate"));
    let mut associated = Vec::new();
    push_part(&mut associated, label::WRAPPED_KEY.as_bytes());
    associated.extend_from_slice(&context.to_bytes());
    let [wrap_one, wrap_two] = [one, two].map(|key| derive(&key, label::WRAP, &[]));
    let iv = [5; 12];
    let (ciphertext, tag) = opens_under_both([&wrap_one, &wrap_two], &iv, &associated);
    let blob = [&iv[..], &ciphertext, &tag].concat();
    let mut opened = Vec::new();
    for key in &keys {
        opened.push(*key.unwrap(&blob, &context).await.expect("each takes it for its own").expose_secret());
    }
    assert_ne!(opened[0], opened[1], "and gives another key");

    // The provider wraps by the first and unwraps by the second.
    #[derive(Debug)]
    struct Both {
        blob: Vec<u8>,
        second: RootKey,
    }
    impl KeyProvider for Both {
        fn wrap<'a>(&'a self, _: &'a KeyBytes, _: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
            Box::pin(async { Ok(self.blob.clone()) })
        }
        fn unwrap<'a>(
            &'a self,
            wrapped: &'a [u8],
            context: &'a KeyContext,
        ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
            self.second.unwrap(wrapped, context)
        }
        fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
            self.second.describe()
        }
    }
    let kek = KekId::new("both").unwrap();
    let [_, second] = keys;
    let options = KeyringOptions::default().add_kek(Kek::new(kek.clone(), Both { blob, second }));
    let keyring = Keyring::open_with(RootKey::generate(), store(), &options).await.unwrap();
    let north = tenant("northgate");
    assert!(
        matches!(keyring.create_tenant_under(&north, &kek).await, Err(KeyError::Corrupt)),
        "the commitment differs"
    );
    assert!(matches!(keyring.tenant(&north).await, Err(KeyError::Unknown)));
}

#[tokio::test]
async fn a_record_names_its_kek_and_no_other_is_tried() {
    let place = Place::new().await;
    assert_eq!(place.keyring.kek_of(&place.north).await.unwrap().as_str(), "northgate-own");
    assert!(matches!(place.keyring.kek_of(&tenant("nowhere")).await, Err(KeyError::Unknown)));
    let without = Keyring::open(again(&place.root), Arc::clone(&place.store)).await.unwrap();
    match without.subject(&place.north, subject(1)).await {
        Err(error @ KeyError::UnknownKek(_)) => {
            assert_eq!(
                error.to_string(),
                "a record is wrapped under the key-encryption key `northgate-own`: add it with `KeyringOptions::add_kek`"
            );
        }
        other => panic!("{other:?}"),
    }
    // Another key under its name is a definite no, not a reason to look for a better one.
    without.add_kek(Held::new().kek("northgate-own"));
    let found = without.subject(&place.north, subject(1)).await.map(|_| ()).map_err(KeyErrorKind::from);
    assert_eq!(found, Err(KeyErrorKind::Provider(ProviderErrorKind::Mismatch)));
}

// proves CLA-07: rotation re-wraps without touching a value.
#[tokio::test]
async fn a_clinic_moves_to_a_key_of_its_own_and_nobody_who_works_has_to_stop() {
    let store = store();
    let (own, next) = (Held::new(), Held::new());
    let options = KeyringOptions::default().add_kek(own.kek("own"));
    let keyring = Keyring::open_with(RootKey::generate(), store, &options).await.unwrap();
    let north = tenant("northgate");
    keyring.create_tenant(&north).await.unwrap();
    let held = keyring.create_subject(&north, subject(1)).await.unwrap();
    let before = trace_of(&held, "clinical");
    assert_eq!(keyring.kek_of(&north).await.unwrap().as_str(), "root");
    for (name, kek) in [("own", None), ("own", None), ("next", Some(&next))] {
        if let Some(kek) = kek {
            keyring.add_kek(kek.kek(name));
        }
        keyring.rewrap_tenant(&north, &KekId::new(name).unwrap()).await.unwrap();
        assert_eq!(keyring.kek_of(&north).await.unwrap().as_str(), name);
        assert!(!held.is_cut(), "an open door stays open");
        assert_eq!(trace_of(&keyring.subject(&north, subject(1)).await.unwrap(), "clinical"), before);
    }
    own.turns(Mood::Refuses(DENIED));
    keyring.rewrap_tenant(&north, &KekId::new("own").unwrap()).await.expect_err("it refuses to wrap");
    assert_eq!(keyring.kek_of(&north).await.unwrap().as_str(), "next", "and nothing was changed");
    let missing = keyring.rewrap_tenant(&north, &KekId::new("missing").unwrap()).await;
    assert!(matches!(missing, Err(KeyError::UnknownKek(_))));
}

// proves GLM-04
#[tokio::test]
async fn the_platforms_own_key_is_replaced_while_all_goes_on() {
    let (store, old, new, own) = (store(), Held::new(), Held::new(), Held::new());
    let options = KeyringOptions::default().add_kek(new.kek("new")).add_kek(own.kek("own"));
    let keyring = Keyring::open_with(old.kek("old"), Arc::clone(&store), &options).await.unwrap();
    let clinics: Vec<_> = (0..5).map(|i| tenant(&format!("clinic-{i}"))).collect();
    let mut traces = Vec::new();
    for clinic in &clinics {
        keyring.create_tenant(clinic).await.unwrap();
        traces.push(trace_of(&keyring.create_subject(clinic, subject(1)).await.unwrap(), "clinical"));
    }
    let apart = tenant("apart");
    keyring.create_tenant_under(&apart, &KekId::new("own").unwrap()).await.unwrap();
    let derived = keyring.derive("tower-ward/v1/tokens");
    let (from, to) = (KekId::new("old").unwrap(), KekId::new("new").unwrap());

    // It stops half-way: the second clinic finds the new key away.
    let done = keyring
        .rewrap_all(&from, &to, |done| {
            if done == 2 {
                new.turns(Mood::Refuses(AWAY));
            }
        })
        .await;
    assert!(matches!(done, Err(KeyError::Provider(_))));
    let kek = async |clinic| keyring.kek_of(clinic).await.unwrap().as_str().to_owned();
    let mut now = Vec::new();
    for clinic in &clinics {
        now.push(kek(clinic).await);
    }
    assert_eq!(now, ["new", "old", "old", "old", "old"], "the platform's secret, and the first");
    new.turns(Mood::Willing);
    // Whoever starts now needs both, and is told so.
    let half = Keyring::open_with(old.kek("old"), Arc::clone(&store), &KeyringOptions::default()).await;
    assert!(matches!(half, Err(KeyError::UnknownKek(id)) if id == to));
    let half = Keyring::open_with(new.kek("new"), Arc::clone(&store), &KeyringOptions::default()).await.unwrap();
    assert!(half.tenant(&clinics[0]).await.is_ok());
    assert!(matches!(half.tenant(&clinics[1]).await, Err(KeyError::UnknownKek(id)) if id == from));

    let mut told = Vec::new();
    assert_eq!(keyring.rewrap_all(&from, &to, |done| told.push(done)).await.unwrap(), 4, "the other four");
    assert_eq!(told, [1, 2, 3, 4]);
    assert_eq!(keyring.rewrap_all(&from, &to, |_| ()).await.unwrap(), 0, "nothing is left under it");
    old.turns(Mood::Refuses(DENIED));
    assert_eq!(kek(&apart).await, "own", "a clinic's own is left alone");
    let options = KeyringOptions::default().add_kek(own.kek("own"));
    let reopened = Keyring::open_with(new.kek("new"), Arc::clone(&store), &options).await.unwrap();
    for (clinic, before) in clinics.iter().zip(&traces) {
        assert_eq!(&trace_of(&reopened.subject(clinic, subject(1)).await.unwrap(), "clinical"), before);
    }
    assert_eq!(*reopened.derive("tower-ward/v1/tokens"), *derived, "tokens stay valid");
    let wrong = Keyring::open_with(Held::new().kek("new"), Arc::clone(&store), &KeyringOptions::default()).await;
    assert!(matches!(wrong, Err(KeyError::WrongRoot)));
    new.turns(Mood::Refuses(DENIED));
    let denied = Keyring::open_with(new.kek("new"), store, &KeyringOptions::default()).await;
    assert!(matches!(denied, Err(KeyError::Provider(error)) if error.kind() == DENIED));
}

/// A process that was not told of the new key goes on from memory, as through an outage: nobody has withdrawn anything.
#[tokio::test]
async fn a_process_that_does_not_know_the_new_key_serves_until_the_outage_is_over() {
    let (store, old, new) = (store(), Held::new(), Held::new());
    let clock = ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap());
    let options = KeyringOptions::default().with_clock(clock.shared());
    let unaware = Keyring::open_with(old.kek("old"), Arc::clone(&store), &options).await.unwrap();
    let north = tenant("northgate");
    unaware.create_tenant(&north).await.unwrap();
    let open = unaware.create_subject(&north, subject(1)).await.unwrap();
    let options = options.add_kek(new.kek("new"));
    let aware = Keyring::open_with(old.kek("old"), Arc::clone(&store), &options).await.unwrap();
    let (from, to) = (KekId::new("old").unwrap(), KekId::new("new").unwrap());
    assert_eq!(aware.rewrap_all(&from, &to, |_| ()).await.unwrap(), 2);
    clock.advance(Duration::from_secs(6));
    assert_eq!(reads(&unaware, &north).await, Ok(()));
    assert!(!open.is_cut(), "an open door stays open");
    clock.advance(Duration::from_secs(600));
    assert_eq!(reads(&unaware, &north).await, Err(KeyErrorKind::Provider(AWAY)));
    unaware.add_kek(new.kek("new"));
    clock.advance(Duration::from_secs(60));
    assert_eq!(reads(&unaware, &north).await, Ok(()));
    // And what is made from now on is wrapped under the new one, in whatever process.
    for (keyring, name) in [(&unaware, "southgate"), (&aware, "westgate")] {
        keyring.create_tenant(&tenant(name)).await.unwrap();
        assert_eq!(keyring.kek_of(&tenant(name)).await.unwrap(), to, "{name}");
    }
}

/// A store that lags behind holds people whose keys are wrapped under one that it has not heard of: that is neither damage nor
/// an erasure, and passes.
#[tokio::test]
async fn erased_damaged_unknown_and_not_yet_known_are_told_apart() {
    let place = Place::new().await;
    for i in 2..=3 {
        place.keyring.create_subject(&place.north, subject(i)).await.unwrap();
    }
    let tenants = ObjectName::tenant(&place.north, "key", "tenant").unwrap();
    let older = place.store.get(&tenants).await.unwrap().unwrap();
    place.keyring.rotate_tenant(&place.north).await.unwrap();
    assert!(place.keyring.erase_subject(&place.north, subject(2)).await.unwrap().is_complete());
    let damaged = ObjectName::tenant(&place.north, "key", &format!("subject-{}", subject(3))).unwrap();
    let there = place.store.get(&damaged).await.unwrap().unwrap();
    assert!(place.store.compare_and_swap(&damaged, there.version, b"damaged", None).await.unwrap());
    // As a copy has it that took over the people, and not yet their tenant.
    let newer = place.store.get(&tenants).await.unwrap().unwrap();
    assert!(place.store.compare_and_swap(&tenants, newer.version, &older.value, None).await.unwrap());
    let lagging = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    assert!(matches!(lagging.subject(&place.north, subject(1)).await, Err(KeyError::NotYetKnown)));
    assert!(matches!(lagging.subject(&place.north, subject(2)).await, Err(KeyError::Erased)));
    assert!(matches!(lagging.subject(&place.north, subject(3)).await, Err(KeyError::Corrupt)));
    assert!(matches!(lagging.subject(&place.north, subject(4)).await, Err(KeyError::Unknown)));
    // It catches up.
    let there = place.store.get(&tenants).await.unwrap().unwrap();
    assert!(place.store.compare_and_swap(&tenants, there.version, &newer.value, None).await.unwrap());
    assert!(lagging.subject(&place.north, subject(1)).await.is_ok());
}

/// A creator that died between its record and its look at the rotation leaves a record under the old key; whoever asks for it
/// again moves it, and a rotation finds it.
#[tokio::test]
async fn a_record_that_a_creator_left_under_the_old_wrapping_key_is_moved() {
    let place = Place::new().await;
    let name = |i: u8| ObjectName::tenant(&place.north, "key", &format!("subject-{}", subject(i))).unwrap();
    // As it is written before the rotation, and put there after its first step.
    for i in 2..=3 {
        place.keyring.create_subject(&place.north, subject(i)).await.unwrap();
    }
    let left = [2, 3].map(|i| (i, name(i)));
    let mut values = Vec::new();
    for (i, name) in &left {
        let there = place.store.get(name).await.unwrap().unwrap();
        values.push((*i, there.value));
        assert!(place.store.remove(name).await.unwrap());
    }
    let tenants = ObjectName::tenant(&place.north, "key", "tenant").unwrap();
    place.keyring.begin_rotation_for_test(&place.north).await.unwrap();
    for (i, value) in values {
        assert!(place.store.insert_new(&name(i), &value, None).await.unwrap());
    }
    place.keyring.create_subject(&place.north, subject(2)).await.expect("asked again");
    assert_eq!(place.keyring.rotate_tenant(&place.north).await.unwrap(), 2, "the other two: 1 and 3");
    assert!(place.store.get(&tenants).await.unwrap().is_some());
    let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    for i in 1..=3 {
        assert!(cold.subject(&place.north, subject(i)).await.is_ok(), "{i}");
    }
}

#[tokio::test]
async fn a_tenants_wrapping_key_is_replaced_and_no_value_is_touched() {
    let place = Place::new().await;
    let north = &place.north;
    for i in 2..=40 {
        place.keyring.create_subject(north, subject(i)).await.unwrap();
    }
    assert!(place.keyring.erase_subject(north, subject(40)).await.unwrap().is_complete());
    let clinic = place.keyring.tenant(north).await.unwrap();
    let mut traces = Vec::new();
    for i in 1..40 {
        traces.push(trace_of(&place.keyring.subject(north, subject(i)).await.unwrap(), "clinical"));
    }
    let old = records(&place).await;
    // Another process goes on with what it has in memory, and makes patients all the while.
    let other = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    other.subject(north, subject(1)).await.unwrap();
    let busy = tokio::spawn({
        let (other, north) = (other.clone(), north.clone());
        async move {
            let mut made = Vec::new();
            for i in 100..160 {
                made.push((i, trace_of(&other.create_subject(&north, subject(i)).await.unwrap(), "clinical")));
                tokio::task::yield_now().await;
            }
            made
        }
    });
    let moved = place.keyring.rotate_tenant(north).await.unwrap();
    assert!(moved >= 39, "{moved}");
    let made = busy.await.unwrap();
    for keyring in
        [&place.keyring, &other, &Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap()]
    {
        for (i, trace) in (1..40).zip(&traces) {
            assert_eq!(&trace_of(&keyring.subject(north, subject(i)).await.unwrap(), "clinical"), trace);
        }
        for (i, trace) in &made {
            assert_eq!(&trace_of(&keyring.subject(north, subject(*i)).await.unwrap(), "clinical"), trace);
        }
        assert!(matches!(keyring.subject(north, subject(40)).await, Err(KeyError::Erased)));
        let after = keyring.tenant(north).await.unwrap();
        assert_eq!(
            after.index_mac("t", "c").tag(b"value"),
            clinic.index_mac("t", "c").tag(b"value"),
            "searches find what they found"
        );
    }
    // What stood there before opens nothing any more.
    for (key, value) in old.iter().filter(|(key, _)| key != "tenant") {
        let name = ObjectName::tenant(north, "key", key).unwrap();
        let entry = place.store.get(&name).await.unwrap().unwrap();
        if entry.value == *value {
            continue; // the tombstone, which no tenant's key vouches for
        }
        place.store.compare_and_swap(&name, entry.version, value, None).await.unwrap();
        let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
        let of: SubjectId = key.strip_prefix("subject-").unwrap().parse().unwrap();
        assert!(matches!(cold.subject(north, of).await, Err(KeyError::Corrupt)), "{key}");
    }
}

async fn records(place: &Place) -> Vec<(String, Vec<u8>)> {
    let page = place.store.list(&Prefix::tenant(&place.north, "key").unwrap(), None, 1_000).await.unwrap();
    page.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

// "First touch one unwrap", and a list of a thousand people one as well.
#[tokio::test]
async fn providers_are_asked_once_for_a_clinic_and_never_for_a_person() {
    let place = Place::new().await;
    let mut people: Vec<SubjectId> = Vec::new();
    for i in 0..1_000u32 {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&i.to_be_bytes());
        people.push(SubjectId::from_bytes(bytes));
        place.keyring.create_subject(&place.north, people[people.len() - 1]).await.unwrap();
    }
    let cold = Place::another(&place.store, &place.root, &place.own, &place.clock).await.unwrap();
    let asked = place.own.asked();
    let keys = cold.subjects(&place.north, &people).await.unwrap();
    assert_eq!((keys.iter().flatten().count(), place.own.asked() - asked), (1_000, 1));
    cold.subjects(&place.north, &people).await.unwrap();
    cold.create_subject(&place.north, subject(2)).await.unwrap();
    assert_eq!(place.own.asked() - asked, 1, "what is in memory is not asked for");
}

// Long form: 10,000 tenants of 50 subjects. What is in memory is bounded by the cache and by nothing else.
#[tokio::test]
async fn memory_is_bounded_by_the_cache_however_many_clinics_there_are() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|what| what == "keys");
    let (tenants, subjects) = if long { (10_000, 50) } else { (400, 10) };
    let (store, held) = (store(), Held::new());
    let bound = |n| NonZeroUsize::new(n).unwrap();
    let options = KeyringOptions::default().with_tenants(bound(64)).with_subjects(bound(512));
    let keyring = Keyring::open_with(held.kek("held"), store, &options).await.unwrap();
    let (mut clinics, mut people) = (Vec::new(), Vec::new());
    for t in 0..tenants {
        let clinic = tenant(&format!("clinic-{t}"));
        clinics.push(Arc::downgrade(&keyring.create_tenant(&clinic).await.unwrap()));
        for s in 0..subjects {
            people.push(Arc::downgrade(&keyring.create_subject(&clinic, subject(s)).await.unwrap()));
        }
    }
    let alive = (
        clinics.iter().filter(|key| key.strong_count() > 0).count(),
        people.iter().filter(|key| key.strong_count() > 0).count(),
    );
    println!("{tenants} clinics of {subjects}: {} and {} keys in memory", alive.0, alive.1);
    // The cache rounds its bound up a little; whatever is not in it was wiped when it was dropped.
    assert!(alive.0 <= 128 && alive.1 <= 1_024, "{alive:?}");
    // First touch after eviction: one unwrap each.
    let asked = held.asked();
    let cold = tenant("clinic-0");
    assert!(clinics[0].strong_count() == 0);
    keyring.subjects(&cold, &(0..subjects).map(subject).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(held.asked() - asked, 1);
}
