//! Nodes of a ledger in PostgreSQL, killed at any moment.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tower_ward::audit::PostgresLedger;

use super::{append, check, found, open, server::Postgres};

const CHILD: &str = "TOWER_WARD_TEST_LEDGER_URL";

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
