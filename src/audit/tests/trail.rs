//! Doors, ends, attempts, refusals.

use std::num::NonZeroUsize;

use super::*;
use crate::audit::{
    End, Event, Kind, LedgerError, Outcome, Stream, TrailError,
    record::{MAX_RECORD, MAX_SUBJECTS, MAX_WHY, Refusal},
    verify,
};

fn slots(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

#[tokio::test]
async fn a_request_that_opens_no_door_costs_no_disk() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for _ in 0..10_000 {
        drop(ledger.begin(RequestFacts::new()));
    }
    ledger.shutdown().await;
    assert_eq!(ledger.head().size(), 0);
}

// proves CLA-17
#[tokio::test]
async fn a_record_says_who_did_what_when_from_where_and_why() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let facts = RequestFacts::new()
        .with_peer([192, 0, 2, 7].into())
        .with_request_id("req-1")
        .with_method(&http::Method::GET)
        .with_route("/patients/{id}");
    let (trail, mut closer) = ledger.begin(facts);
    trail.set_actor(actor("clinic-a"));
    trail.door(door(&[subject(4)])).unwrap();
    trail.settled().await.unwrap();
    assert_eq!(ledger.head().size(), 1);
    closer.answered(http::StatusCode::OK);
    closer.sent(12);
    closer.finish(End::Completed);
    drop(closer);
    ledger.shutdown().await;
    let records = records(dir.path());
    let [opened, closed] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        String::from_utf8(opened.to_bytes()).unwrap(),
        format!(
            concat!(
                r#"{{"v":1,"index":0,"stream":"clinic-a","seq":0,"prev":"{}","at":"2026-01-02T03:04:05.000000000Z","#,
                r#""mono":0,"trail":"{}","kind":"opened","action":"read","user":"01010101-0101-0101-0101-010101010101","#,
                r#""role":"doctor","permission":"notes.read","entity":"note","#,
                r#""subjects":["04040404-0404-0404-0404-040404040404"],"why":"assigned","peer":"192.0.2.7","#,
                r#""request":"req-1","method":"GET","route":"/patients/{{id}}"}}"#,
            ),
            "0".repeat(64),
            trail.id(),
        ),
    );
    assert_eq!((closed.kind(), closed.end(), closed.bytes()), (Kind::Closed, Some(End::Completed), Some(12)));
    assert_eq!((closed.trail(), closed.sequence()), (Some(trail.id()), 1));
}

#[tokio::test]
async fn a_door_without_an_actor_stays_shut() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    assert_eq!(trail.door(door(&[])), Err(TrailError::Anonymous));
    trail.set_actor(Actor { user: None, role: None, ..actor("clinic-a") });
    assert_eq!(trail.door(door(&[])), Err(TrailError::Anonymous));
    assert_eq!(trail.attempt(change(&[])).err(), Some(TrailError::Anonymous));
    trail.set_actor(actor("clinic-a"));
    assert_eq!(trail.door(door(&[])), Ok(()));
}

#[tokio::test]
async fn a_grant_smuggled_out_of_its_request_opens_nothing() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    trail.door(door(&[])).unwrap();
    drop(closer);
    assert!(trail.is_closed());
    assert_eq!(trail.door(door(&[])), Err(TrailError::Closed));
    assert_eq!(trail.attempt(change(&[])).err(), Some(TrailError::Closed));
    assert_eq!(trail.record(Event::new(Action::Job)), Err(TrailError::Closed));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed cancelled"]);
}

#[tokio::test]
async fn a_trail_opens_doors_until_its_deadline() {
    let dir = TempDir::new().unwrap();
    let clock = clock();
    let options = options().with_trail_deadline(Duration::from_secs(5));
    let ledger = Ledger::open(dir.path(), options, clock.shared()).unwrap();
    let (trail, _closer) = trail(&ledger, "clinic-a");
    clock.advance(Duration::from_nanos(4_999_999_999));
    assert!(!trail.is_closed());
    assert_eq!(trail.door(door(&[])), Ok(()));
    clock.advance(Duration::from_nanos(1));
    assert!(trail.is_closed());
    assert_eq!(trail.door(door(&[])), Err(TrailError::Expired));
}

