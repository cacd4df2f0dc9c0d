//! What the ledger proves to somebody who keeps a checkpoint elsewhere, and to somebody who has one clinic's records.
#![expect(clippy::disallowed_methods, reason = "threads are waited for, whatever the ledger's clock says")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tower_ward::{
    audit::{
        Action, CheckpointSigner, CheckpointVerifier, Event, Fault, FolderSink, Head, Known, Ledger, LedgerError,
        LedgerOptions, Record, RequestFacts, Sinks, VerifiedCheckpoint, leaf_hash, verify, verify_chain, verify_with,
    },
    clock::SystemClock,
    id::TenantId,
    secret::ExposeSecret as _,
};

use crate::support::ledger::records_on_disk;

const NAME: &str = "clinic.example/ledger";

fn options(signer: &CheckpointSigner) -> LedgerOptions {
    LedgerOptions::new().with_segment_size(128 * 1024).with_signer(signer.clone())
}

fn open(dir: &Path, signer: &CheckpointSigner) -> Result<Ledger, LedgerError> {
    Ledger::open(dir, options(signer), SystemClock::shared())
}

fn keys(signer: &CheckpointSigner) -> CheckpointVerifier {
    CheckpointVerifier::new(signer.verifier_key().clone()).unwrap()
}

async fn append(ledger: &Ledger, from: u64, count: u64) {
    for n in from..from + count {
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        let tenant = TenantId::new(&format!("clinic-{}", n % 3)).unwrap();
        trail.record(Event::new(Action::Export).with_tenant(tenant).with_reason(format!("number {n}"))).unwrap();
        trail.settled().await.unwrap();
    }
}

fn stored(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("ledger.checkpoint")).unwrap()
}

/// A ledger in three runs, and the checkpoint that each run ended with.
async fn grown(dir: &Path, signer: &CheckpointSigner) -> Vec<VerifiedCheckpoint> {
    let mut kept = Vec::new();
    for run in 0..3 {
        let ledger = open(dir, signer).unwrap();
        append(&ledger, run * 100, 30).await;
        ledger.shutdown().await;
        let newest = ledger.checkpoint().unwrap();
        assert_eq!((newest.head(), newest.note()), (ledger.head(), &*stored(dir)));
        kept.push(keys(signer).verify(newest.note()).unwrap());
    }
    kept
}

// proves CLA-19
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_the_same_tree_and_signs_it() {
    let (dir, signer) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    let kept = grown(dir.path(), &signer).await;
    assert_eq!(kept.iter().map(|c| c.head().size()).collect::<Vec<_>>(), [60, 120, 180], "each event and its end");
    let known = kept.iter().fold(Known::new().with_keys(keys(&signer)), |known, c| known.add_head(c.head()));
    let report = verify_with(dir.path(), &known).unwrap();
    assert_eq!((report.records(), report.signed()), (180, Some(report.head())));

    // Whoever has nothing but two checkpoints is shown that the later one goes on from the earlier.
    let ledger = open(dir.path(), &signer).unwrap();
    let hashes = ledger.hashes().unwrap();
    for (old, new) in [(0, 1), (0, 2), (1, 2)] {
        let (old, new) = (kept[old].head(), kept[new].head());
        assert_eq!(hashes.consistency_between(&old, &new).unwrap().verify(&old, &new), Ok(()));
    }
    // And each record is in it.
    for record in records_on_disk(dir.path()) {
        let proof = hashes.inclusion_in(record.index(), &kept[2].head()).unwrap();
        assert_eq!(proof.verify(&leaf_hash(&record.to_bytes()), &kept[2].head()), Ok(()));
    }
    ledger.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_signed_every_second_under_load_and_soon_after_the_last_record() {
    let (dir, signer) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    let ledger = open(dir.path(), &signer).unwrap();
    let watched = ledger.clone();
    let watcher = tokio::spawn(async move {
        let (mut seen, mut size) = (Vec::new(), 0);
        while let Some(next) = watched.checkpoint_after(size).await {
            size = next.head().size();
            seen.push((Instant::now(), size));
        }
        seen
    });
    let end = Instant::now() + Duration::from_millis(3_500);
    let mut n = 0;
    while Instant::now() < end {
        append(&ledger, n, 1).await;
        n += 1;
    }
    // Nothing more is written, and what was is signed within the second, and a moment.
    let begun = Instant::now();
    while ledger.checkpoint().unwrap().head().size() < ledger.head().size() {
        assert!(begun.elapsed() < Duration::from_secs(3), "the last records stay unsigned");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A reader beside the writer holds the newest one against the records.
    let beside = verify_with(dir.path(), &Known::new().with_keys(keys(&signer))).unwrap();
    assert!(beside.signed().unwrap().size() > 0);
    ledger.shutdown().await;
    let seen = watcher.await.unwrap();
    assert!((4..=8).contains(&seen.len()), "{} checkpoints in some four seconds", seen.len());
    let gaps: Vec<_> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap < Duration::from_millis(2_500)), "{gaps:?}");
}

