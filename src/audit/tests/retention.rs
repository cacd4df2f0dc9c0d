//! Old bodies go, and all else stays and verifies.

mod attacks;
mod runs;

use std::num::NonZeroU16;

use super::*;
use crate::audit::{
    CheckpointSigner, CheckpointVerifier, Event, Fault, FolderSink, Kind, Known, LedgerQuery, Prune, Retention,
    RetentionError, Sinks, Stream, VerifyError, leaf_hash,
    ledger::{
        Cover, Drops, drop_in_folder,
        segment::{self, BATCH, BatchHeader, HEADER, Header},
    },
    record::{Dropped, Spans},
    verify, verify_chain, verify_with,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAME: &str = "clinic.example/ledger";

struct Place {
    dir: TempDir,
    clock: ManualClock,
    signer: CheckpointSigner,
}

impl Place {
    fn new() -> Self {
        let signer = CheckpointSigner::generate(NAME).unwrap();
        Self { dir: TempDir::new().unwrap(), clock: clock(), signer }
    }

    fn options(&self) -> LedgerOptions {
        options().with_signer(self.signer.clone())
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.dir.path(), self.options(), self.clock.shared()).unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn keys(&self) -> CheckpointVerifier {
        CheckpointVerifier::new(self.signer.verifier_key().clone()).unwrap()
    }

    fn verify(&self) -> Result<u64, VerifyError> {
        let report = verify_with(self.path(), &Known::new().with_keys(self.keys()));
        report.map(|report| report.dropped())
    }
}

/// Seven years, in tests whose clocks jump.
fn seven() -> Retention {
    Retention::new().danger_trust_clock()
}

/// One trail with so many events about this person, and its end.
async fn write(ledger: &Ledger, clinic: &str, person: u8, events: usize) {
    let durable = ledger.head().size() + events as u64 + 1;
    let (trail, closer) = ledger.begin(RequestFacts::new());
    for _ in 0..events {
        let event = Event::new(Action::Export).with_tenant(tenant(clinic)).add_subject(subject(person));
        trail.record(event.with_reason("r".repeat(250))).unwrap();
    }
    drop(closer);
    while ledger.head().size() < durable {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn operator_holds(ledger: &Ledger, held: bool, clinic: &str, person: Option<u8>) {
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    let view = crate::audit::OperatorLedger::danger_open(&trail, UserId::from_bytes([9; 16]), "operator", "file 4711")
        .unwrap();
    let person = person.map(subject);
    match held {
        true => view.hold(&tenant(clinic), person).await.unwrap(),
        false => view.release(&tenant(clinic), person).await.unwrap(),
    }
}

/// All lines in the files, in order.
fn lines(dir: &Path) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    crate::audit::ledger::scan::scan(dir, false, 1_000, &[], &mut |entry| lines.push(entry.bytes.to_vec())).unwrap();
    lines
}

fn is_dropped(line: &[u8]) -> bool {
    Dropped::from_bytes(line).is_ok()
}

// proves CCA-25
#[tokio::test]
async fn a_record_is_kept_for_seven_years_and_goes_after_them_by_a_signed_prune_record_alone() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 3).await;
    // Seven years hold two leap days.
    place.clock.advance(DAY * (7 * 365 + 2 - 1));
    let retention = Retention::new();
    assert_eq!(ledger.prune(&retention).await.unwrap().bodies(), 0, "a day too early");
    let before = lines(place.path());
    let kept = ledger.head();
    place.clock.advance(DAY * 2);
    let report = ledger.prune(&retention).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (4, 1));
    assert_eq!(ledger.prune(&retention).await.unwrap().bodies(), 0, "once");
    write(&ledger, "harbour", 1, 1).await;
    ledger.shutdown().await;

    // What was is what its hash says, and everything verifies, with the key and with what was kept elsewhere.
    let after = lines(place.path());
    for (index, old) in before.iter().enumerate() {
        let left = Dropped::from_bytes(&after[index]).unwrap();
        assert_eq!((left.index(), left.hash()), (index as u64, &leaf_hash(old)));
    }
    let known = Known::new().add_head(kept).with_keys(place.keys());
    assert_eq!(verify_with(place.path(), &known).unwrap().dropped(), 4);
    // An independent look at the signature: a signed note whose text is the record without it.
    let prune = records(place.path()).into_iter().find(|record| record.prune().is_some()).unwrap();
    let note = format!("{}\n{}\n", prune.signed_text(), prune.signature().unwrap());
    let verifier = signed_note::StandardVerifier::new(&place.signer.verifier_key().to_string()).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let signed = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    assert_eq!(signed.verify(&known).unwrap().0.len(), 1);
    assert!(prune.signed_text().starts_with("{\"v\":1,\"index\":4,\"stream\":\"harbour\",\"seq\":4,"));

    // A restart goes on, and proofs are as they were.
    let ledger = place.open();
    let hashes = ledger.hashes().unwrap();
    let proof = hashes.inclusion_in(1, &ledger.head()).unwrap();
    assert_eq!(proof.verify(&leaf_hash(&before[1]), &ledger.head()), Ok(()));
    ledger.shutdown().await;
    // A file of hashes is made again without the bodies.
    std::fs::remove_file(place.path().join("ledger.hashes")).unwrap();
    let ledger = place.open();
    assert!(ledger.hashes().unwrap().inclusion_in(1, &ledger.head()).is_ok());
    ledger.shutdown().await;
}

