//! Starts that go on, and starts that are refused: with a sentence that says what to do, and nothing changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Parser as _;
use clinic::{app, args::Args};
use http::Method;
use serde_json::json;
use tower_ward::{keys::RootKey, secret::ExposeSecret as _};

use crate::harness::*;

/// What a folder holds, to the byte.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    // The index of a write-ahead log is made anew by whoever opens it.
    let kept = files(dir).into_iter().filter(|path| !path.to_string_lossy().ends_with("-shm"));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Why a server does not start.
async fn refusal(args: &Args) -> String {
    let Err(error) = app::start(args, |_| ()).await else { panic!("it started") };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_second_start_keeps_data_logins_and_certificate() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let new = json!({ "given": "Stay", "family": "Here", "birth_date": "1990-02-03", "sex": "other" });
    let created = owner.post("/api/patients", &new).await;
    created.expect(201);
    let path = format!("/api/patients/{}", created.json()["id"].as_str().unwrap());
    let before: Vec<(String, String)> =
        site.clinic(HOME).users.iter().map(|u| (u.username.clone(), u.password.clone())).collect();
    let ca = fs::read(site.path().join("ca.pem")).unwrap();

    let site = Site::start_in(site.stop().await).await;
    let after: Vec<(String, String)> =
        site.clinic(HOME).users.iter().map(|u| (u.username.clone(), u.password.clone())).collect();
    assert_eq!(before, after);
    assert_eq!(fs::read(site.path().join("ca.pem")).unwrap(), ca);
    let owner = site.login(HOME, "owner").await;
    assert_eq!(owner.get(&path).await.json(), created.json());
    for role in ROLES {
        site.login(AWAY, role).await.get("/api/me").await.expect(200);
    }
}

#[tokio::test]
async fn fresh_lays_out_anew_with_other_passwords() {
    let dir = demo_folder().await;
    let before = read_demo(dir.path());
    fs::write(dir.path().join("left-over"), "x").unwrap();
    let mut again = args(dir.path());
    again.fresh = true;
    let site = Site::start_with(dir, &again).await;
    assert!(!site.path().join("left-over").exists());
    let (old, new) = (&before.clinics[0].users[0], &site.demo.clinics[0].users[0]);
    assert_eq!(old.username, new.username);
    assert_ne!(old.password, new.password);
    assert_ne!(before.clinics[0].patients, site.demo.clinics[0].patients);
    site.guest(&before.clinics[0].tenant).try_login(&old.username, &old.password).await.expect(401);
    site.login(HOME, "owner").await.get("/api/me").await.expect(200);
}

#[tokio::test]
async fn fresh_removes_nothing_that_is_not_marked_as_a_demos() {
    for mark in [None, Some("a file of this name, but of somebody else's"), Some("")] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("thesis")).unwrap();
        fs::write(dir.path().join("thesis/chapter-1.txt"), "years of work").unwrap();
        if let Some(text) = mark {
            fs::write(dir.path().join("DEMO"), text).unwrap();
        }
        let before = snapshot(dir.path());
        for fresh in [false, true] {
            let mut args = args(dir.path());
            args.fresh = fresh;
            let why = refusal(&args).await;
            assert!(why.contains("not marked") && why.contains("--data"), "{why}");
            assert!(snapshot(dir.path()) == before, "something was changed");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("DEMO")).unwrap();
    fs::write(dir.path().join("DEMO/work"), "years of it").unwrap();
    let mut args = args(dir.path());
    args.fresh = true;
    refusal(&args).await;
    assert!(dir.path().join("DEMO/work").exists());
}

#[tokio::test]
async fn demo_accounts_are_never_served_beyond_this_machine() {
    let dir = demo_folder().await;
    let before = snapshot(dir.path());
    let nothing = dir.path().join("not-yet");
    let refused = async |listen: &str, plain_http: bool, fresh: bool, data: &Path| {
        let mut args = args(data);
        (args.listen, args.plain_http, args.fresh) = (listen.parse().unwrap(), plain_http, fresh);
        let why = refusal(&args).await;
        assert!(why.contains("demo accounts") && why.contains("--listen 127.0.0.1"), "{listen}: {why}");
    };
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        for plain_http in [false, true] {
            refused(listen, plain_http, false, &nothing).await;
            refused(listen, plain_http, true, dir.path()).await;
        }
    }
    // Not even a folder, and nothing was emptied on the way to the refusal.
    assert!(!nothing.exists());
    assert!(snapshot(dir.path()) == before, "something was changed");
    // The folder's own accounts say it too, with TLS and without.
    refused("0.0.0.0:0", false, false, dir.path()).await;
    refused("0.0.0.0:0", true, false, dir.path()).await;
    assert_eq!(fs::read(dir.path().join("demo.json")).unwrap(), before[&dir.path().join("demo.json")]);
}

