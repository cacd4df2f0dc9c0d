//! Old bodies go, and all else stays and verifies.

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

// proves CLM-12: a hold is respected.
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

/// A ledger of two clinics with a hold, all of it pruned, in several segments.
async fn pruned() -> (Place, Vec<Vec<u8>>) {
    let place = Place::new();
    let ledger = place.open();
    for person in 0..6 {
        write(&ledger, "harbour", person, 60).await;
        write(&ledger, "meadow", person, 60).await;
    }
    operator_holds(&ledger, true, "harbour", Some(2)).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 7, 20).await;
    let whole = lines(place.path());
    ledger.prune(&seven()).await.unwrap();
    write(&ledger, "harbour", 7, 20).await;
    ledger.shutdown().await;
    (place, whole)
}

/// Writes one line of the ledger otherwise, with lengths and checksums that fit.
fn replace(dir: &Path, index: u64, make: impl FnOnce(&[u8]) -> Vec<u8>) {
    let (mut make, mut number) = (Some(make), 0);
    while let Ok(bytes) = std::fs::read(segment::path(dir, number)) {
        let mut header = Header::from_bytes(bytes[..HEADER].try_into().unwrap()).unwrap();
        let (mut out, mut at, mut changed) = (vec![0; HEADER], HEADER, false);
        while at + BATCH <= bytes.len()
            && let Some(found) = BatchHeader::from_bytes(bytes[at..at + BATCH].try_into().unwrap())
        {
            let mut frames = &bytes[at + BATCH..at + BATCH + found.length as usize];
            at += BATCH + found.length as usize;
            let (mut new, mut place) = (Vec::new(), found.first);
            while let Some((line, rest)) = segment::unframe(frames) {
                let line = match make.take_if(|_| place == index) {
                    Some(make) => make(line),
                    None => line.to_vec(),
                };
                changed |= place == index;
                new.extend(segment::frame(&line));
                new.extend(line);
                frames = rest;
                place += 1;
            }
            let head = BatchHeader { offset: out.len() as u32, length: new.len() as u32, ..found };
            out.extend(head.to_bytes());
            out.extend(new);
        }
        if changed {
            header.size = header.size.max(out.len() as u64);
            out.resize(header.size as usize, 0);
            out[..HEADER].copy_from_slice(&header.to_bytes());
            std::fs::write(segment::path(dir, number), out).unwrap();
        }
        number += 1;
    }
    assert!(make.is_none(), "there is no record {index}");
}

/// As retention leaves it.
fn drop_line(line: &[u8]) -> Vec<u8> {
    let record = Record::from_bytes(line).unwrap();
    let left = Dropped {
        index: record.index(),
        stream: record.stream().clone(),
        sequence: record.sequence(),
        hash: leaf_hash(line),
    };
    left.to_bytes()
}

