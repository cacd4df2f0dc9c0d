//! The clinic's server in this process on a data folder of its own, and clients that reach it as anybody does: over TLS,
//! trusting the `ca.pem` that it wrote.
//!
//! Laying out the demo takes seconds, so it is done once for each build of these tests and each day, under
//! `target/tmp/clinic-template`, and copied for each test.

mod client;
mod disk;
mod folder;
mod place;

use std::{num::NonZeroU32, path::Path, time::Duration};

use clap::Parser;
use clinic::{
    args::Args,
    demo_data::{self, DemoData},
};
use http::Method;
use serde_json::Value;
use tower_ward::clock::{Clock as _, SystemClock};
use uuid::Uuid;

pub(crate) use client::{Client, Reply};
pub(crate) use disk::{
    canaries, checkpoint, copy, demo_folder, demo_folder_on_postgres, files, find, open_file, read, read_demo, records,
};
pub(crate) use folder::{DATABASE, DemoFolder, make_key_stores, on_postgres, store};
pub(crate) use place::{Child, Place, Site};

/// The clinic that most tests are about, and two others.
pub(crate) const HOME: &str = "harbour";
pub(crate) const AWAY: &str = "meadow";
pub(crate) const FAR: &str = "northgate";

/// Every role of the policy.
pub(crate) const ROLES: [&str; 7] =
    ["receptionist", "doctor", "owner", "clinic_admin", "caregiver", "family_member", "patient"];

/// Longer than anything here takes: what waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The fixtures.
pub(crate) fn data() -> DemoData {
    demo_data::load().unwrap()
}

/// An id that differs from this one and is nobody's.
pub(crate) fn absent(near: Uuid) -> Uuid {
    let mut bytes = near.into_bytes();
    bytes[15] ^= 0x55;
    Uuid::from_bytes(bytes)
}

/// A body that the route takes.
pub(crate) fn valid_body(method: &Method, path: &str) -> Option<Value> {
    match (method.as_str(), path.rsplit('/').next().unwrap()) {
        ("PATCH", "summary") => Some(serde_json::json!({ "version": 1, "allergies": ["Penicillin"] })),
        ("PATCH", "payroll") => Some(serde_json::json!({ "version": 1, "sort_code": "000001" })),
        ("PATCH", "appointments") => {
            Some(serde_json::json!({ "id": Uuid::nil(), "version": 1, "status": "cancelled" }))
        }
        ("PATCH", "absences") => Some(serde_json::json!({ "id": Uuid::nil(), "version": 1, "status": "approved" })),
        ("PATCH", "incidents") => Some(serde_json::json!({ "id": Uuid::nil(), "version": 1, "outcome": "Mended." })),
        ("PATCH", "quotes") => Some(serde_json::json!({ "id": Uuid::nil(), "version": 1, "status": "accepted" })),
        ("PATCH", "invoices") => Some(serde_json::json!({ "id": Uuid::nil(), "version": 1, "status": "paid" })),
        ("PATCH", _) => Some(serde_json::json!({ "version": 1, "phone": "07700 900001" })),
        ("POST", "hold") => Some(serde_json::json!({ "held": true, "reason": "File 4711." })),
        ("POST", "notes") => Some(serde_json::json!({ "text": "A note." })),
        ("POST", "messages") => Some(serde_json::json!({ "text": "A message." })),
        ("POST", "quotes" | "invoices") => Some(serde_json::json!({
            "lines": [{ "text": "Medical certificate", "quantity": 2, "unit_price_pence": 3500 }],
        })),
        ("POST", "invitations") => Some(serde_json::json!({ "email": "relative@example.org" })),
        ("POST", "attachments") => Some(serde_json::json!({
            "file_name": "letter.txt", "media_type": "text/plain", "content": "QSBsZXR0ZXIu",
        })),
        ("POST", "absences") => Some(serde_json::json!({
            "first_day": "2026-02-03", "last_day": "2026-02-04", "kind": "holiday",
        })),
        ("POST", "timesheets") => Some(serde_json::json!({ "day": "2026-02-03", "minutes": 450 })),
        ("POST", "training") => Some(serde_json::json!({ "title": "Fire safety", "completed": "2026-02-03" })),
        ("POST", "credentials") => Some(serde_json::json!({ "kind": "Background check", "number": "TEST-000001" })),
        ("POST", "incidents") => Some(serde_json::json!({
            "kind": "safety", "title": "Wet floor", "text": "Nobody fell.",
        })),
        ("POST", "encounters") => Some(serde_json::json!({ "kind": "ambulatory", "reason": "Cough" })),
        ("POST", "results") => Some(serde_json::json!({
            "code": "718-7", "display": "Haemoglobin", "value": 13.9, "unit": "g/dL", "flag": "normal",
        })),
        ("POST", "appointments") => {
            let soon = SystemClock::new().now() + Duration::from_secs(86_400);
            Some(serde_json::json!({
                "clinician": Uuid::nil(), "starts_at": soon.to_string(), "minutes": 20, "reason": "Review",
            }))
        }
        ("POST", "prescriptions") => {
            Some(serde_json::json!({ "drug": "Paracetamol", "dose": "1 tablet", "instructions": "When needed." }))
        }
        _ => None,
    }
}

