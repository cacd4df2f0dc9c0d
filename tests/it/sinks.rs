//! The conformance suite of sinks: the same promises for every kind.
#![expect(clippy::disallowed_methods, reason = "threads are waited for, whatever the ledger's clock says")]

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tower_ward::{
    audit::{
        Action, Batch, Event, FolderSink, Head, Kind, Known, Ledger, LedgerError, LedgerOptions, Record, RequestFacts,
        Sink, SinkError, Sinks, TrailError, verify,
    },
    clock::SystemClock,
    id::{SubjectId, TenantId},
};

use crate::postgres::server::Postgres;

pub(crate) fn options() -> LedgerOptions {
    LedgerOptions::new().with_segment_size(128 * 1024)
}

pub(crate) fn clinic(n: u64) -> TenantId {
    TenantId::new(&format!("clinic-{}", n % 3)).unwrap()
}

/// Records one event and waits until it is durable.
pub(crate) async fn append(ledger: &Ledger, n: u64) -> Result<(), TrailError> {
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    let event = Event::new(Action::Export).with_tenant(clinic(n)).add_subject(SubjectId::from_bytes([7; 16]));
    trail.record(event.with_reason(format!("number {n}")))?;
    trail.settled().await
}

/// Waits until something holds, and fails if it does not.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "waited 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A kind of sink that holds a copy, and how to look at the copy beside it.
trait Kept {
    fn sink(&self) -> Result<Box<dyn Sink>, LedgerError>;
    /// What the copy is, verified.
    fn head(&self) -> Head;
}

struct Folders(TempDir);

impl Kept for Folders {
    fn sink(&self) -> Result<Box<dyn Sink>, LedgerError> {
        Ok(Box::new(FolderSink::open(self.0.path(), &options())?))
    }

    fn head(&self) -> Head {
        verify(self.0.path()).unwrap().head()
    }
}

impl Kept for Postgres {
    fn sink(&self) -> Result<Box<dyn Sink>, LedgerError> {
        Ok(Box::new(tower_ward::audit::PostgresSink::new(&self.place())?))
    }

    fn head(&self) -> Head {
        let place = self.place();
        std::thread::scope(|scope| {
            scope
                .spawn(move || tower_ward::audit::verify_postgres(&place, &Known::new()).unwrap().head())
                .join()
                .unwrap()
        })
    }
}

/// How a sink misbehaves.
#[derive(Default)]
struct Whims {
    /// Refuses everything.
    broken: AtomicBool,
    /// Of so many appends one fails, by turns before and after it was done.
    every: AtomicU64,
    count: AtomicU64,
    panics: AtomicBool,
    /// What came through, of a sink that passes on.
    records: Mutex<Vec<Vec<u8>>>,
}

/// A sink that fails as it is told.
struct Moody(Option<Box<dyn Sink>>, Arc<Whims>);

impl Sink for Moody {
    fn held(&mut self) -> Result<Option<Head>, SinkError> {
        if self.1.broken.load(Ordering::SeqCst) {
            return Err("broken".into());
        }
        self.0.as_mut().map_or(Ok(None), |sink| sink.held())
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let whims = &self.1;
        assert!(!whims.panics.load(Ordering::SeqCst), "told to panic");
        if whims.broken.load(Ordering::SeqCst) {
            return Err("broken".into());
        }
        let every = whims.every.load(Ordering::SeqCst);
        let turn = whims.count.fetch_add(1, Ordering::SeqCst);
        let fails = every > 0 && turn.is_multiple_of(every);
        if fails && turn.is_multiple_of(2) {
            return Err("before".into());
        }
        assert_eq!(batch.records().count(), batch.len() as usize);
        assert_eq!(batch.before().size() + u64::from(batch.len()), batch.head().size());
        match &mut self.0 {
            Some(sink) => sink.append(batch)?,
            None => whims.records.lock().unwrap().extend(batch.records().map(<[u8]>::to_vec)),
        }
        if fails { Err("after".into()) } else { Ok(()) }
    }
}

/// All records of a ledger that is closed.
fn records(dir: &Path) -> Vec<Record> {
    crate::support::ledger::records_on_disk(dir)
}

fn gaps(dir: &Path) -> Vec<(String, Option<u64>)> {
    let of = |record: &Record| {
        assert_eq!(record.entity(), Some("copy"));
        (record.reason().unwrap().to_owned(), record.count())
    };
    records(dir).iter().filter(|record| record.kind() == Kind::Gap).map(of).collect()
}

/// Makes an empty place for a copy.
type Make = Box<dyn Fn() -> Box<dyn Kept>>;