// proves CLA-18
#[tokio::test]
async fn a_body_that_goes_without_a_prune_record_that_covers_it_is_found_by_its_place() {
    type Edit = fn(&[u8]) -> Vec<u8>;
    let (place, whole) = pruned().await;
    let now = lines(place.path());
    let find = |wanted: &dyn Fn(&Record) -> bool, lines: &[Vec<u8>]| {
        let place = lines.iter().position(|line| Record::from_bytes(line).is_ok_and(|record| wanted(&record)));
        place.unwrap() as u64
    };
    assert!(now.len() > whole.len() && now.iter().filter(|line| is_dropped(line)).count() > 600);
    let held = find(&|r| r.subjects() == [subject(2)], &now);
    let young = find(&|r| r.subjects() == [subject(7)], &now);
    let prune = find(&|r| r.prune().is_some() && r.stream().as_str() == "harbour", &now);
    let first = now.iter().position(|line| is_dropped(line)).unwrap() as u64;
    let rows: &[(&str, u64, Edit, (u64, Fault))] = &[
        ("a held body goes", held, drop_line, (held, Fault::Deleted)),
        ("a second one behind it", held + 2, drop_line, (held + 2, Fault::Deleted)),
        ("a young body goes", young, drop_line, (young, Fault::Deleted)),
        ("the prune record itself goes", prune, drop_line, (first, Fault::Deleted)),
        (
            "another hash",
            first,
            |line| {
                let mut left = Dropped::from_bytes(line).unwrap();
                left.hash[0] ^= 1;
                left.to_bytes()
            },
            (first, Fault::Edited),
        ),
        (
            "another number in the chain",
            first + 3,
            |line| {
                let left = Dropped::from_bytes(line).unwrap();
                Dropped { sequence: left.sequence + 1, ..left }.to_bytes()
            },
            (first + 3, Fault::Inserted),
        ),
        (
            "another clinic's",
            first + 3,
            |line| {
                Dropped { stream: Stream::Tenant(tenant("meadow")), ..Dropped::from_bytes(line).unwrap() }.to_bytes()
            },
            (first + 3, Fault::Inserted),
        ),
        (
            "another index",
            first + 3,
            |line| {
                let left = Dropped::from_bytes(line).unwrap();
                Dropped { index: left.index + 1, ..left }.to_bytes()
            },
            (first + 3, Fault::Deleted),
        ),
        ("not canonical", first, |line| [line, b" "].concat(), (first, Fault::Edited)),
        (
            "a body that was never there",
            first,
            |_| {
                let mut record = Record::from_bytes(&lines_of_nobody()).unwrap();
                record.stream = Stream::Tenant(tenant("harbour"));
                record.to_bytes()
            },
            (first, Fault::Edited),
        ),
    ];
    let copy = TempDir::new().unwrap();
    for (name, index, edit, (at, kind)) in rows {
        copy_folder(place.path(), copy.path());
        replace(copy.path(), *index, edit);
        let found = verify(copy.path()).expect_err(name);
        let near = found.index().abs_diff(*at) <= 3 && *kind == Fault::Edited;
        assert!(
            (found.index(), found.kind()) == (*at, *kind) || near && found.kind() == *kind,
            "{name}: {found:?} at {at}"
        );
        // A server does not go on with it.
        assert!(Ledger::open(copy.path(), place.options(), place.clock.shared()).is_err(), "{name}");
    }
}

/// A first record of nobody.
fn lines_of_nobody() -> Vec<u8> {
    Record::empty(Kind::Event, Stream::Platform, clock().shared().now(), Duration::ZERO).to_bytes()
}

fn copy_folder(from: &Path, to: &Path) {
    for file in std::fs::read_dir(to).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_prune_record_of_somebody_elses_is_found_by_its_signature() {
    // Somebody who can write the files, and has another key.
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 3).await;
    ledger.shutdown().await;
    place.clock.advance(DAY * 10);
    let theirs = place.options().with_signer(CheckpointSigner::generate(NAME).unwrap());
    std::fs::remove_file(place.path().join("ledger.checkpoint")).unwrap();
    let forged = Ledger::open(place.path(), theirs, place.clock.shared()).unwrap();
    place.clock.advance(DAY * 366 * 8);
    assert_eq!(forged.prune(&seven()).await.unwrap().bodies(), 4);
    forged.shutdown().await;
    drop(forged);
    std::fs::remove_file(place.path().join("ledger.checkpoint")).unwrap();
    assert_eq!(verify(place.path()).unwrap().dropped(), 4, "without the key nothing tells");
    // A restart with the true key is what would sign over it.
    let error = Ledger::open(place.path(), place.options(), place.clock.shared()).unwrap_err();
    assert!(
        matches!(error, crate::audit::LedgerError::Damaged(found) if (found.index(), found.kind()) == (4, Fault::ForeignKey))
    );
    let found = verify_with(place.path(), &Known::new().with_keys(place.keys())).unwrap_err();
    assert_eq!((found.index(), found.kind()), (4, Fault::ForeignKey));
}

