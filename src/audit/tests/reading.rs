//! Pages: which records, in which order, in how much memory, and what is noticed between two of them.

use std::{collections::HashSet, num::NonZeroUsize};

use super::*;
use crate::{
    audit::{
        ledger::{LedgerFolder, LedgerPage, LedgerQuery, TimelineError},
        record::{End, Event, Kind, Outcome, Stream},
        trail::Closer,
    },
    clock::Timestamp,
    id::SessionId,
};

fn chain(name: &str) -> Stream {
    Stream::Tenant(tenant(name))
}

fn limit(n: usize) -> LedgerQuery {
    LedgerQuery::new().with_limit(NonZeroUsize::new(n).unwrap())
}

/// All pages, one after another; the next one begins beside what the last one ended with.
fn pages(mut read: impl FnMut(&LedgerQuery) -> Result<LedgerPage, TimelineError>, query: &LedgerQuery) -> Vec<Record> {
    let (mut all, mut query) = (Vec::new(), query.clone());
    let mut edge = None;
    loop {
        let page = read(&query).unwrap();
        assert!(page.records.len() <= query.limit_for_test());
        if let Some(numbers) = page.sequences {
            let (near, far) = match query.is_oldest_first() {
                true => (*numbers.start(), *numbers.end()),
                false => (*numbers.end(), *numbers.start()),
            };
            assert!(edge.is_none_or(|edge: u64| edge.abs_diff(near) == 1), "{edge:?} {near}");
            edge = Some(far);
        }
        all.extend(page.records);
        let Some(next) = page.next else { return all };
        query = query.with_cursor(next);
    }
}

