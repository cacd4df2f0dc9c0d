//! A ledger on a disk that loses power, with ext4 or xfs on it.
//!
//! The disk is a file that a program of this test serves by FUSE, and that the kernel loops over. What the kernel writes stays
//! in that program until it flushes, as in a disk with a write cache. A cut loses all of that, or any part of it in whole
//! blocks or sectors, and with it goes what only the kernel had: from the cut on the disk answers nothing but errors.
//! Then the file system is mounted again from what the disk still has.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tower_ward::{
    audit::{CheckpointSigner, Head, Known, Ledger, LedgerError, LedgerOptions, verify_with},
    clock::SystemClock,
    secret::ExposeSecret as _,
};

use crate::audit::{append, everything, said, say};

/// Set in a process that has mounts of its own.
const APART: &str = "TOWER_WARD_TEST_POWER_APART";
/// The folder that this process is to write, and the key that signs there.
const FOLDER: &str = "TOWER_WARD_TEST_POWER_LEDGER";
const KEY: &str = "TOWER_WARD_TEST_POWER_KEY";

const CUTS: usize = 200;
/// Cuts until another file system is made.
const CUTS_OF_ONE: usize = 10;
/// Longest time from the start of the writer to the cut, in ms.
const LOAD: u16 = 700;
/// The same where it is to be cut while it starts.
const START: u16 = 100;

#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    make: &'static [&'static str],
    size: u64,
    /// What survives of what was not flushed, cut by cut.
    survive: [&'static str; 5],
}

const EXT4: Kind = Kind {
    name: "ext4",
    make: &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    size: 64 * 1024 * 1024,
    survive: ["none", "sectors", "all", "blocks", "sectors"],
};
const XFS: Kind = Kind {
    name: "xfs",
    make: &["mkfs.xfs", "-q", "-f"],
    size: 320 * 1024 * 1024,
    // A block of its own metadata that is torn between sectors is more than its recovery takes: it does not mount any more.
    survive: ["none", "blocks", "all", "blocks", "blocks"],
};

// proves CLA-18: L2, for a cut of the power.
#[test]
#[ignore = "mounts file systems, as root: scripts/test --long power"]
fn a_power_cut_loses_no_acknowledged_record_on_ext4() {
    cut_again_and_again("power::a_power_cut_loses_no_acknowledged_record_on_ext4", EXT4);
}

// proves CLA-18: L2, for a cut of the power.
#[test]
#[ignore = "mounts file systems, as root: scripts/test --long power"]
fn a_power_cut_loses_no_acknowledged_record_on_xfs() {
    cut_again_and_again("power::a_power_cut_loses_no_acknowledged_record_on_xfs", XFS);
}

/// Were a flush nothing to this disk, or a cut, the two above would hold of any ledger.
#[test]
#[ignore = "mounts file systems, as root: scripts/test --long power"]
fn a_disk_that_lies_about_flushing_loses_what_was_acknowledged() {
    let test = "power::a_disk_that_lies_about_flushing_loses_what_was_acknowledged";
    if !is_apart(test) {
        return;
    }
    let (dir, signer) = (made(EXT4), CheckpointSigner::generate("clinic.example/ledger").unwrap());
    let mut disk = Disk::up(dir.path(), EXT4, &["--lies"]);
    let mut writer = Writer::start(test, &disk.ledger(), &signer);
    writer.wait_for_one();
    std::thread::sleep(Duration::from_millis(200));
    let cut = disk.cut("none");
    let (acknowledged, _) = writer.killed();
    disk.down();
    assert!(!acknowledged.is_empty() && cut.flushes > 0 && cut.unflushed > 0);
    let disk = Disk::up(dir.path(), EXT4, &[]);
    assert!(!disk.ledger().exists(), "what was written is durable, whatever the disk lies");
    disk.down();
}

