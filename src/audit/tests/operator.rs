//! What an operator does in a clinic stands in its chain and in the platform's, or in neither.

use super::*;
use crate::audit::{
    ledger::{LedgerQuery, OperatorLedger, TimelineError, segment},
    record::{End, Event, Kind, MAX_TEXT, Refusal, Stream},
    trail::{Closer, TrailError},
    verify,
};

fn chain(name: &str) -> Stream {
    Stream::Tenant(tenant(name))
}

fn operator(ledger: &Ledger) -> (Trail, Closer) {
    let (trail, closer) = ledger.begin(RequestFacts::new());
    let user = Some(UserId::from_bytes([77; 16]));
    trail.set_actor(Actor { user, role: Some("operator".into()), session: None, tenant: None });
    (trail, closer)
}

/// What two records of one act share, and the chain and reason in which they differ.
fn face(record: &Record) -> (Record, Stream, Option<String>, usize) {
    let (stream, reason) = (record.stream.clone(), record.reason.as_deref().map(ToOwned::to_owned));
    let same = Record {
        index: 0,
        stream: Stream::Platform,
        sequence: 0,
        previous: [0; 32],
        reason: None,
        subjects: Vec::new(),
        ..record.clone()
    };
    (same, stream, reason, record.subjects.len())
}

// proves CLA-21, CCA-19
#[tokio::test]
async fn an_operators_act_in_a_clinic_stands_in_its_chain_and_in_the_platforms_side_by_side() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, mut closer) = operator(&ledger);
    let event = Event::new(Action::Configuration).with_entity("account").with_about(UserId::from_bytes([5; 16]));
    let event = event.with_tenant(tenant("clinic-a")).with_reason("account_disabled").add_subject(subject(1));
    trail.record(event).unwrap();
    trail.record(Event::new(Action::Export).with_tenant(tenant("clinic-b"))).unwrap();
    trail.record(Event::new(Action::Configuration).with_reason("of the platform alone")).unwrap();
    let refused = tenant("clinic-a");
    trail.refuse(Refusal { reason: "account_unchanged", tenant: Some(&refused), ..Refusal::default() });
    trail.settled().await.unwrap();
    closer.finish(End::Completed);
    // Somebody of a clinic, and nobody in particular: one record each.
    let (theirs, mut closer) = super::trail(&ledger, "clinic-a");
    theirs.record(Event::new(Action::Export).with_reason("their own")).unwrap();
    closer.finish(End::Completed);
    let (nobody, mut closer) = ledger.begin(RequestFacts::new());
    nobody.record(Event::new(Action::Export).with_tenant(tenant("clinic-a")).with_reason("by nobody")).unwrap();
    closer.finish(End::Completed);
    ledger.shutdown().await;

    let all = records(dir.path());
    let platform = || Some(Stream::Platform);
    let expected = [
        (Some(chain("clinic-a")), Some("account_disabled"), 1),
        (platform(), Some("in clinic-a: account_disabled"), 0),
        (Some(chain("clinic-b")), None, 0),
        (platform(), Some("in clinic-b"), 0),
        (platform(), Some("of the platform alone"), 0),
        (Some(chain("clinic-a")), Some("account_unchanged"), 0),
        (platform(), Some("in clinic-a: account_unchanged"), 0),
        (platform(), None, 0),
        (Some(chain("clinic-a")), Some("their own"), 0),
        (Some(chain("clinic-a")), None, 0),
        (Some(chain("clinic-a")), Some("by nobody"), 0),
        (Some(chain("clinic-a")), None, 0),
    ];
    let faces: Vec<_> = all.iter().map(face).collect();
    let seen: Vec<_> =
        faces.iter().map(|(_, stream, reason, n)| (Some(stream.clone()), reason.as_deref(), *n)).collect();
    assert_eq!(seen, expected);
    for pair in [(0, 1), (2, 3), (5, 6)] {
        assert_eq!(faces[pair.0].0, faces[pair.1].0, "the two say the same of who, what and when");
    }
    // The counts reconcile: what operators did in clinics, and what the platform knows of it.
    let of = |r: &&Record| r.user == Some(UserId::from_bytes([77; 16])) && r.kind != Kind::Closed;
    let in_clinics = all.iter().filter(of).filter(|r| r.tenant().is_some()).count();
    let mirrored = |r: &&Record| r.reason().is_some_and(|reason| reason.starts_with("in clinic-"));
    assert_eq!(all.iter().filter(of).filter(mirrored).count(), in_clinics);
}

