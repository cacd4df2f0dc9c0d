//! Finding people by their names, and changing what is known of them.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

fn encode(q: &str) -> String {
    format!("&q={}", q.bytes().map(|b| format!("%{b:02X}")).collect::<String>())
}

async fn register(desk: &Client, new: &Value) -> Uuid {
    let created = desk.post("/api/patients", new).await;
    created.expect(201);
    created.json()["id"].as_str().unwrap().parse().unwrap()
}

async fn register_named(desk: &Client, given: &str, family: &str) -> Uuid {
    register(desk, &json!({ "given": given, "family": family, "birth_date": "1990-02-03", "sex": "other" })).await
}

async fn patch(client: &Client, id: Uuid, body: Value) -> Reply {
    client.send(Method::PATCH, &format!("/api/patients/{id}"), Some(&body)).await
}

// A name with a space was never found, so that the desk registered its bearer again.
#[tokio::test]
async fn a_patient_is_found_by_any_words_of_their_name() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let id = register_named(&desk, "Mary  Ann Mary", "van der Bergh\u{a0}Ögmundsdóttir").await;
    for q in [
        "Mary Ann",
        "ann",
        "Mary Mary",
        "van der Bergh",
        " bergh\tvan ",
        "der mary",
        "Mary Ann van der Bergh",
        // Case, composition and compatibility do not matter.
        "ÖGMUNDSDÓTTIR",
        "o\u{308}gmundsdo\u{301}ttir",
        "ＢＥＲＧＨ",
        "DER\u{3000}ögmundsdóttir",
    ] {
        assert_eq!(desk.list(3, &encode(q)).await, [id], "{q}");
    }
    // Whole words, and every one of them; accents matter.
    for q in ["Mar", "Bergh-", "Mary Anne", "van der Berghe", "MaryAnn", "Ogmundsdottir", "van%", "*", "Mary _nn"] {
        assert!(desk.list(3, &encode(q)).await.is_empty(), "{q}");
    }
    let at = site.login(AWAY, "receptionist").await;
    assert!(at.list(3, &encode("Bergh")).await.is_empty());
}

#[tokio::test]
async fn a_patient_is_found_by_the_name_they_have_now() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let id = register_named(&desk, "Mary Ann", "van der Bergh").await;
    patch(&desk, id, json!({ "version": 1, "family": "de la Crüz" })).await.expect(200);
    for q in ["Mary Ann", "de la", "crüz MARY"] {
        assert_eq!(desk.list(3, &encode(q)).await, [id], "{q}");
    }
    for q in ["Bergh", "van", "Mary der"] {
        assert!(desk.list(3, &encode(q)).await.is_empty(), "{q}");
    }
    patch(&desk, id, json!({ "version": 2, "given": "Marianne", "phone": null })).await.expect(200);
    assert!(desk.list(3, &encode("Ann")).await.is_empty());
    assert_eq!(desk.list(3, &encode("Marianne la")).await, [id]);
    // A rename that fails leaves the old name found.
    patch(&desk, id, json!({ "version": 2, "given": "Nobody" })).await.expect(409);
    assert!(desk.list(3, &encode("Nobody")).await.is_empty());
    assert_eq!(desk.list(3, &encode("Marianne Crüz")).await, [id]);
    // What leaves the name alone leaves it found.
    patch(&desk, id, json!({ "version": 3, "sex": "female" })).await.expect(200);
    assert_eq!(desk.list(3, &encode("Marianne Crüz")).await, [id]);
}

#[tokio::test]
async fn every_demo_patient_is_found_by_their_whole_name() {
    let site = Site::start().await;
    let patients = site.patients();
    let desk = site.login(HOME, "receptionist").await;
    for patient in data().clinics.into_iter().filter(|c| c.tenant == HOME).flat_map(|c| c.patients) {
        let found = desk.list(100, &encode(&format!("{} {}", patient.given, patient.family))).await;
        assert!(found.contains(&patients[&patient.id]), "{}", patient.id);
    }
}

