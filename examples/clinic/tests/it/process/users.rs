//! A clinic's users, every kind of request that opens a door, and what a refusal may say.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Client, Clinic, drug, somebody, within};

/// Requests of everybody until one is not answered as it should be; at most 30 s.
pub(crate) async fn until(mut answered: impl AsyncFnMut() -> bool) {
    within(async {
        while !answered().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The first clinic as three of its users see it.
pub(crate) struct Users {
    pub(crate) tenant: String,
    pub(crate) patient: String,
    pub(crate) doctor: Client,
    pub(crate) receptionist: Client,
    pub(crate) owner: Client,
    /// Texts that nobody may see in a refusal.
    secrets: Vec<String>,
}

pub(crate) const CANARY: &str = "Canary-of-the-full-disk";

impl Users {
    pub(crate) async fn of(clinic: &Clinic) -> Self {
        let mut doctor = clinic.login(0, "doctor").await;
        let patient = doctor.patients().await[0].clone();
        let mut secrets = vec![patient.clone(), CANARY.to_owned()];
        for path in ["", "/notes", "/prescriptions"] {
            let answer = doctor.get(&format!("/api/patients/{patient}{path}")).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            collect_texts(&answer.json(), &mut secrets);
        }
        assert!(secrets.len() > 20);
        Self {
            tenant: clinic.demo.clinics[0].tenant.clone(),
            patient,
            doctor,
            receptionist: clinic.login(0, "receptionist").await,
            owner: clinic.login(0, "owner").await,
            secrets,
        }
    }

    /// Every kind of request that opens a door, and what it answers while all is well.
    pub(crate) async fn open_doors(&mut self) -> Vec<(&'static str, u16, Answer)> {
        let path = format!("/api/patients/{}", self.patient);
        let (notes, prescriptions) = (format!("{path}/notes"), format!("{path}/prescriptions"));
        let patch = json!({ "version": u32::MAX, "address": CANARY });
        vec![
            ("read notes", 200, self.doctor.get(&notes).await.unwrap()),
            ("read prescriptions", 200, self.doctor.get(&prescriptions).await.unwrap()),
            ("read a patient", 200, self.receptionist.get(&path).await.unwrap()),
            ("list patients", 200, self.owner.get("/api/patients").await.unwrap()),
            ("search", 200, self.receptionist.get("/api/patients?q=Canary").await.unwrap()),
            ("the diary", 200, self.doctor.get("/api/appointments").await.unwrap()),
            ("staff", 200, self.owner.get("/api/staff").await.unwrap()),
            ("the timeline", 200, self.owner.get(&format!("{path}/timeline")).await.unwrap()),
            ("write a note", 201, self.doctor.post(&notes, &json!({ "text": CANARY })).await.unwrap()),
            ("prescribe", 201, self.doctor.post(&prescriptions, &drug(CANARY)).await.unwrap()),
            ("register", 201, self.receptionist.post("/api/patients", &somebody(CANARY)).await.unwrap()),
            ("change", 409, self.receptionist.send(&Method::PATCH, &path, Some(&patch)).await.unwrap()),
        ]
    }

    /// A refusal is a problem, and holds no datum of a patient.
    pub(crate) fn check_refusal(&self, name: &str, answer: &Answer) {
        let body = answer.text();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name}: {body}");
        assert_eq!(answer.content_type, "application/problem+json", "{name}");
        assert_eq!(answer.json()["status"], 503, "{name}");
        assert!(!answer.request_id.is_empty(), "{name}");
        for secret in &self.secrets {
            assert!(!body.contains(secret), "{name} tells {secret}: {body}");
        }
    }
}

/// Texts long enough to be told from a fixed sentence.
fn collect_texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 5 => out.push(text.clone()),
        Value::Array(several) => several.iter().for_each(|one| collect_texts(one, out)),
        Value::Object(fields) => fields.values().for_each(|one| collect_texts(one, out)),
        _ => {}
    }
}