/// A trail of user number `n`.
fn trail_of(ledger: &Ledger, n: u8) -> (Trail, crate::audit::trail::Closer) {
    let (trail, closer) = ledger.begin(RequestFacts::new());
    trail.set_actor(Actor { user: Some(UserId::from_bytes([n; 16])), ..actor("clinic-a") });
    (trail, closer)
}

#[tokio::test]
async fn one_user_keeps_no_more_trails_open_than_the_setting_and_nobody_elses_shut() {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger::open(dir.path(), options().with_trails_per_user(slots(2)), clock().shared()).unwrap();
    let mut open: Vec<_> = (0..2).map(|_| trail_of(&ledger, 1)).collect();
    for (trail, _) in &open {
        // However many doors, it is one trail.
        for _ in 0..3 {
            assert_eq!(trail.door(door(&[])), Ok(()));
        }
    }
    let (third, other) = (trail_of(&ledger, 1), trail_of(&ledger, 2));
    assert_eq!(third.0.door(door(&[])), Err(TrailError::TooManyTrails));
    assert_eq!(third.0.attempt(change(&[])).err(), Some(TrailError::TooManyTrails));
    assert_eq!(other.0.door(door(&[])), Ok(()));
    assert_eq!(ledger.seated(), 2);
    // The end of one makes room for the next.
    drop(open.pop());
    assert_eq!(third.0.door(door(&[])), Ok(()));
    drop((open, third, other));
    assert_eq!(ledger.seated(), 0, "who has nothing open is not kept");
}

#[tokio::test]
async fn a_door_that_found_no_room_in_the_queue_counts_for_nobody() {
    let dir = TempDir::new().unwrap();
    let (ledger, _writer) = Ledger::prepare(dir.path(), options().with_queue(slots(1)), clock().shared()).unwrap();
    let (trail, _closer) = trail_of(&ledger, 1);
    assert_eq!(trail.door(door(&[])), Err(TrailError::Full));
    assert_eq!(ledger.seated(), 0);
}

#[tokio::test]
async fn a_full_queue_refuses_doors_and_still_takes_every_end() {
    let dir = TempDir::new().unwrap();
    let (ledger, writer) = Ledger::prepare(dir.path(), options().with_queue(slots(6)), clock().shared()).unwrap();
    let open: Vec<_> = (0..3).map(|_| trail(&ledger, "clinic-a")).collect();
    for (trail, _) in &open {
        // The record, and a place for the end.
        assert_eq!(trail.door(door(&[])), Ok(()));
    }
    let late = trail(&ledger, "clinic-a");
    assert_eq!(late.0.door(door(&[])), Err(TrailError::Full));
    assert_eq!(open[0].0.door(door(&[])), Err(TrailError::Full));
    assert_eq!(open[0].0.attempt(change(&[])).err(), Some(TrailError::Full));
    // Who is refused is counted when there is no room.
    late.0.refuse(Refusal { reason: "not_assigned", ..Refusal::default() });
    drop(open);
    drop(late);
    ledger.start(writer).unwrap();
    ledger.shutdown().await;
    let mut expected = vec!["opened"; 3];
    expected.extend(["closed cancelled"; 3]);
    expected.push("refused not_assigned");
    assert_eq!(words(dir.path()), expected);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn best_effort_is_for_rows_of_nobody_alone_and_what_it_loses_is_counted() {
    let dir = TempDir::new().unwrap();
    let (ledger, writer) = Ledger::prepare(dir.path(), options().with_queue(slots(4)), clock().shared()).unwrap();
    let (trail, closer) = trail(&ledger, "clinic-a");
    trail.set_best_effort();
    assert_eq!(trail.door(door(&[])), Ok(()));
    assert!(trail.is_settled(), "nobody waits for it");
    // A person's door and a list are waited for, and keep a place for the end.
    assert_eq!(trail.door(door(&[subject(1)])), Ok(()));
    assert!(!trail.is_settled());
    assert_eq!(trail.door(Door { action: Action::Search, ..door(&[]) }), Ok(()));
    // No room is left.
    assert_eq!(trail.door(door(&[])), Ok(()));
    assert_eq!(trail.door(door(&[subject(2)])), Err(TrailError::Full));
    assert_eq!(trail.door(Door { action: Action::Search, ..door(&[]) }), Err(TrailError::Full));
    assert_eq!(trail.attempt(change(&[])).err(), Some(TrailError::Full));
    drop(closer);
    ledger.start(writer).unwrap();
    ledger.shutdown().await;
    let gaps: Vec<_> = records(dir.path()).into_iter().filter(|r| r.kind() == Kind::Gap).collect();
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.entity(), gap.reason(), gap.count()), (Some("best effort"), Some("lost"), Some(1)));
}

