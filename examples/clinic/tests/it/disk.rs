//! The clinic on disks without room: real file systems, in a mount namespace of the test's own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tower_ward::{
    audit::{Action, Event, Kind, Ledger, LedgerOptions, Outcome, Record, RequestFacts, verify},
    clock::SystemClock,
    id::{SubjectId, TenantId},
};

use crate::process::{
    CANARY, Clinic, Records, Rows, Users, check_changes, command, copy, data_folder, somebody, until,
};

const FOLDER: &str = "CLINIC_TEST_DATA";
/// Of a segment of the ledger, unless set otherwise.
const SEGMENT: u64 = 16 * 1024 * 1024;

/// Runs `test` again in a process that has a file system of `size` on the folder `name` of its data, and gives that
/// process the data folder; everybody else gets nothing.
fn on_small_disk(test: &str, name: &str, size: &str) -> Option<PathBuf> {
    if let Some(data) = std::env::var_os(FOLDER) {
        return Some(data.into());
    }
    let data = data_folder();
    let kept = TempDir::new().unwrap();
    let folder = data.path().join(name);
    copy(&folder, kept.path());
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let script = r#"mount -t tmpfs -o size="$1" tmpfs "$2" && cp -a "$3/." "$2" && shift 3 && exec "$@""#;
    let ended = Command::new("unshare")
        .args([if root { "-m" } else { "-Urm" }, "sh", "-c", script, "sh", size])
        .args([&folder, kept.path(), &std::env::current_exe().unwrap()])
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, data.path())
        .stdin(Stdio::null())
        .output()
        .expect("this test needs `unshare` (Debian: util-linux)");
    let printed = String::from_utf8_lossy(&ended.stdout);
    print!("{printed}");
    assert!(
        ended.status.success() && printed.contains("1 passed"),
        "a tmpfs of its own, as root or by `unshare -Urm`, is what this test needs first: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    None
}

