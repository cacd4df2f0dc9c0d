//! The ledger, the clinics' data and the keys in a PostgreSQL database: begun there, found there again, and nowhere else.

mod keys;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clinic::args::Args;
use tempfile::TempDir;
use tower_ward::audit::{Known, Report, verify, verify_postgres};

use crate::{harness::*, postgres::Postgres};

/// A file that holds a URL, as a flag names it.
fn source(dir: &Path, name: &str, url: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, format!("{url}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("file:{}", path.display())
}

fn with_database(dir: &Path, source: &str) -> Args {
    let mut args = args(dir);
    args.ledger_database = Some(source.parse());
    args
}

fn check(server: &Postgres) -> Report {
    let place = server.place();
    std::thread::spawn(move || verify_postgres(&place, &Known::new())).join().unwrap().unwrap()
}

/// What the program says when it does not start.
fn refused(data: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_clinic"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// What a folder holds, to the byte.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let kept = files(dir).into_iter().filter(|path| !path.to_string_lossy().ends_with("-shm"));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

// proves CLA-17: with the ledger in a database and a copy of it in a folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_in_a_database_is_found_there_again_and_its_copy_is_equal() {
    let server = Postgres::start();
    let elsewhere = TempDir::new().unwrap();
    let url = source(elsewhere.path(), "url", &server.url("writer"));
    let copy = elsewhere.path().join("copy");
    let dir = TempDir::new().unwrap();
    let mut args = with_database(&dir.path().join("data"), &url);
    let data = args.data.clone();
    args.ledger_copy = Some(copy.clone());

    for round in 0..2 {
        let before = check(&server).records();
        let running = clinic::app::start(&args, |_| ()).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(async move { running.run(async { stopped.await.unwrap() }).await.unwrap() });
        let owner = Place::of(&data).login(HOME, "owner").await;
        owner.get("/api/patients").await.expect(200);
        owner.get("/api/ledger").await.expect(200);
        // Another server on the folder, and one that would empty it, are kept off.
        if round == 1 {
            for more in [&[][..], &["--fresh"]] {
                let said = refused(&data, &[&["--ledger-database", &url], more].concat());
                assert!(said.contains("a server runs on") && said.contains("stop it first"), "{said}");
            }
        }
        stop.send(()).unwrap();
        let _ = serving.await.unwrap();
        let report = check(&server);
        assert!(report.records() > before + 3, "round {round} is not in the database");
        assert_eq!(verify(&copy).unwrap().head(), report.head());
    }
    assert!(!data.join("ledger").exists());
    let text = fs::read_to_string(elsewhere.path().join("url")).unwrap();
    for (path, bytes) in snapshot(&data) {
        let holds = bytes.windows(text.trim().len()).any(|window| window == text.trim().as_bytes());
        assert!(!holds, "the URL stands in {}", path.display());
    }

    let before = snapshot(&data);
    let said = refused(&data, &[]);
    assert!(said.contains("is in a PostgreSQL database") && said.contains("--ledger-database"), "{said}");
    // Another folder's ledger is not gone on with, and finding that out costs nobody a folder.
    let other = dir.path().join("other");
    let said = refused(&other, &["--ledger-database", &url]);
    assert!(said.contains("another data folder") && said.contains("ward audit schema"), "{said}");
    assert!(!other.exists());
    let said = refused(&data, &["--ledger-database", &url, "--fresh"]);
    assert!(said.contains("another data folder"), "{said}");
    assert!(snapshot(&data) == before, "something was changed");
    // A ledger without records is not the one that the folder was begun with.
    server.forge(
        "truncate ward_ledger.records, ward_ledger.batches; update ward_ledger.checkpoint set size = 0, note = ''",
    );
    let said = refused(&data, &["--ledger-database", &url]);
    assert!(said.contains("holds no records") && said.contains("--ledger-database"), "{said}");
}

#[tokio::test]
async fn a_ledger_in_the_folder_stays_there() {
    let dir = demo_folder().await;
    let before = snapshot(dir.path());
    // Nobody asks the database first: there is none.
    let said = refused(dir.path(), &["--ledger-database", "env:CLINIC_TEST_URL_THAT_IS_NOT_SET"]);
    assert!(said.contains("start without --ledger-database") && said.contains("--data"), "{said}");
    assert!(snapshot(dir.path()) == before, "something was changed");
    Site::start_in(dir).await.login(HOME, "owner").await.get("/api/patients").await.expect(200);
}

#[test]
fn a_refusal_holds_nothing_of_the_databases_url() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let secret = "Canary-of-the-password";
    let nowhere = format!("postgres://writer:{secret}@localhost/ward?host={}", dir.path().display());
    let open = source(dir.path(), "open", &nowhere);
    fs::set_permissions(dir.path().join("open"), fs::Permissions::from_mode(0o644)).unwrap();
    for (name, source, says) in [
        ("the URL itself", nowhere.clone(), "write `env:NAME`"),
        (
            "another database",
            source(dir.path(), "mysql", &format!("mysql://writer:{secret}@h/d")),
            "postgres://USER@HOST",
        ),
        ("no URL", source(dir.path(), "none", &format!("postgres://writer:{secret}@[h")), "postgres://USER@HOST"),
        ("everybody's to read", open, "chmod 600"),
        ("nobody answers", source(dir.path(), "nowhere", &nowhere), "check that it runs"),
    ] {
        let said = refused(&data, &["--ledger-database", &source]);
        assert!(said.contains(says), "{name}: {said}");
        assert!(!said.contains(secret), "{name}: {said}");
        assert!(!data.exists(), "{name}: something was begun");
    }
}

