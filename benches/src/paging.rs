//! Page by page through a clinic's chain, against one check of the same files.

use std::num::NonZeroUsize;

use tower_ward::{
    audit::{Ledger, LedgerFolder, LedgerOptions, LedgerQuery, MAX_PAGE, RequestFacts, Stream, verify},
    clock::SystemClock,
    id::{SubjectId, TenantId},
};

use crate::{
    bench::Bench,
    ledger::{event, per_second},
    ratio::{Row, Target, median, thread_time, time},
};

/// Records of a page, unless more are asked for.
const PAGE: u32 = 100;
/// Each fifth record is another clinic's.
const EACH: u32 = 4;
/// Of whom a record is.
const PEOPLE: u32 = 251;

/// Through so many records of one clinic, the newest first.
pub(crate) async fn rows(bench: &Bench, records: u32) -> Vec<Row> {
    let folder = bench.folder.path().join("paging");
    let ledger = Ledger::open(&folder, LedgerOptions::new(), SystemClock::shared()).expect("a ledger");
    let other = TenantId::new("elsewhere").expect("a name");
    let person = |n: u32| SubjectId::from_bytes(u128::from(n % PEOPLE).to_be_bytes());
    let (trail, closer) = ledger.begin(RequestFacts::new());
    for n in 0..records {
        trail.record(event(&bench.tenant).add_subject(person(n))).expect("room");
        if n % EACH == 0 {
            trail.record(event(&other).add_subject(person(n))).expect("room");
        }
        if n % 1_000 == 0 {
            trail.settled().await.expect("durable");
        }
    }
    trail.settled().await.expect("durable");
    drop(closer);
    ledger.shutdown().await;

    let start = thread_time();
    let all = verify(&folder).expect("intact").records();
    let checked = (thread_time() - start).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let floor = all as f64 / checked;
    let chain = Stream::Tenant(bench.tenant.clone());
    let every = LedgerQuery::new();
    let large = every.clone().with_limit(NonZeroUsize::new(MAX_PAGE).expect("not zero"));
    let one = every.clone().with_subject(person(7));
    let mut rows = Vec::new();
    // The end of the trail is a record as well.
    for (what, query, found) in [
        ("1,000 a page", large, records + 1),
        ("100 a page", every, records + 1),
        ("one person's, 100 a page", one, (7..records).step_by(PEOPLE as usize).len().try_into().expect("few")),
    ] {
        let walk = Walk::of(&folder, &chain, &query);
        assert_eq!(walk.found, found as usize, "{what}");
        // Of what was looked at, which is all of it whatever is asked for.
        let rate = floor * checked / walk.pages.iter().sum::<f64>();
        rows.push(Row {
            what: format!("paging through {records} records of one clinic, {what} / verify"),
            floor: per_second(floor),
            ours: per_second(rate),
            ratio: rate / floor,
            target: Target::None,
        });
        if query == LedgerQuery::new() {
            // A single page may find the processor at something else: the newest ten, and the oldest ten.
            let ends = [("newest", &walk.pages[..10]), ("oldest", &walk.pages[walk.pages.len() - 10..])];
            for (which, pages) in ends {
                let (page, least) = (median(pages.iter().map(|took| took * 1e9)), f64::from(PAGE) / floor * 1e9);
                rows.push(Row {
                    what: format!("one page of 100, the {which} of {records} / verify of 100 records"),
                    floor: time(least),
                    ours: time(page),
                    ratio: page / least,
                    target: Target::None,
                });
            }
        }
    }
    rows
}

/// From the first page to the last.
struct Walk {
    /// Seconds of each.
    pages: Vec<f64>,
    found: usize,
}

impl Walk {
    fn of(folder: &std::path::Path, chain: &Stream, query: &LedgerQuery) -> Self {
        let beside = LedgerFolder::open(folder).expect("a ledger");
        let (mut walk, mut query) = (Self { pages: Vec::new(), found: 0 }, query.clone());
        loop {
            let start = thread_time();
            let page = beside.danger_page(Some(chain), &query).expect("read");
            walk.pages.push((thread_time() - start).as_secs_f64());
            walk.found += page.records.len();
            let Some(next) = page.next else { return walk };
            query = query.with_cursor(next);
        }
    }
}
