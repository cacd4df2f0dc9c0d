//! The clinic killed under load, left in the middle of a request, and told to stop.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tower_ward::audit::{End, Kind, Outcome, verify};

use crate::process::{
    Changes, Client, Clinic, Dice, Records, Rows, check_changes, command, data_folder, drug, is_long, somebody, within,
};

/// Rounds on one data folder, which grows with each.
const ROUNDS_ON_A_FOLDER: u32 = 25;
/// Longest time under load before the kill, in ms.
const LOAD: u64 = 400;

/// A response whose head arrived, so its record was durable before.
struct Answered {
    request_id: String,
    kinds: &'static [Kind],
    written: Option<Written>,
}

/// What a response said was written.
struct Written {
    /// A user who may read it.
    reader: usize,
    path: String,
    /// In a list, the entry with this id.
    id: Option<String>,
    field: &'static str,
    value: Value,
}

const READ: &[Kind] = &[Kind::Opened];
const WRITE: &[Kind] = &[Kind::Opened, Kind::Attempt];

/// One user's client, and whom that user may see.
#[derive(Clone)]
struct User {
    place: usize,
    role: &'static str,
    client: Client,
    patients: Arc<Vec<String>>,
}

impl User {
    async fn all(clinic: &Clinic) -> Vec<Self> {
        let mut users = Vec::new();
        for n in 0..clinic.demo.clinics.len() {
            for role in ["doctor", "receptionist", "owner"] {
                let mut client = clinic.login(n, role).await;
                let patients = Arc::new(client.patients().await);
                assert!(!patients.is_empty(), "{role} sees nobody");
                users.push(Self { place: users.len(), role, client, patients });
            }
        }
        users
    }

    /// Reads and writes until the server is killed.
    async fn work(mut self, mut dice: Dice, killed: Arc<AtomicBool>) -> Vec<Answered> {
        let mut answered = Vec::new();
        while self.step(&mut dice, &mut answered).await.is_some() {}
        assert!(killed.load(Ordering::Acquire), "the server hung up on {} while it lived", self.role);
        answered
    }

    /// One request, sometimes two; nothing once the server is gone.
    async fn step(&mut self, dice: &mut Dice, answered: &mut Vec<Answered>) -> Option<()> {
        let patient = format!("/api/patients/{}", dice.of(&self.patients));
        let (notes, prescriptions) = (format!("{patient}/notes"), format!("{patient}/prescriptions"));
        // As long as a word, or as a long letter.
        let size = 1 << dice.below(13);
        let text = format!("note {} {}", dice.below(u64::MAX), "x".repeat(size));
        match (self.role, dice.below(10)) {
            ("doctor", 0..=4) => self.add(notes, "text", &json!({ "text": text }), answered).await,
            ("doctor", 5..=6) => self.add(prescriptions, "drug", &drug(&text[..20]), answered).await,
            ("receptionist", 0..=3) => {
                let new = somebody(&format!("Row {}", dice.below(u64::MAX)));
                self.add("/api/patients".to_owned(), "family", &new, answered).await
            }
            ("receptionist", 4) => {
                let read = self.read(&patient, answered).await?;
                self.change(patient, &read, &text[..20], answered).await
            }
            (_, 7) => self.read(&patient, answered).await.map(drop),
            ("owner", 8) => self.read(&format!("{patient}/timeline"), answered).await.map(drop),
            (_, 8) => self.read("/api/patients?limit=10", answered).await.map(drop),
            ("receptionist", _) => self.read("/api/patients?q=Merriweather", answered).await.map(drop),
            (_, 9) => self.read(&prescriptions, answered).await.map(drop),
            _ => self.read(&notes, answered).await.map(drop),
        }
    }

    async fn read(&mut self, path: &str, answered: &mut Vec<Answered>) -> Option<Value> {
        let answer = self.client.get(path).await?;
        assert_eq!(answer.status, StatusCode::OK, "{} {path}: {:?}", self.role, answer.body);
        let body = answer.body.as_ref().map(|_| answer.json());
        answered.push(Answered { request_id: answer.request_id, kinds: READ, written: None });
        body
    }

