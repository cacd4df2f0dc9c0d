//! Clients that hang up, at each stage of a request: what the ledger holds of it, and that the server goes on.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_ward::audit::{End, Kind};

use super::end;
use crate::process::{Client, Clinic, Records, data_folder, until, within};

/// Where the client hangs up.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// After so much of the request, in hundredths of its head and of its body.
    Sent { head: usize, body: usize },
    /// After so many bytes of the answer.
    Read(usize),
}

/// Each stage, and the ends that a record of it may have; none where no door was opened yet.
const STAGES: [(&str, Stage, &[End]); 9] = [
    ("at once", Stage::Sent { head: 0, body: 0 }, &[]),
    ("in the request line", Stage::Sent { head: 5, body: 0 }, &[]),
    ("in the head", Stage::Sent { head: 60, body: 0 }, &[]),
    ("after the head", Stage::Sent { head: 100, body: 0 }, &[]),
    ("in the body", Stage::Sent { head: 100, body: 50 }, &[]),
    ("after the request", Stage::Sent { head: 100, body: 100 }, &[End::Cancelled, End::Completed]),
    ("at the first byte of the answer", Stage::Read(1), &[End::Cancelled, End::Completed]),
    ("in the head of the answer", Stage::Read(200), &[End::Cancelled, End::Completed]),
    ("in the body of the answer", Stage::Read(20_000), &[End::Cancelled, End::Completed]),
];

const ROUNDS: usize = 6;

async fn hang_up(client: &Client, stage: Stage, patient: &str, reset: bool) {
    let (host, token) = (&client.host, client.token.as_ref().unwrap());
    let body = json!({ "text": "half said ".repeat(200) }).to_string();
    let (method, length) = match stage {
        Stage::Sent { .. } => ("POST", format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())),
        Stage::Read(_) => ("GET", String::new()),
    };
    let head = format!(
        "{method} /api/patients/{patient}/notes HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n{length}\r\n"
    );
    let mut tcp = TcpStream::connect(client.address).await.unwrap();
    match stage {
        Stage::Sent { head: h, body: b } => {
            tcp.write_all(&head.as_bytes()[..head.len() * h / 100]).await.unwrap();
            tcp.write_all(&body.as_bytes()[..body.len() * b / 100]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Stage::Read(bytes) => {
            tcp.write_all(head.as_bytes()).await.unwrap();
            let mut some = vec![0; bytes];
            within(tcp.read_exact(&mut some)).await.unwrap();
        }
    }
    if reset {
        // The connection is torn down, not closed in good order.
        tcp.set_zero_linger().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_hang_up_at_any_stage() {
    let data = data_folder();
    let clinic = Clinic::start(data.path());
    let mut doctor = clinic.login(0, "doctor").await;
    let patient = doctor.patients().await[0].clone();
    let notes = format!("/api/patients/{patient}/notes");
    // So that the answer to a reader is longer than what the kernel holds back for it.
    for _ in 0..20 {
        let answer = doctor.post(&notes, &json!({ "text": "x".repeat(10_000) })).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    let mut records = Records::of(&data.path().join("ledger"));
    records.until_settled().await;
    // Requests that are accounted for.
    let mut ours: BTreeSet<String> =
        records.all.iter().filter_map(|record| record.request_id()).map(str::to_owned).collect();
    for (name, stage, ends) in STAGES {
        for round in 0..ROUNDS {
            hang_up(&doctor, stage, &patient, round % 2 == 0).await;
        }
        // The next request is answered, and its record comes after all of theirs.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = doctor.get("/api/me").await.unwrap();
        assert_eq!(after.status, StatusCode::OK, "{name}");
        ours.insert(after.request_id);
        // An end is recorded, and nobody waits for that.
        let mut of_theirs = Vec::new();
        until(async || {
            records.until_settled().await;
            of_theirs.clone_from(&records.all);
            of_theirs.retain(|record| record.request_id().is_some_and(|id| !ours.contains(id)));
            let count = |kind| of_theirs.iter().filter(|record| record.kind() == kind).count();
            count(Kind::Opened) == count(Kind::Closed)
        })
        .await;
        let requests: BTreeSet<_> = of_theirs.iter().filter_map(|record| record.request_id()).collect();
        let closed: Vec<_> = of_theirs.iter().filter(|record| record.kind() == Kind::Closed).collect();
        if ends.is_empty() {
            assert!(of_theirs.is_empty(), "{name}: {of_theirs:?}");
        } else {
            assert_eq!(requests.len(), closed.len(), "{name}: a request without its end");
            // Who read some of an answer had a door opened; who only asked may have been gone before.
            assert!(requests.len() == ROUNDS || matches!(stage, Stage::Sent { .. }), "{name}: a door without a record");
            assert!(closed.iter().all(|record| ends.contains(&record.end().unwrap())), "{name}");
        }
        ours.extend(of_theirs.iter().filter_map(|record| record.request_id()).map(str::to_owned));
    }
    end(clinic, data.path()).await;
}
