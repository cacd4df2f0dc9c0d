//! Reading a clinic's part of the ledger: through its door, on record, and by the operator's command.

use std::{num::NonZeroUsize, path::Path};

use tower_ward::{
    access::{ClinicGrant, Closed, DoorError, ReadsLedger},
    audit::{
        Action, Closer, End, Event, Kind, Ledger, LedgerFolder, LedgerOptions, LedgerQuery, RequestFacts,
        TimelineError, Trail,
    },
    axum::Json,
    clock::SystemClock,
    id::{SubjectId, TenantId, UserId},
    problem::Problem,
};

use crate::support::{Bench, CANARY, Setup, User, get, model, of_kind};

tower_ward::permissions! { ReadLedger = "ledger.read"; }
impl ReadsLedger for ReadLedger {}

fn limit(n: usize) -> LedgerQuery {
    LedgerQuery::new().with_limit(NonZeroUsize::new(n).unwrap())
}

async fn door(bench: &Bench, tenant: &TenantId) -> (ClinicGrant<ReadLedger>, Trail, Closer) {
    let (trail, closer) = bench.trail();
    let clinic = bench.danger::<ReadLedger>(&trail, tenant).clinic().await.expect("open");
    (clinic, trail, closer)
}

// proves CLA-20, GLM-19: who read the ledger stands in the ledger.
#[tokio::test]
async fn reading_the_ledger_is_on_record_with_everybody_whom_the_page_names() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let eve = bench.patient(&bench.harbour, "Eve", CANARY).await;
    bench.patient(&bench.meadow, "Max", CANARY).await;
    let (clinic, trail, mut closer) = door(&bench, &bench.harbour).await;
    let page = clinic.ledger(&LedgerQuery::new().with_entity("notes").add_kind(Kind::Opened)).await.expect("read");
    let named: Vec<_> = page.records.iter().map(|record| record.subjects().to_vec()).collect();
    assert_eq!((named, page.next), (vec![vec![eve], vec![ada]], None));
    // One's own opening of the door is in it as well.
    let own = clinic.ledger(&LedgerQuery::new().with_trail(trail.id())).await.expect("read");
    assert!(own.records.iter().any(|record| record.permission() == Some("ledger.read")));
    closer.finish(End::Completed);
    assert!(matches!(clinic.ledger(&LedgerQuery::new()).await, Err(DoorError::Closed(Closed))));

    let records = bench.records().await;
    let mine = records.iter().filter(|r| r.trail() == Some(trail.id()) && r.action() == Some(Action::Search));
    let mine: Vec<_> = mine.collect();
    let [first, second] = mine[..] else { panic!("two readings, two records: {mine:?}") };
    assert_eq!((first.kind(), first.entity(), first.permission()), (Kind::Opened, Some("ledger"), Some("ledger.read")));
    assert_eq!((first.tenant(), first.why()), (Some(&bench.harbour), Some("clinic")));
    let mut people = [ada, eve];
    people.sort_unstable();
    assert_eq!(first.subjects(), people);
    // On whose page the first reading's record stood, with those whom it names.
    assert_eq!(second.subjects(), people);
}

/// attack: somebody looks whether a person is known here. That nothing is found must not hide who was looked for.
#[tokio::test]
async fn whom_somebody_looked_for_is_on_record_also_when_nothing_is_found() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let away = bench.patient(&bench.meadow, "Max", CANARY).await;
    let (clinic, trail, mut closer) = door(&bench, &bench.harbour).await;
    let nothing = LedgerQuery::new().with_subject(ada).add_action(Action::Export);
    assert!(clinic.ledger(&nothing).await.expect("read").records.is_empty());
    assert!(clinic.ledger(&LedgerQuery::new().with_subject(away)).await.expect("read").records.is_empty());
    closer.finish(End::Completed);
    let records = bench.records().await;
    let mine = records.iter().filter(|r| r.trail() == Some(trail.id()) && r.action() == Some(Action::Search));
    let named: Vec<_> = mine.map(|record| record.subjects().to_vec()).collect();
    assert_eq!(named, [vec![ada], vec![away]]);
}

