//! The ledger, against the disk that it is on.
//!
//! Here the clock on the wall counts: a sync is waiting.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use tower_ward::{
    audit::{Action, Event, Ledger, LedgerFolder, LedgerOptions, LedgerQuery, MAX_PAGE, RequestFacts, Stream, verify},
    clock::SystemClock,
    id::SubjectId,
};

use crate::{
    bench::Bench,
    ratio::{Effort, Row, Target, median},
};

/// About the size of a record.
const RECORD: usize = 400;
const SEGMENT: usize = 16 << 20;

pub(crate) async fn rows(effort: Effort) -> Vec<Row> {
    let bench = Bench::new().await;
    let rounds = effort.rounds.min(15);
    let turn = effort.batch * 50;
    let floor = Floor::new(&bench);
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push((floor.rate(turn), producers(&bench, 1, turn).await, producers(&bench, 64, turn).await));
    }
    let syncs = median(measured.iter().map(|m| m.0));
    let [one, many] = [1, 64].map(|producers| {
        let own = |m: &(f64, f64, f64)| if producers == 1 { m.1 } else { m.2 };
        (median(measured.iter().map(own)), median(measured.iter().map(|m| own(m) / m.0)))
    });
    let per_second = |rate: f64| format!("{rate:.0} /s");
    let mut rows: Vec<Row> = [("1 producer, each waits", one, 0.95), ("64 producers, each waits", many, 8.0)]
        .map(|(what, (rate, ratio), least)| Row {
            what: format!("{what} / fdatasync of an overwritten block"),
            floor: per_second(syncs),
            ours: per_second(rate),
            ratio,
            target: Target::AtLeast(least),
        })
        .into();
    rows.push(verification(&bench, if effort.rounds > 10 { 200_000 } else { 2_000 }).await);
    rows.push(crate::proof::row(&bench, if effort.rounds > 10 { 10_000_000 } else { 10_000 }));
    rows.extend(paging(&bench, if effort.rounds > 10 { 1_000_000 } else { 2_000 }).await);
    rows
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

    fn rate(&self, turn: Duration) -> f64 {
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < turn {
            let at = (count as usize * RECORD) % (SEGMENT - RECORD);
            self.0.write_all_at(&[7; RECORD], at as u64).expect("written");
            rustix::fs::fdatasync(&self.0).expect("synced");
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }
}

fn event(bench: &Bench) -> Event {
    Event::new(Action::Export).with_tenant(bench.tenant.clone()).with_entity("report").with_reason("x".repeat(60))
}

/// Records per second when so many write one after another and wait for each.
async fn producers(bench: &Bench, count: usize, turn: Duration) -> f64 {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (ledger, event) = (bench.ledger.clone(), event(bench));
        tasks.spawn(async move {
            let mut written = 0_u32;
            while start.elapsed() < turn {
                let (trail, closer) = ledger.begin(RequestFacts::new());
                trail.record(event.clone()).expect("room");
                trail.settled().await.expect("durable");
                drop(closer);
                // The end of the trail is a record as well, and nobody waits for it: it is not counted.
                written += 1;
            }
            written
        });
    }
    let written: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(written) / start.elapsed().as_secs_f64()
}

async fn verification(bench: &Bench, records: u32) -> Row {
    const LEAST: f64 = 500_000.0;
    let folder = bench.folder.path().join("long");
    let ledger = Ledger::open(&folder, LedgerOptions::new(), SystemClock::shared()).expect("a ledger");
    for n in 0..records / 2 {
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        trail.record(event(bench)).expect("room");
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
        floor: format!("{LEAST:.0} /s"),
        ours: format!("{rate:.0} /s"),
        ratio: rate / LEAST,
        target: Target::AtLeast(1.0),
    }
}

/// Page by page through all of it, against one check of the same files. A record is one of 251 people's.
async fn paging(bench: &Bench, records: u32) -> [Row; 2] {
    let folder = bench.folder.path().join("paging");
    let ledger = Ledger::open(&folder, LedgerOptions::new(), SystemClock::shared()).expect("a ledger");
    let person = |n: u32| SubjectId::from_bytes(u128::from(n % 251).to_be_bytes());
    let (trail, closer) = ledger.begin(RequestFacts::new());
    for n in 0..records {
        trail.record(event(bench).add_subject(person(n))).expect("room");
        if n % 1_000 == 0 {
            trail.settled().await.expect("durable");
        }
    }
    trail.settled().await.expect("durable");
    drop(closer);
    ledger.shutdown().await;
    let timed = |what: &dyn Fn()| {
        let start = crate::ratio::thread_time();
        what();
        f64::from(records) / (crate::ratio::thread_time() - start).as_secs_f64()
    };
    let floor = timed(&|| assert_eq!(verify(&folder).expect("intact").torn(), None));
    let chain = Stream::Tenant(bench.tenant.clone());
    let beside = LedgerFolder::open(&folder).expect("a ledger");
    let every = LedgerQuery::new().with_limit(MAX_PAGE.try_into().expect("not zero"));
    let one = every.clone().with_subject(person(7));
    [("every record", every), ("one person's", one)].map(|(what, query)| {
        let rate = timed(&|| {
            let mut cursor = None::<String>;
            loop {
                let query = cursor.take().into_iter().fold(query.clone(), LedgerQuery::with_cursor);
                cursor = beside.danger_page(Some(&chain), &query).expect("read").next;
                if cursor.is_none() {
                    break;
                }
            }
        });
        Row {
            what: format!("paging through {records} records, 1,000 a page: {what} / verify"),
            floor: format!("{floor:.0} /s"),
            ours: format!("{rate:.0} /s"),
            ratio: rate / floor,
            target: Target::None,
        }
    })
}
