//! Data folders: laid out once, copied often, and read as bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clinic::app::{self, Demo};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tower_ward::{
    clock::{Clock, SystemClock},
    testing::Canaries,
};

use super::{
    args,
    folder::{DemoFolder, new_cluster, on_postgres},
};

/// A new folder with the demo laid out in it.
pub(crate) async fn demo_folder() -> DemoFolder {
    DemoFolder::of(&template(on_postgres()).await)
}

/// The same with its clinics on PostgreSQL, whatever the other tests run on.
pub(crate) async fn demo_folder_on_postgres() -> DemoFolder {
    DemoFolder::of(&template(true).await)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(&name));
        } else {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// The laid-out demo of this build and day. The first test to come makes it; the others wait.
async fn template(postgres: bool) -> PathBuf {
    let kind = if postgres { "clinic-template-postgres" } else { "clinic-template" };
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind);
    fs::create_dir_all(&home).unwrap();
    let binary = fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let built = binary.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    // Policy and fixtures are part of the binary. The demo's dates count from the day on which it is laid out.
    let day = SystemClock::new().now().as_second() / 86_400;
    let name = format!("{built:x}-{:x}-{day}", binary.len());
    let ready = home.join(&name);

    let lock = fs::File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    if !ready.exists() {
        for old in fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            fs::remove_dir_all(old).unwrap();
        }
        let making = home.join("making");
        let data = making.join("data");
        let cluster = if postgres { Some(new_cluster(&data).await) } else { None };
        let server = app::start(&args(&data), |_| ()).await.unwrap();
        let _ = server.run(async {}).await.unwrap();
        if let Some(cluster) = cluster {
            cluster.save(&making.join("postgres"));
        }
        fs::rename(&making, &ready).unwrap();
    }
    lock.unlock().unwrap();
    ready
}
/// The records in a ledger's folder. They are read as bytes, so that nothing which writes them says what is in them.
pub(crate) fn records(ledger: &Path) -> Vec<Value> {
    const START: &[u8] = br#"{"v":1,"index":"#;
    let mut found = Vec::new();
    for file in files(ledger).into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg")) {
        let mut bytes = fs::read(file).unwrap();
        // Files are made longer than what they hold.
        bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1));
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(START)) {
            found.extend(serde_json::Deserializer::from_slice(&bytes[at..]).into_iter().next().and_then(Result::ok));
        }
    }
    found
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file holds, unless it is gone by now: a database that closes takes its log away.
pub(crate) fn read(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

pub(crate) fn read_demo(dir: &Path) -> Demo {
    serde_json::from_slice(&fs::read(dir.join("demo.json")).unwrap()).unwrap()
}
/// A connection to a clinic's file, whose server does not run.
pub(crate) async fn open_file(data: &Path, tenant: &str) -> SqliteConnection {
    let path = data.join(format!("clinics/{tenant}.sqlite"));
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Moves what a clinic's write-ahead log holds into its file.
pub(crate) async fn checkpoint(data: &Path, tenant: &str) {
    let mut file = open_file(data, tenant).await;
    let (busy, ..): (i64, i64, i64) =
        sqlx::query_as("pragma wal_checkpoint(truncate)").fetch_one(&mut file).await.unwrap();
    assert_eq!(busy, 0);
    file.close().await.unwrap();
}

/// Whether `needle` stands in `hay`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> bool {
    assert!(!needle.is_empty());
    hay.windows(needle.len()).any(|window| window == needle)
}
/// Texts that must not be found, but for those that random bytes hold by chance.
pub(crate) fn canaries(texts: impl IntoIterator<Item = String>) -> Canaries {
    Canaries::new(texts.into_iter().filter(|text| text.len() >= Canaries::LEAST)).unwrap()
}
