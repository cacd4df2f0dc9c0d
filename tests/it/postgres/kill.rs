//! Nodes of a ledger in PostgreSQL, killed at any moment.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tower_ward::{
    audit::{CheckpointSigner, Ledger, PostgresLedger, PostgresSink, Retention, Sinks, verify},
    clock::ManualClock,
    secret::Secret,
};

use super::{append, check, found, open, server::Postgres};
use crate::sinks::options;

const CHILD: &str = "TOWER_WARD_TEST_LEDGER_URL";
const FOLDER: &str = "TOWER_WARD_TEST_LEDGER_FOLDER";

/// As the ledger's own in a folder: children are killed at any moment, two at a time, and what they said was acknowledged is
/// there, once.
// proves CLA-18
#[test]
fn kill_nine_loses_no_acknowledged_record_in_postgres() {
    if let Ok(url) = std::env::var(CHILD) {
        return append_for_ever(&url);
    }
    let rounds = if std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "kill") { 1_000 } else { 20 };
    let mut server = Postgres::start();
    let (mut acknowledged, mut total) = (HashSet::new(), 0);
    for round in 0..rounds {
        if round > 0 && round % 50 == 0 {
            // Each child reads all that is there.
            server = Postgres::start();
            total += acknowledged.len();
            acknowledged.clear();
        }
        let children = [child(&server, round * 2), child(&server, round * 2 + 1)];
        let readers = children.map(|mut child| {
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            // Some are killed at work, the others while they start.
            while round % 2 == 0 && !line.starts_with("ack ") {
                line.clear();
                assert!(out.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            }
            (child, out, line)
        });
        let [a, b] = tower_ward::entropy::array();
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 4));
        for (mut child, out, first) in readers {
            child.kill().unwrap();
            for line in std::iter::once(Ok(first)).chain(out.lines()) {
                if let ["ack", n, "."] = line.unwrap().split_whitespace().collect::<Vec<_>>()[..] {
                    assert!(acknowledged.insert(n.parse::<u64>().unwrap()));
                }
            }
            child.wait().unwrap();
        }
        if round % 10 == 9 || round + 1 == rounds {
            check(&server).unwrap();
            let found = found(&server);
            let lost: Vec<_> = acknowledged.iter().filter(|n| !found.contains_key(n)).collect();
            assert!(lost.is_empty(), "round {round} lost {lost:?}");
            assert!(found.values().all(|count| *count == 1), "round {round}: a record stands twice");
        }
    }
    total += acknowledged.len();
    println!("{rounds} rounds of two kills, {total} acknowledged, none lost, none doubled");
    assert!(total > rounds, "the children were killed before they had written anything");
}

fn child(server: &Postgres, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "postgres::kill::kill_nine_loses_no_acknowledged_record_in_postgres",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, format!("{number} {}", server.url("writer")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn append_for_ever(given: &str) {
    let (number, url) = given.split_once(' ').unwrap();
    let start = number.parse::<u64>().unwrap() << 32;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = open(&PostgresLedger::new(url).unwrap()).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4_u64 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                for n in (start + task..).step_by(4) {
                    append(&ledger, n).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    // Written in one piece: the process may be killed at any instant.
                    out.write_all(format!("\nack {n} .\n").as_bytes()).unwrap();
                    out.flush().unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

/// A ledger in a folder with a required archive in PostgreSQL, which grows old and is pruned all the time, killed at any
/// moment: both verify, and what was acknowledged is in the folder, or was dropped as a prune record says.
// proves CCA-25
#[test]
fn kill_nine_while_bodies_go_out_of_a_ledger_and_its_archive() {
    const TEST: &str = "postgres::kill::kill_nine_while_bodies_go_out_of_a_ledger_and_its_archive";
    if let (Ok(url), Ok(folder)) = (std::env::var(CHILD), std::env::var(FOLDER)) {
        return grow_old(&url, folder.as_ref());
    }
    let rounds = if std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "kill") { 200 } else { 12 };
    let (mut server, mut folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let (mut acknowledged, mut total, mut dropped) = (HashSet::new(), 0, 0);
    for round in 0..rounds {
        if round > 0 && round % 25 == 0 {
            (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
            server.sql("update ward_ledger.retention set keep = '0 s'");
            total += acknowledged.len();
            acknowledged.clear();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, format!("{round} {}", server.url("writer")))
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        while !first.starts_with("ack ") {
            first.clear();
            assert!(out.read_line(&mut first).unwrap() > 0, "the child ended by itself");
        }
        let [a, b] = tower_ward::entropy::array();
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 12));
        child.kill().unwrap();
        for line in std::iter::once(Ok(first)).chain(out.lines()) {
            if let ["ack", n, "."] = line.unwrap().split_whitespace().collect::<Vec<_>>()[..] {
                assert!(acknowledged.insert(n.parse::<u64>().unwrap()));
            }
        }
        child.wait().unwrap();
        let (here, there) = (verify(folder.path()).unwrap(), check(&server).unwrap());
        assert!(there.records() <= here.records(), "the archive has nothing that the ledger could lose");
        let left = still_there(folder.path());
        let gone = acknowledged.iter().filter(|n| !left.contains(n)).count() as u64;
        assert!(gone <= here.dropped(), "round {round}: {gone} are not there, and {} were dropped", here.dropped());
        dropped = dropped.max(here.dropped());
    }
    total += acknowledged.len();
    println!("{rounds} rounds, {total} acknowledged, none lost; up to {dropped} bodies of one ledger dropped");
    assert!(dropped > 0 && total > rounds, "the children were killed before they had done anything");
}

/// The numbers of the events whose bodies are in the folder.
fn still_there(folder: &std::path::Path) -> HashSet<u64> {
    let beside = tower_ward::audit::LedgerFolder::open(folder).unwrap();
    let mut query = tower_ward::audit::LedgerQuery::new().with_limit(1_000.try_into().unwrap());
    let mut found = HashSet::new();
    loop {
        let page = beside.danger_page(None, &query).unwrap();
        let numbers = page.records.iter().filter_map(|record| record.reason()?.strip_prefix("number "));
        found.extend(numbers.map(|n| n.parse::<u64>().unwrap()));
        match page.next {
            Some(next) => query = query.with_cursor(next),
            None => return found,
        }
    }
}

fn grow_old(given: &str, folder: &std::path::Path) {
    let (round, url) = given.split_once(' ').unwrap();
    let round = round.parse::<u64>().unwrap();
    let signer = CheckpointSigner::from_seed(
        "clinic.example/ledger",
        Secret::new(Box::new(*b"the same key after each restart.")),
    )
    .unwrap();
    // Each round begins decades after the one before.
    let clock = ManualClock::at("2026-11-30T10:00:00Z".parse().unwrap());
    clock.advance(YEARS * 38 * u32::try_from(round % 25).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let sinks =
            Sinks::new().add_required("archive", PostgresSink::new(&PostgresLedger::new(url).unwrap()).unwrap());
        let ledger = Ledger::open_with(folder, sinks, options().with_signer(signer), clock.shared()).unwrap();
        for n in (round << 32).. {
            append(&ledger, n).await.unwrap();
            let mut out = std::io::stdout().lock();
            out.write_all(format!("\nack {n} .\n").as_bytes()).unwrap();
            out.flush().unwrap();
            drop(out);
            if n % 20 == 19 && n % (1 << 32) < 600 {
                clock.advance(YEARS);
                ledger.prune(&Retention::new().danger_trust_clock()).await.unwrap();
            }
        }
    });
}

/// Longer than anything is kept.
const YEARS: Duration = Duration::from_secs(8 * 366 * 24 * 3600);