// Folders of before the index by words: their patients are found as they were.
#[tokio::test]
async fn a_file_of_before_the_index_by_words_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut file = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let migrations = sqlx::migrate!("./migrations");
    let run = async |file: &mut sqlx::SqliteConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(file).await.unwrap();
    };
    let all: Vec<_> = migrations.iter().collect();
    sqlx::raw_sql(all[0].sql.clone()).execute(&mut file).await.unwrap();
    run(
        &mut file,
        "insert into patients (id, given, given_index, family, family_index, birth_date, sex, created_at) values
           (x'00000000000000000000000000000001', x'', x'01', x'', x'02', x'', x'', 0),
           (x'00000000000000000000000000000002', x'', x'01', x'', x'01', x'', x'', 0)",
    )
    .await;
    for migration in &all[1..] {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut file).await.unwrap();
    }
    let words: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select patient, word from patient_names order by 1, 2").fetch_all(&mut file).await.unwrap();
    let words: Vec<(u8, u8)> = words.iter().map(|(patient, word)| (patient[15], word[0])).collect();
    assert_eq!(words, [(1, 1), (1, 2), (2, 1)]);
}

const WHOLE: [(&str, &str); 8] = [
    ("given", "Nova"),
    ("family", "Test"),
    ("birth_date", "1990-02-03"),
    ("sex", "other"),
    ("phone", "07700 900077"),
    ("email", "nova@example.org"),
    ("address", "1 Test Lane, ZZ99 1AA"),
    ("nhs_number", "9990000018"),
];

fn whole() -> Value {
    WHOLE.into_iter().map(|(field, value)| (field.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let mut want = whole();
    let id = register(&desk, &want).await;
    for (version, (field, value)) in (1..).zip([
        ("given", "Noëlle Ada"),
        ("family", "Testing"),
        ("birth_date", "1989-12-31"),
        ("sex", "female"),
        ("phone", "07700 900078"),
        ("email", "noelle@example.org"),
        ("address", "2 Test Lane, ZZ99 1AA"),
        ("nhs_number", "9990000026"),
    ]) {
        want[field] = json!(value);
        let reply = patch(&desk, id, json!({ "version": version, field: value })).await;
        assert_eq!(reply.status, 200, "{field}: {reply:?}");
        let seen = desk.get(&format!("/api/patients/{id}")).await.json();
        assert_eq!(seen, reply.json(), "{field}");
        for (other, want) in want.as_object().unwrap() {
            assert_eq!(&seen[other], want, "{other} after {field}");
        }
        assert_eq!(seen["version"], version + 1);
    }
}

// RFC 7396: `null` was taken for absent, answered with 200, and cleared nothing.
#[tokio::test]
async fn null_clears_what_may_be_absent_and_is_refused_for_what_may_not() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let id = register(&desk, &whole()).await;
    let mut version = 1;
    for field in ["phone", "email", "address", "nhs_number"] {
        patch(&desk, id, json!({ "version": version, field: "" })).await.expect_problem(400, &[]);
        let reply = patch(&desk, id, json!({ "version": version, field: null })).await;
        version += 1;
        assert_eq!((reply.expect(200).json()[field].clone(), &reply.json()["version"]), (Value::Null, &json!(version)));
        assert_eq!(desk.get(&format!("/api/patients/{id}")).await.json()[field], Value::Null, "{field}");
    }
    for field in ["given", "family", "birth_date", "sex", "version"] {
        let mut body = json!({ "version": version, "phone": "07700 900079" });
        body[field] = Value::Null;
        patch(&desk, id, body).await.expect_problem(400, &["900079"]);
    }
    let seen = desk.get(&format!("/api/patients/{id}")).await.json();
    assert_eq!((&seen["version"], &seen["given"], &seen["phone"]), (&json!(version), &json!("Nova"), &Value::Null));
}

#[tokio::test]
async fn a_patch_of_nothing_or_of_something_impossible_changes_nothing() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let id = register(&desk, &whole()).await;
    let before = desk.get(&format!("/api/patients/{id}")).await.json();
    let tomorrow = site.ward.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap();
    patch(&desk, id, json!({ "version": 1 })).await.expect_problem(400, &[]);
    for (field, value) in [
        ("given", json!("")),
        ("family", json!("a\nb")),
        ("birth_date", json!(tomorrow)),
        ("birth_date", json!("2020-02-30")),
        ("birth_date", json!("")),
        ("sex", json!("yes")),
        ("phone", json!(" ")),
        ("nhs_number", json!("9990000019")),
        ("nhs_number", json!("999 000 0018")),
        ("nhs_number", json!("none")),
        ("nhs_number", json!(9_990_000_018_u64)),
        ("id", json!(Uuid::nil())),
        ("test", json!(true)),
    ] {
        let reply = patch(&desk, id, json!({ "version": 1, field: value })).await;
        assert_eq!(reply.status, 400, "{field} {value}");
    }
    assert_eq!(desk.get(&format!("/api/patients/{id}")).await.json(), before);
}

