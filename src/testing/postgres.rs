//! A real PostgreSQL server for one test.

use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It is not installed.
    #[error(
        "`initdb` is neither on the path nor below /usr/lib/postgresql: install PostgreSQL 14 or later (Debian: postgresql)"
    )]
    Missing,
    /// This process runs as root, whom the server does not serve, and there is no user to run it as.
    #[error("this runs as root, and PostgreSQL does not: make the user `postgres`, as Debian's package does")]
    User,
    /// The folder of the server.
    #[error("the server's folder")]
    Folder(#[source] io::Error),
    /// There is no table in the schema.
    #[error("there is no table in the schema `{0}`: name the one that the application's tables are in")]
    NoTable(String),
    /// One of its programs failed.
    #[error("`{program}` failed; the server's log ends:\n{log}")]
    Program {
        /// Which.
        program: &'static str,
        /// The end of the server's log.
        log: String,
    },
    /// A statement failed, or nobody could log in.
    #[error("the server refused")]
    Sql(#[from] sqlx::Error),
}

/// A PostgreSQL server of its own, in a folder below `/tmp` and reached through a socket there, which everybody on this machine
/// may log in at as any role. It ends with this value, and its folder with it.
///
/// Runs as whoever runs the test, and where that is root, as the user `postgres`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::testing::{PostgresServer, ServerError};
///
/// let server = PostgresServer::start(&["fsync=off"])?;
/// for statement in ["create role clinic_app login", "create database clinic"] {
///     server.sql("postgres", "postgres", statement).await?;
/// }
/// assert!(server.url("clinic_app", "clinic").starts_with("postgres://clinic_app@"));
/// server.sql("clinic_app", "clinic", "select 1").await?;
/// // What a role may not do is an error.
/// let refused = server.sql("clinic_app", "clinic", "create role another").await;
/// assert!(matches!(refused, Err(ServerError::Sql(_))));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    bin: PathBuf,
    settings: Vec<String>,
    /// Whom it runs as, if that is somebody else.
    owner: Option<(u32, u32)>,
}

impl PostgresServer {
    /// An empty one. The settings are lines of its configuration, `name=value`.
    ///
    /// # Errors
    ///
    /// [`ServerError`], saying what is missing.
    pub fn start(settings: &[&str]) -> Result<Self, ServerError> {
        let server = Self::prepare(settings)?;
        let arguments = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"];
        server.run("initdb", &arguments)?;
        server.up()?;
        Ok(server)
    }

    /// One on a copy of what [`save`](Self::save) put aside.
    ///
    /// # Errors
    ///
    /// [`ServerError`], saying what is missing.
    pub fn start_from(saved: &Path, settings: &[&str]) -> Result<Self, ServerError> {
        let server = Self::prepare(settings)?;
        copy(saved, &server.data())?;
        server.up()?;
        Ok(server)
    }

    /// Stops it, and puts a copy of its files into `to`, which is not there yet.
    ///
    /// # Errors
    ///
    /// If it does not stop, or the files cannot be copied.
    pub fn save(self, to: &Path) -> Result<(), ServerError> {
        self.run("pg_ctl", &["-m", "fast", "-s", "-w", "stop"])?;
        copy(&self.data(), to)
    }

    /// Starts it again after [`down`](Self::down).
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn up(&self) -> Result<(), ServerError> {
        let folder = self.folder.path().display();
        let fixed = [
            "listen_addresses=''".to_owned(),
            format!("unix_socket_directories={folder}"),
            "shared_buffers=32MB".to_owned(),
        ];
        let settings: Vec<String> = fixed.iter().chain(&self.settings).map(|setting| format!("-c {setting}")).collect();
        let log = format!("{folder}/server.log");
        self.run("pg_ctl", &["-l", &log, "-w", "-s", "start", "-o", &settings.join(" ")])
    }

    /// Ends it as when the machine's power is cut, without the disk.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn down(&self) -> Result<(), ServerError> {
        self.run("pg_ctl", &["-m", "immediate", "-s", "-w", "stop"])
    }

    /// How a role reaches a database of it.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@localhost/{database}?host={}", self.folder.path().display())
    }

    /// Where its socket and its log are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs statements as a role, in a database. The superuser is `postgres`, and so is a database.
    ///
    /// # Errors
    ///
    /// What the server says of them.
    pub async fn sql(&self, role: &str, database: &str, statements: &str) -> Result<(), ServerError> {
        let mut conn = PgConnection::connect(&self.url(role, database)).await?;
        conn.execute(AssertSqlSafe(statements.to_owned())).await?;
        Ok(conn.close().await?)
    }

    /// Takes row-level security off every table of a schema, below a server that runs: one that starts refuses to.
    ///
    /// # Errors
    ///
    /// [`ServerError::NoTable`], or what the server says of it.
    ///
    /// # Security
    ///
    /// For a test that looks at what else refuses, on a server of its own.
    pub async fn danger_without_row_security(&self, database: &str, schema: &str) -> Result<(), ServerError> {
        let mut conn = PgConnection::connect(&self.url("postgres", database)).await?;
        let tables = "select format('alter table %I.%I disable row level security', schemaname, tablename)
            from pg_tables where schemaname = $1";
        let statements: Vec<String> = sqlx::query_scalar(tables).bind(schema).fetch_all(&mut conn).await?;
        if statements.is_empty() {
            return Err(ServerError::NoTable(schema.to_owned()));
        }
        for statement in statements {
            conn.execute(AssertSqlSafe(statement)).await?;
        }
        Ok(conn.close().await?)
    }

    fn prepare(settings: &[&str]) -> Result<Self, ServerError> {
        // A socket's path may have 107 bytes, which the folder that is named for temporary files can be too long for.
        let folder = tempfile::Builder::new().prefix("ward-pg").tempdir_in("/tmp").map_err(ServerError::Folder)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).map_err(ServerError::Folder)?;
        let owner = owner()?;
        if let Some((uid, gid)) = owner {
            chown(folder.path(), Some(uid), Some(gid)).map_err(ServerError::Folder)?;
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Ok(Self { folder, bin: bin().ok_or(ServerError::Missing)?, settings, owner })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-D").arg(self.data()).args(arguments);
        // `pg_ctl` leaves a server behind that keeps a pipe open: only its own end is waited for.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("HOME", self.folder.path()).current_dir(self.folder.path());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<(), ServerError> {
        if self.command(program, arguments).status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Err(ServerError::Program { program, log: lines[lines.len().saturating_sub(20)..].join("\n") })
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl", &["-m", "immediate", "-s", "stop"]).status();
    }
}

/// With owner and modes, on which the server insists.
fn copy(from: &Path, to: &Path) -> Result<(), ServerError> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    match copied {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(ServerError::Program { program: "cp", log: String::new() }),
        Err(error) => Err(ServerError::Folder(error)),
    }
}

/// Debian keeps the server's programs off the path.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    // The newest first.
    found.sort_by_key(|bin| std::cmp::Reverse(version(bin)));
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    found.into_iter().find(|bin| bin.join("initdb").is_file())
}

fn version(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The server refuses to run as root: who runs it then.
fn owner() -> Result<Option<(u32, u32)>, ServerError> {
    if fs::metadata("/proc/self").map_err(ServerError::Folder)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(ServerError::Folder)?;
    let line = users.lines().find(|line| line.starts_with("postgres:")).ok_or(ServerError::User)?;
    let field = |at| line.split(':').nth(at)?.parse().ok();
    Ok(Some((field(2).ok_or(ServerError::User)?, field(3).ok_or(ServerError::User)?)))
}
