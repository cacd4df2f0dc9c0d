//! The clinic killed under load: what it answered is on record, and what it wrote is there.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower_ward::audit::{Kind, Outcome};

use super::home::{Home, Place};
use crate::process::{Changes, Client, Clinic, Dice, check_changes, drug, is_long, somebody, within};

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
    home: Home,
    /// Of each request, at which place in the ledger a record of each kind first stands.
    kinds: HashMap<String, HashMap<Kind, u64>>,
    /// How many records were there after the kill, in the copy too.
    durable: u64,
    changes: Changes,
    users: Vec<User>,
}

impl Folder {
    async fn new(place: Place) -> Self {
        let mut home = Home::new(place);
        let clinic = home.start();
        let users = User::all(&clinic).await;
        clinic.kill();
        // What laid the folder out is no part of what is counted.
        let (_, durable) = home.verify().await;
        Self { home, kinds: HashMap::new(), durable, changes: Changes::default(), users }
    }

    /// Starts the server and checks what it found.
    async fn restart(&mut self, answered: &[Answered], totals: &mut Totals) -> Clinic {
        let clinic = self.home.start();
        for user in &mut self.users {
            user.client.address = clinic.address;
        }
        self.check(answered, totals).await;
        clinic
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
    async fn verify(&mut self, totals: &mut Totals) {
        let before = self.home.all.len();
        let (torn, durable) = self.home.verify().await;
        totals.torn += usize::from(torn);
        self.durable = durable;
        self.note(before);
    }

    /// Notes the records from this place on, and gives the outcomes among them.
    fn note(&mut self, from: usize) -> Vec<Outcome> {
        let new = &self.home.all[from..];
        for record in new {
            if let Some(id) = record.request_id() {
                self.kinds.entry(id.to_owned()).or_default().entry(record.kind()).or_insert(record.index());
            }
        }
        new.iter().filter(|record| record.kind() == Kind::Outcome).map(|record| record.outcome().unwrap()).collect()
    }

    /// After the restart: every answered request has its records, every acknowledged write is there to be read, every
    /// change has one outcome, and the database agrees with it.
    async fn check(&mut self, answered: &[Answered], totals: &mut Totals) {
        let before = self.home.all.len();
        self.home.check_copy().await;
        for outcome in self.note(before) {
            match outcome {
                Outcome::Committed => totals.settled_as_committed += 1,
                Outcome::RolledBack => totals.settled_as_rolled_back += 1,
                other => panic!("settled as {other:?}"),
            }
        }
        self.changes = check_changes(self.home.path(), &self.home.all).await;
        for answer in answered {
            let kinds = self.kinds.get(&answer.request_id);
            let at = |kind| kinds.and_then(|kinds| kinds.get(kind));
            let recorded = answer.kinds.iter().all(|kind| at(kind).is_some_and(|index| *index < self.durable));
            assert!(recorded, "request {} was answered and has {kinds:?} of {}", answer.request_id, self.durable);
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
        totals.records += self.home.all.len();
        totals.committed += self.changes.committed;
        totals.rolled_back += self.changes.rolled_back;
    }
}

/// Uses and kills the server, again and again.
async fn kill_again_and_again(place: Place, rounds: u32) {
    let mut dice = Dice::printed();
    let mut totals = Totals::default();
    let mut folder = Folder::new(place).await;
    let mut answered = Vec::new();
    for round in 1..=rounds {
        if dice.below(6) == 0 {
            let mut starting = folder.home.command().spawn().unwrap();
            tokio::time::sleep(dice.millis(500)).await;
            starting.kill().unwrap();
            starting.wait().unwrap();
            totals.killed_while_starting += 1;
            // What was answered before was durable before, so it is counted from the kill at work.
            let durable = folder.durable;
            folder.verify(&mut totals).await;
            assert!(folder.durable >= durable, "a start took records back");
            folder.durable = durable;
        }
        let clinic = folder.restart(&answered, &mut totals).await;
        answered = folder.use_and_kill(clinic, &mut dice).await;
        folder.verify(&mut totals).await;
        totals.rounds = round;
        if round % ROUNDS_ON_A_FOLDER == 0 || round == rounds {
            drop(folder.restart(&answered, &mut totals).await);
            folder.add_to(&mut totals);
            println!("{place:?}: {totals:?}");
            if round < rounds {
                (folder, answered) = (Folder::new(place).await, Vec::new());
            }
        }
    }
    assert!(totals.responses > totals.rounds as usize, "killed before anything was answered");
    assert!(totals.settled_as_committed + totals.settled_as_rolled_back > 0, "no kill hit a change");
}

// proves CLA-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_no_acknowledged_record() {
    kill_again_and_again(Place::Folder, if is_long("kill") { 1_000 } else { 50 }).await;
}

// proves CLA-17: and the copy has what was answered, no more than the ledger, and all of it after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_no_acknowledged_record_beside_a_copy() {
    kill_again_and_again(Place::FolderAndCopy, if is_long("kill") { 50 } else { 10 }).await;
}

// proves CLA-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_no_acknowledged_record_in_a_database() {
    kill_again_and_again(Place::Database, if is_long("kill") { 50 } else { 10 }).await;
}
