//! What lies on the disk: nothing of a person in clear, and nothing that opens in another place than its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;
use tower_ward::testing::Canaries;
use uuid::Uuid;

use crate::harness::*;

/// Whatever the fixtures say of anybody, in pieces that are found wherever they stand.
fn everything_personal() -> Canaries {
    let mut texts = Vec::new();
    for clinic in data().clinics {
        for p in clinic.patients {
            texts.extend([p.given, p.family, p.phone, p.email, p.address, p.birth_date.to_string()]);
            texts.extend(p.allergies.into_iter().chain(p.conditions.into_iter().map(|c| c.display)));
            texts.push(p.nhs_test_number);
        }
        for s in clinic.staff {
            texts.extend(s.name.split(' ').map(str::to_owned));
            texts.extend([s.name.clone(), s.email]);
            // A receptionist's is the name of a role, which stands in clear.
            texts.extend((s.job_title.len() > 14).then_some(s.job_title));
        }
        for e in clinic.employees {
            texts.extend([e.ni_number, e.bank.account_name, e.bank.sort_code, e.bank.account_number]);
        }
        texts.extend(clinic.family.into_iter().flat_map(|f| [f.name, f.email]));
        texts.extend(clinic.encounters.into_iter().map(|e| e.reason));
        texts.extend(clinic.appointments.into_iter().map(|a| a.reason));
        texts.extend(clinic.prescriptions.into_iter().flat_map(|p| [p.drug, p.dose, p.instructions]));
        texts.extend(clinic.results.into_iter().map(|r| r.display));
        for note in clinic.notes {
            for line in note.text.lines() {
                let chars: Vec<char> = line.chars().collect();
                texts.extend(chars.chunks(24).filter(|c| c.len() == 24).map(|c| c.iter().collect::<String>()));
            }
        }
    }
    canaries(texts)
}

/// Looks through every file of a data folder.
fn search(dir: &Path, needles: &Canaries) {
    let users: Vec<String> =
        read_demo(dir).clinics.into_iter().flat_map(|c| c.users).map(|user| user.username).collect();
    let mut looked_at = BTreeSet::new();
    for path in files(dir) {
        let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let Some(mut bytes) = read(&path) else { continue };
        // The demo's user names are made of people's names. They stand where logins are kept, and nowhere else.
        if name == "demo.json" || name.starts_with("accounts.sqlite") {
            users.iter().for_each(|user| cover(&mut bytes, user.as_bytes()));
        }
        assert_eq!(needles.found_in(&bytes), None, "in {name}");
        looked_at.insert(name);
    }
    for name in [
        "clinics/harbour.sqlite",
        "clinics/meadow.sqlite",
        "keys.sqlite",
        "keys-copy.sqlite",
        "ledger/ledger-000000.seg",
    ] {
        assert!(looked_at.contains(name), "{name} was not looked at: {looked_at:?}");
    }
}

/// Writes over each place where `text` stands.
fn cover(bytes: &mut [u8], text: &[u8]) {
    for at in 0..bytes.len().saturating_sub(text.len() - 1) {
        if bytes[at..].starts_with(text) {
            bytes[at..at + text.len()].fill(b'#');
        }
    }
}

