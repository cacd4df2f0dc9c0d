//! Thousands of connections that crawl, while somebody wants to be served.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::end;
use crate::process::{Clinic, Records, data_folder, is_long, within};

/// How a connection passes the time: what it sends first, and then, a byte at a time, for ever.
const WAYS: [(&str, &[u8], &[u8]); 4] = [
    ("says nothing", b"", b""),
    ("sends its head a byte at a time", b"GET / HTTP/1.1\r\nhost: harbour.localhost\r\nx-slow: ", b"z"),
    ("sends half a head and stops", b"POST /api/login HTTP/1.1\r\nhost: harbour.loc", b""),
    (
        "sends its body a byte at a time",
        b"POST /api/login HTTP/1.1\r\nhost: harbour.localhost\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n",
        b" ",
    ),
];

/// One slow connection, from an address of its own among many; ends when the server hangs up or the time is over.
async fn crawl(server: SocketAddr, number: u32, until: Instant) -> io::Result<bool> {
    // No address has as many as one may.
    let [_, _, a, b] = (number / 50).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 1, a, b), 0).into())?;
    let mut stream: TcpStream = socket.connect(server).await?;
    let (_, first, more) = WAYS[number as usize % WAYS.len()];
    stream.write_all(first).await?;
    let mut byte = [0];
    loop {
        let pause = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte));
        match pause.await {
            Ok(Ok(0) | Err(_)) => return Ok(true),
            Ok(Ok(_)) => {}
            Err(_) if Instant::now() > until => return Ok(false),
            Err(_) => {
                if stream.write_all(more).await.is_err() {
                    return Ok(true);
                }
            }
        }
    }
}

/// Of the server, in MiB.
fn memory(clinic: &Clinic) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", clinic.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_connections_keep_nobody_waiting() {
    let connections = if is_long("slow") { 10_000 } else { 2_000 };
    let data = data_folder();
    let clinic = Clinic::start(data.path());
    let mut doctor = clinic.login(0, "doctor").await;
    let notes = format!("/api/patients/{}/notes", doctor.patients().await[0]);
    let before = memory(&clinic);
    let known = Records::of(&data.path().join("ledger")).read_on().len();

    let began = Instant::now();
    let until = began + Duration::from_secs(if is_long("slow") { 60 } else { 15 });
    let mut slow = JoinSet::new();
    for number in 0..connections {
        slow.spawn(crawl(clinic.address, number, until));
    }
    let (mut longest, mut served, mut most) = (Duration::ZERO, 0, before);
    while Instant::now() < until {
        // A new connection each time: there is no old one to hide behind.
        let mut newcomer = doctor.clone();
        let asked = Instant::now();
        let answer = newcomer.get(&notes).await.expect("cut off before it was answered");
        assert_eq!(answer.status, StatusCode::OK);
        longest = longest.max(asked.elapsed());
        served += 1;
        most = most.max(memory(&clinic));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(longest < Duration::from_secs(10), "somebody waited {longest:?}");
    assert!(most < before + 128, "{before} MiB became {most}");

    let (mut ended, mut refused) = (0, 0);
    while let Some(one) = within(slow.join_next()).await {
        match one.unwrap() {
            Ok(hung_up) => ended += usize::from(hung_up),
            Err(_) => refused += 1,
        }
    }
    assert!(refused < connections / 10, "{refused} of {connections} did not get as far as a connection");
    assert!(ended > 1_000, "{ended} were cut off, so nobody's place was needed");
    println!(
        "{connections} slow connections: {ended} cut off, {refused} not accepted; {served} requests, the longest {longest:?}; \
         {before} MiB became {most}"
    );
    let mut newcomer = clinic.login(0, "owner").await;
    assert_eq!(newcomer.get("/api/staff").await.unwrap().status, StatusCode::OK);
    // Who opened no door and was refused nothing has left nothing; everybody else here is somebody.
    let (records, _) = end(clinic, data.path()).await;
    let of_nobody = records.all[known..].iter().filter(|record| record.user().is_none());
    assert_eq!(of_nobody.count(), 0, "the crawlers filled the ledger");
}
