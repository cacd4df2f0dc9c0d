//! The ledger alone: records of the application's own, and what is durable copied to where its writer cannot change it.
//!
//! `cargo run --example audit_sink --features audit`

use std::{
    error::Error,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_ward::{
    audit::{Action, AuditLayer, Event, Ledger, LedgerOptions, Purpose, Trail, verify},
    clock::SystemClock,
    id::{SubjectId, TenantId},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// Hands a person's report out, once that is on record.
async fn export(request: Request<(TenantId, SubjectId)>) -> Result<Response<Full<&'static [u8]>>, BoxError> {
    let trail = request.extensions().get::<Trail>().ok_or("outside of the layer")?.clone();
    let (clinic, patient) = request.into_body();
    let event = Event::new(Action::Export).with_tenant(clinic).with_entity("report").add_subject(patient);
    // No record, no data. The texts of a record stand in clear for good: nothing about a person goes into them.
    trail.record(event.with_purpose(Purpose::new("billing")?))?;
    Ok(Response::new(Full::new(b"the report")))
}

/// Copies what the ledger says of one person, a record a line, and returns how many there were.
fn copy_timeline(ledger: &Ledger, clinic: &TenantId, patient: SubjectId, to: &Path) -> Result<usize, BoxError> {
    let (mut file, mut before, mut count) = (File::create_new(to)?, None, 0);
    loop {
        // Only what is durable is seen. It reads files: a server calls it from a blocking task.
        let page = ledger.danger_timeline(clinic, patient, before, 1_000)?;
        for record in &page.records {
            file.write_all(&record.to_bytes())?;
            file.write_all(b"\n")?;
        }
        count += page.records.len();
        before = page.older;
        if before.is_none() {
            file.sync_all()?;
            return Ok(count);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (folder, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let options = LedgerOptions::new().with_segment_size(128 * 1024);
    let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    let service = AuditLayer::new(ledger.clone()).layer(service_fn(export));
    let (harbour, patient) = (TenantId::new("harbour")?, SubjectId::generate(&SystemClock::new()));

    for _ in 0..3 {
        let response = service.clone().oneshot(Request::new((harbour.clone(), patient))).await?;
        println!("{}: the record was durable before this left", response.status());
    }
    let lines = elsewhere.path().join("timeline.jsonl");
    assert_eq!(copy_timeline(&ledger, &harbour, patient, &lines)?, 3);
    print!("{}", fs::read_to_string(&lines)?);

    ledger.shutdown().await;
    let refused = service.oneshot(Request::new((harbour, patient))).await;
    println!("refused: {}", refused.err().ok_or("a report left without a record")?);

    // The whole of it, and its head: as little as this one line, kept elsewhere, shows a ledger that was written anew.
    let head = ledger.head();
    println!("head: {head:?}");
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        fs::copy(entry.path(), elsewhere.path().join(entry.file_name()))?;
    }
    fs::remove_file(&lines)?;
    assert_eq!(verify(elsewhere.path())?.head(), head, "the copy is the ledger");

    // Somebody would rather have looked for another reason.
    for entry in fs::read_dir(folder.path())? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        if let Some(at) = bytes.windows(7).position(|word| word == b"billing") {
            bytes[at..at + 7].copy_from_slice(b"nothing");
            fs::write(path, bytes)?;
        }
    }
    println!("refused: {}", verify(folder.path()).err().ok_or("an edited ledger verified")?);
    Ok(())
}
