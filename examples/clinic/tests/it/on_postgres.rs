//! The same clinic on PostgreSQL: what the tests of this binary show of the clinics' files is shown again of the one database.
//!
//! They run in a process of their own, in which [`DATABASE`] is set.

use std::process::Command;

use crate::{harness::*, sweep};

/// The rooms whose tests run again.
const AGAIN: [&str; 11] = [
    "attacks::",
    "billing::",
    "changes::",
    "chart::",
    "contract::",
    "isolation::",
    "messages::",
    "on_postgres::again::",
    "patients::",
    "roles::",
    "sweep::",
];

/// What of them does not run again: it waits for no database, or the sweeps ask for the same and more.
const NOT_AGAIN: [&str; 2] =
    ["a_body_that_trickles_is_ended_by_the_deadline", "a_foreign_an_absent_and_an_unassigned_patient_are_one_404"];

// proves GLM-11, GLM-12, GLM-17, GLM-18, CLA-11, CLA-12, CLA-23, CLA-47, CCA-13, CCA-28, CLM-18, MED-05, MED-06
#[test]
fn the_same_tests_pass_on_postgres() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(AGAIN).args(["--include-ignored", "--test-threads", "2", "--nocapture"]).env(DATABASE, "1");
    NOT_AGAIN.iter().for_each(|name| {
        command.args(["--skip", name]);
    });
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let passed: usize = out
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse().ok())
        .expect("the tests say how many passed");
    let cases: Vec<&str> = out.lines().filter(|line| line.starts_with("noninterference")).collect();
    let count = |line: &&str| line.split(": ").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    let swept: usize = cases.iter().filter_map(count).sum();
    for run in ["as it is", "row-level security alone", "without row-level security", "without keys", "without scope"] {
        let named = format!("noninterference, {run}: ");
        assert!(cases.iter().any(|line| line.starts_with(&named)), "no sweep {run}: {cases:?}");
    }
    println!("{passed} tests on PostgreSQL; {swept} cases of noninterference:\n{}", cases.join("\n"));
    assert!(passed > 50 && swept >= 10_000, "{passed} tests, {swept} cases");
}

/// What is of PostgreSQL alone.
mod again {
    use super::*;

    #[tokio::test]
    #[ignore = "on PostgreSQL alone: `the_same_tests_pass_on_postgres` runs it"]
    async fn row_level_security_alone_refuses() {
        sweep::with_neither_scope_nor_keys_row_level_security_refuses().await;
    }

    #[tokio::test]
    #[ignore = "on PostgreSQL alone: `the_same_tests_pass_on_postgres` runs it"]
    async fn without_row_level_security_the_others_refuse() {
        sweep::without_row_level_security_scope_and_keys_refuse().await;
    }
}
