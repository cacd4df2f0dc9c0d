//! Tests of the ledger and the trail from inside.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

mod archive;
mod long;
mod operator;
mod reading;
mod response;
#[cfg(feature = "checkpoint")]
mod retention;
mod tamper;
mod torn;
mod trail;

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::{
    ledger::{Ledger, LedgerOptions},
    record::{Action, Actor, Change, Door, Record},
    trail::{RequestFacts, Trail},
};
use crate::{
    clock::ManualClock,
    id::{SubjectId, TenantId, UserId},
};

const SIZE: u64 = 128 * 1024;

fn clock() -> ManualClock {
    ManualClock::at("2026-01-02T03:04:05Z".parse().unwrap())
}

fn options() -> LedgerOptions {
    LedgerOptions::new().with_segment_size(SIZE)
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(dir, options(), clock().shared()).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn subject(n: u8) -> SubjectId {
    SubjectId::from_bytes([n; 16])
}

fn actor(tenant_name: &str) -> Actor {
    Actor {
        user: Some(UserId::from_bytes([1; 16])),
        role: Some("doctor".into()),
        session: None,
        tenant: Some(tenant(tenant_name)),
    }
}

fn door(subjects: &[SubjectId]) -> Door<'_> {
    Door {
        action: Action::Read,
        permission: "notes.read",
        entity: "note",
        subjects,
        row: None,
        why: "assigned".to_owned(),
    }
}

fn change(subjects: &[SubjectId]) -> Change<'_> {
    Change {
        action: Action::Update,
        about: None,
        permission: "notes.write",
        entity: "note",
        subjects,
        row: None,
        why: "assigned".to_owned(),
    }
}

/// A trail of somebody in this clinic.
fn trail(ledger: &Ledger, tenant_name: &str) -> (Trail, super::trail::Closer) {
    let (trail, closer) = ledger.begin(RequestFacts::new());
    trail.set_actor(actor(tenant_name));
    (trail, closer)
}

/// Every record that is in the files.
fn records(dir: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    super::ledger::scan::scan(dir, false, 1_000, &[], &mut |entry| records.extend(entry.record.cloned())).unwrap();
    records
}

fn words(dir: &Path) -> Vec<String> {
    records(dir)
        .iter()
        .map(|r| {
            let more = [
                r.outcome().map(|o| o.as_str().to_owned()),
                r.end().map(|e| e.as_str().to_owned()),
                r.reason().map(ToOwned::to_owned),
                r.status().map(|s| s.to_string()),
                r.bytes().map(|b| b.to_string()),
            ];
            std::iter::once(r.kind().as_str().to_owned())
                .chain(more.into_iter().flatten())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}