#[tokio::test]
async fn years_are_the_clinics_own_and_the_file_becomes_smaller() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..4 {
        write(&ledger, "harbour", 1, 100).await;
        write(&ledger, "meadow", 2, 100).await;
    }
    place.clock.advance(DAY * 800);
    let size = || -> u64 {
        let files = std::fs::read_dir(place.path()).unwrap().map(Result::unwrap);
        let segments = files.filter(|file| file.file_name().to_string_lossy().ends_with(".seg"));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    let before = size();
    let two = seven().with_tenant(tenant("harbour"), NonZeroU16::new(2).unwrap());
    assert_eq!(ledger.prune(&two).await.unwrap().bodies(), 404);
    let nine = two.clone().with_tenant(tenant("meadow"), NonZeroU16::new(9).unwrap());
    place.clock.advance(DAY * 365 * 6);
    let report = ledger.prune(&nine).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (0, 0), "a prune record stays");
    ledger.shutdown().await;
    assert!(lines(place.path()).iter().filter(|line| is_dropped(line)).count() >= 404);
    assert!(size() < before * 3 / 4, "{before} bytes became {}", size());
    assert_eq!(place.verify(), Ok(404));
}

#[tokio::test]
async fn what_is_held_stays_until_it_is_released() {
    let place = Place::new();
    let ledger = place.open();
    for person in [1, 2, 3] {
        write(&ledger, "harbour", person, 2).await;
    }
    write(&ledger, "meadow", 1, 2).await;
    operator_holds(&ledger, true, "harbour", Some(2)).await;
    operator_holds(&ledger, true, "meadow", None).await;
    place.clock.advance(DAY * 366 * 8);
    let retention = seven();
    let of = |dir: &Path, clinic: &str, person: u8| {
        records(dir).iter().filter(|r| r.tenant() == Some(&tenant(clinic)) && r.subjects() == [subject(person)]).count()
    };
    ledger.prune(&retention).await.unwrap();
    assert_eq!([1, 2, 3].map(|person| of(place.path(), "harbour", person)), [0, 3, 0], "the hold names him as well");
    assert_eq!(of(place.path(), "meadow", 1), 2, "of a chain that is held nothing goes");
    let closed = |n: u64| records(place.path()).iter().any(|record| record.index() == n);
    assert!(closed(5), "the end of the trail that he was in");
    assert!(!closed(2));

    operator_holds(&ledger, false, "harbour", Some(2)).await;
    operator_holds(&ledger, false, "meadow", None).await;
    let report = ledger.prune(&retention).await.unwrap();
    assert_eq!((of(place.path(), "harbour", 2), of(place.path(), "meadow", 1)), (2, 0), "the hold and its end stay");
    assert_eq!(report.prunes(), 3, "one takes the place of the first, and two are new");
    ledger.shutdown().await;
    assert_eq!(place.verify().unwrap(), 14, "the ends of the operator's first two requests with them");
    // The clinic's chain verifies by itself, with what is left.
    let chain: Vec<_> = lines(place.path())
        .into_iter()
        .filter(|line| line.windows(20).any(|part| part == b"\"stream\":\"harbour\",\""))
        .collect();
    let alone = verify_chain(&tenant("harbour"), chain.iter().map(Vec::as_slice)).unwrap();
    assert!(alone.records() > 9);
    // Without its prune records it does not.
    let without =
        chain.iter().map(Vec::as_slice).take_while(|line| !line.windows(9).any(|part| part == b"\"prune\":{"));
    let found = verify_chain(&tenant("harbour"), without).unwrap_err();
    assert_eq!((found.index(), found.kind()), (0, Fault::Deleted));
}

