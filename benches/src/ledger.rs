//! The ledger, against the disk that it is on.
//!
//! Here the clock on the wall counts: a sync is waiting.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use tower_ward::{
    audit::{Action, Event, Kind, Ledger, LedgerOptions, LedgerQuery, RequestFacts, Stream, leaf_hash, verify},
    clock::SystemClock,
    id::TenantId,
};

use crate::{
    bench::Bench,
    change, paging, postgres, proof,
    ratio::{Effort, Row, Target, compare, median, time},
};

/// About the size of a record.
pub(crate) const RECORD: usize = 400;
const SEGMENT: usize = 16 << 20;

pub(crate) async fn rows(effort: Effort) -> Vec<Row> {
    let bench = Bench::new().await;
    let smoke = effort.rounds <= 10;
    let size = |full, small| if smoke { small } else { full };
    let turn = effort.batch * 50;
    let rounds = effort.rounds.min(15);
    let mut rows = folder(&bench, rounds, turn).await;
    rows.extend(postgres::rows(&bench, rounds, turn).await);
    rows.push(verification(&bench, size(200_000, 2_000)).await);
    rows.push(proof::row(&bench, size(10_000_000, 100_000).into()));
    rows.extend(paging::rows(&bench, size(1_000_000, 20_000)).await);
    rows.push(change::row(&bench, size(2_000, 20)).await);
    rows
}

/// The disk, one producer, and 64.
type Round = (Turn, Turn, Turn);

/// The ledger in a folder, against the disk.
async fn folder(bench: &Bench, rounds: usize, turn: Duration) -> Vec<Row> {
    let floor = Floor::new(bench);
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push((
            floor.turn(turn),
            producers(&bench.ledger, &bench.tenant, 1, turn).await,
            producers(&bench.ledger, &bench.tenant, 64, turn).await,
        ));
    }
    let syncs = per_second(median(measured.iter().map(|m| m.0.rate)));
    let against = |what: &str, least: f64, of: &dyn Fn(&Round) -> f64| Row {
        what: format!("{what}, each waits / fdatasync of an overwritten block"),
        floor: syncs.clone(),
        ours: per_second(median(measured.iter().map(of))),
        ratio: median(measured.iter().map(|m| of(m) / m.0.rate)),
        target: Target::AtLeast(least),
    };
    let tail = time(median(measured.iter().map(|m| m.0.longest)));
    vec![
        against("1 producer", 0.95, &|m| m.1.rate),
        against("64 producers", 8.0, &|m| m.2.rate),
        Row {
            what: format!("64 producers, the longest wait but 1 in 100 / one fdatasync, of which the same is {tail}"),
            floor: time(median(measured.iter().map(|m| m.0.usual))),
            ours: time(median(measured.iter().map(|m| m.2.longest))),
            ratio: median(measured.iter().map(|m| m.2.longest / m.0.usual)),
            target: Target::AtMost(15.0),
        },
        encoding(bench, turn),
    ]
}

pub(crate) fn per_second(rate: f64) -> String {
    format!("{rate:.0} /s")
}

/// What was done in one turn.
pub(crate) struct Turn {
    /// In a second.
    pub(crate) rate: f64,
    /// The median of the waits, in nanoseconds.
    usual: f64,
    /// The longest of 99 in 100.
    longest: f64,
}

impl Turn {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn of(mut waits: Vec<f64>, took: Duration) -> Self {
        waits.sort_by(f64::total_cmp);
        let rate = waits.len() as f64 / took.as_secs_f64();
        Self { rate, usual: waits[waits.len() / 2], longest: waits[waits.len() * 99 / 100] }
    }
}

/// Overwrites blocks of a file that was written full before, and syncs each.
struct Floor(File);

impl Floor {
    fn new(bench: &Bench) -> Self {
        let file = File::create(bench.folder.path().join("floor")).expect("a file");
        file.write_all_at(&vec![0; SEGMENT], 0).expect("written");
        file.sync_all().expect("synced");
        Self(file)
    }

    fn turn(&self, turn: Duration) -> Turn {
        let (start, mut waits) = (Instant::now(), Vec::new());
        while start.elapsed() < turn || waits.is_empty() {
            let (at, begun) = ((waits.len() * RECORD) % (SEGMENT - RECORD), Instant::now());
            self.0.write_all_at(&[7; RECORD], at as u64).expect("written");
            rustix::fs::fdatasync(&self.0).expect("synced");
            waits.push(nanos(begun));
        }
        Turn::of(waits, start.elapsed())
    }
}

pub(crate) fn nanos(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9
}

pub(crate) fn event(tenant: &TenantId) -> Event {
    Event::new(Action::Export).with_tenant(tenant.clone()).with_entity("report").with_reason("x".repeat(60))
}

/// What so many do who record one thing after another and wait for each.
pub(crate) async fn producers(ledger: &Ledger, tenant: &TenantId, count: usize, turn: Duration) -> Turn {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (ledger, event) = (ledger.clone(), event(tenant));
        tasks.spawn(async move {
            let (trail, _closer) = ledger.begin(RequestFacts::new());
            let mut waits = Vec::new();
            while start.elapsed() < turn || waits.is_empty() {
                let begun = Instant::now();
                trail.record(event.clone()).expect("room");
                trail.settled().await.expect("durable");
                waits.push(nanos(begun));
            }
            waits
        });
    }
    let waits = tasks.join_all().await.concat();
    Turn::of(waits, start.elapsed())
}

/// What the writer does for each record besides writing it: its bytes, its hash, and a node of the tree.
fn encoding(bench: &Bench, turn: Duration) -> Row {
    const MOST: f64 = 3_000.0;
    let chain = Stream::Tenant(bench.tenant.clone());
    let page = bench.ledger.danger_page(Some(&chain), &LedgerQuery::new().add_kind(Kind::Event)).expect("read");
    let record = page.records.first().expect("it was written above");
    let effort = Effort { rounds: 11, batch: turn / 50 };
    let (_, took, _) = compare(effort, || (), || (leaf_hash(&record.to_bytes()), leaf_hash(&[7; 64])));
    Row {
        what: "a record's bytes, its hash and a node of the tree / 3 µs".into(),
        floor: time(MOST),
        ours: time(took),
        ratio: took / MOST,
        target: Target::AtMost(1.0),
    }
}

async fn verification(bench: &Bench, records: u32) -> Row {
    const LEAST: f64 = 500_000.0;
    let folder = bench.folder.path().join("long");
    let ledger = Ledger::open(&folder, LedgerOptions::new(), SystemClock::shared()).expect("a ledger");
    for n in 0..records / 2 {
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        trail.record(event(&bench.tenant)).expect("room");
        if n % 1_000 == 0 {
            trail.settled().await.expect("durable");
        }
    }
    ledger.shutdown().await;
    let start = crate::ratio::thread_time();
    let report = verify(&folder).expect("intact");
    let took = crate::ratio::thread_time() - start;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = report.head().size() as f64 / took.as_secs_f64();
    Row {
        what: "verify / 500,000 records per second and core".into(),
        floor: per_second(LEAST),
        ours: per_second(rate),
        ratio: rate / LEAST,
        target: Target::AtLeast(1.0),
    }
}