/// A file that takes all the room there is.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(folder: &Path) -> Self {
        let path = folder.join("ballast");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        for size in [1024 * 1024, 4096] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Self(path)
    }

    fn drop(self) {
        fs::remove_file(self.0).unwrap();
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// Fills the ledger's segment up to `left` bytes, with records as long as can be.
async fn fill_ledger(folder: &Path, left: u64) {
    let ledger = Ledger::open(folder, LedgerOptions::new(), SystemClock::shared()).unwrap();
    let tenant = TenantId::new("harbour").unwrap();
    let mut records = Records::of(folder);
    loop {
        records.read_on();
        let room = SEGMENT - records.used();
        if room <= left {
            break;
        }
        let mut event = Event::new(Action::Export).with_tenant(tenant.clone()).with_entity("filling");
        // 39 bytes for each person.
        for n in 0..((room - left) / 39).clamp(1, 1_000) {
            event = event.add_subject(SubjectId::from_bytes(u128::from(n).to_be_bytes()));
        }
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        trail.record(event).unwrap();
        trail.settled().await.unwrap();
    }
    ledger.shutdown().await;
}

#[test]
fn a_full_ledger_disk_refuses_and_recovers() {
    if let Some(data) = on_small_disk("disk::a_full_ledger_disk_refuses_and_recovers", "ledger", "36m") {
        run(full_ledger_disk(&data));
    }
}

async fn full_ledger_disk(data: &Path) {
    let ledger = data.join("ledger");
    fill_ledger(&ledger, 64 * 1024).await;
    let ballast = Ballast::fill(&ledger);
    let clinic = Clinic::start(data);
    let mut users = Users::of(&clinic).await;
    for (name, expected, answer) in users.open_doors().await {
        assert_eq!(answer.status, expected, "{name}: {:?}", answer.body);
    }

    // The segment has room for a few more, and then there is none for the next.
    let mut served = 0;
    until(async || {
        let answer = users.owner.get("/api/staff").await.unwrap();
        served += usize::from(answer.status == StatusCode::OK);
        answer.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let full = verify(&ledger).unwrap();
    assert_eq!((full.segments(), full.torn()), (1, None));
    let before = Rows::read(data, &users.tenant).await;
    for _ in 0..10 {
        for (name, _, answer) in users.open_doors().await {
            users.check_refusal(name, &answer);
        }
        // Who could not be recorded is not let in either.
        let (path, user) = ("/api/login", clinic.demo.clinics[0].users.iter().find(|u| u.role == "owner").unwrap());
        let login = json!({ "username": user.username, "password": user.password });
        let mut stranger = users.owner.clone();
        stranger.token = None;
        users.check_refusal("login", &stranger.post(path, &login).await.unwrap());
        // What opens no door is answered: the health, and refusals.
        let health = stranger.get("/healthz").await.unwrap();
        assert_eq!((health.status, health.text().as_str()), (StatusCode::OK, "ok\n"));
        let notes = format!("/api/patients/{}/notes", users.patient);
        assert_eq!(stranger.get(&notes).await.unwrap().status, StatusCode::UNAUTHORIZED);
        assert_eq!(users.receptionist.get(&notes).await.unwrap().status, StatusCode::FORBIDDEN);
        let nobody = "/api/patients/01900000-0000-7000-8000-000000000000/notes";
        assert_eq!(users.doctor.get(nobody).await.unwrap().status, StatusCode::NOT_FOUND);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = Rows::read(data, &users.tenant).await;
    assert_eq!(before, after, "a change without a record");
    assert_eq!(verify(&ledger).unwrap().head(), full.head());

    ballast.drop();
    until(async || users.owner.get("/api/staff").await.unwrap().status == StatusCode::OK).await;
    for (name, expected, answer) in users.open_doors().await {
        assert_eq!(answer.status, expected, "{name}: {:?}", answer.body);
    }
    clinic.terminate();
    assert!(clinic.ended().await.success());
    let report = verify(&ledger).unwrap();
    assert_eq!((report.segments(), report.torn()), (2, None));
    let mut records = Records::of(&ledger);
    records.read_on();
    assert_eq!(report.records(), records.all.len() as u64);
    check_changes(data, &records.all).await;
    let more = Rows::read(data, &users.tenant).await;
    assert_eq!(more.rows["notes"].len(), after.rows["notes"].len() + 1);
    println!("{served} requests until the disk was full; {} records", report.records());
}

#[test]
fn a_full_database_disk_rolls_back_and_recovers() {
    if let Some(data) = on_small_disk("disk::a_full_database_disk_rolls_back_and_recovers", "clinics", "20m") {
        run(full_database_disk(&data));
    }
}

async fn full_database_disk(data: &Path) {
    let clinics = data.join("clinics");
    let clinic = Clinic::start(data);
    let mut users = Users::of(&clinic).await;
    let path = format!("/api/patients/{}/notes", users.patient);
    // One note after the other, as long as may be, so that the file and its log have to grow.
    let long = format!("{CANARY} {}", "x".repeat(60_000));
    let mut written = Vec::new();
    let mut refused = Vec::new();
    for round in 0..3 {
        let ballast = Ballast::fill(&clinics);
        let enough = refused.len() + 10;
        until(async || {
            let answer = users.doctor.post(&path, &json!({ "text": long })).await.unwrap();
            if answer.status == StatusCode::CREATED {
                written.push(answer.json()["id"].as_str().unwrap().to_owned());
            } else {
                users.check_refusal("write a note", &answer);
                refused.push(answer.request_id);
            }
            refused.len() == enough
        })
        .await;
        // Reading needs no room.
        let notes = users.doctor.get(&path).await.unwrap();
        assert_eq!(notes.status, StatusCode::OK, "round {round}: {:?}", notes.body);
        let health = users.doctor.get("/healthz").await.unwrap();
        assert_eq!(health.status, StatusCode::OK);

        ballast.drop();
        let answer = users.doctor.post(&path, &json!({ "text": "there is room again" })).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "round {round}: {:?}", answer.body);
        written.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    clinic.terminate();
    assert!(clinic.ended().await.success());

    let mut records = Records::of(&data.join("ledger"));
    assert_eq!(verify(&data.join("ledger")).unwrap().records(), records.read_on().len() as u64);
    check_changes(data, &records.all).await;
    let rows = Rows::read(data, &users.tenant).await;
    assert!(written.iter().all(|id| rows.holds("notes", id)));
    let mut attempts = 0;
    for id in &refused {
        let of = |kind| records.all.iter().find(|r| r.kind() == kind && r.request_id() == Some(id));
        // No room to begin with is no attempt.
        if of(Kind::Attempt).is_some() {
            attempts += 1;
            assert_eq!(of(Kind::Outcome).unwrap().outcome(), Some(Outcome::RolledBack));
        }
        assert_eq!(of(Kind::Closed).unwrap().status(), Some(503));
    }
    assert!(attempts > 0, "no change got as far as its commit");
    println!("{} notes written, {} refused, {attempts} of them at their commit", written.len(), refused.len());
}

/// A server to which every sync of the first clinic's log fails.
fn with_failing_sync(data: &Path) -> Clinic {
    let log = data.join("clinics/harbour.sqlite-wal");
    let server = command(data);
    let mut strace = Command::new("strace");
    strace
        // The server is the child, so that it can be killed, and strace stands beside it.
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(log)
        .args(["-e", "inject=fsync,fdatasync:error=EIO"])
        .arg(server.get_program())
        .args(server.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Clinic::start_by(strace, data)
}

/// The ledger said that such a change was rolled back, and after the crash it was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_sync_failed_before_a_crash_is_what_the_ledger_says() {
    let data = data_folder();
    let clinic = with_failing_sync(data.path());
    let mut users = Users::of(&clinic).await;
    let path = format!("/api/patients/{}/notes", users.patient);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = users.doctor.post(&path, &json!({ "text": CANARY })).await.unwrap();
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{:?}", answer.body);
        assert!(!answer.text().contains(CANARY));
        ids.push(answer.request_id);
    }
    let mut records = Records::of(&data.path().join("ledger"));
    records.until_settled().await;
    clinic.kill();
    let outcomes = |records: &[Record]| -> Vec<Outcome> {
        let attempts = ids.iter().map(|id| {
            let attempt = records.iter().find(|r| r.kind() == Kind::Attempt && r.request_id() == Some(id)).unwrap();
            attempt.attempt()
        });
        let last = |id| records.iter().rfind(|r| r.attempt() == id && r.kind() == Kind::Outcome);
        attempts.map(|id| last(id).unwrap().outcome().unwrap()).collect()
    };
    assert_eq!(outcomes(&records.all), [Outcome::Unknown; 3]);

    let clinic = Clinic::start(data.path());
    records.read_on();
    // Each was written over by the next.
    assert_eq!(outcomes(&records.all), [Outcome::RolledBack, Outcome::RolledBack, Outcome::Committed]);
    check_changes(data.path(), &records.all).await;
    clinic.kill();
}

#[test]
fn a_full_disk_under_everything_refuses_and_recovers() {
    if let Some(data) = on_small_disk("disk::a_full_disk_under_everything_refuses_and_recovers", "", "60m") {
        run(full_disk(&data));
    }
}

async fn full_disk(data: &Path) {
    let clinic = Clinic::start(data);
    let mut users = Users::of(&clinic).await;
    let ballast = Ballast::fill(data);
    let mut refused = 0;
    until(async || {
        let answer = users.receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
        if answer.status != StatusCode::CREATED {
            users.check_refusal("register", &answer);
            refused += 1;
        }
        let mut stranger = users.owner.clone();
        stranger.token = None;
        let user = clinic.demo.clinics[0].users.iter().find(|user| user.role == "owner").unwrap();
        let login = json!({ "username": user.username, "password": user.password });
        let answer = stranger.post("/api/login", &login).await.unwrap();
        if answer.status != StatusCode::OK {
            users.check_refusal("login", &answer);
        }
        refused == 5
    })
    .await;
    ballast.drop();
    // Keys, accounts and the clinic's file have each a writer that must not be left in the middle of something.
    for _ in 0..3 {
        let answer = users.receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    }
    clinic.login(0, "owner").await;
    clinic.terminate();
    assert!(clinic.ended().await.success());
    let mut records = Records::of(&data.join("ledger"));
    records.read_on();
    check_changes(data, &records.all).await;
}
