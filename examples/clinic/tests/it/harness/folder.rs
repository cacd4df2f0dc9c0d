//! The demo's data folder, and for the tests that run on PostgreSQL the server in which its clinics are.
//!
//! The same tests run on both: `on_postgres.rs` starts this binary again with [`DATABASE`] set, and then every folder that is
//! laid out has its clinics and its ledger in a server of its own.

use std::{
    fs,
    ops::Deref,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clinic::args::Args;
use tempfile::TempDir;

use crate::postgres::cluster::Cluster;

/// The variable that says that the clinics are in PostgreSQL.
pub(crate) const DATABASE: &str = "CLINIC_TESTS_ON_POSTGRES";
/// The database in the server, and as whom to log in.
const NAME: &str = "clinic";
const APP: &str = "clinic_app";
const OWNER: &str = "clinic_owner";
/// Where a folder's URLs stand. The program does not know of it.
const URL: &str = "test-database.url";
const OWNER_URL: &str = "test-owner.url";

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
        use sqlx::{Connection as _, Executor as _};
        let url = self.cluster().url_of("postgres", NAME);
        let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
        conn.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    }

    /// The URL of its database, for a role.
    pub(crate) fn url(&self, role: &str) -> String {
        self.cluster().url_of(role, NAME)
    }
}

/// A new server with an empty database, for a template that is laid out in `data`.
pub(crate) fn new_cluster(data: &Path) -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.sql(&format!("create role {APP} login; create role {OWNER} login"));
    cluster.sql(&format!("create database {NAME} owner {OWNER}"));
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    write_urls(data.parent().unwrap(), &cluster);
    cluster
}

fn write_urls(dir: &Path, cluster: &Cluster) {
    for (name, role) in [(URL, APP), (OWNER_URL, OWNER)] {
        let path = dir.join(name);
        fs::write(&path, format!("{}\n", cluster.url_of(role, NAME))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Where the URL of a data folder's database stands, if its clinics are in one: in the folder, or beside it while a template
/// is made.
fn source(data: &Path, name: &str) -> Option<PathBuf> {
    [data.join(name), data.parent()?.join(name)].into_iter().find(|path| path.exists())
}

/// Has a server find its clinics.
pub(crate) fn with_database(args: &mut Args, data: &Path) {
    let named = |name| source(data, name).map(|path| format!("file:{}", path.display()).parse());
    args.database_url = named(URL);
    if args.database_url.is_some() && !data.exists() {
        // The template is installed by its owner; a copy of it is not again.
        args.database_owner = named(OWNER_URL);
    }
}