fn kinds() -> Vec<(&'static str, Make)> {
    vec![
        ("folder", Box::new(|| Box::new(Folders(TempDir::new().unwrap())))),
        ("postgres", Box::new(|| Box::new(Postgres::start()))),
    ]
}

fn open(dir: &Path, sinks: Sinks) -> Result<Ledger, LedgerError> {
    Ledger::open_with(dir, sinks, options(), SystemClock::shared())
}

fn moody(kept: &dyn Kept, whims: &Arc<Whims>) -> Moody {
    Moody(Some(kept.sink().unwrap()), Arc::clone(whims))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_in_every_required_sink() {
    for (kind, make) in kinds() {
        let (dir, kept) = (TempDir::new().unwrap(), make());
        // What was there before the sink is given to it at the start.
        let ledger = open(dir.path(), Sinks::new()).unwrap();
        for n in 0..300 {
            append(&ledger, n).await.unwrap();
        }
        ledger.shutdown().await;

        for round in 0..3 {
            let whims = Arc::default();
            let ledger = open(dir.path(), Sinks::new().add_required("copy", moody(&*kept, &whims))).unwrap();
            if kind == "postgres" {
                assert_eq!(kept.head(), ledger.head(), "{kind}: caught up at the start");
            }
            for n in 0..20 {
                append(&ledger, round * 100 + n).await.unwrap();
            }
            if kind == "postgres" {
                let acknowledged = ledger.head();
                assert!(kept.head().size() >= acknowledged.size(), "{kind}: acknowledged, and not there");
            }
            ledger.shutdown().await;
            assert_eq!(kept.head(), verify(dir.path()).unwrap().head(), "{kind}, round {round}");
        }
        assert!(gaps(dir.path()).is_empty(), "{kind}: nothing was missed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_sink_that_fails_shuts_the_doors_and_loses_and_doubles_nothing() {
    for (kind, make) in kinds() {
        let (dir, kept) = (TempDir::new().unwrap(), make());
        let whims: Arc<Whims> = Arc::default();
        let ledger = open(dir.path(), Sinks::new().add_required("copy", moody(&*kept, &whims))).unwrap();
        append(&ledger, 0).await.unwrap();

        whims.broken.store(true, Ordering::SeqCst);
        assert!(append(&ledger, 1).await.is_err(), "{kind}: acknowledged without the sink");
        until("the doors are shut", || !ledger.is_available()).await;
        assert!(append(&ledger, 2).await.is_err(), "{kind}");
        whims.broken.store(false, Ordering::SeqCst);
        until("the doors open again", || ledger.is_available()).await;
        append(&ledger, 3).await.unwrap();

        whims.panics.store(true, Ordering::SeqCst);
        assert!(append(&ledger, 4).await.is_err(), "{kind}: acknowledged by a sink that panicked");
        whims.panics.store(false, Ordering::SeqCst);
        until("the doors open again", || ledger.is_available()).await;

        // By turns it fails before it took the batch, and after.
        whims.every.store(3, Ordering::SeqCst);
        let mut acknowledged = HashSet::new();
        for n in 100..160 {
            until("it works again", || ledger.is_available()).await;
            if append(&ledger, n).await.is_ok() {
                acknowledged.insert(format!("number {n}"));
            }
        }
        assert!(whims.count.load(Ordering::SeqCst) > 60, "{kind}");
        whims.every.store(0, Ordering::SeqCst);
        until("it works again", || ledger.is_available()).await;
        append(&ledger, 200).await.unwrap();
        ledger.shutdown().await;
        assert_eq!(kept.head(), verify(dir.path()).unwrap().head(), "{kind}");
        let found: Vec<_> = records(dir.path()).iter().filter_map(|r| r.reason().map(str::to_owned)).collect();
        assert!(acknowledged.iter().all(|reason| found.iter().filter(|r| *r == reason).count() == 1), "{kind}");
        assert!(gaps(dir.path()).is_empty(), "{kind}: a required sink has no gaps");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_of_best_effort_stops_nobody_and_its_gap_is_on_record() {
    for (kind, make) in kinds() {
        let (dir, kept) = (TempDir::new().unwrap(), make());
        let whims: Arc<Whims> = Arc::default();
        let ledger = open(dir.path(), Sinks::new().add_best_effort("copy", moody(&*kept, &whims))).unwrap();
        append(&ledger, 0).await.unwrap();
        whims.broken.store(true, Ordering::SeqCst);
        for n in 1..200 {
            append(&ledger, n).await.unwrap();
        }
        until("the gap is on record", || gaps(dir.path()) == [("begins".to_owned(), None)]).await;
        whims.broken.store(false, Ordering::SeqCst);
        until("it was given what it missed", || gaps(dir.path()).len() == 2).await;
        append(&ledger, 200).await.unwrap();
        ledger.shutdown().await;
        let gaps = gaps(dir.path());
        assert_eq!(gaps[1].0, "given later", "{kind}");
        assert!((200..500).contains(&gaps[1].1.unwrap()), "{kind}: {gaps:?}");
        assert_eq!(kept.head(), verify(dir.path()).unwrap().head(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_that_passes_on_missed_is_counted() {
    let dir = TempDir::new().unwrap();
    let whims: Arc<Whims> = Arc::default();
    let ledger = open(dir.path(), Sinks::new().add_best_effort("copy", Moody(None, Arc::clone(&whims)))).unwrap();
    append(&ledger, 0).await.unwrap();
    until("it came", || !whims.records.lock().unwrap().is_empty()).await;
    whims.broken.store(true, Ordering::SeqCst);
    for n in 1..200 {
        append(&ledger, n).await.unwrap();
    }
    until("the gap is on record", || !gaps(dir.path()).is_empty()).await;
    whims.broken.store(false, Ordering::SeqCst);
    append(&ledger, 200).await.unwrap();
    until("what was lost is counted", || gaps(dir.path()).len() >= 2).await;
    ledger.shutdown().await;
    let lost: u64 = gaps(dir.path()).iter().filter(|(said, _)| said == "lost").filter_map(|(_, count)| *count).sum();
    let came = whims.records.lock().unwrap().len() as u64;
    assert_eq!(came + lost, verify(dir.path()).unwrap().records(), "{:?}", gaps(dir.path()));
    assert!(lost > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_sink_that_passes_on_gets_each_record_once() {
    let dir = TempDir::new().unwrap();
    let whims: Arc<Whims> = Arc::default();
    let ledger = open(dir.path(), Sinks::new().add_required("copy", Moody(None, Arc::clone(&whims)))).unwrap();
    for n in 0..50 {
        whims.broken.store(n % 10 == 9, Ordering::SeqCst);
        let acknowledged = append(&ledger, n).await.is_ok();
        assert_eq!(acknowledged, n % 10 != 9, "{n}");
        whims.broken.store(false, Ordering::SeqCst);
        until("the doors open again", || ledger.is_available()).await;
    }
    ledger.shutdown().await;
    let came: Vec<_> = whims.records.lock().unwrap().iter().map(|r| Record::from_bytes(r).unwrap().index()).collect();
    let every: Vec<_> = (0..verify(dir.path()).unwrap().records()).collect();
    assert_eq!(came, every);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_put_back_is_told_by_its_sink() {
    for (kind, make) in kinds() {
        let (dir, kept) = (TempDir::new().unwrap(), make());
        let whims = Arc::default();
        let sinks = || Sinks::new().add_required("copy", moody(&*kept, &whims));
        let ledger = open(dir.path(), sinks()).unwrap();
        append(&ledger, 0).await.unwrap();
        ledger.shutdown().await;
        let older = std::fs::read(dir.path().join("ledger-000000.seg")).unwrap();
        let ledger = open(dir.path(), sinks()).unwrap();
        append(&ledger, 1).await.unwrap();
        ledger.shutdown().await;

        std::fs::write(dir.path().join("ledger-000000.seg"), older).unwrap();
        let error = open(dir.path(), sinks()).unwrap_err();
        assert!(matches!(&error, LedgerError::SinkAhead { name } if name == "copy"), "{kind}: {error:?}");
        // A new ledger in its place, longer than the copy.
        std::fs::remove_file(dir.path().join("ledger-000000.seg")).unwrap();
        let ledger = open(dir.path(), Sinks::new()).unwrap();
        for n in 0..20 {
            append(&ledger, n).await.unwrap();
        }
        ledger.shutdown().await;
        let error = open(dir.path(), sinks()).unwrap_err();
        assert!(matches!(&error, LedgerError::SinkDiffers { name } if name == "copy"), "{kind}: {error:?}");
        // The copy is untouched.
        assert!(kept.head().size() < verify(dir.path()).unwrap().records(), "{kind}");
    }
}

/// The record of a gap is given to the sink as well, and must not make the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_every_second_time_does_not_fill_the_ledger() {
    let dir = TempDir::new().unwrap();
    let whims: Arc<Whims> = Arc::default();
    whims.every.store(2, Ordering::SeqCst);
    let ledger = open(dir.path(), Sinks::new().add_best_effort("copy", Moody(None, Arc::clone(&whims)))).unwrap();
    for n in 0..100 {
        append(&ledger, n).await.unwrap();
    }
    until("the gap is on record", || gaps(dir.path()).len() >= 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    ledger.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(whims.count.load(Ordering::SeqCst) > 50, "the sink was asked again and again");
    assert!(gaps(dir.path()).len() <= 3, "{:?}", gaps(dir.path()));
}

/// An attacker who puts the ledger back also keeps the copy away for the moment of the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_away_at_the_start_is_compared_when_it_comes_back() {
    for (kind, make) in kinds() {
        let (dir, other, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap(), make());
        let whims: Arc<Whims> = Arc::default();
        let ledger = open(other.path(), Sinks::new().add_required("copy", moody(&*kept, &whims))).unwrap();
        for n in 0..10 {
            append(&ledger, n).await.unwrap();
        }
        ledger.shutdown().await;
        let copy = kept.head();

        whims.broken.store(true, Ordering::SeqCst);
        let ledger = open(dir.path(), Sinks::new().add_best_effort("copy", moody(&*kept, &whims))).unwrap();
        for n in 0..30 {
            append(&ledger, n).await.unwrap();
        }
        until("the gap is on record", || !gaps(dir.path()).is_empty()).await;
        let asked = whims.count.load(Ordering::SeqCst);
        whims.broken.store(false, Ordering::SeqCst);
        append(&ledger, 30).await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        ledger.shutdown().await;
        assert_eq!(whims.count.load(Ordering::SeqCst), asked, "{kind}: a batch was given to a copy of something else");
        assert_eq!(gaps(dir.path()), [("begins".to_owned(), None)], "{kind}: said to be whole");
        assert_eq!(kept.head(), copy, "{kind}: the copy was changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_smaller_segments_takes_every_batch() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let sinks = Sinks::new().add_required("copy", FolderSink::open(there.path(), &options()).unwrap());
    let large = LedgerOptions::new().with_segment_size(4 << 20);
    let ledger = Ledger::open_with(here.path(), sinks, large, SystemClock::shared()).unwrap();
    let (trail, closer) = ledger.begin(RequestFacts::new());
    let people = |n: u16| {
        let subject = |m: u16| {
            SubjectId::from_bytes([&n.to_be_bytes()[..], &m.to_be_bytes(), &[7; 12]].concat().try_into().unwrap())
        };
        (0..1_000).map(subject).fold(Event::new(Action::Export).with_tenant(clinic(0)), Event::add_subject)
    };
    for n in 0..40 {
        trail.record(people(n)).unwrap();
    }
    trail.settled().await.unwrap();
    drop(closer);
    ledger.shutdown().await;
    let (copy, whole) = (verify(there.path()).unwrap(), verify(here.path()).unwrap());
    assert_eq!(copy.head(), whole.head());
    let longest = std::fs::read_dir(there.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).max();
    assert!(longest > Some(128 * 1024), "no batch was longer than a segment of the copy: {longest:?}");
    FolderSink::open(there.path(), &options()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_are_named_once_and_as_a_record_can_say() {
    let dir = TempDir::new().unwrap();
    let sink = || Moody(None, Arc::default());
    for (name, sinks) in [
        ("empty", Sinks::new().add_required("", sink())),
        ("a space", Sinks::new().add_required("a b", sink())),
        ("capitals", Sinks::new().add_best_effort("Copy", sink())),
        ("65 letters", Sinks::new().add_best_effort(&"a".repeat(65), sink())),
        ("twice", Sinks::new().add_required("copy", sink()).add_best_effort("copy", sink())),
    ] {
        assert!(matches!(open(dir.path(), sinks), Err(LedgerError::SinkName { .. })), "{name}");
    }
    // A required one that cannot answer stops the start; one of best effort does not.
    let broken = || {
        let whims = Whims { broken: AtomicBool::new(true), ..Whims::default() };
        Moody(None, Arc::new(whims))
    };
    let error = open(dir.path(), Sinks::new().add_required("copy", broken())).unwrap_err();
    assert!(matches!(error, LedgerError::Sink { name, .. } if name == "copy"));
    let ledger = open(dir.path(), Sinks::new().add_best_effort("copy", broken())).unwrap();
    append(&ledger, 0).await.unwrap();
    ledger.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_shuts_the_doors_if_it_is_required_and_delays_no_shutdown_for_ever() {
    struct Hangs;
    impl Sink for Hangs {
        fn held(&mut self) -> Result<Option<Head>, SinkError> {
            Ok(None)
        }
        fn append(&mut self, _: &Batch) -> Result<(), SinkError> {
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
    }
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let free = open(here.path(), Sinks::new().add_best_effort("slow", Hangs)).unwrap();
    for n in 0..200 {
        append(&free, n).await.unwrap();
    }
    let bound = open(there.path(), Sinks::new().add_required("slow", Hangs)).unwrap();
    let begun = Instant::now();
    assert!(append(&bound, 0).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(8), "a request waited {:?}", begun.elapsed());
    let begun = Instant::now();
    free.shutdown().await;
    bound.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