// proves GLM-12, CLA-23: of another clinic one learns neither a record nor how many there are.
#[tokio::test]
async fn one_clinics_cursor_or_people_are_nothing_in_another() {
    let bench = Bench::new().await;
    let mut people = Vec::new();
    for _ in 0..4 {
        people.push(bench.patient(&bench.harbour, "Ada", CANARY).await);
        bench.patient(&bench.meadow, "Max", CANARY).await;
    }
    let doctor = bench.user(&bench.harbour, "doctor").await;
    let (home, _trail, mut closer) = door(&bench, &bench.harbour).await;
    let first = home.ledger(&limit(3)).await.expect("read");
    let cursor = first.next.expect("there are more");
    // Asked twice for one page, it is another text each time, and neither holds a number of the ledger.
    let twice = home.ledger(&limit(3)).await.expect("read");
    assert_ne!(twice.next.as_ref(), Some(&cursor));
    let bytes = data_encoding(&cursor);
    for index in bench.records().await.iter().map(tower_ward::audit::Record::index).filter(|index| *index > 255) {
        assert!(!bytes.windows(8).any(|window| window == index.to_be_bytes()), "{index}");
    }
    let again = home.ledger(&limit(3).with_cursor(cursor.clone())).await.expect("its own");
    assert!(again.records.len() == 3 && again.records[0].sequence() < first.records[2].sequence());
    closer.finish(End::Completed);

    let (away, trail, mut closer) = door(&bench, &bench.meadow).await;
    for (name, query) in [
        ("the neighbour's cursor", limit(3).with_cursor(cursor.clone())),
        ("cut", limit(3).with_cursor(&cursor[..cursor.len() - 3])),
        ("empty", limit(3).with_cursor("")),
        ("one of a tool beside the server", {
            let beside = LedgerFolder::open(&bench.ledger_dir()).expect("opened");
            let chain = tower_ward::audit::Stream::Tenant(bench.meadow.clone());
            limit(3).with_cursor(beside.danger_page(Some(&chain), &limit(1)).expect("read").next.expect("more"))
        }),
    ] {
        let refused = away.ledger(&query).await.expect_err(name);
        assert!(matches!(refused, DoorError::Timeline(TimelineError::Cursor)), "{name}");
        assert_eq!(Problem::from(refused).kind().status(), 400, "{name}");
    }
    for person in people {
        assert!(away.ledger(&limit(100).with_subject(person)).await.expect("read").records.is_empty());
    }
    assert!(away.ledger(&limit(100).with_user(doctor.id)).await.expect("read").records.is_empty());
    let all = away.ledger(&limit(1_000)).await.expect("read");
    assert!(all.records.iter().all(|record| record.tenant() == Some(&bench.meadow)) && all.records.len() > 4);
    closer.finish(End::Completed);

    // The attempts stand in the chain of who tried.
    let records = bench.records().await;
    let refused = of_kind(&records, Kind::Refused);
    let refused: Vec<_> = refused.iter().filter(|r| r.trail() == Some(trail.id())).collect();
    assert_eq!(refused.len(), 4);
    for record in refused {
        assert_eq!((record.tenant(), record.reason()), (Some(&bench.meadow), Some("cursor_refused")));
        assert_eq!(
            (record.action(), record.entity(), record.status()),
            (Some(Action::Denied), Some("ledger"), Some(400))
        );
    }
}