    async fn add(
        &mut self,
        path: String,
        field: &'static str,
        body: &Value,
        answered: &mut Vec<Answered>,
    ) -> Option<()> {
        let answer = self.client.post(&path, body).await?;
        assert_eq!(answer.status, StatusCode::CREATED, "{} {path}: {:?}", self.role, answer.body);
        let written = answer.body.as_ref().map(|_| {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            let (path, id) = match path.as_str() {
                "/api/patients" => (format!("{path}/{id}"), None),
                _ => (path.clone(), Some(id)),
            };
            Written { reader: self.place, path, id, field, value: body[field].clone() }
        });
        let cut = written.is_none();
        answered.push(Answered { request_id: answer.request_id, kinds: WRITE, written });
        (!cut).then_some(())
    }

    async fn change(&mut self, path: String, read: &Value, address: &str, answered: &mut Vec<Answered>) -> Option<()> {
        let patch = json!({ "version": read["version"], "address": address });
        let answer = self.client.send(&Method::PATCH, &path, Some(&patch)).await?;
        // Nobody else changes a patient of this clinic.
        assert_eq!(answer.status, StatusCode::OK, "{} {path}: {:?}", self.role, answer.body);
        let version = json!(read["version"].as_u64().unwrap() + 1);
        let written = Written { reader: self.place, path, id: None, field: "version", value: version };
        answered.push(Answered { request_id: answer.request_id, kinds: WRITE, written: Some(written) });
        answer.body.map(drop)
    }
}

/// What all rounds came to.
#[derive(Debug, Default)]
struct Totals {
    rounds: u32,
    killed_while_starting: usize,
    torn: usize,
    responses: usize,
    acknowledged_writes: usize,
    records: usize,
    committed: usize,
    rolled_back: usize,
    settled_as_committed: usize,
    settled_as_rolled_back: usize,
}

/// One data folder, and what is known of it.
struct Folder {
    data: tempfile::TempDir,
    records: Records,
    kinds: HashMap<String, HashSet<Kind>>,
    changes: Changes,
    users: Vec<User>,
}

impl Folder {
    async fn new() -> Self {
        let data = data_folder();
        let clinic = Clinic::start(data.path());
        let users = User::all(&clinic).await;
        clinic.kill();
        let mut records = Records::of(&data.path().join("ledger"));
        // What laid the folder out is no part of what is counted.
        records.read_on();
        Self { data, records, kinds: HashMap::new(), changes: Changes::default(), users }
    }

    fn path(&self) -> &Path {
        self.data.path()
    }

    /// Uses the server until it is killed, `after` so long.
    async fn use_and_kill(&mut self, clinic: Clinic, dice: &mut Dice) -> Vec<Answered> {
        let killed = Arc::new(AtomicBool::new(false));
        let mut work = JoinSet::new();
        for user in &mut self.users {
            user.client.address = clinic.address;
            work.spawn(user.clone().work(dice.fork(), Arc::clone(&killed)));
        }
        tokio::time::sleep(dice.millis(LOAD)).await;
        killed.store(true, Ordering::Release);
        clinic.kill();
        within(work.join_all()).await.into_iter().flatten().collect()
    }

    /// The ledger that the kill left is good, and two readers of it agree.
    fn verify(&mut self, totals: &mut Totals) {
        let report = verify(&self.path().join("ledger")).unwrap();
        totals.torn += usize::from(report.torn().is_some());
        self.read();
        assert_eq!(report.records(), self.records.all.len() as u64);
    }

    /// Reads on, and gives the outcomes that came in.
    fn read(&mut self) -> Vec<Outcome> {
        let new = self.records.read_on();
        for record in new {
            if let Some(id) = record.request_id() {
                self.kinds.entry(id.to_owned()).or_default().insert(record.kind());
            }
        }
        new.iter().filter(|record| record.kind() == Kind::Outcome).map(|record| record.outcome().unwrap()).collect()
    }

