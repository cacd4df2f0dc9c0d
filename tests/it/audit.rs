//! The ledger from outside: killed, out of space, on a failing disk.
//!
//! Each test starts itself again as a child that writes a ledger, says on its standard output which records were
//! acknowledged, and comes to grief.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a helper that cannot go on fails its test")]

use std::{
    collections::HashSet,
    convert::Infallible,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_ward::{
    audit::{Action, AuditLayer, Event, Ledger, LedgerOptions, Record, RequestFacts, Trail, TrailError, verify},
    clock::SystemClock,
    id::{RowId, SubjectId, TenantId},
};

const FOLDER: &str = "TOWER_WARD_TEST_LEDGER";
/// The smallest segments, so that they are changed often.
const SEGMENT: u64 = 128 * 1024;

/// The folder that this process is to write as a child, if it is one.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// This test again, in a process of its own.
fn again(test: &str, folder: &Path, before: &[&str]) -> Child {
    let me = std::env::current_exe().unwrap();
    let mut command = match before {
        [] => Command::new(me),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(me);
            command
        }
    };
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs `{}` (Debian: strace, util-linux): {error}", before.join(" ")))
}

fn open(folder: &Path) -> Ledger {
    Ledger::open(folder, LedgerOptions::new().with_segment_size(SEGMENT), SystemClock::shared()).unwrap()
}

fn clinic() -> TenantId {
    TenantId::new("clinic-a").unwrap()
}

fn patient() -> SubjectId {
    SubjectId::from_bytes([7; 16])
}

pub(crate) fn event(n: u64) -> Event {
    let row = RowId::from_bytes(u128::from(n).to_be_bytes());
    Event::new(Action::Read).with_tenant(clinic()).with_entity("note").add_subject(patient()).with_row(row)
}

/// Records one event and waits until it is durable.
pub(crate) async fn append(ledger: &Ledger, n: u64) -> Result<(), TrailError> {
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    trail.record(event(n))?;
    trail.settled().await
}

pub(crate) fn say(word: &str, n: u64) {
    let mut out = std::io::stdout().lock();
    // Written in one piece: the process may be killed at any instant.
    out.write_all(format!("\n{word} {n} .\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What a child said.
pub(crate) fn said(out: impl BufRead, each: &mut dyn FnMut(&str, u64)) {
    for line in out.lines() {
        let line = line.unwrap();
        if let [word, n, "."] = line.split(' ').collect::<Vec<_>>()[..] {
            each(word, n.parse().unwrap());
        }
    }
}

/// The patient's whole timeline, part by part.
pub(crate) fn everything(ledger: &Ledger) -> Vec<Record> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let part = ledger.danger_timeline(&clinic(), patient(), before, usize::MAX).unwrap();
        all.splice(0..0, part.records);
        before = part.older;
        if before.is_none() {
            break all;
        }
    }
}

/// The events in the ledger: after a restart, so after its recovery. None stands there twice.
fn found(folder: &Path) -> HashSet<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ledger = open(folder);
    let records = everything(&ledger);
    let count = records.len();
    let rows = records.iter().map(|r| u128::from_be_bytes(*r.row().unwrap().as_bytes()) as u64);
    let rows: HashSet<u64> = rows.collect();
    assert_eq!(rows.len(), count, "a record stands twice");
    runtime.block_on(ledger.shutdown());
    rows
}

// proves CLA-18
#[test]
fn kill_nine_loses_no_acknowledged_record() {
    if let Some(folder) = folder() {
        return append_for_ever(&folder);
    }
    let rounds = if std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "kill") { 1_000 } else { 50 };
    let mut dir = TempDir::new().unwrap();
    let mut acknowledged = HashSet::new();
    let mut total = 0;
    for round in 0..rounds {
        if round % 10 == 0 {
            dir = TempDir::new().unwrap();
            acknowledged.clear();
        }
        let mut child = again("audit::kill_nine_loses_no_acknowledged_record", dir.path(), &[]);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        if round % 10 == 0 {
            // The first is killed at work, the others also while they recover what it left.
            let mut line = String::new();
            while !line.starts_with("ack ") {
                line.clear();
                assert!(out.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            }
            assert!(acknowledged.insert(line.split(' ').nth(1).unwrap().parse().unwrap()));
        }
        let [a, b] = tower_ward::entropy::array();
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b]))));
        child.kill().unwrap();
        let before = acknowledged.len();
        said(out, &mut |_, n| assert!(acknowledged.insert(n)));
        total += acknowledged.len() - before;
        child.wait().unwrap();
        let report = verify(dir.path()).unwrap();
        assert!(report.records() >= acknowledged.len() as u64);
        let found = found(dir.path());
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
    }
    assert!(total > rounds, "the children were killed before they had written anything");
}