#[tokio::test]
async fn what_says_that_a_person_was_erased_stays() {
    let place = Place::new();
    let ledger = place.open();
    let (trail, closer) = trail(&ledger, "harbour");
    let attempt = trail.attempt(Change { action: Action::Erase, ..change(&[subject(1)]) }).unwrap();
    attempt.committed();
    trail.attempt(change(&[subject(2)])).unwrap().committed();
    let open = trail.attempt(change(&[subject(3)])).unwrap();
    std::mem::forget(open);
    drop(closer);
    trail.settled().await.unwrap();
    place.clock.advance(DAY * 366 * 8);
    ledger.prune(&seven()).await.unwrap();
    let left: Vec<_> = records(place.path()).iter().map(|r| (r.kind().as_str(), r.subjects().to_vec())).collect();
    let one = |kind, n: u8| (kind, vec![subject(n)]);
    assert_eq!(left[..3], [one("attempt", 1), one("outcome", 1), one("attempt", 3)]);
    assert_eq!(left[3].0, "pruned");
    ledger.shutdown().await;
    let again = place.open();
    assert_eq!(again.unsettled().len(), 1);
    again.shutdown().await;
}

#[tokio::test]
async fn a_clock_that_runs_ahead_and_a_ledger_that_nobody_signs_drop_nothing() {
    let place = Place::new();
    let ledger = Ledger::open(place.path(), options(), place.clock.shared()).unwrap();
    write(&ledger, "harbour", 1, 2).await;
    place.clock.advance(DAY * 366 * 8);
    assert!(matches!(ledger.prune(&Retention::new()).await, Err(RetentionError::Unsigned)));
    ledger.shutdown().await;
    // Eight years of silence, as the clock says.
    let ledger = place.open();
    assert!(matches!(ledger.prune(&Retention::new()).await, Err(RetentionError::Clock)));
    assert_eq!(ledger.prune(&Retention::new().danger_trust_clock()).await.unwrap().bodies(), 3);
    ledger.shutdown().await;
    // Records of today, and then somebody sets the clock.
    let ledger = place.open();
    write(&ledger, "harbour", 1, 2).await;
    ledger.shutdown().await;
    let ledger = place.open();
    place.clock.set("2100-01-01T00:00:00Z".parse().unwrap());
    assert!(matches!(ledger.prune(&Retention::new()).await, Err(RetentionError::Clock)));
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(3));
}