#[tokio::test]
async fn a_failed_door_gives_its_places_back() {
    let dir = TempDir::new().unwrap();
    // One place: a door needs two.
    let (ledger, writer) = Ledger::prepare(dir.path(), options().with_queue(slots(1)), clock().shared()).unwrap();
    let (trail, _closer) = trail(&ledger, "clinic-a");
    for _ in 0..3 {
        assert_eq!(trail.door(door(&[])), Err(TrailError::Full));
    }
    assert!(trail.is_settled());
    assert!(ledger.reserve().is_ok());
    drop(writer);
}

#[tokio::test]
async fn what_does_not_fit_into_a_record_is_refused() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    let many = vec![subject(1); MAX_SUBJECTS + 1];
    assert_eq!(trail.door(door(&many)), Err(TrailError::TooManySubjects));
    assert_eq!(trail.door(door(&many[1..])), Ok(()));
    let why = |n| Door { why: "w".repeat(n), ..door(&[]) };
    assert_eq!(trail.door(why(MAX_WHY + 1)), Err(TrailError::TooLong { field: "why" }));
    assert_eq!(trail.door(why(MAX_WHY)), Ok(()));
    let event = |n: usize| Event::new(Action::Job).with_reason("r".repeat(n));
    assert_eq!(trail.record(event(257)), Err(TrailError::TooLong { field: "reason" }));
    assert_eq!(trail.record(event(256)), Ok(()));
    drop(closer);
    ledger.shutdown().await;
    assert_eq!(records(dir.path()).len(), 4);
}

#[tokio::test]
async fn who_acts_in_a_request_is_said_once() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    let other = UserId::from_bytes([7; 16]);
    assert!(trail.set_actor(actor("clinic-a")), "the same again is no other");
    assert!(!trail.set_actor(Actor { user: Some(other), ..actor("clinic-a") }), "another user");
    assert!(!trail.set_actor(actor("clinic-b")), "the same user of another clinic");
    assert!(!trail.set_actor(Actor::default()), "nobody");
    trail.door(door(&[])).unwrap();
    drop(closer);
    ledger.shutdown().await;
    for record in records(dir.path()) {
        assert_eq!((record.user(), record.tenant()), (actor("clinic-a").user, Some(&tenant("clinic-a"))));
    }
}

#[tokio::test]
async fn a_refusal_about_an_account_is_no_doing_of_its_user() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (stranger, _closer) = ledger.begin(RequestFacts::new());
    let (victim, clinic) = (UserId::from_bytes([7; 16]), tenant("clinic-a"));
    let (about, tenant) = (Some(victim), Some(&clinic));
    stranger.refuse(Refusal { reason: "login_invalid", about, tenant, ..Refusal::default() });
    ledger.shutdown().await;
    let found = records(dir.path());
    assert_eq!((found.len(), found[0].user(), found[0].about()), (1, None, about));
    assert_eq!((found[0].tenant(), found[0].count()), (tenant, None));
}