fn cut_again_and_again(test: &str, kind: Kind) {
    if !is_apart(test) {
        return;
    }
    let signer = CheckpointSigner::generate("clinic.example/ledger").unwrap();
    let (mut dir, mut acknowledged, mut head) = (made(kind), HashSet::new(), None);
    let (mut total, mut unflushed, mut survived, mut torn) = (0, 0, 0, 0);
    for round in 0..CUTS {
        if round > 0 && round % CUTS_OF_ONE == 0 {
            (dir, acknowledged, head) = (made(kind), HashSet::new(), None);
        }
        // Every second cut comes while the writer recovers what the one before left, which nobody has looked at, or later.
        let second = round % 2 == 1;
        let mut disk = Disk::up(dir.path(), kind, &[]);
        let mut writer = Writer::start(test, &disk.ledger(), &signer);
        if round % CUTS_OF_ONE == 0 {
            writer.wait_for_one();
        }
        let [coin, a, b] = tower_ward::entropy::array();
        let longest = if second && coin % 2 == 0 { START } else { LOAD };
        std::thread::sleep(Duration::from_millis(u64::from(u16::from_be_bytes([a, b]) % longest)));
        let cut = disk.cut(kind.survive[round % 5]);
        (unflushed, survived) = (unflushed + cut.unflushed, survived + cut.survived);
        let (new, last) = writer.killed();
        total += new.len();
        for n in new {
            assert!(acknowledged.insert(n));
        }
        head = last.or(head);
        disk.down();
        if !second {
            continue;
        }

        let disk = Disk::up(dir.path(), kind, &[]);
        let folder = disk.ledger();
        // Every batch that was durable is there, and gives the root that it gave.
        let known = head.into_iter().fold(Known::new(), Known::add_head);
        let report = verify_with(&folder, &known).unwrap_or_else(|error| panic!("round {round}: {error}"));
        torn += usize::from(report.torn().is_some());
        let (found, another) = found(&folder, &signer);
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        acknowledged.insert(another);
        // In good order this time, so that the next one begins with what it finds.
        disk.down();
    }
    println!(
        "{}: {CUTS} power cuts, {total} acknowledged, none lost, none doubled; {unflushed} sectors were not flushed, {survived} of \
         them survived; {torn} torn ends",
        kind.name
    );
    assert!(
        total > CUTS && unflushed > survived && survived > 0 && torn > 0,
        "the cuts came at times when nothing was at stake"
    );
}

/// The events in the ledger, none of which stands there twice, and one that it takes after its recovery.
fn found(folder: &Path, signer: &CheckpointSigner) -> (HashSet<u64>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ledger = open(folder, signer).unwrap();
    let records = everything(&ledger);
    let rows: Vec<u64> =
        records.iter().map(|r| u128::from_be_bytes(*r.row().unwrap().as_bytes()).try_into().unwrap()).collect();
    let different: HashSet<u64> = rows.iter().copied().collect();
    assert_eq!(different.len(), rows.len(), "a record stands twice");
    // A number that no writer uses.
    let another = u64::MAX - ledger.head().size();
    runtime.block_on(async {
        append(&ledger, another).await.unwrap();
        ledger.shutdown().await;
    });
    (different, another)
}

fn open(folder: &Path, signer: &CheckpointSigner) -> Result<Ledger, LedgerError> {
    // The smallest segments, so that they are changed often.
    let options = LedgerOptions::new().with_segment_size(128 * 1024).with_signer(signer.clone());
    Ledger::open(folder, options, SystemClock::shared())
}