#[test]
fn a_prune_record_holds_in_its_own_place_alone() {
    let signer = CheckpointSigner::generate(NAME).unwrap();
    let keys = CheckpointVerifier::new(signer.verifier_key().clone()).unwrap();
    let mut record = Record::from_bytes(&lines_of_nobody()).unwrap();
    record.kind = Kind::Pruned;
    record.stream = Stream::Tenant(tenant("harbour"));
    (record.index, record.sequence) = (50, 9);
    let prune = Prune { from: 0, below: 9, until: record.at, kept: Spans::default() };
    record.prune = Some(Box::new(prune));
    record.signature = Some(signer.sign_line(&record.signed_text()).into());
    let holds = |record: &Record| {
        let read = Record::from_bytes(&record.to_bytes()).ok();
        read.is_some_and(|record| keys.verify_prune(&record).is_ok())
    };
    assert!(holds(&record));
    type Change = fn(&mut Record);
    let others: &[(&str, Change)] = &[
        ("another chain", |r| r.stream = Stream::Tenant(tenant("meadow"))),
        ("another index", |r| r.index += 1),
        ("another number", |r| r.sequence += 1),
        ("after another record", |r| r.previous = [1; 32]),
        ("more", |r| r.prune.as_mut().unwrap().below = 8),
        ("another time", |r| r.at += jiff::SignedDuration::from_secs(1)),
        ("what stays", |r| r.prune.as_mut().unwrap().kept.push(3)),
        ("no signature", |r| r.signature = None),
        ("a signature of one letter", |r| r.signature = Some("x".into())),
        ("of a checkpoint", |r| {
            let signer = CheckpointSigner::generate(NAME).unwrap();
            let note = signer.sign(crate::audit::Head::new(3, [7; 32]));
            r.signature = note.lines().last().map(Into::into);
        }),
    ];
    for (name, change) in others {
        let mut other = record.clone();
        change(&mut other);
        assert!(!holds(&other), "{name}");
    }
}

#[tokio::test]
async fn a_crash_between_two_segments_leaves_a_ledger_that_verifies_and_the_next_run_goes_on() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 900).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 1, 5).await;
    let old = TempDir::new().unwrap();
    copy_folder(place.path(), old.path());
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    let new = TempDir::new().unwrap();
    copy_folder(place.path(), new.path());
    let segments = (0..).take_while(|n| segment::path(old.path(), *n).exists()).count() as u32;
    assert!(segments >= 4, "{segments}");
    // Each set of segments that a crash can leave: those before it anew, the others as they were.
    for done in 0..segments - 1 {
        copy_folder(new.path(), place.path());
        for number in done..segments - 1 {
            std::fs::copy(segment::path(old.path(), number), segment::path(place.path(), number)).unwrap();
        }
        std::fs::write(place.path().join("ledger.pruned"), b"half of it").unwrap();
        let dropped = place.verify().unwrap();
        assert!(if done == 0 { dropped < 300 } else { dropped > 0 && dropped < 901 }, "{done}: {dropped}");
        let ledger = Ledger::open(place.path(), place.options(), place.clock.shared()).unwrap();
        let report = ledger.prune(&seven()).await.unwrap();
        assert_eq!((report.bodies() + dropped, report.prunes()), (901, 0));
        ledger.shutdown().await;
        drop(ledger);
        assert_eq!(place.verify(), Ok(901));
        assert!(!place.path().join("ledger.pruned").exists());
    }
}

