//! The threat model says which test proves each line: the tests are there, and the lines that it refers to are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const SECURITY: &str = include_str!("../../SECURITY.md");
const ATTACKERS: &str = include_str!("../../docs/threats.md");
const FAULTS: &str = include_str!("../../docs/faults.md");
const STEPS: &str = include_str!("../../scripts/test");
const ARGS: &str = include_str!("../../examples/clinic/src/args.rs");

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let tests = tests();
    let rows = rows(SECURITY);
    assert!(rows.len() > 40, "the tables of SECURITY.md were not found: {} rows", rows.len());
    let wrong: Vec<_> = rows.iter().filter_map(|row| fault(row, &tests)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_the_table_of_faults_names_exists() {
    let tests = tests();
    let rows = rows(FAULTS);
    assert!(rows.len() > 12, "the tables of docs/faults.md were not found: {} rows", rows.len());
    // Its proof in the place where a threat has it.
    let wrong = rows.iter().filter_map(|row| match row[..] {
        [id, fault_, client, ledger, _, proof] => {
            assert!(!client.is_empty() && !ledger.is_empty(), "{id} says what the client gets and the ledger holds");
            fault(&[id, fault_, client, proof], &tests)
        }
        _ => Some(format!("a row of {} cells: {row:?}", row.len())),
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_line_without_its_proof_is_caught() {
    let tests = BTreeSet::from(["it_holds".to_owned()]);
    for (row, sound) in [
        ("| N1 | a threat | a mitigation | `it_holds` |", true),
        ("| N1 | a threat | a mitigation | not yet |", true),
        ("| N1 | a threat | a mitigation | planned |", true),
        ("| N1 | a threat | a mitigation | `it_holds` `scripts/test:deny` |", true),
        ("| N1 | a threat | a mitigation | `scripts/test:deny_all` |", false),
        ("| N1 | a threat | a mitigation | `it_held` |", false),
        ("| N1 | a threat | a mitigation | `it_holds` `it_held` |", false),
        ("| N1 | a threat | a mitigation | |", false),
        ("| N1 | a threat | a mitigation | believe us |", false),
        ("| N1 | a threat | `it_holds` |", false),
    ] {
        let rows = rows(row);
        assert_eq!(rows.iter().all(|row| fault(row, &tests).is_none()), sound, "{row}");
    }
}

/// A variable that weakens the server would have to be read first.
#[test]
fn nothing_reads_the_environment_but_where_keys_come_from() {
    const WORDS: [&str; 9] = [
        "env::var",
        "env::{",
        "env::*",
        "env;",
        "option_env!",
        "cfg!(debug",
        "cfg(debug",
        "from_default_env",
        "from_env",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut readers = Vec::new();
    each_file(["src", "examples/clinic/src"].map(|folder| root.join(folder)).into(), &mut |path, text| {
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        if text.lines().map(code).any(|line| WORDS.iter().any(|word| line.contains(word))) {
            readers.push(path.strip_prefix(root).expect("the walk began here").display().to_string());
        }
    });
    // Test code that starts programs reads what it started them with.
    readers.retain(|file| !file.contains("tests"));
    readers.sort();
    // The clinic's `main` reads `RUST_LOG`; a server for one test is looked for on the `PATH`.
    assert_eq!(readers, ["examples/clinic/src/main.rs", "src/keys/source.rs", "src/testing/postgres.rs"]);
}

/// A flag that weakens the server would have to be declared first. What these do is line B3 of `SECURITY.md`.
#[test]
fn the_clinic_has_these_flags_and_no_others() {
    let flags = |text: &str| -> Vec<String> {
        let fields = text.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
        fields.map(|(name, _)| name.replace('_', "-")).collect()
    };
    let flags = flags(ARGS);
    assert_eq!(
        flags,
        [
            "data",
            "listen",
            "plain-http",
            "fresh",
            "key",
            "key-copy",
            "ledger-key",
            "ledger-database",
            "database-url",
            "database-owner",
            "keys-database",
            "ledger-copy",
            "ledger-years",
            "peer-quota",
            "user-quota"
        ]
    );
    // Each has one name, and its value comes from the command line alone.
    assert_eq!(ARGS.matches("#[arg(long").count(), flags.len());
    assert_eq!(ARGS.matches("#[arg(").count(), flags.len());
    assert_eq!(ARGS.matches("#[command(").count(), 1);
    for word in ["alias", "subcommand", "flatten", "env =", "env)", "env,", "impl Args"] {
        assert!(!ARGS.contains(word), "`{word}` declares more than the fields say");
    }
    for weakening in ["`--plain-http`", "`--peer-quota`", "`--user-quota`", "`RUST_LOG`"] {
        let stands = rows(SECURITY).iter().any(|row| row[0] == "B3" && row[2].contains(weakening));
        assert!(stands, "{weakening} is not in line B3 of SECURITY.md");
    }
}

#[test]
fn the_attackers_table_refers_to_lines_that_exist() {
    let security = rows(SECURITY);
    let ids: Vec<_> = security.iter().map(|row| row[0]).collect();
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "two lines of SECURITY.md have one id");

    let mut used = BTreeSet::new();
    for line in ATTACKERS.lines().filter(|line| line.starts_with("| ")) {
        let see = cells(line).last().copied().unwrap_or_default();
        used.extend(see.split(' ').filter(|id| is_id(id)));
    }
    assert!(used.len() > 20, "the table of docs/threats.md was not found");
    let unknown: Vec<_> = used.difference(&unique).collect();
    assert!(unknown.is_empty(), "docs/threats.md refers to {unknown:?}");
}

/// What is wrong with a row of the threat model.
fn fault(row: &[&str], tests: &BTreeSet<String>) -> Option<String> {
    let [id, _, _, proof] = row else { return Some(format!("a row of {} cells: {row:?}", row.len())) };
    if matches!(*proof, "not yet" | "planned") {
        return None;
    }
    let named = proof.split(' ').all(|word| {
        let name = word.strip_prefix('`').and_then(|word| word.strip_suffix('`'));
        name.is_some_and(|name| match name.strip_prefix("scripts/test:") {
            Some(step) => STEPS.contains(&format!("\nstep_{step}() {{\n")),
            None => tests.contains(name),
        })
    });
    (!named).then(|| format!("{id}: `{proof}` is neither tests or steps that exist, nor `not yet`, nor `planned`"))
}

/// The rows of tables that begin with an id such as `N1`.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(cells).filter(|cells| cells.first().is_some_and(|id| is_id(id))).collect()
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inner.map(|inner| inner.split('|').map(str::trim).collect()).unwrap_or_default()
}

fn is_id(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, digits @ ..]
        if letter.is_ascii_uppercase() && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// The names of the functions under a `#[test]` or `#[tokio::test]`, in the library, its tests and the clinic.
pub(crate) fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    each_file(["src", "tests", "examples"].map(|folder| root.join(folder)).into(), &mut |_, text| {
        names.extend(tests_of(text));
    });
    names
}

/// Every Rust file in these folders, with its text.
fn each_file(mut folders: Vec<PathBuf>, visit: &mut dyn FnMut(&Path, &str)) {
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source is readable") {
            let path = entry.expect("the source is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                visit(&path, &fs::read_to_string(&path).expect("the source is UTF-8"));
            }
        }
    }
}

fn tests_of(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim_start);
    let mut names = Vec::new();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            continue;
        }
        // Other attributes may stand between.
        let head = lines.by_ref().find(|line| line.starts_with("fn ") || line.starts_with("async fn "));
        let name = head.and_then(|head| head.trim_start_matches("async ").trim_start_matches("fn ").split('(').next());
        names.extend(name.map(ToOwned::to_owned));
    }
    names
}