/// Whether this process has mounts of its own, or is the writer. Otherwise it has started a process that has, and that one
/// passed.
fn is_apart(test: &str) -> bool {
    if let Some(folder) = std::env::var_os(FOLDER) {
        append_for_ever(Path::new(&folder));
        return false;
    }
    if std::env::var_os(APART).is_some() {
        return true;
    }
    let ended = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(APART, "1")
        .stdin(Stdio::null())
        .output()
        .expect("this test needs `unshare` (Debian: util-linux)");
    let printed = String::from_utf8_lossy(&ended.stdout);
    print!("{printed}");
    assert!(
        ended.status.success() && printed.contains("1 passed"),
        "this test needs root, /dev/fuse and loop devices first: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    false
}

/// A folder with an image of an empty file system.
fn made(kind: Kind) -> TempDir {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(kind.size).unwrap();
    run(Command::new(kind.make[0]).args(&kind.make[1..]).arg(image));
    for folder in ["disk", "mounted"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    dir
}

fn run(command: &mut Command) {
    // Debian keeps some of these off the path of who is not root.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ended = command.env("PATH", path).stdin(Stdio::null()).output();
    let ended = ended.unwrap_or_else(|error| panic!("{command:?} (Debian: e2fsprogs, xfsprogs, mount): {error}"));
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// What a cut found, in sectors.
struct Cut {
    unflushed: u64,
    survived: u64,
    flushes: u64,
}

/// A disk with power, and its file system, mounted.
struct Disk {
    dir: PathBuf,
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Disk {
    fn up(dir: &Path, kind: Kind, how: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/power/disk.py");
        let mut process = Command::new("python3")
            .arg(program)
            .args([dir.join("image"), dir.join("disk")])
            .args(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs `python3`");
        let (commands, answers) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut disk = Self { dir: dir.to_owned(), process, commands, answers };
        assert_eq!(disk.line(), "ready");
        run(Command::new("mount")
            .args(["-t", kind.name, "-o", "loop"])
            .args([dir.join("disk/disk"), dir.join("mounted")]));
        disk
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The ledger's folder.
    fn ledger(&self) -> PathBuf {
        self.dir.join("mounted/ledger")
    }

    /// Cuts the power; of what was not flushed, this survives.
    fn cut(&mut self, mode: &str) -> Cut {
        // In one piece.
        self.commands.as_mut().unwrap().write_all(format!("cut {mode}\n").as_bytes()).unwrap();
        let line = self.line();
        let words: Vec<_> = line.split(' ').collect();
        let ["cut", unflushed, survived, flushes] = words[..] else { panic!("the disk says {line:?}") };
        let number = |word: &str| word.parse().unwrap();
        Cut { unflushed: number(unflushed), survived: number(survived), flushes: number(flushes) }
    }

    /// Unmounts the file system and takes the disk away. Whoever wrote there has ended.
    fn down(mut self) {
        // A thread of the ledger's may be closing its last file.
        let busy = || !Command::new("umount").arg(self.dir.join("mounted")).output().unwrap().status.success();
        for _ in 0..200 {
            if !busy() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!self.dir.join("mounted/ledger").exists(), "the file system cannot be unmounted");
        run(Command::new("umount").arg("-l").arg(self.dir.join("disk")));
        // It ends once the loop device is gone.
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Disk {
    /// When a test has failed. The mounts go with this process.
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that writes the ledger and says what was acknowledged.
struct Writer {
    process: Child,
    out: BufReader<ChildStdout>,
    first: String,
}

impl Writer {
    fn start(test: &str, folder: &Path, signer: &CheckpointSigner) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(KEY, signer.encode().expose_secret())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out, first: String::new() }
    }

    fn wait_for_one(&mut self) {
        while !self.first.starts_with("ack ") {
            self.first.clear();
            assert!(self.out.read_line(&mut self.first).unwrap() > 0, "the writer ended by itself");
        }
    }

    /// Kills it, and gives the numbers that were acknowledged, and the last head that was durable.
    fn killed(mut self) -> (Vec<u64>, Option<Head>) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let (mut numbers, mut text) = (Vec::new(), self.first);
        std::io::Read::read_to_string(&mut self.out, &mut text).unwrap();
        said(text.as_bytes(), &mut |_, n| numbers.push(n));
        let mut heads = text.lines().filter_map(|line| line.strip_prefix("head ")?.strip_suffix(" ,"));
        (numbers, heads.next_back().map(|head| head.parse().unwrap()))
    }
}

fn append_for_ever(folder: &Path) {
    let signer = CheckpointSigner::decode(&std::env::var(KEY).unwrap().into()).unwrap();
    // Unless the power is gone already.
    let Ok(ledger) = open(folder, &signer) else { return };
    // Numbers that no round before used.
    let start = ledger.head().size() << 20;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..32)
            .map(|task| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    for n in (start + task..).step_by(32) {
                        if append(&ledger, n).await.is_err() {
                            // The power is gone.
                            return;
                        }
                        say("ack", n);
                        if task == 0 {
                            let line = format!("\nhead {} ,\n", ledger.head());
                            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