/// A client program of PostgreSQL on a server of ours.
fn client(server: &crate::postgres::cluster::Cluster, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.arg("-h").arg(server.folder()).args(["-U", "postgres"]).args(arguments).stdout(Stdio::null());
    let done = command.status().unwrap_or_else(|error| panic!("`{program}`, of PostgreSQL's clients: {error}"));
    assert!(done.success(), "{program} {arguments:?}");
}

// What `docs/postgres.md` says of backups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_without_the_servers_key_is_put_back_by_the_owner() {
    let server = crate::postgres::cluster::Cluster::start(&[]);
    server.sql("create role clinic_app login; create role clinic_owner login");
    server.sql("create database clinic owner clinic_owner");
    server.sql("create database back owner clinic_owner");
    let elsewhere = TempDir::new().unwrap();
    let at = |name: &str, role: &str, database: &str| source(elsewhere.path(), name, &server.url_of(role, database));
    let (app, owner) = (at("app", "clinic_app", "clinic"), at("owner", "clinic_owner", "clinic"));
    let data = TempDir::new().unwrap();
    let data = data.path().join("data");
    let child = Child::start(&data, &["--database-url", &app, "--database-owner", &owner], &[]).await;
    let seen = child.place.login(HOME, "doctor").await.get("/api/patients").await.expect(200).json();
    child.stop().await;

    let dump = elsewhere.path().join("clinic.sql");
    let file = dump.to_str().unwrap();
    client(&server, "pg_dump", &["--exclude-table-data=ward.keys", "-f", file, "clinic"]);
    client(&server, "psql", &["-q", "-v", "ON_ERROR_STOP=1", "-f", file, "back"]);
    let (app, owner) = (at("back-app", "clinic_app", "back"), at("back-owner", "clinic_owner", "back"));
    // As it came back it is nobody's: its key is not there, nor what was taken from everybody who may connect.
    let said = refused(&data, &["--database-url", &app]);
    assert!(said.contains("nothing is served from it") && said.contains("the role may create objects here"), "{said}");
    let child = Child::start(&data, &["--database-url", &app, "--database-owner", &owner], &[]).await;
    assert_eq!(child.place.login(HOME, "doctor").await.get("/api/patients").await.expect(200).json(), seen);
    child.stop().await;
}

