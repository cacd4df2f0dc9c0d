//! Measures this crate against its floors and prints the table of `docs/performance.md`.
//!
//! ```sh
//! cargo run --release -p ward-benches            # every row
//! cargo run --release -p ward-benches -- field   # one group
//! cargo run --release -p ward-benches -- --write # and put the table into docs/performance.md
//! cargo run --release -p ward-benches --features aws-lc -- --write # what differs with the feature, and its table
//! cargo run --release -p ward-benches -- --requests path 1000   # for callgrind
//! ```

#![expect(clippy::disallowed_methods, reason = "what measures time reads the clock")]

mod access;
mod bench;
mod change;
mod document;
mod field;
mod instructions;
mod ledger;
mod limit;
mod paging;
mod path;
mod postgres;
mod proof;
mod ratio;
mod raw;
mod tenant;
mod token;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use ratio::{Effort, Row, Target};

/// What to measure.
#[derive(Debug, Parser)]
struct Args {
    /// The groups to measure; all unless named.
    groups: Vec<String>,
    /// A few rounds only: whether everything runs, not how fast.
    #[arg(long)]
    smoke: bool,
    /// Measure every group, count instructions, and put both tables into docs/performance.md; with groups named, put their
    /// lines there alone.
    #[arg(long)]
    write: bool,
    /// Send so many requests to one of the stacks, and print nothing: for counting instructions.
    #[arg(long, num_args = 2, value_names = ["STACK", "N"])]
    requests: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some([stack, times]) = args.requests.as_deref() {
        path::Paths::new().run(stack, times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let effort = if args.smoke {
        Effort { rounds: 3, batch: Duration::from_micros(200) }
    } else {
        Effort { rounds: 101, batch: Duration::from_millis(4) }
    };
    let wanted = |group: &str| args.groups.is_empty() || args.groups.iter().any(|g| g == group);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut missed = 0;
    let mut table = format!(
        "{}\n\n| group | what / against what | floor | here | ratio | target | |\n|---|---|---|---|---|---|---|\n",
        machine()
    );
    for (group, measure) in groups() {
        if !wanted(group) || (cfg!(feature = "aws-lc") && group != "field") {
            continue;
        }
        let before = table.len();
        eprintln!("measuring {group}");
        for Row { what, floor, ours, ratio, target } in measure(effort, &runtime) {
            let verdict = match target {
                Target::None => "",
                target if target.is_met(ratio) => "met",
                _ => "**missed**",
            };
            missed += u32::from(verdict == "**missed**");
            let line = format!("| {group} | {what} | {floor} | {ours} | {ratio:.2} | {target} | {verdict} |");
            println!("{line}");
            table.push_str(&line);
            table.push('\n');
        }
        if args.write && !args.groups.is_empty() && !args.smoke && !cfg!(feature = "aws-lc") {
            document::put_group("times", group, &table[before..], &machine());
        }
    }
    println!("{missed} target(s) missed");
    if args.write && !args.smoke && cfg!(feature = "aws-lc") {
        document::put(&[("aws-lc", &table)]);
    } else if args.write && args.groups.is_empty() && !args.smoke {
        let instructions = instructions::table();
        println!("{instructions}");
        document::put(&[("times", &table), ("instructions", &instructions)]);
    }
    ExitCode::SUCCESS
}

/// What it was measured on.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, m)| m);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} × {}, release, thin LTO.", if model.is_empty() { std::env::consts::ARCH } else { model })
}

type Measure = fn(Effort, &tokio::runtime::Runtime) -> Vec<Row>;

fn groups() -> [(&'static str, Measure); 7] {
    [
        ("field", |effort, runtime| runtime.block_on(field::rows(effort))),
        ("token", |effort, runtime| runtime.block_on(token::rows(effort))),
        ("limit", |effort, _| limit::rows(effort)),
        ("ledger", |effort, runtime| runtime.block_on(ledger::rows(effort))),
        // In one thread, as its waits are for the server's answers.
        ("tenant", |effort, _| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let size = match effort.rounds {
                ..=3 => tenant::Size { people: 4_000, clinics: 40, rounds: 20 },
                _ => tenant::Size { people: 1_000_000, clinics: 2_000, rounds: 4_000 },
            };
            runtime.block_on(async { tenant::rows(&bench::Bench::new().await, size).await })
        }),
        ("access", |effort, _| access::rows(effort)),
        ("stack", |effort, _| path::Paths::new().rows(effort)),
    ]
}
