//! A real PostgreSQL server, empty, in a folder of its own.

use std::{
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    bin: PathBuf,
    settings: &'static str,
}

impl Cluster {
    /// With two roles: `keeper`, who may make schemas, and `writer`, who may log in. The settings are arguments of the server.
    pub(crate) fn start(settings: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("ward-pg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let server = Self { folder, bin: bin(), settings };
        if let Some((uid, gid)) = owner() {
            std::os::unix::fs::chown(server.folder.path(), Some(uid), Some(gid)).unwrap();
        }
        server.run("initdb", &["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]);
        server.up();
        server.owner(|mut conn| async move {
            conn.execute(
                "create role writer login; create role keeper login; grant create on database postgres to keeper",
            )
            .await
            .unwrap();
        });
        server
    }

    /// One on a copy of what [`save`](Self::save) put aside.
    pub(crate) fn start_from(saved: &Path, settings: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("ward-pg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let server = Self { folder, bin: bin(), settings };
        // With its owner and modes, on which the server insists.
        let copied = Command::new("cp").arg("-a").arg(saved).arg(server.data()).status().unwrap();
        assert!(copied.success(), "cp -a {}", saved.display());
        if let Some((uid, gid)) = owner() {
            std::os::unix::fs::chown(server.folder.path(), Some(uid), Some(gid)).unwrap();
        }
        server.up();
        server
    }

    /// Stops it, and puts a copy of its files aside.
    pub(crate) fn save(self, to: &Path) {
        self.run("pg_ctl", &["-m", "fast", "-s", "-w", "stop"]);
        let copied = Command::new("cp").arg("-a").arg(self.data()).arg(to).status().unwrap();
        assert!(copied.success(), "cp -a to {}", to.display());
    }

    /// How a role reaches a database of it.
    pub(crate) fn url_of(&self, role: &str, database: &str) -> String {
        self.url(role).replace("/postgres?", &format!("/{database}?"))
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it.
    pub(crate) fn up(&self) {
        let folder = self.folder.path().to_str().unwrap();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories={folder} -c shared_buffers=32MB -c max_connections=100 {}",
            self.settings
        );
        let log = format!("{folder}/server.log");
        self.run("pg_ctl", &["-l", &log, "-w", "-s", "start", "-o", &options]);
    }

    /// As when the machine's power is cut, without the disk.
    pub(crate) fn down(&self) {
        self.run("pg_ctl", &["-m", "immediate", "-s", "-w", "stop"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-D").arg(self.data()).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("HOME", self.folder.path()).current_dir(self.folder.path());
        if let Some((uid, gid)) = owner() {
            command.uid(uid).gid(gid);
        }
        // `pg_ctl` leaves a server behind that keeps a pipe open: only its own end is waited for.
        let status = command.stderr(Stdio::null()).status().unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        assert!(status.success(), "{program} failed: {log}");
    }

    /// How a role reaches it.
    pub(crate) fn url(&self, role: &str) -> String {
        format!("postgres://{role}@localhost/postgres?host={}", self.folder.path().display())
    }

    /// Does something as the superuser.
    pub(crate) fn owner<F: Future<Output = T> + Send, T: Send>(
        &self,
        work: impl FnOnce(PgConnection) -> F + Send,
    ) -> T {
        self.as_role("postgres", work)
    }

    /// Does something as a role.
    pub(crate) fn as_role<F: Future<Output = T> + Send, T: Send>(
        &self,
        role: &str,
        work: impl FnOnce(PgConnection) -> F + Send,
    ) -> T {
        let url = self.url(role);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { work(PgConnection::connect(&url).await.unwrap()).await })
            });
            thread.join().unwrap()
        })
    }

    /// Runs statements as the superuser.
    pub(crate) fn sql(&self, statements: &str) {
        self.run_as("postgres", statements);
    }

    /// Runs statements as a role.
    pub(crate) fn run_as(&self, role: &str, statements: &str) {
        let statements = statements.to_owned();
        self.as_role(role, |mut conn| async move {
            conn.execute(sqlx::AssertSqlSafe(statements)).await.unwrap();
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.data()).args(["-m", "immediate", "-s", "stop"]);
        if let Some((uid, gid)) = owner() {
            command.uid(uid).gid(gid);
        }
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir(self.folder.path()).status();
    }
}

/// Debian keeps the server's programs off the path.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    found
        .into_iter()
        .find(|bin| bin.join("initdb").is_file())
        .unwrap_or_else(|| panic!("this needs PostgreSQL (Debian: postgresql): run `scripts/test --step setup`"))
}

/// The server refuses to run as root: who runs it then.
pub(crate) fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let line =
        users.lines().find(|line| line.starts_with("postgres:")).expect("Debian's package makes the user `postgres`");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}