// proves GLM-11, CLA-13: the program itself, on a database that is kept and then is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clinics_in_a_database_are_found_there_again_and_no_open_one_is_served() {
    let server = crate::postgres::cluster::Cluster::start(&[]);
    server.sql("create role clinic_app login; create role clinic_owner login");
    server.sql("create database clinic owner clinic_owner");
    let elsewhere = TempDir::new().unwrap();
    let app = source(elsewhere.path(), "app", &server.url_of("clinic_app", "clinic"));
    let owner = source(elsewhere.path(), "owner", &server.url_of("clinic_owner", "clinic"));
    let data = TempDir::new().unwrap();
    let data = data.path().join("data");
    let child = Child::start(&data, &["--database-url", &app, "--database-owner", &owner], &[]).await;
    let doctor = child.place.login(HOME, "doctor").await;
    let seen = doctor.get("/api/patients").await.expect(200).json();
    assert!(!seen["items"].as_array().unwrap().is_empty());
    child.stop().await;
    assert!(!data.join("clinics").join(format!("{HOME}.sqlite")).exists());
    // By the servers' role alone, and it is all there.
    let child = Child::start(&data, &["--database-url", &app], &[]).await;
    assert_eq!(child.place.login(HOME, "doctor").await.get("/api/patients").await.expect(200).json(), seen);
    child.stop().await;

    let said = refused(&data, &[]);
    assert!(said.contains("in a PostgreSQL database: name the source of its URL with --database-url"), "{said}");
    let said = refused(&data, &["--database-owner", &owner]);
    assert!(said.contains("--database-url"), "{said}");
    let files = demo_folder().await;
    let said = refused(files.path(), &["--database-url", &app]);
    assert!(said.contains("start without --database-url"), "{said}");
    let new = TempDir::new().unwrap();
    // Nobody else's folder begins with what is there, and what is there is left as it is.
    for (flags, says) in [
        (&["--database-url", &app, "--database-owner", &owner][..], "holds clinics already"),
        (&["--database-url", &app], "name the source of its owner's URL with --database-owner"),
    ] {
        let said = refused(&new.path().join("data"), flags);
        assert!(said.contains(says) && !said.contains("postgres://"), "{said}");
        assert!(!new.path().join("data").exists(), "something was begun");
    }
    // Nor is another begun for a folder that has its clinics in this one.
    server.sql("create database empty owner clinic_owner");
    let empty = |name: &str, role: &str| source(elsewhere.path(), name, &server.url_of(role, "empty"));
    let [empty_app, empty_owner] = [empty("empty-app", "clinic_app"), empty("empty-owner", "clinic_owner")];
    let said = refused(&data, &["--database-url", &empty_app, "--database-owner", &empty_owner]);
    assert!(said.contains("holds no clinics"), "{said}");
    let child = Child::start(&data, &["--database-url", &app], &[]).await;
    assert_eq!(child.place.login(HOME, "doctor").await.get("/api/patients").await.expect(200).json(), seen);
    child.stop().await;
    let said = refused(&new.path().join("data"), &["--database-owner", &owner]);
    assert!(said.contains("--database-owner installs the database of --database-url: name both"), "{said}");

    // Somebody opens a table.
    let open = "alter table notes disable row level security";
    let url = server.url_of("clinic_owner", "clinic");
    let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query(open).execute(&mut conn).await.unwrap();
    let said = refused(&data, &["--database-url", &app]);
    assert!(said.contains("`notes`: row-level security is off"), "{said}");
    // What its owner installs again is served again.
    let child = Child::start(&data, &["--database-url", &app, "--database-owner", &owner], &[]).await;
    child.stop().await;
    assert!(!said.contains("postgres://"), "{said}");
}