#[tokio::test]
async fn an_nhs_number_that_does_not_prove_itself_is_not_registered() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    for wrong in ["9990000019", "999000001", "99900000180", "999 000 0018", "x", "", "９９９００００１８"] {
        let mut new = whole();
        new["nhs_number"] = json!(wrong);
        desk.post("/api/patients", &new).await.expect_problem(400, &["Nova"]);
    }
    register(&desk, &whole()).await;
}

/// The permissions under which somebody searched a patient out, as the patient's record tells.
async fn searches(owner: &Client, id: Uuid) -> Vec<String> {
    let page = owner.get(&format!("/api/patients/{id}/timeline?limit=100")).await;
    page.expect(200);
    let page = page.json();
    let found = page["items"].as_array().unwrap().iter().filter(|e| e["action"] == "search");
    found.map(|e| e["permission"].as_str().unwrap().to_owned()).collect()
}

// The row that only says that there is another page had its person's record opened.
#[tokio::test]
async fn who_is_on_the_next_page_has_no_record_of_a_search() {
    let site = Site::start().await;
    let (owner, desk) = (site.login(HOME, "owner").await, site.login(HOME, "receptionist").await);
    let all = owner.list(100, "").await;
    let before = searches(&owner, all[2]).await;
    let page = desk.get("/api/patients?limit=2").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], json!(all[1]));
    assert_eq!(searches(&owner, all[2]).await, before);
    assert_eq!(searches(&owner, all[1]).await.len(), before.len() + 1);
    desk.get(&format!("/api/patients?limit=2&cursor={}", all[1])).await.expect(200);
    assert_eq!(searches(&owner, all[2]).await.len(), before.len() + 1);
}

#[tokio::test]
async fn who_is_on_the_next_page_of_the_diary_has_no_record_of_a_search() {
    let site = Site::start().await;
    let (owner, desk) = (site.login(HOME, "owner").await, site.login(HOME, "receptionist").await);
    let today = site.ward.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let until = today.saturating_add(jiff::Span::new().days(30));
    let path = format!("/api/appointments?from={today}&to={until}");
    let whole = owner.get(&format!("{path}&limit=100")).await.json()["items"].as_array().unwrap().clone();
    let patient = |a: &Value| a["patient"].as_str().unwrap().parse::<Uuid>().unwrap();
    let shown = whole.windows(2).position(|w| patient(&w[0]) != patient(&w[1])).unwrap() + 1;
    let (last, ahead) = (patient(&whole[shown - 1]), patient(&whole[shown]));
    assert!(whole[..shown].iter().all(|a| patient(a) != ahead));
    let (before, of_last) = (searches(&owner, ahead).await, searches(&owner, last).await);
    let page = desk.get(&format!("{path}&limit={shown}")).await.json();
    assert_eq!(page["items"].as_array().unwrap(), &whole[..shown]);
    assert_eq!(searches(&owner, ahead).await, before);
    assert_eq!(searches(&owner, last).await.len(), of_last.len() + 1);
    let next = page["next"].as_str().unwrap();
    let rest = desk.get(&format!("{path}&limit=100&cursor={next}")).await.json();
    assert_eq!(rest["items"].as_array().unwrap(), &whole[shown..]);
    assert_eq!(searches(&owner, ahead).await.len(), before.len() + 1);
}
