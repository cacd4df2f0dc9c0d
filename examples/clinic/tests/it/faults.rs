//! The clinic while something beneath or before it fails: disks that err, clocks that jump, clients that hang up or crawl.
//!
//! A library that is preloaded into the server, `faults/shim.c`, makes the faults, so that they come and go while it runs.

mod clock;
mod disk;
mod hangup;
mod slow;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tower_ward::audit::verify;

use crate::process::{Changes, Clinic, Records, check_changes, command};

/// What is wrong with a server's world at the moment.
struct Faults {
    dir: TempDir,
}

impl Faults {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&dir.path().join("shim.so"), &source])
            .arg("-ldl")
            .output()
            .expect("this test needs a C compiler, `cc` (Debian: gcc)");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { dir }
    }

    /// A server to which they happen.
    fn start(&self, data: &Path) -> Clinic {
        let mut server = command(data);
        server.env("LD_PRELOAD", self.dir.path().join("shim.so")).env("FAULTS", self.file());
        Clinic::start_by(server, data)
    }

    /// From now on, this: one line as `shim.c` reads it.
    fn set(&self, fault: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, fault).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// All is well again.
    fn end(&self) {
        self.set("");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("faults")
    }
}

/// Ends the server, and checks that two readers of the ledger agree, and the ledger with the clinics' files.
async fn end(clinic: Clinic, data: &Path) -> (Records, Changes) {
    clinic.terminate();
    assert!(clinic.ended().await.success());
    let ledger = data.join("ledger");
    let mut records = Records::of(&ledger);
    records.read_on();
    let report = verify(&ledger).unwrap();
    assert_eq!((report.records(), report.torn()), (records.all.len() as u64, None));
    let changes = check_changes(data, &records.all).await;
    (records, changes)
}