fn append_for_ever(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ledger = open(folder);
    // Numbers that no round before used.
    let start = ledger.head().size() << 20;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    for n in (start + task..).step_by(8) {
                        append(&ledger, n).await.unwrap();
                        say("ack", n);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// What a disk does to a child that records 600 events, and how many of the requests fail for it.
struct Fault {
    name: &'static str,
    inject: &'static [&'static str],
    /// The requests that may fail; all others are acknowledged.
    failed: std::ops::RangeInclusive<usize>,
    /// Whether the child lives to the end.
    lives: bool,
}

/// What comes before the second segment is made: of the first one, and of the file of hashes where there is one, two `fsync`
/// each, one of the file and one of the folder, and one rename. The first segment takes some 240 batches of one event and its
/// end.
const HASHES: bool = cfg!(feature = "checkpoint");

const FAULTS: &[Fault] = &[
    Fault { name: "one sync fails", inject: &["fdatasync:error=EIO:when=3"], failed: 1..=2, lives: true },
    Fault { name: "many syncs fail", inject: &["fdatasync:error=EIO:when=3..8"], failed: 1..=2, lives: true },
    Fault { name: "one write fails", inject: &["pwrite64,write:error=ENOSPC:when=4"], failed: 1..=2, lives: true },
    Fault {
        name: "a segment cannot be synced",
        inject: &[if HASHES { "fsync:error=EIO:when=5" } else { "fsync:error=EIO:when=3" }],
        failed: 1..=2,
        lives: true,
    },
    Fault {
        name: "its name cannot be synced",
        inject: &[if HASHES { "fsync:error=EIO:when=6" } else { "fsync:error=EIO:when=4" }],
        failed: 1..=2,
        lives: true,
    },
    Fault {
        name: "it cannot be named",
        inject: &[if HASHES { "/^rename:error=EIO:when=3" } else { "/^rename:error=EIO:when=2" }],
        failed: 1..=2,
        lives: true,
    },
    Fault { name: "killed in a sync", inject: &["fdatasync:signal=KILL:when=300"], failed: 0..=600, lives: false },
    Fault { name: "killed in a write", inject: &["write:signal=KILL:when=100"], failed: 0..=600, lives: false },
    Fault {
        name: "killed while a segment is named",
        inject: &[if HASHES { "/^rename:signal=KILL:when=3" } else { "/^rename:signal=KILL:when=2" }],
        failed: 0..=600,
        lives: false,
    },
    Fault { name: "no sync ever again", inject: &["fdatasync:error=EIO:when=100+"], failed: 500..=550, lives: true },
];

#[test]
fn a_failing_disk_loses_no_acknowledged_record() {
    if let Some(folder) = folder() {
        return append_600(&folder);
    }
    for fault in FAULTS {
        let dir = TempDir::new().unwrap();
        let segment = dir.path().join("ledger-000000.seg");
        let segment = segment.to_str().unwrap();
        let inject: Vec<String> = fault.inject.iter().map(|i| format!("inject={i}")).collect();
        let mut before = vec!["strace", "-f", "-qq", "-o", "/dev/null"];
        // Only the writes into the segment: standard output and the filling with zeros are left alone.
        if fault.inject[0].contains("write:") {
            before.extend(["-P", segment]);
        }
        for inject in &inject {
            before.extend(["-e", inject]);
        }
        let mut child = again("audit::a_failing_disk_loses_no_acknowledged_record", dir.path(), &before);
        let mut opened = HashSet::new();
        let mut acknowledged = HashSet::new();
        let out = BufReader::new(child.stdout.take().unwrap());
        said(out, &mut |word, n| {
            assert!(if word == "door" { &mut opened } else { &mut acknowledged }.insert(n));
        });
        assert_eq!(child.wait().unwrap().success(), fault.lives, "{}", fault.name);
        let failed = 600 - acknowledged.len();
        assert!(fault.failed.contains(&failed), "{}: {failed} failed", fault.name);
        let report = verify(dir.path()).unwrap();
        assert!(report.records() > 0, "{}", fault.name);
        let found = found(dir.path());
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{}: lost {lost:?}", fault.name);
        if fault.lives && failed < 3 {
            // A request that failed once its record was on its way is recorded all the same: the door did open.
            assert_eq!(found, opened, "{}", fault.name);
        }
    }
}

fn append_600(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ledger = open(folder);
    runtime.block_on(async {
        let mut given_up = false;
        for n in 0..600 {
            let (trail, closer) = ledger.begin(RequestFacts::new());
            if trail.record(event(n)).is_ok() {
                say("door", n);
                if trail.settled().await.is_ok() {
                    say("ack", n);
                    continue;
                }
            }
            drop(closer);
            // Ten tries at a new segment.
            for _ in 0..if given_up { 0 } else { 100 } {
                if ledger.is_available() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            given_up = !ledger.is_available();
        }
        ledger.shutdown().await;
    });
}

/// A real file system without room, in a mount namespace of its own.
#[test]
fn a_full_disk_refuses_leaks_nothing_and_recovers() {
    if let Some(folder) = folder() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(fill_up(&folder));
    }
    let dir = TempDir::new().unwrap();
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let unshare = if root { "-m" } else { "-Urm" };
    let mount = r#"mount -t tmpfs -o size=640k tmpfs "$TOWER_WARD_TEST_LEDGER" && exec "$@""#;
    let before = ["unshare", unshare, "sh", "-c", mount, "sh"];
    let mut child = again("audit::a_full_disk_refuses_leaks_nothing_and_recovers", dir.path(), &before);
    let mut done = 0;
    said(BufReader::new(child.stdout.take().unwrap()), &mut |_, n| done = n);
    let ended = child.wait().unwrap();
    assert!(ended.success() && done > 0, "this test needs a tmpfs of its own, as root or by `unshare -Urm`");
}

async fn fill_up(folder: &Path) {
    let ledger = open(folder);
    let mut ballast = std::fs::File::create(folder.join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    drop(ballast);

    let service = AuditLayer::new(ledger.clone()).layer(service_fn(async |request: Request<u64>| {
        let recorded = request.extensions().get::<Trail>().unwrap().record(event(*request.body()));
        let (status, body) = match recorded {
            Ok(()) => (StatusCode::OK, "secret"),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "refused by the handler"),
        };
        Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::from(body)).unwrap())
    }));
    let request = async |n: u64| {
        let response = service.clone().oneshot(Request::new(n)).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body == "secret", status == StatusCode::OK, "{status} with {body:?}");
        status == StatusCode::OK
    };

    let mut acknowledged = Vec::new();
    let mut n = 0;
    while n < 10_000 && request(n).await {
        acknowledged.push(n);
        n += 1;
    }
    assert!((100..2_000).contains(&n), "{n} requests before the segment was full");
    assert!(!ledger.is_available());
    let full = ledger.head();
    // It goes on refusing, at the door and without waiting, and keeps trying.
    for _ in 0..30 {
        n += 1;
        assert!(!request(n).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ledger.head(), full);
    assert_eq!(verify(folder).unwrap().head(), full);

    std::fs::remove_file(folder.join("ballast")).unwrap();
    for _ in 0..100 {
        if ledger.is_available() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..300 {
        n += 1;
        assert!(request(n).await, "request {n}");
        acknowledged.push(n);
    }
    drop(service);
    ledger.shutdown().await;
    let report = verify(folder).unwrap();
    assert_eq!((report.head(), report.torn()), (ledger.head(), None));
    assert!(report.segments() >= 2);
    drop(ledger);
    let ledger = open(folder);
    let found: HashSet<u64> =
        everything(&ledger).iter().map(|r| u128::from_be_bytes(*r.row().unwrap().as_bytes()) as u64).collect();
    assert!(acknowledged.iter().all(|n| found.contains(n)));
    ledger.shutdown().await;
    say("done", n);
}
