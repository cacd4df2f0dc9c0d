//! A real PgBouncer in transaction mode before a server.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::cluster::Cluster;

/// The pooler. It ends with this value.
#[derive(Debug)]
pub(crate) struct Bouncer {
    process: Child,
    folder: TempDir,
}

impl Bouncer {
    /// So many connections to each database of the server for any number of clients. What a client asks for when it connects, and
    /// the pooler does not know, it refuses.
    pub(crate) fn start(server: &Cluster, connections: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("ward-pb").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let (here, there) = (folder.path().display(), server.folder().display());
        let settings = format!(
            "[databases]\n* = host={there}\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {here}\n\
             auth_type = trust\nauth_file = {here}/users\npool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n\
             logfile = {here}/log\n"
        );
        fs::write(folder.path().join("ini"), settings).unwrap();
        fs::write(folder.path().join("users"), "\"writer\" \"\"\n\"ward_app\" \"\"\n").unwrap();
        let mut command = Command::new(program());
        command.arg("-q").arg(folder.path().join("ini")).current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // PgBouncer refuses to run as root too: whoever runs the server runs it.
        let owner = fs::metadata(server.folder()).unwrap();
        if let (uid @ 1.., gid) = (owner.uid(), owner.gid()) {
            for path in [folder.path().to_owned(), folder.path().join("ini"), folder.path().join("users")] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
            command.uid(uid).gid(gid);
        }
        let mut bouncer = Self { process: command.spawn().unwrap(), folder };
        let socket = bouncer.folder.path().join(".s.PGSQL.6432");
        for _ in 0..500 {
            if UnixStream::connect(&socket).is_ok() {
                return bouncer;
            }
            if bouncer.process.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(bouncer.folder.path().join("log")).unwrap_or_default();
        panic!("PgBouncer did not start: {log}");
    }

    /// How a role reaches the server through it.
    pub(crate) fn url(&self, role: &str) -> String {
        format!("postgres://{role}@localhost:6432/postgres?host={}", self.folder.path().display())
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian keeps it where not everybody's path leads.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("this needs PgBouncer (Debian: pgbouncer): run `scripts/test --step setup`"))
}
