//! Instructions of one request on the thread that asks, counted by callgrind.

use std::{fmt::Write as _, process::Command};

const FEW: u64 = 500;
const MANY: u64 = 1_500;

/// The stacks with the most that each may take, as a multiple of the first.
const STACKS: [(&str, &str, Option<f64>); 6] = [
    ("bare", "bare axum", None),
    ("ten", "ten layers of tower-http", None),
    ("headers", "headers alone", Some(1.35)),
    ("assembled", "headers, limit and HS256 as assembled today", None),
    ("path", "the whole path, warm token, no door", Some(1.7)),
    ("door", "the whole path and a door, its record enqueued", Some(2.0)),
];

pub(crate) fn table() -> String {
    let mut table = "| stack | instructions | × bare | target | |\n|---|---|---|---|---|\n".to_owned();
    let mut bare = None;
    for (stack, what, most) in STACKS {
        eprintln!("counting {stack}");
        // What it costs to start is in both, and goes out with the difference.
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let each = (count(stack, MANY) - count(stack, FEW)) as f64 / (MANY - FEW) as f64;
        let ratio = each / *bare.get_or_insert(each);
        let (target, verdict) = match most {
            Some(most) => (format!("≤ {most}"), if ratio <= most { "met" } else { "**missed**" }),
            None => ("–".to_owned(), ""),
        };
        let _ = writeln!(table, "| {what} | {each:.0} | {ratio:.2} | {target} | {verdict} |");
    }
    table
}

fn count(stack: &str, requests: u64) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("counted");
    let done = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--requests", stack, &requests.to_string()])
        .status();
    assert!(done.expect("valgrind is needed: `apt-get install valgrind`").success());
    // The first thread is the one that asks; the ledger writes in another.
    let counted =
        std::fs::read_to_string(out.with_extension("").with_file_name("counted-01")).expect("the first thread");
    let total = counted.lines().rev().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    total.trim().parse().expect("a number")
}