#[tokio::test]
async fn pages_and_timelines_pass_by_what_is_gone() {
    let place = Place::new();
    let ledger = place.open();
    for person in 0..10 {
        write(&ledger, "harbour", person % 2, 100).await;
    }
    let harbour = Stream::Tenant(tenant("harbour"));
    // What is remembered of a segment from before is of another file then.
    let query = LedgerQuery::new().with_limit(50.try_into().unwrap());
    let mut cursor = None;
    loop {
        let query = cursor.take().map_or_else(|| query.clone(), |cursor: String| query.clone().with_cursor(cursor));
        cursor = ledger.danger_page(Some(&harbour), &query).unwrap().next;
        if cursor.is_none() {
            break;
        }
    }
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 1, 10).await;
    assert_eq!(ledger.prune(&seven()).await.unwrap().bodies(), 1_010);
    for query in [query.clone(), query.oldest_first()] {
        let (mut found, mut numbers, mut cursor) = (0, Vec::new(), None);
        loop {
            let query = cursor.take().map_or_else(|| query.clone(), |cursor: String| query.clone().with_cursor(cursor));
            let page = ledger.danger_page(Some(&harbour), &query).unwrap();
            found += page.records.len();
            numbers.extend(page.sequences.clone().into_iter().flatten());
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        numbers.sort_unstable();
        assert_eq!(found, 12, "ten events, their end, the prune record");
        assert!(numbers.iter().copied().eq(0..1_022), "each number was looked at, once: {}", numbers.len());
    }
    let timeline = ledger.danger_timeline(&tenant("harbour"), subject(1), None, 100).unwrap();
    assert_eq!(timeline.records.len(), 10);
    ledger.shutdown().await;
}

#[tokio::test]
async fn a_copy_drops_what_the_ledger_drops_and_a_new_one_gets_what_is_left() {
    let place = Place::new();
    let copies = TempDir::new().unwrap();
    let copy = |name: &str| FolderSink::open(&copies.path().join(name), &place.options()).unwrap();
    let sinks = Sinks::new().add_required("one", copy("one"));
    let ledger = Ledger::open_with(place.path(), sinks, place.options(), place.clock.shared()).unwrap();
    write(&ledger, "harbour", 1, 500).await;
    place.clock.advance(DAY * 366 * 8);
    let dropped = |name: &str| verify(&copies.path().join(name)).unwrap().dropped();
    ledger.prune(&seven()).await.unwrap();
    // Its newest segment is closed by the run after, if nothing was added since.
    for _ in 0..200 {
        write(&ledger, "harbour", 1, 1).await;
        ledger.prune(&seven()).await.unwrap();
        if dropped("one") == 501 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(dropped("one"), 501);
    ledger.shutdown().await;
    drop(ledger);
    let sinks = Sinks::new().add_required("one", copy("one")).add_required("two", copy("two"));
    let ledger = Ledger::open_with(place.path(), sinks, place.options(), place.clock.shared()).unwrap();
    ledger.shutdown().await;
    assert_eq!(dropped("two"), 501);
    assert_eq!(verify(&copies.path().join("two")).unwrap().head(), ledger.head());
}

#[tokio::test]
async fn a_restart_does_not_make_a_wrong_clock_a_right_one() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 2).await;
    ledger.shutdown().await;
    // The machine comes back in another decade, and somebody logs in there.
    place.clock.advance(DAY * 366 * 20);
    let ledger = place.open();
    write(&ledger, "harbour", 1, 2).await;
    assert!(matches!(ledger.prune(&Retention::new()).await, Err(RetentionError::Clock)));
    ledger.shutdown().await;
    let ledger = place.open();
    assert!(
        matches!(ledger.prune(&Retention::new()).await, Err(RetentionError::Clock)),
        "the newest record is its own"
    );
    assert!(ledger.report().findings().any(|finding| finding.starts_with("old records are not dropped: the clock")));
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(0));
}

#[tokio::test]
async fn a_record_from_the_future_stays_and_stops_nothing() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 2).await;
    let today = place.clock.shared().now();
    place.clock.set("2090-01-01T00:00:00Z".parse().unwrap());
    write(&ledger, "harbour", 1, 1).await;
    place.clock.set(today);
    write(&ledger, "harbour", 1, 2).await;
    place.clock.advance(DAY * 366 * 8);
    assert_eq!(ledger.prune(&seven()).await.unwrap().bodies(), 6);
    ledger.shutdown().await;
    let left: Vec<_> = records(place.path()).iter().map(Record::index).collect();
    assert_eq!(left, [3, 4, 8]);
}