fn data_encoding(text: &str) -> Vec<u8> {
    use std::collections::HashMap;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let values: HashMap<u8, u32> = (0..).zip(alphabet).map(|(value, letter)| (*letter, value)).collect();
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        bits = bits << 6 | values[&letter];
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

// proves CLA-20
#[tokio::test]
async fn one_persons_door_leads_to_that_persons_records_alone() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let eve = bench.patient(&bench.harbour, "Eve", CANARY).await;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<model::ReadNotes>(&trail, &bench.harbour).subject(ada).await.expect("open");
    let (mut query, mut met) = (limit(2), Vec::new());
    loop {
        let page = chart.ledger(&query).await.expect("read");
        met.extend(page.records);
        let Some(next) = page.next else { break };
        query = limit(2).with_cursor(next);
    }
    let expected: Vec<_> = bench.records().await.into_iter().rev().filter(|r| r.subjects().contains(&ada)).collect();
    assert_eq!(met, expected);
    assert!(met[0].trail() == Some(trail.id()) && !met.iter().any(|record| record.subjects().contains(&eve)));
    for query in [limit(2).with_subject(eve), limit(2).with_cursor("x")] {
        let refused = chart.ledger(&query).await.expect_err("not this person's");
        assert_eq!(Problem::from(refused).kind().status(), 400);
    }
    closer.finish(End::Completed);
    assert!(matches!(chart.ledger(&limit(2)).await, Err(DoorError::Closed(Closed))));
    let reasons: Vec<_> = bench.records().await.iter().filter_map(|r| r.reason().map(ToOwned::to_owned)).collect();
    assert!(reasons.iter().any(|r| r == "query_refused") && reasons.iter().any(|r| r == "cursor_refused"));
}

/// A cursor outlives the process that gave it, and serves at another one with the same keys.
#[tokio::test]
async fn a_cursor_outlives_a_restart() {
    let root = tower_ward::keys::RootKey::generate();
    let store: std::sync::Arc<dyn tower_ward::store::Durable> =
        std::sync::Arc::new(tower_ward::store::MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
    let clock = tower_ward::clock::ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::open(dir, store.clone(), clock.clone(), &root, Setup::default()).await;
    for _ in 0..3 {
        bench.patient(&bench.harbour, "Ada", CANARY).await;
    }
    let (clinic, _trail, mut closer) = door(&bench, &bench.harbour).await;
    let page = clinic.ledger(&limit(5)).await.expect("read");
    closer.finish(End::Completed);
    drop(clinic);
    let dir = bench.close().await;
    let bench = Bench::open(dir, store, clock, &root, Setup::default()).await;
    let (clinic, _trail, mut closer) = door(&bench, &bench.harbour).await;
    let on = clinic.ledger(&limit(5).with_cursor(page.next.expect("more"))).await.expect("its own");
    assert_eq!(on.sequences.map(|numbers| *numbers.end() + 1), page.sequences.map(|numbers| *numbers.start()));
    closer.finish(End::Completed);
}

/// Who has not the permission, over the whole path: 403, and a record.
#[tokio::test]
async fn a_role_without_the_permission_is_refused_and_recorded() {
    let policy = format!(
        "{}\n[roles.auditor]\ngrants.'ledger.read' = 'clinic'\n[roles.curious]\ngrants.'ledger.read' = 'assigned'\n",
        model::POLICY
    );
    let bench = Bench::with(Setup { policy, ..Setup::default() }).await;
    let service = bench.serve(|router| {
        router.get("/ledger", async |grant: tower_ward::access::Grant<ReadLedger>| {
            let page = grant.clinic().await?.ledger(&LedgerQuery::new()).await?;
            Ok::<_, Problem>(Json(page.records.len()))
        })
    });
    let auditor = bench.user(&bench.harbour, "auditor").await;
    assert_eq!(get(&service, &auditor, "/ledger").await.status, 200);
    for role in ["doctor", "receptionist", "curious", "owner"] {
        let user: User = bench.user(&bench.harbour, role).await;
        let (reply, records) = bench.records_of(get(&service, &user, "/ledger")).await;
        reply.is_problem(403);
        let refused = of_kind(&records, Kind::Refused);
        assert_eq!(
            (refused.len(), refused[0].user(), refused[0].permission()),
            (1, Some(user.id), Some("ledger.read"))
        );
        assert!(of_kind(&records, Kind::Opened).is_empty(), "{role}");
    }
}

fn patient(n: u64) -> SubjectId {
    SubjectId::from_bytes(u128::from(n % 251).to_be_bytes())
}

/// With `TOWER_WARD_LONG=ledger` a million records: the memory for a page is the same for twenty thousand and for a
/// million, the first page and the last, whoever is looked for.
#[test]
fn paging_through_a_long_ledger_takes_the_memory_of_one_page() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "ledger");
    let records: u64 = if long { 1_000_000 } else { 20_000 };
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions::new().with_segment_size(if long { 16 << 20 } else { 1 << 20 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clinic = TenantId::new("harbour").unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(dir.path(), options, SystemClock::shared()).unwrap();
        let (trail, mut closer) = ledger.begin(RequestFacts::new());
        for n in 1..records {
            let event = Event::new(Action::Read).with_tenant(clinic.clone()).with_entity("notes");
            trail.record(event.add_subject(patient(n))).unwrap();
            if n % 1_000 == 0 {
                trail.settled().await.unwrap();
            }
        }
        closer.finish(End::Completed);
        ledger.shutdown().await;
    });
    let folder = LedgerFolder::open(dir.path()).unwrap();
    let chain = tower_ward::audit::Stream::Tenant(clinic);
    for (what, query, expected) in [
        ("everything, the newest first", limit(1_000), records),
        ("everything, the oldest first", limit(1_000).oldest_first(), records),
        ("one person", limit(100).with_subject(patient(7)), (1..records).filter(|n| n % 251 == 7).count() as u64),
        ("nobody", limit(100).with_user(UserId::from_bytes([9; 16])), 0),
    ] {
        let (mut found, mut cursor, mut most, mut pages) = (0, None, 0, 0_u32);
        #[expect(clippy::disallowed_methods, reason = "a figure for whoever reads the output")]
        let start = std::time::Instant::now();
        loop {
            let query = Option::<String>::into_iter(cursor).fold(query.clone(), LedgerQuery::with_cursor);
            let mut page = None;
            let info = allocation_counter::measure(|| page = Some(folder.danger_page(Some(&chain), &query).unwrap()));
            let page = page.expect("it was read");
            (found, pages) = (found + page.records.len() as u64, pages + 1);
            most = most.max(info.bytes_max);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        println!("paging: {what}: {found} records on {pages} pages in {:?}, {most} bytes at most", start.elapsed());
        assert_eq!(found, expected, "{what}");
        assert!(most < 4 << 20, "{what}: {most} bytes");
    }
}

