//! The clinic killed while it erases: whoever was said to be erased is, and nobody is half of it.

use std::path::Path;

use http::{Method, StatusCode};
use serde_json::json;
use tower_ward::audit::verify;
use uuid::Uuid;

use super::{NAMES, NOTES, RELATIONS, STORES, holds, key_of, rows, sealed};
use crate::process::{Client, Clinic, Dice, Records, check_changes, command, data_folder, is_long, somebody};

/// How many are erased in one round, if nothing comes between.
const PEOPLE: usize = 8;
/// Longest time of erasing before the kill, in ms.
const LOAD: u64 = 400;
/// Rounds on one data folder, which grows with each.
const ROUNDS_ON_A_FOLDER: u32 = 25;

/// Who is to be erased, and how far that came before the kill.
struct Person {
    id: Uuid,
    family: String,
    note: String,
    key: Vec<u8>,
    asked: bool,
    answered: bool,
}

/// What all rounds came to.
#[derive(Debug, Default)]
struct Totals {
    kills: u32,
    killed_while_starting: u32,
    /// Answered, and so erased.
    answered: usize,
    /// Asked for and not answered, and found erased.
    finished: usize,
    /// Asked for and not answered, and found whole.
    not_begun: usize,
    /// Never asked for, and found whole.
    whole: usize,
}

/// The people who will be looked for: registered, in somebody's care, and written about.
async fn people(clinic: &Clinic, data: &Path, dice: &mut Dice) -> Vec<Person> {
    let (mut owner, mut doctor) = (clinic.login(0, "owner").await, clinic.login(0, "doctor").await);
    let me = doctor.get("/api/me").await.unwrap().json()["user"].as_str().unwrap().to_owned();
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        let (family, note) = (format!("Row{}", dice.below(u64::MAX)), format!("note {}", dice.below(u64::MAX)));
        let new = owner.post("/api/patients", &somebody(&family)).await.unwrap();
        assert_eq!(new.status, StatusCode::CREATED, "{:?}", new.body);
        let id: Uuid = new.json()["id"].as_str().unwrap().parse().unwrap();
        let assigned = owner.send(&Method::PUT, &format!("/api/patients/{id}/assignments/{me}"), None).await.unwrap();
        assert_eq!(assigned.status, StatusCode::NO_CONTENT);
        let written = doctor.post(&format!("/api/patients/{id}/notes"), &json!({ "text": note })).await.unwrap();
        assert_eq!(written.status, StatusCode::CREATED);
        let key = key_of(data, STORES[0], id).await;
        assert!(holds(data, STORES[0], sealed(&key)), "the key is not where this test looks for it");
        people.push(Person { id, family, note, key, asked: false, answered: false });
    }
    people
}

/// Erases one after the other until the server is gone.
async fn erase(mut owner: Client, mut people: Vec<Person>) -> Vec<Person> {
    for person in &mut people {
        person.asked = true;
        let Some(answer) = owner.send(&Method::DELETE, &format!("/api/patients/{}", person.id), None).await else {
            break;
        };
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        person.answered = true;
    }
    people
}

/// Everybody is erased in every way, or whole in every way.
async fn check(clinic: &Clinic, data: &Path, people: &[Person], totals: &mut Totals) {
    let (mut owner, mut doctor) = (clinic.login(0, "owner").await, clinic.login(0, "doctor").await);
    for person in people {
        let path = format!("/api/patients/{}", person.id);
        // Before anything is asked for that could go on with what is half done.
        let keys = STORES.map(|store| holds(data, store, sealed(&person.key)));
        let whole = match owner.get(&path).await.unwrap().status {
            StatusCode::OK => true,
            StatusCode::NOT_FOUND => false,
            other => panic!("{path}: {other}"),
        };
        let who = format!("{} (asked: {}, answered: {}, whole: {whole})", person.id, person.asked, person.answered);
        assert!(!(whole && person.answered), "{who}: was said to be erased");
        assert!(whole || person.asked, "{who}: nobody asked for it");
        // The copy of somebody who is whole may be a moment behind.
        assert!(keys[0] == whole && (whole || !keys[1]), "{who}: the keys are there: {keys:?}");
        for client in [&mut owner, &mut doctor] {
            let notes = client.get(&format!("{path}/notes")).await.unwrap();
            let expected = if whole { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(notes.status, expected, "{who}: the notes");
            assert!(!whole || notes.text().contains(&person.note), "{who}: lost the note");
        }
        let found = owner.get(&format!("/api/patients?q={}", person.family)).await.unwrap();
        assert_eq!(found.text().contains(&person.id.to_string()), whole, "{who}: the search");
        for sql in [NAMES, RELATIONS] {
            assert_eq!(rows(data, sql, person.id).await > 0, whole, "{who}: {sql}");
        }
        assert_eq!(rows(data, NOTES, person.id).await, 1, "{who}: the sealed note");
        match (person.asked, person.answered, whole) {
            (_, true, _) => totals.answered += 1,
            (true, _, false) => totals.finished += 1,
            (true, _, true) => {
                totals.not_begun += 1;
                // And nothing that is left of the try stands in the way of the next.
                let answer = owner.send(&Method::DELETE, &path, None).await.unwrap();
                assert_eq!(answer.json(), super::done(), "{who}");
            }
            _ => totals.whole += 1,
        }
    }
}

/// What is left when a folder is done with: a ledger that verifies, and every change with its outcome.
async fn close(clinic: Clinic, data: &Path) {
    clinic.terminate();
    assert!(clinic.ended().await.success());
    let ledger = data.join("ledger");
    let mut records = Records::of(&ledger);
    records.read_on();
    let report = verify(&ledger).unwrap();
    assert_eq!((report.records(), report.torn()), (records.all.len() as u64, None));
    check_changes(data, &records.all).await;
}

// proves CLA-37, GLM-39: the key half
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_while_erasing_everybody_is_erased_or_whole() {
    let kills = if is_long("keys") { 100 } else { 10 };
    let mut dice = Dice::printed();
    let mut totals = Totals::default();
    let mut folder = data_folder();
    let mut clinic = Clinic::start(folder.path());
    while totals.kills < kills {
        let people = people(&clinic, folder.path(), &mut dice).await;
        let owner = clinic.login(0, "owner").await;
        let erasing = tokio::spawn(erase(owner, people));
        tokio::time::sleep(dice.millis(LOAD)).await;
        clinic.kill();
        totals.kills += 1;
        let people = erasing.await.unwrap();
        if dice.below(3) == 0 {
            let mut starting = command(folder.path()).spawn().unwrap();
            tokio::time::sleep(dice.millis(500)).await;
            starting.kill().unwrap();
            starting.wait().unwrap();
            totals.killed_while_starting += 1;
        }
        verify(&folder.path().join("ledger")).unwrap();
        clinic = Clinic::start(folder.path());
        check(&clinic, folder.path(), &people, &mut totals).await;
        if totals.kills % ROUNDS_ON_A_FOLDER == 0 {
            close(clinic, folder.path()).await;
            folder = data_folder();
            clinic = Clinic::start(folder.path());
            println!("{totals:?}");
        }
    }
    close(clinic, folder.path()).await;
    println!("{totals:?}");
    assert!(totals.answered > 0 && totals.finished + totals.not_begun > 0, "no kill hit an erasure: {totals:?}");
}
