//! A change of one sealed field with what it made of the row on record, against one that the ledger says less of.

use rustix::time::{ClockId, clock_gettime};
use sqlx::migrate::Migrator;
use tower_ward::{
    access::SubjectGrant,
    db::{Change, Db, Schema},
    field::Encrypted,
    id::RowId,
};

use crate::{
    bench::{Bench, Clinical, WriteNotes},
    ratio::{Row, Target, median, time},
};

tower_ward::columns! { pub Text: String = "notes"."text" as Clinical; }

static MIGRATIONS: Migrator = sqlx::migrate!("../tests/it/support/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("patients", "id"), ("notes", "patient")]);

/// Transactions of one kind in a turn.
const TURN: u32 = 10;

/// A new row is the one change that can be made without: an import's rows are not looked at.
pub(crate) async fn row(bench: &Bench, changes: u32) -> Row {
    let db = Db::open(bench.folder.path().join("clinics"), SCHEMA).expect("a folder of files");
    db.create(&bench.tenant).await.expect("a file");
    let (chart, _closer) = bench.chart::<WriteNotes>().await;
    let person = RowId::from_bytes(*chart.subject().as_bytes());
    let mut tx = db.change(&chart, Change::create("patients", person)).await.expect("begun");
    let insert = sqlx::query("insert into patients (id, name) values (?, x'00')").bind(chart.subject());
    insert.execute(tx.conn()).await.expect("inserted");
    tx.commit().await.expect("committed");

    let mut measured = Vec::new();
    for _ in 0..changes / TURN {
        measured.push((insert_rows(bench, &db, &chart, true).await, insert_rows(bench, &db, &chart, false).await));
    }
    let [without, with] = [median(measured.iter().map(|m| m.0)), median(measured.iter().map(|m| m.1))];
    Row {
        what: "a change of one sealed field, with what it changed on record / the same as an import".into(),
        floor: time(without),
        ours: time(with),
        ratio: median(measured.iter().map(|m| m.1 / m.0)),
        target: Target::None,
    }
}

/// Processor time of one transaction, of all threads, in nanoseconds.
async fn insert_rows(bench: &Bench, db: &Db, chart: &SubjectGrant<WriteNotes>, import: bool) -> f64 {
    let before = process_time();
    for _ in 0..TURN {
        let row = RowId::generate(&*bench.clock);
        let change = if import { Change::import("notes") } else { Change::create("notes", row) };
        let mut tx = db.change(chart, change).await.expect("begun");
        let text = Encrypted::<Text>::seal(&"x".repeat(64), chart, row).expect("sealed");
        let insert = sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)");
        insert.bind(row).bind(chart.subject()).bind(text).execute(tx.conn()).await.expect("inserted");
        tx.commit().await.expect("committed");
    }
    (process_time() - before) / f64::from(TURN)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes")]
fn process_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