/// A record that cannot be read back would stop the next start.
#[tokio::test]
async fn no_name_however_long_makes_a_record_that_cannot_be_read() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let long: &'static str = "x".repeat(MAX_RECORD).leak();
    let (trail, closer) = ledger.begin(RequestFacts::new().with_request_id(long).with_route(long));
    trail.set_actor(Actor { role: Some(long.into()), ..actor("clinic-a") });
    trail.set_route(&long.into());
    trail.door(door(&[])).unwrap();
    let refusal = Refusal { reason: long, permission: Some(long), entity: Some(long), ..Refusal::default() };
    trail.refuse(refusal);
    let (stranger, _closer) = ledger.begin(RequestFacts::new());
    stranger.refuse(Refusal { reason: long, ..Refusal::default() });
    drop(closer);
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "refused refused", "closed cancelled", "refused refused"]);
}

#[tokio::test]
async fn a_change_is_recorded_before_and_after() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| trail.attempt(change(&[subject(n)])).unwrap());
    let ids = [one.id(), two.id(), three.id(), four.id()];
    trail.settled().await.unwrap();
    drop(closer);
    // Outcomes may follow the end of the request.
    one.committed();
    two.rolled_back();
    three.unknown();
    drop(four);
    ledger.shutdown().await;
    assert_eq!(
        words(dir.path()),
        [
            "attempt",
            "attempt",
            "attempt",
            "attempt",
            "closed cancelled",
            "outcome committed",
            "outcome rolled_back",
            "outcome unknown",
            "outcome rolled_back",
        ],
    );
    let records = records(dir.path());
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(records[n].attempt(), Some(id));
        let outcome = &records[n + 5];
        assert_eq!((outcome.attempt(), outcome.subjects()), (Some(id), records[n].subjects()));
    }
}

#[tokio::test]
async fn a_change_that_a_crash_cut_off_is_settled_from_the_database() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    let [lost, known, unknown] = [1, 2, 3].map(|n| trail.attempt(change(&[subject(n)])).unwrap());
    let (lost_id, unknown_id) = (lost.id(), unknown.id());
    known.committed();
    unknown.unknown();
    trail.settled().await.unwrap();
    assert_eq!(ledger.unsettled().iter().map(|u| u.attempt()).collect::<Vec<_>>(), [unknown_id]);
    // A crash drops nothing: the outcome is never sent.
    std::mem::forget(lost);
    std::mem::forget(closer);
    let stopping = ledger.clone();
    tokio::time::timeout(Duration::from_secs(20), stopping.shutdown()).await.unwrap();

    let ledger = open(dir.path());
    let mut unsettled = ledger.unsettled();
    unsettled.sort_by_key(|u| u.subjects().to_vec());
    assert_eq!(unsettled.iter().map(|u| u.attempt()).collect::<Vec<_>>(), [lost_id, unknown_id]);
    assert_eq!(unsettled[0].tenant(), Some(&tenant("clinic-a")));
    ledger.settle(lost_id, Outcome::RolledBack).await.unwrap();
    ledger.settle(unknown_id, Outcome::Committed).await.unwrap();
    assert_eq!(ledger.settle(lost_id, Outcome::RolledBack).await, Err(TrailError::UnknownAttempt));
    ledger.shutdown().await;
    assert_eq!(open(dir.path()).unsettled(), []);
    let last = records(dir.path()).pop().unwrap();
    assert_eq!(
        (last.attempt(), last.outcome(), last.subjects()),
        (Some(unknown_id), Some(Outcome::Committed), &[subject(3)][..])
    );
}