/// An entry of this patient in the diary of whoever sees all of it.
pub(crate) async fn appointment(owner: &Client, patient: Uuid) -> Value {
    let today = SystemClock::new().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    for month in -3..3 {
        let from = today.saturating_add(jiff::Span::new().days(month * 30));
        let path =
            format!("/api/appointments?from={from}&to={}&limit=100", from.saturating_add(jiff::Span::new().days(29)));
        let mut next = Some(String::new());
        while let Some(cursor) = next {
            let page = owner.get(&format!("{path}{cursor}")).await.expect(200).json();
            let found = page["items"].as_array().unwrap().iter().find(|a| a["patient"] == patient.to_string());
            if let Some(found) = found {
                return found.clone();
            }
            next = page["next"].as_str().map(|cursor| format!("&cursor={cursor}"));
        }
    }
    panic!("{patient} has no appointment in these months");
}

/// A route's path with its parameters filled in; with nobody's attachment, unless one was filled in before.
pub(crate) fn fill(path: &str, id: impl std::fmt::Display, user: impl std::fmt::Display) -> String {
    let path = path.replace("{id}", &id.to_string()).replace("{user}", &user.to_string());
    path.replace("{attachment}", &Uuid::nil().to_string())
}

/// Somebody whom this user invites to a patient's circle, and who joins.
pub(crate) async fn joined(place: &Place, inviter: &Client, patient: Uuid) -> Uuid {
    let email = "relative@example.org";
    let path = format!("/api/patients/{patient}/circle/invitations");
    let made = inviter.post(&path, &serde_json::json!({ "email": email })).await.expect(201).json();
    let join = serde_json::json!({ "token": made["token"], "email": email, "password": "a password of their own" });
    let joined = place.guest(HOME).post("/api/circle/join", &join).await.expect(201).json();
    joined["user"].as_str().unwrap().parse().unwrap()
}

/// A route's path with an attachment of this patient filled in, if it asks for one.
pub(crate) async fn attached(owner: &Client, path: &str, patient: impl std::fmt::Display) -> String {
    if !path.contains("{attachment}") {
        return path.to_owned();
    }
    let page = owner.get(&format!("/api/patients/{patient}/attachments?limit=1")).await.expect(200).json();
    path.replace("{attachment}", page["items"][0]["id"].as_str().unwrap())
}

/// The command line for a server on this folder, on any free port, with quotas that no test reaches.
pub(crate) fn args(dir: &Path) -> Args {
    let mut args = Args::parse_from(["clinic", "--listen", "127.0.0.1:0"]);
    args.data = dir.to_owned();
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    (args.peer_quota, args.user_quota) = (plenty, plenty);
    folder::with_database(&mut args, dir);
    args
}