/// What somebody does who can write the folder, and every key in it but the signing one.
struct Attack {
    name: &'static str,
    kind: Fault,
    /// The first bad record.
    index: u64,
    /// Whether the folder alone tells.
    local: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_kept_checkpoint_tells_is_told_by_it() {
    let (dir, signer) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    let stranger = CheckpointSigner::generate(NAME).unwrap();
    let ledger = open(dir.path(), &signer).unwrap();
    append(&ledger, 0, 30).await;
    ledger.shutdown().await;
    let first = keys(&signer).verify(stored(dir.path())).unwrap();
    let older = copy(dir.path());
    let ledger = open(dir.path(), &signer).unwrap();
    append(&ledger, 100, 30).await;
    ledger.shutdown().await;
    let second = keys(&signer).verify(stored(dir.path())).unwrap();

    let none = LedgerOptions::new().with_segment_size(128 * 1024);
    // From the older copy another history begins.
    let forked = copy(older.path());
    let ledger = Ledger::open(forked.path(), none.clone(), SystemClock::shared()).unwrap();
    append(&ledger, 900, 40).await;
    ledger.shutdown().await;
    // A whole new one, signed by a key that somebody made.
    let anew = TempDir::new().unwrap();
    let ledger = open(anew.path(), &stranger).unwrap();
    append(&ledger, 0, 70).await;
    ledger.shutdown().await;
    let unsigned = copy(dir.path());
    std::fs::remove_file(unsigned.path().join("ledger.checkpoint")).unwrap();
    let resigned = copy(dir.path());
    std::fs::write(resigned.path().join("ledger.checkpoint"), stranger.sign(verify(dir.path()).unwrap().head()))
        .unwrap();
    let changed = copy(dir.path());
    std::fs::write(changed.path().join("ledger.checkpoint"), stored(dir.path()).replace("\n120\n", "\n121\n")).unwrap();
    let torn = copy(dir.path());
    std::fs::write(torn.path().join("ledger.checkpoint"), "").unwrap();
    let newer = copy(older.path());
    std::fs::copy(dir.path().join("ledger.checkpoint"), newer.path().join("ledger.checkpoint")).unwrap();

    let heads = [first.head(), second.head()];
    for (folder, attack) in [
        (&older, Attack { name: "an older copy was put back", kind: Fault::RolledBack, index: 60, local: false }),
        (
            &newer,
            Attack { name: "the same, with the newest checkpoint", kind: Fault::RolledBack, index: 60, local: true },
        ),
        (&forked, Attack { name: "history goes on otherwise", kind: Fault::Forked, index: 60, local: false }),
        (&anew, Attack { name: "all was written anew", kind: Fault::ForeignKey, index: 0, local: true }),
        (&unsigned, Attack { name: "the checkpoint is gone", kind: Fault::Unsigned, index: 0, local: true }),
        (&resigned, Attack { name: "another key signed", kind: Fault::ForeignKey, index: 0, local: true }),
        (&torn, Attack { name: "the checkpoint is empty", kind: Fault::Unsigned, index: 0, local: true }),
        (&changed, Attack { name: "the signed text was changed", kind: Fault::ForeignKey, index: 0, local: true }),
    ] {
        let name = attack.name;
        verify(folder.path()).unwrap_or_else(|error| panic!("{name}: the records alone say {error}"));
        let known = heads.iter().fold(Known::new(), |known, head| known.add_head(*head));
        let with_keys = verify_with(folder.path(), &known.clone().with_keys(keys(&signer)));
        let found = with_keys.err().unwrap_or_else(|| panic!("{name}: nothing was found"));
        assert_eq!((found.kind(), found.index()), (attack.kind, attack.index), "{name}");
        let local = verify_with(folder.path(), &Known::new().with_keys(keys(&signer)));
        assert_eq!(local.is_err(), attack.local, "{name}: {local:?}");
        // The server that has the key asks the same of its own folder.
        let started = open(folder.path(), &signer);
        let gone = !folder.path().join("ledger.checkpoint").exists();
        assert_eq!(matches!(started, Err(LedgerError::Damaged(_))), attack.local && !gone, "{name}: {started:?}");
        if let Ok(ledger) = started {
            ledger.shutdown().await;
        }
    }
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_signs_can_be_replaced() {
    let (dir, old) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    let new = CheckpointSigner::generate(NAME).unwrap();
    let ledger = open(dir.path(), &old).unwrap();
    append(&ledger, 0, 3).await;
    ledger.shutdown().await;
    assert!(matches!(open(dir.path(), &new), Err(LedgerError::Damaged(error)) if error.kind() == Fault::ForeignKey));
    let options = options(&new).add_old_key(old.verifier_key().clone());
    let ledger = Ledger::open(dir.path(), options, SystemClock::shared()).unwrap();
    append(&ledger, 3, 3).await;
    ledger.shutdown().await;
    open(dir.path(), &new).unwrap().shutdown().await;
    verify_with(dir.path(), &Known::new().with_keys(keys(&new))).unwrap();
}

/// The hashes are what the records make them: whatever was done to their file.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_hashes_gives_no_wrong_proof_and_is_made_again() {
    let (dir, signer) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    let head = grown(dir.path(), &signer).await[2].head();
    let path = dir.path().join("ledger.hashes");
    let whole = std::fs::read(&path).unwrap();
    let other = TempDir::new().unwrap();
    let ledger = open(other.path(), &signer).unwrap();
    append(&ledger, 500, 90).await;
    ledger.shutdown().await;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damages: [(&str, Option<Vec<u8>>); 9] = [
        ("gone", None),
        ("cut in the middle of a hash", Some(whole[..whole.len() / 2 + 5].to_vec())),
        ("cut to its header", Some(whole[..32].to_vec())),
        ("another ledger's", Some(std::fs::read(other.path().join("ledger.hashes")).unwrap())),
        ("longer", Some([&whole[..], &[7; 64]].concat())),
        ("the last root's path changed", Some(flipped(whole.len() - 1))),
        ("a leaf changed", Some(flipped(32))),
        ("another kind of file", Some(b"not such a file, and longer than the header of one".to_vec())),
        ("empty", Some(Vec::new())),
    ];
    for (name, bytes) in damages {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let ledger = open(dir.path(), &signer).unwrap();
        let hashes = ledger.hashes().unwrap();
        assert_eq!(hashes.size(), 180, "{name}");
        for record in records_on_disk(dir.path()) {
            let proof = hashes.inclusion_in(record.index(), &head).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(proof.verify(&leaf_hash(&record.to_bytes()), &head), Ok(()), "{name}");
        }
        ledger.shutdown().await;
    }
}

// proves CLA-19
#[tokio::test(flavor = "multi_thread")]
async fn one_clinics_records_verify_without_any_others() {
    let (dir, signer) = (TempDir::new().unwrap(), CheckpointSigner::generate(NAME).unwrap());
    grown(dir.path(), &signer).await;
    let all = records_on_disk(dir.path());
    for clinic in ["clinic-0", "clinic-1", "clinic-2"].map(|name| TenantId::new(name).unwrap()) {
        let own: Vec<Vec<u8>> = all.iter().filter(|r| r.tenant() == Some(&clinic)).map(Record::to_bytes).collect();
        let check = |records: &[Vec<u8>]| verify_chain(&clinic, records.iter().map(Vec::as_slice));
        let chain = check(&own).unwrap();
        assert_eq!((chain.records(), chain.last()), (60, &leaf_hash(&own[59])));

        let mut edited = own.clone();
        edited[6] = String::from_utf8(own[6].clone()).unwrap().replace("number", "numbeR").into_bytes();
        let mut without = own.clone();
        without.remove(7);
        let mut twice = own.clone();
        twice.insert(7, own[6].clone());
        let mut swapped = own.clone();
        swapped.swap(7, 8);
        let mut foreign = own.clone();
        foreign[7] = all.iter().find(|r| r.tenant() != Some(&clinic)).unwrap().to_bytes();
        for (name, records, kind) in [
            ("edited", edited, Fault::Edited),
            ("deleted", without, Fault::Deleted),
            ("inserted", twice, Fault::Inserted),
            ("swapped", swapped, Fault::Deleted),
            ("another clinic's", foreign, Fault::Inserted),
        ] {
            assert_eq!(check(&records).unwrap_err().kind(), kind, "{clinic}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_holds_a_copy_has_the_checkpoint_too() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let signer = CheckpointSigner::generate(NAME).unwrap();
    let sinks = Sinks::new().add_required("copy", FolderSink::open(there.path(), &options(&signer)).unwrap());
    let ledger = Ledger::open_with(here.path(), sinks, options(&signer), SystemClock::shared()).unwrap();
    append(&ledger, 0, 10).await;
    ledger.shutdown().await;
    let known = Known::new().with_keys(keys(&signer));
    let (here, there) = (verify_with(here.path(), &known).unwrap(), verify_with(there.path(), &known).unwrap());
    assert_eq!((here.head(), here.signed()), (there.head(), there.signed()));
    assert_eq!(here.signed(), Some(here.head()));
}

fn ward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(arguments).output().unwrap()
}

// proves CLA-87
#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_wrong_and_where() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name);
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let key_file = text(&file("ledger.key"));
    let made = ward(&["audit", "keygen", "--name", NAME, "--out", &key_file]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(made.status.success() && key.starts_with(NAME));
    let private = std::fs::read_to_string(&key_file).unwrap();
    assert!(!String::from_utf8_lossy(&made.stderr).contains(private.trim()) && !key.contains(private.trim()));
    let again = ward(&["audit", "keygen", "--name", NAME, "--out", &key_file]);
    assert_eq!((again.status.code(), std::fs::read_to_string(&key_file).unwrap()), (Some(1), private.clone()));
    assert_eq!(ward(&["audit", "keygen", "--name", "not a name", "--out", &text(&file("x"))]).status.code(), Some(1));

    let signer = CheckpointSigner::decode(&private.trim().into()).unwrap();
    let (folder, older) = (file("ledger"), file("older"));
    let ledger = open(&folder, &signer).unwrap();
    append(&ledger, 0, 5).await;
    ledger.shutdown().await;
    std::fs::rename(copy(&folder).keep(), &older).unwrap();
    std::fs::write(file("first"), stored(&folder)).unwrap();
    let ledger = open(&folder, &signer).unwrap();
    append(&ledger, 5, 5).await;
    ledger.shutdown().await;
    std::fs::write(file("second"), stored(&folder)).unwrap();
    let (folder, older, first, second) = (text(&folder), text(&older), text(&file("first")), text(&file("second")));
    let written_down: Head = ledger.head();
    let (head, wrong) = (written_down.to_string(), format!("5:{}", "07".repeat(32)));

    for (name, arguments, code, says) in [
        ("nothing is known", vec![&*folder], 0, "keep the head"),
        ("both checkpoints", vec![&folder, "--key", &key, "--since", &first, "--since", &second], 0, "each of the 2"),
        ("a head written down", vec![&folder, "--since-head", &head], 0, "each of the 1"),
        ("an older copy", vec![&older, "--key", &key, "--since", &second], 1, "record 10: rolled back"),
        ("another root", vec![&folder, "--since-head", &wrong], 1, "record 0: forked"),
        ("a stranger's key", vec![&folder, "--key", "clinic.example/ledger+00000000+AA=="], 2, "key"),
        ("no checkpoint", vec![&folder, "--key", &key, "--since", &key_file], 1, "ledger.key"),
        ("without the key", vec![&folder, "--since", &first], 2, "--key"),
        ("no file", vec![&folder, "--key", &key, "--since", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    ] {
        let done = ward(&[&["audit", "verify"], &arguments[..]].concat());
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(code), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
    }
    assert!(!private.trim().is_empty() && signer.encode().expose_secret() == private.trim());
}