/// The records of every batch that is in the files.
fn batches(dir: &Path) -> Vec<Vec<Record>> {
    let mut batches = Vec::new();
    for number in 0..verify(dir).unwrap().segments() {
        let bytes = std::fs::read(segment::path(dir, number)).unwrap();
        let mut rest = &bytes[segment::HEADER..];
        while let Some((head, after)) = rest.split_first_chunk()
            && let Some(header) = segment::BatchHeader::from_bytes(head)
        {
            let (mut frames, next) = after.split_at(header.length as usize);
            let mut records = Vec::new();
            while let Some((record, more)) = segment::unframe(frames) {
                records.push(Record::from_bytes(record).unwrap());
                frames = more;
            }
            batches.push(records);
            rest = next;
        }
    }
    batches
}

/// The two records of one act are one batch, so a crash leaves both or neither, at whatever byte it comes.
#[tokio::test]
async fn both_records_of_an_operators_act_are_in_one_batch_whatever_the_batches_are() {
    let dir = TempDir::new().unwrap();
    // One record fills a batch: the second must come along all the same.
    let options = options().with_batch(1.try_into().unwrap());
    let ledger = Ledger::open(dir.path(), options, clock().shared()).unwrap();
    let (trail, mut closer) = operator(&ledger);
    let long = "\u{1}".repeat(MAX_TEXT - "in clinic-a: ".len());
    for n in 0..200_u16 {
        let people = (0..(n * 40 % 1_000)).map(|n| SubjectId::from_bytes(u128::from(n).to_be_bytes()));
        let event = Event::new(Action::Export).with_tenant(tenant("clinic-a")).with_reason(long.clone());
        trail.record(people.fold(event, Event::add_subject)).unwrap();
        if n % 10 == 0 {
            trail.settled().await.unwrap();
        }
    }
    trail.settled().await.unwrap();
    closer.finish(End::Completed);
    ledger.shutdown().await;
    assert!(verify(dir.path()).unwrap().segments() > 10, "the pairs met the ends of segments");
    // Every batch begins with the clinic's record and ends with the platform's.
    let batches = batches(dir.path());
    for batch in batches.iter().filter(|batch| batch[0].kind != Kind::Closed) {
        let chains: Vec<_> = batch.iter().map(|record| record.stream.clone()).collect();
        assert_eq!(chains, [chain("clinic-a"), Stream::Platform]);
    }
    assert!(batches.len() > 200);
}

#[tokio::test]
async fn a_reason_that_has_no_room_beside_the_clinics_name_is_refused_whole() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (trail, mut closer) = operator(&ledger);
    let event = |length: usize| {
        Event::new(Action::Export)
            .with_tenant(tenant("clinic-a"))
            .with_reason("x".repeat(length - "in clinic-a: ".len()))
    };
    assert_eq!(trail.record(event(MAX_TEXT + 1)), Err(TrailError::TooLong { field: "reason" }));
    trail.record(event(MAX_TEXT)).unwrap();
    closer.finish(End::Completed);
    ledger.shutdown().await;
    assert_eq!(records(dir.path()).len(), 3, "two records of the one that fits, and the end");
}