#[cfg(feature = "cli")]
mod ward {
    use std::process::{Command, Output};

    use tower_ward::audit::Record;

    use super::*;

    fn list(dir: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ward"));
        command.args(["audit", "list"]).arg(dir).args(args).env_clear().output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn json(dir: &Path, args: &[&str]) -> Vec<Record> {
        let output = list(dir, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).lines().map(|line| Record::from_bytes(line.as_bytes()).unwrap()).collect()
    }

    /// Everybody's records as they stand on the disk, and what the command shows of them, while a server writes the folder.
    #[tokio::test]
    async fn a_ledger_is_listed_beside_its_server_by_every_filter_and_stays_as_it_is() {
        let bench = Bench::new().await;
        let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
        bench.patient(&bench.meadow, "Max", CANARY).await;
        let user = bench.user(&bench.harbour, "doctor").await;
        let all = bench.records().await;
        let dir = bench.ledger_dir();
        let bytes = |dir: &Path| -> Vec<_> {
            let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            files.iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
        };
        let before = bytes(&dir);
        let flush = |record: &Record| record.entity() == Some("flush");
        let shown = json(&dir, &["--limit", "1000", "--oldest-first"]);
        assert_eq!(shown.iter().filter(|r| !flush(r) && all.contains(r)).count(), all.len());
        let session = all.iter().find_map(Record::session).expect("somebody logged in").to_string();
        let trail = all[3].trail().expect("of a request").to_string();
        let attempt = all.iter().find_map(Record::attempt).expect("a change").to_string();
        let (from, until) = (all[2].at().to_string(), "2027-01-01T00:00:00Z");
        let (ada, user) = (ada.to_string(), user.id.to_string());
        type Keep<'a> = &'a dyn Fn(&Record) -> bool;
        let cases: &[(&[&str], Keep<'_>)] = &[
            (&["--tenant", "harbour"], &|r| r.tenant().is_some_and(|t| t.as_str() == "harbour")),
            (&["--platform"], &|r| r.tenant().is_none()),
            (&["--subject", &ada], &|r| r.subjects().iter().any(|s| s.to_string() == ada)),
            (&["--user", &user], &|r| r.user().is_some_and(|u| u.to_string() == user)),
            (&["--about", &user], &|r| r.about().is_some_and(|u| u.to_string() == user)),
            (&["--session", &session], &|r| r.session().is_some_and(|s| s.to_string() == session)),
            (&["--trail", &trail], &|r| r.trail().is_some_and(|t| t.to_string() == trail)),
            (&["--attempt", &attempt], &|r| r.attempt().is_some_and(|a| a.to_string() == attempt)),
            (&["--action", "create", "--action", "login"], &|r| {
                matches!(r.action(), Some(Action::Create | Action::Login))
            }),
            (&["--kind", "closed"], &|r| r.kind() == Kind::Closed),
            (&["--entity", "notes"], &|r| r.entity() == Some("notes")),
            (&["--outcome", "committed"], &|r| r.outcome().is_some()),
            (&["--from", &from, "--until", until], &|r| r.at() >= from.parse().unwrap()),
            (&["--tenant", "harbour", "--kind", "attempt", "--subject", &ada], &|r| {
                r.kind() == Kind::Attempt && r.subjects().iter().any(|s| s.to_string() == ada)
            }),
        ];
        for (args, keep) in cases {
            let expected: Vec<_> = shown.iter().filter(|record| keep(record)).cloned().collect();
            assert!(!expected.is_empty(), "{args:?}");
            let found = json(&dir, &[args, &["--limit", "1000", "--oldest-first"][..]].concat());
            assert_eq!(found, expected, "{args:?}");
        }
        // The newest first, and on from where a list ended.
        let newest = list(&dir, &["--limit", "3", "--json"]);
        assert!(newest.status.success());
        let said = text(&newest.stderr);
        let cursor = said.trim().rsplit(' ').next().expect("a cursor").to_owned();
        let on = json(&dir, &["--limit", "2", "--cursor", &cursor]);
        let first: Vec<_> = text(&newest.stdout).lines().map(|l| Record::from_bytes(l.as_bytes()).unwrap()).collect();
        let expected: Vec<_> = shown.iter().rev().take(5).cloned().collect();
        assert_eq!([first, on].concat(), expected);
        // For the eye: a line a record, and no patient's name, which stands nowhere in a ledger.
        let lines = text(&list(&dir, &["--limit", "1000"]).stdout);
        assert_eq!(lines.lines().count(), shown.len());
        assert!(!lines.contains(CANARY) && !lines.contains("Ada"));
        assert_eq!(bytes(&dir), before, "the folder is only read");
    }

    #[test]
    fn a_text_of_a_record_cannot_move_the_terminals_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = LedgerOptions::new().with_segment_size(128 * 1024);
            let ledger = Ledger::open(dir.path(), options, SystemClock::shared()).unwrap();
            let (trail, closer) = ledger.begin(RequestFacts::new());
            let reason = "\u{1b}[2J\u{202e}\r\nall is well";
            trail.record(Event::new(Action::Export).with_reason(reason).with_entity("a\u{9b}2J\nb")).unwrap();
            drop((trail, closer));
            ledger.shutdown().await;
        });
        let output = list(dir.path(), &[]);
        let lines = text(&output.stdout);
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(!lines.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{lines:?}");
    }

    #[test]
    fn what_is_asked_wrongly_or_of_no_ledger_is_said_and_is_no_empty_list() {
        let empty = tempfile::tempdir().unwrap();
        for (name, args, code) in [
            ("no ledger", &[][..], 1),
            ("no such action", &["--action", "peek"], 2),
            ("no such kind", &["--kind", "peek"], 2),
            ("no id", &["--subject", "ada"], 2),
            ("no clinic", &["--tenant", "Harbour"], 2),
            ("no time", &["--from", "yesterday"], 2),
            ("two chains", &["--tenant", "harbour", "--platform"], 2),
        ] {
            let output = list(empty.path(), args);
            assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
            assert!(output.stdout.is_empty() && text(&output.stderr).contains("error"), "{name}: {output:?}");
        }
        let output = list(&empty.path().join("nowhere"), &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}
