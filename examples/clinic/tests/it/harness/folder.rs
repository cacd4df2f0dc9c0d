//! The demo's data folder, and for the tests that run on PostgreSQL the server in which its clinics are.
//!
//! The same tests run on both: `on_postgres.rs` starts this binary again with [`DATABASE`] set, and then every folder that is
//! laid out has its clinics, keys and accounts in a server of its own.

use std::{
    fs,
    ops::Deref,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clinic::args::Args;
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;
use tower_ward::{
    clock::SharedClock,
    store::{Durable, PostgresPlace, PostgresStore, SqliteStore},
};

use crate::postgres::cluster::Cluster;

/// The variable that says that the clinics are in PostgreSQL.
pub(crate) const DATABASE: &str = "CLINIC_TESTS_ON_POSTGRES";
/// The database in the server, and as whom to log in.
const NAME: &str = "clinic";
const APP: &str = "clinic_app";
const OWNER: &str = "clinic_owner";
/// The same of keys and accounts: the database is called as its role.
const KEYS: &str = "clinic_keys";
/// Where a folder's URLs stand. The program does not know of it.
const URL: &str = "test-database.url";
const OWNER_URL: &str = "test-owner.url";
const KEYS_URL: &str = "test-keys.url";

pub(crate) fn on_postgres() -> bool {
    std::env::var_os(DATABASE).is_some()
}

/// A data folder, with its server if it has one. Both end with this value.
#[derive(Debug)]
pub(crate) struct DemoFolder {
    dir: TempDir,
    cluster: Option<Cluster>,
}

impl Deref for DemoFolder {
    type Target = TempDir;

    fn deref(&self) -> &TempDir {
        &self.dir
    }
}

impl From<TempDir> for DemoFolder {
    fn from(dir: TempDir) -> Self {
        Self { dir, cluster: None }
    }
}

impl DemoFolder {
    /// A copy of a template.
    pub(crate) fn of(template: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        super::copy(&template.join("data"), dir.path());
        let saved = template.join("postgres");
        let cluster = saved.exists().then(|| Cluster::start_from(&saved));
        if let Some(cluster) = &cluster {
            write_urls(dir.path(), cluster);
        }
        Self { dir, cluster }
    }

    /// The server, where there is one.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("this test runs on PostgreSQL alone")
    }

    /// Runs statements in its database as the superuser.
    pub(crate) async fn sql(&self, statements: &str) {
        let url = self.cluster().url_of("postgres", NAME);
        let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
        conn.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    }

    /// The URL of its database, for a role.
    pub(crate) fn url(&self, role: &str) -> String {
        self.cluster().url_of(role, NAME)
    }
}

/// One of the two stores of a data folder whose server does not run: `keys` or `accounts`.
pub(crate) async fn store(data: &Path, name: &str, clock: &SharedClock) -> Arc<dyn Durable> {
    let clock = Arc::clone(clock);
    let Some(url) = source(data, KEYS_URL) else {
        return Arc::new(SqliteStore::open_with_clock(data.join(format!("{name}.sqlite")), clock).await.unwrap());
    };
    let place = PostgresPlace::new(fs::read_to_string(url).unwrap().trim()).unwrap();
    let place = place.with_schema(&format!("ward_{name}")).unwrap();
    Arc::new(PostgresStore::open_with_clock(&place, clock).await.unwrap())
}

/// Makes empty stores of keys and accounts in a database.
pub(crate) async fn make_key_stores(cluster: &Cluster, database: &str, owner: &str, role: &str) {
    let url = cluster.url_of(owner, database);
    let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
    for schema in ["ward_keys", "ward_accounts"] {
        // As `ward store schema` prints it.
        let script = PostgresPlace::new(&url).unwrap().with_schema(schema).unwrap().schema(role).unwrap();
        conn.execute(sqlx::AssertSqlSafe(script)).await.unwrap();
    }
}

/// A new server with empty databases, for a template that is laid out in `data`.
pub(crate) async fn new_cluster(data: &Path) -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.sql(&format!("create role {APP} login; create role {OWNER} login; create role {KEYS} login"));
    for name in [NAME, KEYS] {
        cluster.sql(&format!("create database {name} owner {OWNER}"));
    }
    make_key_stores(&cluster, KEYS, OWNER, KEYS).await;
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    write_urls(data.parent().unwrap(), &cluster);
    cluster
}

fn write_urls(dir: &Path, cluster: &Cluster) {
    for (name, role, database) in [(URL, APP, NAME), (OWNER_URL, OWNER, NAME), (KEYS_URL, KEYS, KEYS)] {
        let path = dir.join(name);
        fs::write(&path, format!("{}\n", cluster.url_of(role, database))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Where the URL of a data folder's database stands, if it has one: in the folder, or beside it while a template
/// is made.
fn source(data: &Path, name: &str) -> Option<PathBuf> {
    [data.join(name), data.parent()?.join(name)].into_iter().find(|path| path.exists())
}

/// Has a server find its clinics and keys.
pub(crate) fn with_database(args: &mut Args, data: &Path) {
    let named = |name| source(data, name).map(|path| format!("file:{}", path.display()).parse());
    args.database_url = named(URL);
    args.keys_database = named(KEYS_URL);
    if args.database_url.is_some() && !data.exists() {
        // The template is installed by its owner; a copy of it is not again.
        args.database_owner = named(OWNER_URL);
    }
}