#[tokio::test]
async fn an_address_that_is_taken_says_so_and_leaves_nothing_half_made() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut args = args(&dir.path().join("new"));
    args.listen = taken.local_addr().unwrap();
    let why = refusal(&args).await;
    assert!(why.contains("cannot listen") && why.contains("--listen"), "{why}");
    assert!(!args.data.exists());
}

// proves CLM-05, CLM-20: on the whole server; the library's tests have every shape of a bad key.
#[tokio::test]
async fn without_its_root_key_whole_and_private_there_is_no_start_and_nothing_changes() {
    let dir = demo_folder().await;
    let path = dir.path().join("root.key");
    let good = fs::read_to_string(&path).unwrap();
    let body = good.trim().strip_prefix("tower-ward-key-v1:").unwrap().to_owned();
    let before = snapshot(dir.path());
    for (name, text, says) in [
        ("missing", None, "no such file"),
        ("empty", Some(String::new()), "empty"),
        ("short", Some(good[..40].to_owned()), "too short"),
        ("long", Some(format!("{}AAAA", good.trim())), "too long"),
        ("all zero", Some(format!("tower-ward-key-v1:{}", "A".repeat(43))), "all zeros"),
        ("without its prefix", Some(body.clone()), "does not begin with"),
        ("not base64url", Some(format!("tower-ward-key-v1:*{}", &body[1..])), "base64url"),
    ] {
        fs::remove_file(&path).unwrap();
        if let Some(text) = &text {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let why = refusal(&args(dir.path())).await;
        assert!(why.contains(says), "{name}: {why}");
        assert!(why.contains("root.key"), "{name} does not name the file: {why}");
        assert!(!why.contains(&body[..8]), "{name}: the key stands in the message");
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(snapshot(dir.path()) == before, "{name}: something was changed");
    }
    for mode in [0o644, 0o640, 0o604, 0o660, 0o622] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let why = refusal(&args(dir.path())).await;
        assert!(why.contains("root.key") && why.contains("chmod 600") && !why.contains(&body[..8]), "{mode:o}: {why}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let moved = dir.path().join("moved.key");
    fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    let why = refusal(&args(dir.path())).await;
    assert!(why.contains("root.key") && why.contains("symbolic link"), "{why}");
    fs::rename(&moved, &path).unwrap();
    assert!(snapshot(dir.path()) == before, "something was changed");
    // A good key, but not this folder's.
    let mut other = args(dir.path());
    let stranger = dir.path().join("stranger.key");
    RootKey::generate().write_new_file(&stranger).unwrap();
    other.key = Some(format!("file:{}", stranger.display()).parse());
    let why = refusal(&other).await;
    assert!(why.contains("root key"), "{why}");
    Site::start_in(dir).await.login(HOME, "owner").await.get("/api/patients").await.expect(200);
}

/// The program itself, with what it printed: status, stdout and stderr.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_clinic"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

// proves CLM-05, CLM-20
#[tokio::test]
async fn a_key_from_the_environment_works_and_a_bad_form_is_refused_without_repeating_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (data_text, key) = (data.to_str().unwrap(), RootKey::generate().encode().expose_secret().to_owned());
    let body = &key["tower-ward-key-v1:".len()..];
    let (flag, flags) = (format!("-{body}"), format!("--{body}"));
    for source in [
        &key,
        body,
        &flag,
        &flags,
        &format!("env:{key}"),
        "env:",
        "env:A B",
        "env:1A",
        "vault:x",
        "file:",
        "credential:../x",
        "",
    ] {
        let (started, out, err) = run(&["--data", data_text, "--listen", "127.0.0.1:0", "--key", source], &[]);
        assert!(!started && out.is_empty(), "{source}: {out}");
        assert!(err.contains("--key"), "{source}: {err}");
        assert!(!err.contains(body), "the key was repeated: {err}");
    }
    let mut wrong = args(&data);
    for (source, says) in [
        ("env:CLINIC_TEST_KEY_THAT_IS_NOT_SET", "CLINIC_TEST_KEY_THAT_IS_NOT_SET"),
        ("file:/nowhere/root.key", "/nowhere/root.key"),
        ("credential:clinic", "CREDENTIALS_DIRECTORY"),
    ] {
        wrong.key = Some(source.parse());
        let why = refusal(&wrong).await;
        assert!(why.contains(says), "{why}");
    }
    let (started, _, err) = run(
        &["--data", data_text, "--listen", "127.0.0.1:0", "--key", "env:CLINIC_KEY"],
        &[("CLINIC_KEY", &key[..30])],
    );
    assert!(
        !started && err.contains("env:CLINIC_KEY") && err.contains("too short") && !err.contains(&body[..8]),
        "{err}"
    );
    // A start that was refused left nothing behind, so the next one begins from nothing.
    assert!(!data.exists());

    let child = Child::start(&data, &["--key", "env:CLINIC_KEY"], &[("CLINIC_KEY", &key)]).await;
    assert!(!data.join("root.key").exists());
    let owner = child.place.login(HOME, "owner").await;
    owner.get("/api/patients").await.expect(200);
    child.stop().await;
    // The same key from a file.
    let file = dir.path().join("elsewhere.key");
    fs::write(&file, &key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut again = args(&data);
    again.key = Some(format!("file:{}", file.display()).parse());
    let server = app::start(&again, |_| ()).await.unwrap();
    let _ = server.run(async {}).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_leaves_its_clinics_files_whole_and_no_log_beside_them() {
    let dir = demo_folder().await;
    let child = Child::start(dir.path(), &[], &[]).await;
    let doctor = child.place.login(HOME, "doctor").await;
    doctor.get("/api/patients").await.expect(200);
    assert!(dir.path().join(format!("clinics/{HOME}.sqlite-wal")).exists(), "while it runs there is a log");
    child.stop().await;
    let left: Vec<String> = fs::read_dir(dir.path().join("clinics"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.len() >= 3 && left.iter().all(|name| name.ends_with(".sqlite")), "{left:?}");
    for name in ["keys", "keys-copy", "accounts"] {
        let file = |end: &str| dir.path().join(format!("{name}.sqlite{end}"));
        assert_eq!(fs::metadata(file("")).unwrap().permissions().mode() & 0o7777, 0o600, "{name}");
        assert!(!file("-wal").exists() && !file("-shm").exists(), "{name}");
    }
}

#[tokio::test]
async fn a_clinics_file_in_anothers_place_is_refused() {
    let dir = Site::start().await.stop().await;
    for tenant in [HOME, AWAY] {
        checkpoint(dir.path(), tenant).await;
    }
    let file = |tenant: &str| dir.path().join(format!("clinics/{tenant}.sqlite"));
    for tenant in [HOME, AWAY] {
        for index in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("clinics/{tenant}.sqlite{index}")));
        }
    }
    fs::copy(file(AWAY), file(HOME)).unwrap();
    let why = refusal(&args(dir.path())).await;
    assert!(why.contains(HOME) && why.contains("another clinic"), "{why}");
}

#[test]
fn the_command_line_says_what_it_takes() {
    let (fine, out, err) = run(&["--help"], &[]);
    assert!(fine && err.is_empty());
    for option in [
        "--data",
        "--listen",
        "--plain-http",
        "--fresh",
        "--key",
        "--key-copy",
        "--ledger-database",
        "--keys-database",
        "--help",
    ] {
        assert!(out.contains(option), "{option}");
    }
    for wrong in [&["--listen", "localhost"][..], &["--listen", "8443"], &["--peer-quota", "0"], &["--unknown"], &["x"]]
    {
        assert!(Args::try_parse_from([&["clinic"], wrong].concat()).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn the_program_prints_a_login_of_every_role_and_ends_when_asked() {
    let dir = demo_folder().await;
    let child = Child::start(dir.path(), &[], &[]).await;
    let owner = child.place.login(HOME, "owner").await;
    owner.send(Method::GET, "/api/me", None).await.expect(200);
    let users: Vec<(String, String)> = ROLES
        .iter()
        .map(|role| child.place.users(HOME, role).next().unwrap())
        .map(|u| (u.username.clone(), u.password.clone()))
        .collect();
    let (out, err) = child.stop().await;
    for (username, password) in users {
        assert!(out.lines().any(|line| line.contains(&username) && line.contains(&password)), "{username}: {out}");
    }
    assert!(out.contains("https://harbour.localhost:"), "{out}");
    let root = RootKey::load(&format!("file:{}", dir.path().join("root.key").display()).parse().unwrap()).unwrap();
    let keys = format!("keys are under `root` (local:{}); the key store has 1 copy\n", root.fingerprint());
    assert!(out.starts_with(&keys), "{out}");
    // Of what could be better with the keys, that the demo's are on this machine, and no more.
    let notes: Vec<&str> = out.lines().filter(|line| line.starts_with("  Keys: ")).collect();
    assert!(notes.len() == 1 && notes[0].contains("the root key `root` is on this machine"), "{notes:?}");
    // The same of the ledger.
    let notes: Vec<&str> = out.lines().filter(|line| line.starts_with("  Ledger: ")).collect();
    assert!(notes.len() == 1 && notes[0].contains("no required copy"), "{notes:?}");
    assert_eq!(err, "");
}