#[tokio::test]
async fn a_hold_ends_by_the_hand_and_the_reason_that_placed_it() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 2).await;
    let clinic = async |held: bool, reason: &'static str| {
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        let event = Event::hold(held, tenant("harbour"), Some(subject(1))).with_permission("ledger.hold");
        trail.record(event.with_reason(reason)).unwrap();
        trail.settled().await.unwrap();
    };
    operator_holds(&ledger, true, "harbour", Some(1)).await;
    clinic(true, "court a").await;
    clinic(true, "court b").await;
    place.clock.advance(DAY * 366 * 8);
    let there = || records(place.path()).iter().any(|record| record.index() == 0);
    for (reason, left) in [("court a", true), ("file 4711", true), ("court b", true)] {
        clinic(false, reason).await;
        ledger.prune(&seven()).await.unwrap();
        assert_eq!(there(), left, "{reason}");
    }
    // The operator's own, which the clinic could not end.
    operator_holds(&ledger, false, "harbour", Some(1)).await;
    ledger.prune(&seven()).await.unwrap();
    assert!(!there());
    ledger.shutdown().await;
    place.verify().unwrap();
}

#[tokio::test]
async fn what_was_done_before_in_the_same_request_is_held_too() {
    let place = Place::new();
    let ledger = place.open();
    let (trail, closer) = ledger.begin(RequestFacts::new());
    for person in [1, 2, 3] {
        trail.record(Event::new(Action::Read).with_tenant(tenant("harbour")).add_subject(subject(person))).unwrap();
    }
    drop(closer);
    trail.settled().await.unwrap();
    write(&ledger, "harbour", 4, 1).await;
    operator_holds(&ledger, true, "harbour", Some(3)).await;
    place.clock.advance(DAY * 366 * 8);
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    let left: Vec<_> = records(place.path()).iter().map(Record::index).collect();
    assert_eq!(left[..4], [0, 1, 2, 3]);
    assert!(!left.contains(&4) && !left.contains(&5));
}

proptest::proptest! {
    #[test]
    fn what_is_missing_is_told_as_a_plain_look_at_each_number_tells_it(
        lengths in proptest::collection::vec(1_u64..30, 0..5),
        kept in proptest::collection::btree_set(0_u64..100, 0..40),
        dropped in proptest::collection::btree_set(0_u64..100, 0..60),
    ) {
        let (mut cover, mut from) = (Cover::default(), 0);
        for length in lengths {
            let mut spans = Spans::default();
            kept.range(from..from + length).for_each(|number| spans.push(*number));
            cover.add(200 + from, &Prune { from, below: from + length, until: crate::clock::Timestamp::UNIX_EPOCH, kept: spans });
            from += length;
        }
        dropped.iter().for_each(|number| cover.drop(*number));
        let plain = dropped.iter().copied().find(|number| !cover.covers(*number));
        proptest::prop_assert_eq!(cover.unexplained(), plain);
    }
}

/// Of a chain that is kept for longer, the records that are left stand far apart once those of the others are gone.
#[tokio::test]
async fn what_one_chain_has_dropped_is_no_silence_of_another() {
    let place = Place::new();
    let ledger = place.open();
    let five = Retention::new().with_tenant(tenant("harbour"), NonZeroU16::new(5).unwrap());
    // Harbour is there every day, meadow four times a year.
    for day in 0..2_700_u32 {
        let name = if day % 90 == 0 { "meadow" } else { "harbour" };
        if day % 10 == 0 {
            write(&ledger, name, 1, 1).await;
        }
        place.clock.advance(DAY);
        if day % 300 == 299 && day > 1_800 {
            let report = ledger.prune(&five).await.unwrap();
            assert!(report.bodies() > 0 && report.skipped().is_empty(), "{day}");
        }
    }
    ledger.shutdown().await;
    assert!(place.verify().unwrap() > 100);
}