#[tokio::test]
async fn refusals_of_strangers_are_counted_and_those_of_users_recorded() {
    let dir = TempDir::new().unwrap();
    let clock = clock();
    let ledger = Ledger::open(dir.path(), options(), clock.shared()).unwrap();
    for n in 0..1_000_u16 {
        let facts = RequestFacts::new().with_peer([192, 0, 2, (n % 2) as u8].into());
        let (trail, _closer) = ledger.begin(facts);
        trail.refuse(Refusal { reason: "no_token", status: Some(401), ..Refusal::default() });
    }
    let (known, _closer) = trail(&ledger, "clinic-a");
    known.refuse(Refusal {
        reason: "not_assigned",
        status: Some(404),
        permission: Some("notes.read"),
        subjects: &[subject(3)],
        ..Refusal::default()
    });
    assert!(known.is_settled(), "a refusal is not waited for");
    ledger.shutdown().await;
    let mut records = records(dir.path());
    let refused = records.remove(0);
    assert_eq!((refused.reason(), refused.subjects()), (Some("not_assigned"), &[subject(3)][..]));
    assert_eq!((refused.action(), refused.tenant()), (Some(Action::Denied), Some(&tenant("clinic-a"))));
    let counted: Vec<_> = records.iter().map(|r| (r.stream(), r.reason(), r.count(), r.status())).collect();
    assert_eq!(counted, [(&Stream::Platform, Some("no_token"), Some(500), Some(401)); 2]);
}

#[tokio::test]
async fn counts_of_refusals_are_written_when_their_minute_is_over() {
    let dir = TempDir::new().unwrap();
    let clock = clock();
    let ledger = Ledger::open(dir.path(), options(), clock.shared()).unwrap();
    let (stranger, _closer) = ledger.begin(RequestFacts::new());
    stranger.refuse(Refusal { reason: "no_token", ..Refusal::default() });
    clock.advance(Duration::from_secs(60));
    // The writer looks once a second.
    for _ in 0..100 {
        if ledger.head().size() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ledger.head().size(), 1);
    ledger.shutdown().await;
}

#[tokio::test]
async fn one_tenant_too_many_opens_no_door() {
    let dir = TempDir::new().unwrap();
    let two = options().with_tenants(slots(2));
    let ledger = Ledger::open(dir.path(), two.clone(), clock().shared()).unwrap();
    for name in ["clinic-a", "clinic-b", "clinic-a"] {
        assert_eq!(trail(&ledger, name).0.door(door(&[])), Ok(()), "{name}");
    }
    assert_eq!(trail(&ledger, "clinic-c").0.door(door(&[])), Err(TrailError::TooManyTenants));
    ledger.shutdown().await;
    let one = options().with_tenants(slots(1));
    assert!(matches!(Ledger::open(dir.path(), one, clock().shared()), Err(LedgerError::TooManyTenants)));
    let ledger = Ledger::open(dir.path(), two, clock().shared()).unwrap();
    assert_eq!(trail(&ledger, "clinic-c").0.door(door(&[])), Err(TrailError::TooManyTenants));
    assert_eq!(trail(&ledger, "clinic-b").0.door(door(&[])), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_keep_every_chain_whole() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let (trail, mut closer) = trail(&ledger, ["clinic-a", "clinic-b", "clinic-c"][n % 3]);
                    trail.door(door(&[])).unwrap();
                    trail.settled().await.unwrap();
                    closer.finish(End::Completed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ledger.shutdown().await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.records(), report.tenants(), report.head()), (64 * 20 * 2, 3, ledger.head()));
    assert!(report.segments() > 1);
}

#[tokio::test]
async fn a_restart_goes_on_in_the_same_tree_and_chains() {
    let dir = TempDir::new().unwrap();
    let mut head = None;
    for round in 0..5 {
        let ledger = open(dir.path());
        assert_eq!(head.unwrap_or(ledger.head()), ledger.head(), "round {round}");
        for name in ["clinic-a", "clinic-b"] {
            let (trail, _closer) = trail(&ledger, name);
            trail.door(door(&[])).unwrap();
            trail.settled().await.unwrap();
        }
        ledger.shutdown().await;
        head = Some(ledger.head());
    }
    let records = records(dir.path());
    assert_eq!(records.len(), 20);
    assert_eq!(records.last().unwrap().sequence(), 9);
    assert_eq!(verify(dir.path()).unwrap().head(), head.unwrap());
}