#[tokio::test]
async fn a_hold_that_comes_after_a_crash_keeps_what_is_still_there() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 5).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 2, 5).await;
    let old = std::fs::read(segment::path(place.path(), 0)).unwrap();
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    // The prune record is durable, and the bodies are still there.
    let lines = lines(place.path());
    let prune = lines.iter().position(|line| Record::from_bytes(line).is_ok_and(|r| r.prune().is_some())).unwrap();
    let now = std::fs::read(segment::path(place.path(), 0)).unwrap();
    assert_ne!(old, now);
    for index in 0..5 {
        let old = old.clone();
        replace(place.path(), index, move |_| line_of(&old, index));
    }
    assert_eq!(place.verify(), Ok(1));
    assert!(prune > 5);
    let ledger = place.open();
    operator_holds(&ledger, true, "harbour", Some(1)).await;
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (0, 1), "the prune record is made anew, and says what stays");
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(1));
    replace(place.path(), 0, drop_line);
    assert_eq!(place.verify().map_err(|found| (found.index(), found.kind())), Err((0, Fault::Deleted)));
}

fn line_of(segment: &[u8], index: u64) -> Vec<u8> {
    let mut at = HEADER;
    loop {
        let found = BatchHeader::from_bytes(segment[at..at + BATCH].try_into().unwrap()).unwrap();
        let (mut frames, mut place) = (&segment[at + BATCH..at + BATCH + found.length as usize], found.first);
        while let Some((line, rest)) = segment::unframe(frames) {
            if place == index {
                return line.to_vec();
            }
            frames = rest;
            place += 1;
        }
        at += BATCH + found.length as usize;
    }
}

#[tokio::test]
async fn while_bodies_go_the_ledger_is_written_and_read_as_always() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..10 {
        write(&ledger, "harbour", 1, 200).await;
    }
    place.clock.advance(DAY * 366 * 8);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (ledger, stop, dir) = (ledger.clone(), Arc::clone(&stop), place.path().to_owned());
            std::thread::spawn(move || {
                let mut read = 0;
                while !stop.load(std::sync::atomic::Ordering::Acquire) {
                    let query = LedgerQuery::new().oldest_first();
                    ledger.danger_page(Some(&Stream::Tenant(tenant("harbour"))), &query).unwrap();
                    verify(&dir).unwrap();
                    read += 1;
                }
                read
            })
        })
        .collect();
    let (pruning, retention) = (ledger.clone(), seven());
    let pruned = tokio::spawn(async move { pruning.prune(&retention).await.unwrap() });
    while !pruned.is_finished() {
        write(&ledger, "harbour", 1, 1).await;
        assert!(matches!(ledger.prune(&seven()).await, Err(RetentionError::Running) | Ok(_)));
        tokio::task::yield_now().await;
    }
    assert_eq!(pruned.await.unwrap().bodies(), 2_010);
    stop.store(true, std::sync::atomic::Ordering::Release);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(2_010));
}

#[tokio::test]
async fn two_servers_that_prune_at_a_time_leave_a_ledger_that_verifies() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 20).await;
    place.clock.advance(DAY * 366 * 8);
    // As the one server finds it, and as the other does a moment later.
    for below in [10, 15, 10] {
        let now = place.clock.shared().now();
        let prune = Prune {
            from: 0,
            below,
            until: now - jiff::SignedDuration::from_hours(24 * 366 * 7),
            kept: Spans::default(),
        };
        let mut record = Record::empty(Kind::Pruned, Stream::Tenant(tenant("harbour")), now, Duration::ZERO);
        record.prune = Some(Box::new(prune));
        let ticket = ledger.submit(ledger.reserve().unwrap(), Box::new(record));
        ledger.durable(ticket).await.unwrap();
    }
    assert_eq!(place.verify(), Ok(0), "one that goes on nowhere covers nothing");
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (21, 1));
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(21));
}

#[tokio::test]
async fn who_does_not_wait_for_a_run_disturbs_neither_it_nor_the_next() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..5 {
        write(&ledger, "harbour", 1, 200).await;
    }
    place.clock.advance(DAY * 366 * 8);
    let retention = seven();
    let (mut begun, mut refused) = (0, 0);
    loop {
        let gone = tokio::time::timeout(Duration::from_millis(begun), ledger.prune(&retention)).await;
        match gone {
            Ok(Ok(_)) => break,
            Ok(Err(RetentionError::Running)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => begun += 1,
        }
    }
    assert!(refused > 0);
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(1_005));
}