    /// After the restart: every answered request has its records, every acknowledged write is there to be read, every
    /// change has one outcome, and the database agrees with it.
    async fn check(&mut self, answered: &[Answered], totals: &mut Totals) {
        for outcome in self.read() {
            match outcome {
                Outcome::Committed => totals.settled_as_committed += 1,
                Outcome::RolledBack => totals.settled_as_rolled_back += 1,
                other => panic!("settled as {other:?}"),
            }
        }
        self.changes = check_changes(self.path(), &self.records.all).await;
        for answer in answered {
            let kinds = self.kinds.get(&answer.request_id);
            let recorded = answer.kinds.iter().all(|kind| kinds.is_some_and(|kinds| kinds.contains(kind)));
            assert!(recorded, "request {} was answered and has {kinds:?}", answer.request_id);
        }
        let written: Vec<&Written> = answered.iter().filter_map(|answer| answer.written.as_ref()).collect();
        let mut seen: HashMap<&str, Value> = HashMap::new();
        for write in &written {
            if !seen.contains_key(write.path.as_str()) {
                // The newest hundred of a list: no round writes more about one patient.
                let path = format!("{}{}", write.path, if write.id.is_some() { "?limit=100" } else { "" });
                let answer = self.users[write.reader].client.get(&path).await.unwrap();
                assert_eq!(answer.status, StatusCode::OK, "{}", write.path);
                seen.insert(&write.path, answer.json());
            }
            let seen = &seen[write.path.as_str()];
            let row = match &write.id {
                Some(id) => seen["items"].as_array().unwrap().iter().find(|row| row["id"] == **id),
                None => Some(seen),
            };
            let row = row.unwrap_or_else(|| panic!("{} lost {:?}", write.path, write.id));
            match write.field {
                // Later changes may stand, acknowledged or cut off by the kill.
                "version" => assert!(row["version"].as_u64() >= write.value.as_u64(), "{}", write.path),
                field => assert_eq!(row[field], write.value, "{}", write.path),
            }
        }
        totals.responses += answered.len();
        totals.acknowledged_writes += written.len();
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.records += self.records.all.len();
        totals.committed += self.changes.committed;
        totals.rolled_back += self.changes.rolled_back;
    }
}

// proves CLA-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_no_acknowledged_record() {
    let rounds = if is_long("kill") { 1_000 } else { 50 };
    let mut dice = Dice::printed();
    let mut totals = Totals::default();
    let mut folder = Folder::new().await;
    let mut answered = Vec::new();
    for round in 1..=rounds {
        if dice.below(6) == 0 {
            let mut starting = command(folder.path()).spawn().unwrap();
            tokio::time::sleep(dice.millis(500)).await;
            starting.kill().unwrap();
            starting.wait().unwrap();
            totals.killed_while_starting += 1;
            folder.verify(&mut totals);
        }
        let clinic = Clinic::start(folder.path());
        for user in &mut folder.users {
            user.client.address = clinic.address;
        }
        folder.check(&answered, &mut totals).await;
        answered = folder.use_and_kill(clinic, &mut dice).await;
        folder.verify(&mut totals);
        totals.rounds = round;
        if round % ROUNDS_ON_A_FOLDER == 0 {
            let clinic = Clinic::start(folder.path());
            for user in &mut folder.users {
                user.client.address = clinic.address;
            }
            folder.check(&answered, &mut totals).await;
            drop(clinic);
            folder.add_to(&mut totals);
            println!("{totals:?}");
            if round < rounds {
                (folder, answered) = (Folder::new().await, Vec::new());
            }
        }
    }
    assert!(totals.responses > totals.rounds as usize, "killed before anything was answered");
    assert!(totals.settled_as_committed + totals.settled_as_rolled_back > 0, "no kill hit a change");
}

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
