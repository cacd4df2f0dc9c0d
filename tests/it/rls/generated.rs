//! The scripts that the library generates, read by `squawk` as migrations are (`scripts/test --step sql`).

use std::process::Command;

use tower_ward::db::PostgresDb;

use super::site::{APP, SCHEMA};
use crate::support::program::program;

/// What it says of a script, and whether it lets it pass.
fn squawk(name: &str, script: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new(program("squawk"));
    command.args(["--reporter", "gcc", "--config"]).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/.squawk.toml"));
    let said = command.arg(file).output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    (said.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn what_the_library_generates_passes_as_a_migration_must() {
    let (ground, guards) = PostgresDb::scripts(&SCHEMA, APP).unwrap();
    for (name, script) in [("ground.sql", &ground), ("guards.sql", &guards)] {
        let (passes, said) = squawk(name, script);
        assert!(passes, "{name}: {said}");
        // It was read to its end.
        let (passes, said) = squawk(name, &format!("{script}\nalter table notes drop column author;\n"));
        assert!(!passes && said.contains("ban-drop-column"), "{name}: {said}");
        let without = script.replace("set local lock_timeout", "set local deadlock_timeout");
        let (passes, said) = squawk(name, &without);
        assert!(!passes && said.contains("require-lock-timeout"), "{name}: {said}");
    }
}