#[tokio::test]
async fn two_writers_cannot_share_a_folder() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let second = Ledger::open(dir.path(), options(), clock().shared());
    assert!(matches!(second, Err(LedgerError::Locked)), "{second:?}");
    ledger.shutdown().await;
    open(dir.path());
}

#[tokio::test]
async fn after_a_shutdown_nothing_is_recorded() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, _closer) = trail(&ledger, "clinic-a");
    ledger.shutdown().await;
    assert!(!ledger.is_available());
    assert_eq!(trail.door(door(&[])), Err(TrailError::Unavailable));
    ledger.shutdown().await;
}

#[tokio::test]
async fn dropping_the_last_handle_writes_what_is_queued() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, closer) = trail(&ledger, "clinic-a");
    trail.door(door(&[])).unwrap();
    drop((trail, closer, ledger));
    for _ in 0..100 {
        if let Ok(ledger) = Ledger::open(dir.path(), options(), clock().shared()) {
            assert_eq!(ledger.head().size(), 2);
            return;
        }
    }
    panic!("the folder is still locked");
}

#[tokio::test]
async fn a_timeline_is_of_one_person_in_one_clinic() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let mut expected = Vec::new();
    for n in 0..600_u64 {
        let name = if n % 2 == 0 { "clinic-a" } else { "clinic-b" };
        let (trail, mut closer) = trail(&ledger, name);
        let subjects = if n % 6 == 0 { vec![subject(9), subject(8)] } else { vec![subject(7)] };
        trail.door(door(&subjects)).unwrap();
        if n % 50 == 0 {
            trail.settled().await.unwrap();
        }
        closer.finish(End::Completed);
        if n % 6 == 0 {
            expected.push(n * 2);
        }
    }
    let (trail, closer) = trail(&ledger, "clinic-a");
    trail.door(door(&[])).unwrap();
    trail.settled().await.unwrap();
    // One reading goes four files back; the next goes on from there.
    let indexes = |name: &str, n, limit: usize| {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let part = ledger.danger_timeline(&tenant(name), subject(n), before, limit - found.len()).unwrap();
            found.splice(0..0, part.records.iter().map(Record::index));
            before = part.older;
            if before.is_none() || found.len() >= limit {
                break found;
            }
        }
    };
    assert!(verify(dir.path()).unwrap().segments() > 2);
    assert_eq!(indexes("clinic-a", 8, 1_000), expected);
    assert_eq!(indexes("clinic-a", 8, 7), expected[expected.len() - 7..]);
    assert_eq!(indexes("clinic-a", 8, 0), [0_u64; 0]);
    // Part by part it is the same, each record once.
    let (mut parts, mut before) = (Vec::new(), None);
    loop {
        let part = ledger.danger_timeline(&tenant("clinic-a"), subject(8), before, 7).unwrap();
        assert!(part.records.len() <= 7 && part.older.is_none_or(|older| older < before.unwrap_or(u64::MAX)));
        parts.splice(0..0, part.records.iter().map(Record::index));
        before = part.older;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(parts, expected);
    assert_eq!(indexes("clinic-b", 8, 1_000), [0_u64; 0]);
    assert_eq!(indexes("clinic-c", 7, 1_000), [0_u64; 0]);
    drop(closer);
    ledger.shutdown().await;
}

#[test]
fn settings_out_of_range_do_not_open() {
    let dir = TempDir::new().unwrap();
    for (size, good) in [(SIZE - 1, false), (SIZE, true), (1024 * 1024 * 1024 + 1, false)] {
        let opened = Ledger::open(dir.path(), LedgerOptions::new().with_segment_size(size), clock().shared());
        assert_eq!(opened.is_ok(), good, "{size}");
    }
}
