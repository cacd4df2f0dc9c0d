//! The clinics' files: what a handler can and cannot do with a connection, and what the ledger says of it afterwards.

mod changes;
mod connections;
mod diffs;
mod files;
mod relations;
mod rows;

use std::{
    collections::HashMap,
    path::Path as FilePath,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sqlx::{AssertSqlSafe, Row};
use tower::ServiceExt;
use tower_ward::{
    access::{Grant, Relations},
    audit::{End, Kind, LedgerOptions, Outcome, Record},
    axum::{Json, Path},
    clock::{ManualClock, Timestamp},
    db::{Change, Db, DbError, Schema, TxError},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId},
    keys::RootKey,
    problem::Problem,
};

use crate::support::{
    Bench, CANARY, Setup, User, get,
    model::{self, KeepStaff, NoteText, ReadNotes, SCHEMA, WriteNotes, insert_note, row_of},
    of_kind, post, request,
};

fn small_segments() -> Setup {
    Setup { ledger: LedgerOptions::new().with_segment_size(128 * 1024), ..Setup::default() }
}

/// What a clinic's file holds, past the library.
async fn raw(file: &FilePath, sql: &'static str) -> Vec<sqlx::sqlite::SqliteRow> {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = options.connect().await.expect("the file");
    sqlx::query(sql).fetch_all(&mut connection).await.expect("rows")
}

/// Changes a clinic's file past the library, as somebody who has the file can.
async fn tamper(file: &FilePath, sql: &str) {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.expect("the file");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("changed");
}

async fn count(bench: &Bench, sql: &'static str) -> i64 {
    raw(&bench.clinic_file(&bench.harbour), sql).await[0].get(0)
}

fn outcomes(records: &[Record]) -> Vec<Outcome> {
    of_kind(records, Kind::Outcome).iter().map(|record| record.outcome().expect("an outcome")).collect()
}