// proves GLM-01: its first form, and not for the user names of logins, which stand in clear.
#[tokio::test]
async fn no_file_holds_a_word_of_anybodys_record() {
    let needles = everything_personal();
    assert!(needles.len() > 1500, "{}", needles.len());
    // The search finds what is there.
    let fixtures = format!("{:?}", data());
    assert!(needles.found_in(fixtures.as_bytes()).is_some());
    // A number that stands by itself is somebody's; in the middle of a hash it is a piece of that.
    for employee in data().clinics.into_iter().flat_map(|clinic| clinic.employees) {
        let number = employee.bank.account_number;
        assert_eq!(needles.found_in(format!(r#"{{"n":"{number}"}}"#).as_bytes()), Some(number.as_str()));
        assert_eq!(needles.found_in(format!("5{number}f").as_bytes()), None);
    }

    let site = Site::start().await;
    // A change, so that there is a write-ahead log and a page that is no longer in use.
    let owner = site.login(HOME, "owner").await;
    let id = site.patient("harbour-patient-001");
    let version = owner.get(&format!("/api/patients/{id}")).await.json()["version"].clone();
    let patch = json!({ "version": version, "family": "Merriweather", "address": "1 Winterbourne Crescent" });
    owner.send(http::Method::PATCH, &format!("/api/patients/{id}"), Some(&patch)).await.expect(200);
    search(copy_of(site.path()).path(), &needles);
    let dir = site.stop().await;
    search(dir.path(), &needles);
    for tenant in [HOME, AWAY, FAR] {
        checkpoint(dir.path(), tenant).await;
    }
    search(dir.path(), &needles);
}

/// A copy of the folder of a server that runs.
fn copy_of(dir: &Path) -> TempDir {
    let there = tempfile::tempdir().unwrap();
    copy(dir, there.path());
    there
}

async fn run(file: &mut SqliteConnection, sql: &str) {
    let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(file).await.unwrap();
    assert!(done.rows_affected() > 0, "nothing was changed by {sql}");
}

fn blob(id: Uuid) -> String {
    format!("x'{}'", id.simple())
}

/// A damaged place, and the request that would open it.
struct Case {
    name: &'static str,
    path: String,
}

// proves GLM-12, CLA-10, CLM-18: ciphertext in any other place than its own does not open.
#[tokio::test]
async fn ciphertext_that_was_moved_or_changed_does_not_open_anywhere() {
    let site = Site::start().await;
    let staff = site.login(HOME, "owner").await.get("/api/staff").await.json();
    let employees: Vec<Uuid> =
        staff["items"].as_array().unwrap().iter().filter_map(|s| s["employee"].as_str()?.parse().ok()).collect();
    let foreign_staff = site.login(AWAY, "owner").await.get("/api/staff").await.json();
    let foreign_employee: Uuid =
        foreign_staff["items"].as_array().unwrap().iter().find_map(|s| s["employee"].as_str()?.parse().ok()).unwrap();
    let owner = site.login(HOME, "owner").await;
    // Patients with something of each kind, a new one for each case.
    let mut victims = Vec::new();
    for id in site.clinic(HOME).patients.clone() {
        let mut full = true;
        for kind in ["notes", "prescriptions", "results"] {
            full &=
                owner.get(&format!("/api/patients/{id}/{kind}")).await.json()["items"].as_array().unwrap().len() >= 2;
        }
        if full {
            victims.push(id);
        }
    }
    let healthy = victims.pop().unwrap();
    let foreign = site.clinic(AWAY).patients[0];
    let dir = site.stop().await;
    checkpoint(dir.path(), AWAY).await;

    let mut file = open_file(dir.path(), HOME).await;
    let away = dir.path().join("clinics/meadow.sqlite");
    run_any(&mut file, &format!("attach '{}' as away", away.display())).await;
    let mut victims = victims.into_iter();
    let mut cases = Vec::new();
    let mut damage = async |name: &'static str, kind: &str, sql: &dyn Fn(&str) -> Vec<String>| {
        let id = victims.next().expect("more cases than patients");
        for sql in sql(&blob(id)) {
            run(&mut file, &sql).await;
        }
        cases.push(Case { name, path: format!("/api/patients/{id}{kind}") });
    };
    let note = "(select text from notes where patient = ID order by id limit 1)";
    let last = "id = (select max(id) from notes where patient = ID)";
    let with = |id: &str, sql: &str| vec![sql.replace("NOTE", note).replace("LAST", last).replace("ID", id)];
    damage("another row", "/notes", &|id| with(id, "update notes set text = NOTE where LAST")).await;
    damage("another column", "", &|id| with(id, "update patients set family = given where id = ID")).await;
    damage("another column, both ways", "", &|id| {
        with(id, "update patients set (given, family) = (family, given) where id = ID")
    })
    .await;
    damage("another table, the same row id", "/notes", &|id| {
        with(
            id,
            "insert into notes select id, patient, prescriber, at, drug, test from prescriptions where patient = ID",
        )
    })
    .await;
    damage("another class", "/prescriptions", &|id| {
        with(id, "update prescriptions set drug = (select given from patients where id = ID) where patient = ID")
    })
    .await;
    let other = blob(healthy);
    damage("another patient, the same row", "/notes", &|id| {
        let row = format!("(select max(id) from notes where patient = {other})");
        with(id, &format!("update notes set patient = ID where id = {row}"))
    })
    .await;
    damage("another patient's name", "", &|id| {
        with(id, &format!("update patients set given = (select given from patients where id = {other}) where id = ID"))
    })
    .await;
    let there = blob(foreign);
    damage("another clinic", "/notes", &|id| {
        with(
            id,
            &format!("insert into notes select id, ID, author, at, text, test from away.notes where patient = {there}"),
        )
    })
    .await;
    damage("another clinic's name", "", &|id| {
        with(
            id,
            &format!(
                "update patients set family = (select family from away.patients where id = {there}) where id = ID"
            ),
        )
    })
    .await;
    damage("a flipped bit", "/results", &|id| {
        with(
            id,
            "update results set body = unhex(substr(hex(body), 1, 2 * length(body) - 2)
                  || iif(substr(hex(body), -2) = '00', '01', '00')) where patient = ID",
        )
    })
    .await;
    damage("cut", "/notes", &|id| with(id, "update notes set text = substr(text, 1, length(text) - 1) where LAST"))
        .await;
    damage("longer", "/notes", &|id| with(id, "update notes set text = unhex(hex(text) || '00') where LAST")).await;
    damage("empty", "/notes", &|id| with(id, "update notes set text = x'' where LAST")).await;
    damage("in clear", "/notes", &|id| {
        with(id, "update notes set text = cast('PLAINTEXT PUT THERE BY HAND' as blob) where LAST")
    })
    .await;
    // An employee's number under another employee, and another clinic's.
    for (employee, from) in [
        (employees[0], format!("(select ni_number from employees where id = {})", blob(employees[1]))),
        (employees[2], format!("(select ni_number from away.employees where id = {})", blob(foreign_employee))),
    ] {
        run(&mut file, &format!("update employees set ni_number = {from} where id = {}", blob(employee))).await;
        cases.push(Case { name: "an employee's", path: format!("/api/employees/{employee}/payroll") });
    }
    // What is sealed for the clinic as a whole, under another row.
    run(&mut file, "update staff set name = (select name from staff order by id desc limit 1)").await;
    cases.push(Case { name: "another member of staff", path: "/api/staff".to_owned() });
    // A whole patient of the other clinic, id and all.
    run(&mut file, &format!("insert into patients select * from away.patients where id = {there}")).await;
    run(&mut file, &format!("insert into results select * from away.results where patient = {there}")).await;
    file.close().await.unwrap();

    let site = Site::start_in(dir).await;
    let owner = site.login(HOME, "owner").await;
    let needles = everything_personal();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for case in &cases {
        let reply = owner.get(&case.path).await;
        assert_eq!(reply.status, 500, "{}: {} {reply:?}", case.name, case.path);
        crate::headers::check(case.name, reply.expect_problem(500, &["PLAINTEXT"]));
        assert_eq!(needles.found_in(&reply.body), None, "{}", case.name);
        seen.insert(reply.fingerprint(), case.name);
    }
    assert_eq!(seen.len(), 1, "failures can be told apart: {seen:#?}");
    // Nobody here has a key for the other clinic's patient.
    for kind in ["", "/results"] {
        owner.get(&format!("/api/patients/{foreign}{kind}")).await.expect_problem(404, &[]);
    }
    // Whoever was not touched is served as before.
    for kind in ["", "/notes", "/prescriptions", "/results", "/encounters"] {
        owner.get(&format!("/api/patients/{healthy}{kind}")).await.expect(200);
    }
    site.login(AWAY, "owner").await.get(&format!("/api/patients/{foreign}/notes")).await.expect(200);
    // A list that cannot be opened whole is not given in part.
    let list = owner.get("/api/patients?limit=100").await;
    assert!(list.status.is_server_error(), "{list:?}");
    assert_eq!(needles.found_in(&list.body), None);
}

async fn run_any(file: &mut SqliteConnection, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(file).await.unwrap();
}

// proves CLA-10: its first half.
#[tokio::test]
async fn the_same_text_twice_is_two_ciphertexts() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let text = "The same words, to the letter.";
    for _ in 0..3 {
        doctor.post(&format!("/api/patients/{id}/notes"), &json!({ "text": text })).await.expect(201);
    }
    let dir = site.stop().await;
    let mut file = open_file(dir.path(), HOME).await;
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("select text from notes where patient = ? order by id desc limit 3")
        .bind(id.as_bytes().to_vec())
        .fetch_all(&mut file)
        .await
        .unwrap();
    let same = sealed.iter().map(Vec::len).collect::<BTreeSet<_>>();
    assert_eq!((same.len(), sealed.iter().collect::<BTreeSet<_>>().len()), (1, 3));
}