// proves CLA-21, CCA-19
#[tokio::test]
async fn an_operators_reading_is_on_record_in_every_chain_that_he_looked_into() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    for (name, n) in [("clinic-a", 1), ("clinic-b", 2), ("clinic-c", 3)] {
        let (trail, mut closer) = super::trail(&ledger, name);
        trail.door(door(&[subject(n), subject(n + 10)])).unwrap();
        trail.settled().await.unwrap();
        closer.finish(End::Completed);
    }
    let (trail, mut closer) = ledger.begin(RequestFacts::new());
    let who = UserId::from_bytes([77; 16]);
    let view = OperatorLedger::danger_open(&trail, who, "operator", "ticket 4711").unwrap();
    // Nobody waits for the end of a request.
    while ledger.head().size() < 6 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = ledger.head().size();
    let doors = LedgerQuery::new().add_kind(Kind::Opened);
    let page = view.tenants(&[tenant("clinic-b"), tenant("clinic-a")], &doors).await.unwrap();
    let named: Vec<_> = page.records.iter().map(|r| (r.stream.clone(), r.subjects.clone())).collect();
    assert_eq!(
        named,
        [(chain("clinic-b"), vec![subject(2), subject(12)]), (chain("clinic-a"), vec![subject(1), subject(11)])]
    );
    // Durable before it was given out.
    assert_eq!(ledger.head().size(), before + 4);
    let written = records(dir.path()).split_off(usize::try_from(before).unwrap());
    let seen: Vec<_> = written.iter().map(|r| (r.stream.clone(), r.reason().unwrap(), r.subjects.clone())).collect();
    assert_eq!(
        seen,
        [
            (chain("clinic-a"), "ticket 4711", vec![subject(1), subject(11)]),
            (Stream::Platform, "in clinic-a: ticket 4711", vec![]),
            (chain("clinic-b"), "ticket 4711", vec![subject(2), subject(12)]),
            (Stream::Platform, "in clinic-b: ticket 4711", vec![]),
        ]
    );
    for record in &written {
        assert_eq!((record.action, record.entity(), record.user), (Some(Action::Search), Some("ledger"), Some(who)));
    }
    // Whom he looked for stands in the clinic's chain also if he found nothing.
    let nobody = LedgerQuery::new().with_subject(subject(99));
    assert!(view.tenants(&[tenant("clinic-c")], &nobody).await.unwrap().records.is_empty());
    let written = records(dir.path());
    let theirs = written.iter().rfind(|r| r.stream == chain("clinic-c")).unwrap();
    assert_eq!((theirs.action, theirs.subjects.clone()), (Some(Action::Search), vec![subject(99)]));
    // His own chain, which is a reading as well.
    let page = view.platform(&LedgerQuery::new().with_user(who)).await.unwrap();
    assert_eq!(page.records.len(), 3);
    assert_eq!(records(dir.path()).last().map(|r| (r.stream.clone(), r.reason.clone())), {
        Some((Stream::Platform, Some("ticket 4711".into())))
    });
    // A cursor of one clinic is none of another's.
    let one = view.tenants(&[tenant("clinic-a")], &LedgerQuery::new().with_limit(1.try_into().unwrap())).await.unwrap();
    let on = LedgerQuery::new().with_cursor(one.next.unwrap());
    assert!(view.tenants(&[tenant("clinic-a")], &on).await.is_ok());
    for tenants in [&[tenant("clinic-b")][..], &[tenant("clinic-a"), tenant("clinic-b")]] {
        assert!(matches!(view.tenants(tenants, &on).await, Err(TimelineError::Cursor)));
    }
    closer.finish(End::Completed);
    assert!(matches!(view.platform(&LedgerQuery::new()).await, Err(TimelineError::Trail(TrailError::Closed))));
    ledger.shutdown().await;
}

/// attack: an operator acts first and says who he is afterwards, or acts under another's name, so that one chain lacks it.
#[tokio::test]
async fn an_operator_says_who_he_is_before_he_acts_and_acts_under_no_other_name() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (me, other) = (UserId::from_bytes([77; 16]), UserId::from_bytes([78; 16]));
    let export = || Event::new(Action::Export).with_tenant(tenant("clinic-a"));
    let (late, closer) = ledger.begin(RequestFacts::new());
    late.record(export()).unwrap();
    let refused = OperatorLedger::danger_open(&late, me, "operator", "ticket 4711");
    assert_eq!(refused.err(), Some(TrailError::OtherActor));
    drop(closer);

    let (trail, _closer) = ledger.begin(RequestFacts::new());
    assert!(OperatorLedger::danger_open(&trail, me, "operator", "ticket 4711").is_ok());
    for (name, event) in [
        ("another user", export().with_user(other)),
        ("another role", export().with_role("owner")),
        ("a session of somebody", Event { session: Some(crate::id::SessionId::from_bytes([5; 16])), ..export() }),
    ] {
        assert_eq!(trail.record(event), Err(TrailError::OtherActor), "{name}");
    }
    trail.record(export().with_user(me).with_role("operator")).unwrap();
    // He may look again.
    assert!(OperatorLedger::danger_open(&trail, me, "operator", "ticket 4712").is_ok());
    trail.settled().await.unwrap();
    let both: Vec<_> = records(dir.path()).into_iter().filter(|r| r.user == Some(me)).map(|r| r.stream).collect();
    assert_eq!(both, [chain("clinic-a"), Stream::Platform]);
    ledger.shutdown().await;
}

#[tokio::test]
async fn nobody_of_a_clinic_has_the_operators_view() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let (doctor, _closer) = super::trail(&ledger, "clinic-a");
    let me = UserId::from_bytes([1; 16]);
    for user in [me, UserId::from_bytes([77; 16])] {
        let refused = OperatorLedger::danger_open(&doctor, user, "doctor", "curious");
        assert_eq!(refused.err(), Some(TrailError::OtherActor));
    }
    // Nor does the operator become somebody of a clinic.
    let (trail, _closer) = operator(&ledger);
    assert!(!trail.set_actor(actor("clinic-a")));
    let other = OperatorLedger::danger_open(&trail, UserId::from_bytes([78; 16]), "operator", "not me");
    assert_eq!(other.err(), Some(TrailError::OtherActor));
    ledger.shutdown().await;
}
