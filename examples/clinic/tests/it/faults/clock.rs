//! A wall clock that is set while the server runs, forward and back.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Faults, end};
use crate::process::{Client, Clinic, data_folder};

const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;

/// By how many seconds the clock jumps, whether what was issued before it is still good, and whether what was issued
/// meanwhile is good when the clock is right again.
const JUMPS: [(&str, i64, bool, bool); 9] = [
    ("three seconds back, within the leeway", -3, true, true),
    ("three seconds on, within the leeway", 3, true, true),
    ("a minute on, within a token's life", 60, true, false),
    ("an hour on", HOUR, false, false),
    ("an hour back", -HOUR, false, false),
    ("a day on", 24 * HOUR, false, false),
    ("a day back", -24 * HOUR, false, false),
    ("a year on", YEAR, false, false),
    ("ten years back", -10 * YEAR, false, false),
];

/// A login, with both of its tokens.
async fn log_in(clinic: &Clinic, client: &mut Client) -> Value {
    let user = clinic.demo.clinics[0].users.iter().find(|user| user.role == "doctor").unwrap();
    let login = json!({ "username": user.username, "password": user.password });
    client.token = None;
    let answer = client.post("/api/login", &login).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let tokens = answer.json();
    client.token = Some(tokens["access_token"].as_str().unwrap().to_owned());
    tokens
}

async fn refresh(client: &Client, tokens: &Value) -> StatusCode {
    let mut client = client.clone();
    client.token = None;
    let body = json!({ "refresh_token": tokens["refresh_token"] });
    client.send(&Method::POST, "/api/refresh", Some(&body)).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_prolongs_nothing_and_loses_nothing() {
    let (faults, data) = (Faults::new(), data_folder());
    let clinic = faults.start(data.path());
    let mut doctor = clinic.login(0, "doctor").await;
    let patient = doctor.patients().await[0].clone();
    let notes = format!("/api/patients/{patient}/notes");
    let mut written = 0;
    for (jump, seconds, before_is_good, meanwhile_is_good) in JUMPS {
        let before = log_in(&clinic, &mut doctor).await;
        assert_eq!(doctor.get(&notes).await.unwrap().status, StatusCode::OK, "{jump}");

        faults.set(&format!("clock {seconds}"));
        let expected = |good| if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let of_before = doctor.get(&notes).await.unwrap().status;
        assert_eq!(of_before, expected(before_is_good), "{jump}: a token from before");
        assert_eq!(refresh(&doctor, &before).await, expected(before_is_good), "{jump}: a session from before");
        // By the new time everything goes on.
        let meanwhile = log_in(&clinic, &mut doctor).await;
        let answer = doctor.post(&notes, &json!({ "text": format!("written {jump}") })).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{jump}: {:?}", answer.body);
        written += 1;

        faults.end();
        let of_meanwhile = doctor.get(&notes).await.unwrap().status;
        assert_eq!(of_meanwhile, expected(meanwhile_is_good), "{jump}: a token of the wrong time");
        assert_eq!(
            refresh(&doctor, &meanwhile).await,
            expected(meanwhile_is_good),
            "{jump}: a session of the wrong time"
        );
        log_in(&clinic, &mut doctor).await;
        let answer = doctor.get(&notes).await.unwrap();
        assert!(answer.text().contains(&format!("written {jump}")), "{jump}: the note is gone");
    }
    let (records, changes) = end(clinic, data.path()).await;
    assert!(changes.committed >= written);
    // The index is the order, whatever the clock said.
    let backward = records.all.windows(2).filter(|pair| pair[1].at() < pair[0].at()).count();
    assert!(backward >= JUMPS.len(), "no record shows a jump back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_frees_nobody_who_is_locked_out() {
    let (faults, data) = (Faults::new(), data_folder());
    let clinic = faults.start(data.path());
    let user = clinic.demo.clinics[0].users.iter().find(|user| user.role == "doctor").unwrap();
    let mut guesser = clinic.login(0, "owner").await;
    guesser.token = None;
    let mut guess = async |password: &str| {
        let body = json!({ "username": user.username, "password": password });
        guesser.post("/api/login", &body).await.unwrap().status
    };
    for _ in 0..5 {
        assert_eq!(guess("correct horse battery").await, StatusCode::UNAUTHORIZED);
    }
    for seconds in [0, HOUR, YEAR, -HOUR, -YEAR] {
        faults.set(&format!("clock {seconds}"));
        assert_eq!(guess(&user.password).await, StatusCode::TOO_MANY_REQUESTS, "{seconds} s");
    }
}