fn user(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

/// A ledger of several clinics and segments, in which everything that can be asked for differs.
async fn mixed(dir: &Path, clock: &ManualClock) -> (Ledger, Vec<Closer>) {
    let ledger = Ledger::open(dir, options(), clock.shared()).unwrap();
    let mut open = Vec::new();
    for n in 0..600_u16 {
        let name = ["clinic-a", "clinic-b", "clinic-c"][usize::from(n) % 3];
        let facts = RequestFacts::new().with_route(["/notes", "/patients"][usize::from(n) % 2]);
        let (trail, mut closer) = ledger.begin(facts);
        let who = Actor { user: Some(user((n % 7) as u8)), session: Some(session((n % 11) as u8)), ..actor(name) };
        trail.set_actor(who);
        match n % 5 {
            0 => trail.door(door(&[subject((n % 13) as u8), subject(99)])).unwrap(),
            1 => trail.attempt(change(&[subject((n % 13) as u8)])).unwrap().committed(),
            2 => drop(trail.attempt(change(&[])).unwrap()),
            3 => trail
                .record(Event::new(Action::Export).with_entity("report").with_about(user(40 + (n % 3) as u8)))
                .unwrap(),
            _ => trail.record(Event::new(Action::Job).with_tenant(tenant(name))).unwrap(),
        }
        clock.advance(Duration::from_secs(1));
        if n % 40 == 0 {
            trail.settled().await.unwrap();
        }
        if n == 599 {
            trail.settled().await.unwrap();
            open.push(closer);
        } else {
            closer.finish(End::Completed);
        }
    }
    // An end that is on its way is no longer.
    let (trail, closer) = trail(&ledger, "clinic-z");
    trail.door(door(&[])).unwrap();
    trail.settled().await.unwrap();
    open.push(closer);
    (ledger, open)
}

fn seconds(n: i64) -> Timestamp {
    let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    start.checked_add(jiff::SignedDuration::from_secs(n)).unwrap()
}

#[tokio::test]
async fn every_filter_gives_what_a_look_at_every_record_gives_in_both_orders_and_any_page() {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    let (ledger, _open) = mixed(dir.path(), &clock).await;
    let all = records(dir.path());
    assert!(crate::audit::verify(dir.path()).unwrap().segments() > 3);
    let known = |kind| all.iter().find(|r| r.kind == kind && r.stream == chain("clinic-a")).unwrap();
    let (trail, attempt) = (known(Kind::Opened).trail.unwrap(), known(Kind::Attempt).attempt.unwrap());
    let new = LedgerQuery::new;
    type Keep = Box<dyn Fn(&Record) -> bool>;
    let cases: Vec<(&str, LedgerQuery, Keep)> = vec![
        ("nothing", new(), Box::new(|_| true)),
        ("a subject", new().with_subject(subject(9)), Box::new(|r| r.subjects.contains(&subject(9)))),
        ("the second subject", new().with_subject(subject(99)), Box::new(|r| r.subjects.contains(&subject(99)))),
        ("a user", new().with_user(user(3)), Box::new(|r| r.user == Some(user(3)))),
        ("about", new().with_about(user(41)), Box::new(|r| r.about == Some(user(41)))),
        ("a session", new().with_session(session(5)), Box::new(|r| r.session == Some(session(5)))),
        ("a trail", new().with_trail(trail), Box::new(move |r| r.trail == Some(trail))),
        ("an attempt", new().with_attempt(attempt), Box::new(move |r| r.attempt == Some(attempt))),
        ("an action", new().add_action(Action::Export), Box::new(|r| r.action == Some(Action::Export))),
        (
            "two actions",
            new().add_action(Action::Job).add_action(Action::Update).add_action(Action::Job),
            Box::new(|r| matches!(r.action, Some(Action::Job | Action::Update))),
        ),
        ("a kind", new().add_kind(Kind::Closed), Box::new(|r| r.kind == Kind::Closed)),
        ("an entity", new().with_entity("report"), Box::new(|r| r.entity() == Some("report"))),
        ("an outcome", new().with_outcome(Outcome::RolledBack), Box::new(|r| r.outcome == Some(Outcome::RolledBack))),
        ("a route", new().with_route("/notes"), Box::new(|r| r.route() == Some("/notes"))),
        (
            "a time, both sides of its edges",
            new().with_from(seconds(100)).with_until(seconds(500)),
            Box::new(|r| r.at >= seconds(100) && r.at < seconds(500)),
        ),
        ("a late time", new().with_from(seconds(580)), Box::new(|r| r.at >= seconds(580))),
        ("an early time", new().with_until(seconds(20)), Box::new(|r| r.at < seconds(20))),
        (
            "several at once",
            new().with_user(user(3)).add_kind(Kind::Outcome).with_outcome(Outcome::Committed),
            Box::new(|r| r.user == Some(user(3)) && r.kind == Kind::Outcome && r.outcome == Some(Outcome::Committed)),
        ),
        ("nobody", new().with_user(user(200)), Box::new(|_| false)),
    ];
    for name in ["clinic-a", "clinic-nowhere"] {
        for (what, query, keep) in &cases {
            let mut expected: Vec<_> = all.iter().filter(|r| r.stream == chain(name) && keep(r)).collect();
            for oldest_first in [true, false] {
                let query = if oldest_first { query.clone().oldest_first() } else { query.clone() };
                for size in [1_000, 60] {
                    let query = query.clone().with_limit(NonZeroUsize::new(size).unwrap());
                    // Twice: the second time, segments are known and may be passed by.
                    for _ in 0..2 {
                        let found = pages(|query| ledger.danger_page(Some(&chain(name)), query), &query);
                        assert!(found.iter().eq(expected.iter().copied()), "{name}: {what}, {size} a page");
                    }
                }
                expected.reverse();
            }
        }
    }
    // All chains together, and the folder from beside.
    let beside = LedgerFolder::open(dir.path()).unwrap();
    assert_eq!(pages(|query| ledger.danger_page(None, query), &limit(1_000).oldest_first()), all);
    assert_eq!(pages(|query| beside.danger_page(None, query), &limit(100).oldest_first()), all);
    ledger.shutdown().await;
}

#[tokio::test]
async fn what_is_written_while_somebody_pages_moves_no_page() {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    let (ledger, _open) = mixed(dir.path(), &clock).await;
    let before: Vec<_> = records(dir.path()).into_iter().filter(|r| r.stream == chain("clinic-a")).collect();
    for oldest_first in [true, false] {
        let query = if oldest_first { limit(50).oldest_first() } else { limit(50) };
        let (writer, _closer) = trail(&ledger, "clinic-a");
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query = cursor.iter().fold(query.clone(), |query, cursor| query.with_cursor(cursor.as_str()));
            let page = ledger.danger_page(Some(&chain("clinic-a")), &query).unwrap();
            writer.record(Event::new(Action::Search).with_entity("ledger")).unwrap();
            writer.settled().await.unwrap();
            found.extend(page.records.into_iter().filter(|r| r.entity() != Some("ledger") && r.kind != Kind::Closed));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.sort_by_key(Record::index);
        let before: Vec<_> = before.iter().filter(|r| r.kind != Kind::Closed).cloned().collect();
        assert_eq!(found, before);
    }
    ledger.shutdown().await;
}

#[tokio::test]
async fn a_cursor_of_another_chain_or_query_and_any_other_text_is_refused() {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    let (ledger, _open) = mixed(dir.path(), &clock).await;
    let query = limit(5).with_user(user(3));
    let read = |name: &str, query: &LedgerQuery| ledger.danger_page(Some(&chain(name)), query);
    let next = read("clinic-a", &query).unwrap().next.unwrap();
    assert!(read("clinic-a", &query.clone().with_cursor(next.clone())).is_ok());
    assert!(read("clinic-a", &limit(9).with_user(user(3)).with_cursor(next.clone())).is_ok(), "another size of page");
    let refused = [
        ("another chain", read("clinic-b", &query.clone().with_cursor(next.clone()))),
        ("all chains", ledger.danger_page(None, &query.clone().with_cursor(next.clone()))),
        ("another user", read("clinic-a", &limit(5).with_user(user(4)).with_cursor(next.clone()))),
        ("another filter", read("clinic-a", &query.clone().add_kind(Kind::Opened).with_cursor(next.clone()))),
        ("the other order", read("clinic-a", &query.clone().oldest_first().with_cursor(next.clone()))),
        ("cut", read("clinic-a", &query.clone().with_cursor(&next[..next.len() - 4]))),
        ("longer", read("clinic-a", &query.clone().with_cursor(format!("{next}AAAA")))),
        ("empty", read("clinic-a", &query.clone().with_cursor(""))),
        ("no base64url", read("clinic-a", &query.clone().with_cursor("%"))),
        ("endless", read("clinic-a", &query.clone().with_cursor("A".repeat(100_000)))),
    ];
    for (name, read) in refused {
        assert!(matches!(read, Err(TimelineError::Cursor)), "{name}: {read:?}");
    }
    ledger.shutdown().await;
}

#[test]
fn a_query_that_can_match_nothing_is_an_error() {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger::prepare(dir.path(), options(), clock().shared()).unwrap().0;
    for (field, query) in [
        ("limit", limit(1_001)),
        ("entity", LedgerQuery::new().with_entity("")),
        ("entity", LedgerQuery::new().with_entity(&"x".repeat(65))),
        ("route", LedgerQuery::new().with_route(&"x".repeat(257))),
        ("until", LedgerQuery::new().with_from(seconds(1)).with_until(seconds(1))),
        ("until", LedgerQuery::new().with_from(seconds(2)).with_until(seconds(1))),
    ] {
        let refused = ledger.danger_page(None, &query);
        assert!(matches!(refused, Err(TimelineError::Query { field: named }) if named == field), "{field}");
    }
    for query in [limit(1_000), LedgerQuery::new().with_entity(&"x".repeat(64))] {
        assert!(ledger.danger_page(None, &query).is_ok());
    }
}

/// One page names no more people than one record of the reading can.
#[tokio::test]
async fn a_page_ends_before_it_names_more_people_than_its_own_record_can() {
    let dir = TempDir::new().unwrap();
    let options = options().with_segment_size(1024 * 1024);
    let ledger = Ledger::open(dir.path(), options, clock().shared()).unwrap();
    let (trail, _closer) = trail(&ledger, "clinic-a");
    let people = |from: u16, count: u16| -> Vec<SubjectId> {
        (from..from + count).map(|n| SubjectId::from_bytes(u128::from(n).to_be_bytes())).collect()
    };
    for (from, count) in [(0, 400), (200, 400), (600, 400), (900, 200), (0, 1_000)] {
        trail.door(door(&people(from, count))).unwrap();
    }
    trail.settled().await.unwrap();
    for (query, expected) in [(limit(1_000), vec![1, 3, 1]), (limit(1_000).oldest_first(), vec![3, 1, 1])] {
        let (mut query, mut sizes) = (query, Vec::new());
        loop {
            let page = ledger.danger_page(Some(&chain("clinic-a")), &query).unwrap();
            let named: HashSet<_> = page.records.iter().flat_map(|r| r.subjects.clone()).collect();
            assert!(named.len() <= 1_000);
            sizes.push(page.records.len());
            let Some(next) = page.next else { break };
            query = query.with_cursor(next);
        }
        sizes.retain(|size| *size > 0);
        assert_eq!(sizes, expected);
    }
    ledger.shutdown().await;
}