#[tokio::test]
async fn a_shutdown_ends_a_run_and_leaves_nobody_at_the_files() {
    let place = Place::new();
    for round in 0..8 {
        let ledger = place.open();
        for _ in 0..2 {
            write(&ledger, "harbour", 1, 150).await;
        }
        place.clock.advance(DAY * 366 * 8);
        let (pruning, retention) = (ledger.clone(), seven());
        let run = tokio::spawn(async move { pruning.prune(&retention).await });
        tokio::time::sleep(Duration::from_millis(round * 25)).await;
        ledger.shutdown().await;
        // The folder is free at once, and whole.
        let again = place.open();
        again.shutdown().await;
        let ended = run.await.unwrap();
        assert!(matches!(ended, Ok(_) | Err(RetentionError::Stopping | RetentionError::Trail(_))), "{ended:?}");
        place.verify().unwrap();
    }
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

/// A hold comes while a segment is written anew.
#[tokio::test]
async fn a_hold_is_not_overtaken_by_a_segment_that_was_begun_before() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 300).await;
    write(&ledger, "meadow", 2, 300).await;
    ledger.shutdown().await;
    let harbour = Stream::Tenant(tenant("harbour"));
    let mut covers = std::collections::HashMap::new();
    for clinic in ["harbour", "meadow"] {
        let mut cover = Cover::default();
        cover.add(301, &Prune { from: 0, below: 301, until: place.clock.shared().now(), kept: Spans::default() });
        covers.insert(Stream::Tenant(tenant(clinic)), cover);
    }
    // From the hundredth question on the chain is held.
    let (asked, held) = (AtomicUsize::new(0), |asked: usize| asked > 100);
    let drops = Drops {
        covers: &covers,
        spared: &|stream| *stream == harbour && held(asked.fetch_add(1, Ordering::SeqCst)),
        changes: &|| usize::from(held(asked.load(Ordering::SeqCst))),
        pruned: None,
        closed: None,
        wanted: &|| true,
    };
    let done = drop_in_folder(place.path(), &drops).unwrap();
    assert!(asked.load(Ordering::SeqCst) > 100 && done.dropped > 0);
    // Nothing verifies here, as no prune record was written; what counts is which bodies went.
    let mut number = 0;
    while let Ok(bytes) = std::fs::read(segment::path(place.path(), number)) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("\"stream\":\"harbour\",\"seq\":5,\"dropped\""), "{number}");
        number += 1;
    }
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

#[tokio::test]
async fn a_copy_that_was_broken_off_before_the_prune_record_came_opens_and_goes_on() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 300).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 1, 20).await;
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    // The beginning of it, without the segment in which the prune record stands.
    let copy = TempDir::new().unwrap();
    copy_folder(place.path(), copy.path());
    let last = (0..).take_while(|n| segment::path(copy.path(), *n).exists()).last().unwrap();
    assert!(last > 0);
    std::fs::remove_file(segment::path(copy.path(), last)).unwrap();
    for file in ["ledger.hashes", "ledger.checkpoint"] {
        std::fs::remove_file(copy.path().join(file)).unwrap();
    }
    assert_eq!(verify(copy.path()).unwrap_err().kind(), Fault::Deleted, "by itself it is no ledger yet");
    let sinks = Sinks::new().add_required("copy", FolderSink::open(copy.path(), &place.options()).unwrap());
    let ledger = Ledger::open_with(place.path(), sinks, place.options(), place.clock.shared()).unwrap();
    ledger.shutdown().await;
    assert_eq!(verify(copy.path()).unwrap().head(), ledger.head());
}
