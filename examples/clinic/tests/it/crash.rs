//! The clinic killed under load, left in the middle of a request, and told to stop.

mod home;
mod kill;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tower_ward::audit::{End, verify};

use crate::process::{Client, Clinic, Dice, Records, Rows, check_changes, command, data_folder, within};

/// A request by somebody, to be sent by hand; `more` are lines of its head.
fn raw(client: &Client, path: &str, more: &str, body: &str) -> String {
    let (host, token) = (&client.host, client.token.as_ref().unwrap());
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         {more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_does_not_cut_a_commit() {
    let mut dice = Dice::printed();
    let data = data_folder();
    let clinic = Clinic::start(data.path());
    let mut doctor = clinic.login(0, "doctor").await;
    let patient = format!("/api/patients/{}", doctor.patients().await[0]);
    let path = format!("{patient}/notes");
    let mut records = Records::of(&data.path().join("ledger"));
    records.read_on();
    let seeded = check_changes(data.path(), &records.all).await;
    for _ in 0..60 {
        let mut gone = JoinSet::new();
        for _ in 0..4 {
            let request =
                raw(&doctor, &path, "", &json!({ "text": format!("note {}", dice.below(u64::MAX)) }).to_string());
            let (address, delay, reset) = (clinic.address, dice.millis(50), dice.below(2) == 0);
            gone.spawn(async move {
                let mut tcp = TcpStream::connect(address).await.unwrap();
                tcp.write_all(request.as_bytes()).await.unwrap();
                tokio::time::sleep(delay).await;
                if reset {
                    // The connection is torn down, not closed in good order.
                    tcp.set_zero_linger().unwrap();
                }
            });
        }
        within(gone.join_all()).await;
    }
    // The one writer of the clinic's file is not left in the middle of something.
    let added = doctor.post(&path, &json!({ "text": "after all of them" })).await.unwrap();
    assert_eq!(added.status, StatusCode::CREATED, "{:?}", added.body);
    records.until_settled().await;
    let all = check_changes(data.path(), &records.all).await;
    let (committed, rolled_back) = (all.committed - seeded.committed, all.rolled_back - seeded.rolled_back);
    let cancelled = records.all.iter().filter(|record| record.end() == Some(End::Cancelled)).count();
    println!("{committed} committed, {rolled_back} rolled back, {cancelled} requests cancelled");
    assert!(committed > 1 && cancelled > 0, "no client hung up at a time that matters");
    clinic.terminate();
    assert!(clinic.ended().await.success());
    assert_eq!(verify(&data.path().join("ledger")).unwrap().torn(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight_and_closes_the_ledger() {
    let data = data_folder();
    let clinic = Clinic::start(data.path());
    let mut doctor = clinic.login(0, "doctor").await;
    let path = format!("/api/patients/{}/notes", doctor.patients().await[0]);
    let mut waiting = Vec::new();
    for n in 0..8 {
        let body = json!({ "text": format!("in flight {n}") }).to_string();
        let request = raw(&doctor, &path, "expect: 100-continue\r\n", &body);
        let head = request.strip_suffix(&body).unwrap();
        let mut tcp = TcpStream::connect(clinic.address).await.unwrap();
        tcp.write_all(head.as_bytes()).await.unwrap();
        // Said when the body is asked for, so the request is on its way.
        let mut go_on = [0; 25];
        within(tcp.read_exact(&mut go_on)).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        waiting.push((tcp, body));
    }

    clinic.terminate();
    within(async {
        while TcpStream::connect(clinic.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut ids = Vec::new();
    for (mut tcp, body) in waiting {
        tcp.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(tcp.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        ids.push(serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned());
    }
    let tenant = clinic.demo.clinics[0].tenant.clone();
    assert!(clinic.ended().await.success());

    let report = verify(&data.path().join("ledger")).unwrap();
    assert_eq!(report.torn(), None);
    let mut records = Records::of(&data.path().join("ledger"));
    records.read_on();
    assert_eq!(report.records(), records.all.len() as u64);
    // Nothing is left to be settled, and each request has its end.
    check_changes(data.path(), &records.all).await;
    let rows = Rows::read(data.path(), &tenant).await;
    assert!(ids.iter().all(|id| rows.holds("notes", id)));
    let written = records.all.iter().filter(|record| record.status() == Some(201));
    assert!(written.clone().all(|record| record.end() == Some(End::Completed)));
    assert_eq!(written.count(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_folder_is_refused() {
    let data = data_folder();
    let clinic = Clinic::start(data.path());
    let demo = std::fs::read(data.path().join("demo.json")).unwrap();
    let second = command(data.path()).stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success());
    assert!(said.contains("the ledger is locked: another process is writing it"), "{said}");
    assert_eq!(std::fs::read(data.path().join("demo.json")).unwrap(), demo);

    let mut owner = clinic.login(0, "owner").await;
    assert!(!owner.patients().await.is_empty());
    clinic.terminate();
    assert!(clinic.ended().await.success());
    // The folder is free again.
    Clinic::start(data.path()).kill();
}
