//! The clinics' files: what a handler can and cannot do with a connection, and what the ledger says of it afterwards.

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
    model::{self, NoteText, ReadNotes, ReadStaff, SCHEMA, WriteNotes, insert_note, row_of},
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

async fn count(bench: &Bench, sql: &'static str) -> i64 {
    raw(&bench.clinic_file(&bench.harbour), sql).await[0].get(0)
}

fn outcomes(records: &[Record]) -> Vec<Outcome> {
    of_kind(records, Kind::Outcome).iter().map(|record| record.outcome().expect("an outcome")).collect()
}

// ── Connections ────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_transaction_that_reads_cannot_write_whatever_it_tries() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    for (name, sql) in [
        ("insert", "insert into staff values (x'00', x'00')".to_owned()),
        ("update", "update notes set author = 'eve'".to_owned()),
        ("delete", "delete from notes".to_owned()),
        ("a new table", "create table mine (x)".to_owned()),
        ("drop", "drop table notes".to_owned()),
        ("relations", "delete from ward_relations".to_owned()),
        ("whose file it is", "update ward_tenant set id = 'meadow'".to_owned()),
        ("query_only off first", "pragma query_only = off; delete from notes".to_owned()),
        ("another clinic's file", format!("attach '{meadow}' as other; delete from other.ward_tenant")),
    ] {
        let mut tx = bench.db.read(&chart).await.expect("begun");
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx.conn()).await;
        assert!(result.is_err_and(|e| e.to_string().contains("readonly")), "{name}");
    }
    assert_eq!(count(&bench, "select count(*) from notes").await, 1);
    assert_eq!(raw(&bench.clinic_file(&bench.meadow), "select id from ward_tenant").await.len(), 1);
}

// proves CLA-11: what an injected statement finds in another clinic's file is sealed under keys that this grant has not.
#[tokio::test]
async fn an_attached_file_of_another_clinic_yields_nothing_that_opens() {
    let bench = Bench::new().await;
    let mine = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let theirs = bench.patient(&bench.meadow, "Max", CANARY).await;
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    let (trail, _closer) = bench.trail();
    let grant = bench.danger::<ReadNotes>(&trail, &bench.harbour);
    let chart = grant.subject(mine).await.expect("open");
    let mut tx = bench.db.read(&chart).await.expect("begun");
    sqlx::raw_sql(AssertSqlSafe(format!("attach '{meadow}' as other"))).execute(tx.conn()).await.expect("attached");
    let stolen: Vec<(RowId, SubjectId, Encrypted<NoteText>)> =
        sqlx::query_as("select id, patient, text from other.notes").fetch_all(tx.conn()).await.expect("rows");
    assert_eq!((stolen.len(), stolen[0].1), (1, theirs));
    for (row, _, note) in &stolen {
        assert!(!String::from_utf8_lossy(note.as_bytes()).contains(CANARY));
        assert!(note.open(&chart, *row).is_err());
    }
    assert!(grant.subject(theirs).await.is_err(), "and no door leads there");
}

#[tokio::test]
async fn no_plain_text_stands_in_a_clinics_file() {
    let bench = Bench::new().await;
    let _ = bench.patient(&bench.harbour, CANARY, CANARY).await;
    let folder = bench.clinic_file(&bench.harbour).parent().expect("a folder").to_owned();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "{}", path.display());
    }
}

// ── Changes ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_change_is_announced_first_and_writes_its_id_in_the_same_transaction() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let before = count(&bench, "select count(*) from ward_attempts").await;
    let row = RowId::generate(&bench.clock);
    let ((), records) = bench
        .records_of(async {
            let (trail, mut closer) = bench.trail();
            let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
            let mut tx = bench.db.change(&chart, Change::update("notes", row)).await.expect("begun");
            let here: i64 =
                sqlx::query_scalar("select count(*) from ward_attempts").fetch_one(tx.conn()).await.expect("a count");
            assert_eq!(here, before + 1);
            assert_eq!(count(&bench, "select count(*) from ward_attempts").await, before, "nobody else sees it yet");
            tx.commit().await.expect("committed");
            closer.finish(End::Completed);
        })
        .await;
    let attempts = of_kind(&records, Kind::Attempt);
    assert_eq!((attempts.len(), attempts[0].row(), attempts[0].subjects()), (1, Some(row), &[patient][..]));
    assert_eq!((attempts[0].permission(), attempts[0].entity()), (Some("notes.write"), Some("notes")));
    let id = attempts[0].attempt().expect("an id");
    let stored = raw(&bench.clinic_file(&bench.harbour), "select id from ward_attempts").await;
    assert!(stored.iter().any(|row| row.get::<Vec<u8>, _>(0) == id.as_bytes()));
    let outcome = of_kind(&records, Kind::Outcome);
    assert_eq!((outcome[0].attempt(), outcome[0].outcome()), (Some(id), Some(Outcome::Committed)));
}

#[tokio::test]
async fn a_change_that_is_not_committed_is_recorded_as_rolled_back() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.post(
            "/forget/{id}/{how}",
            move |grant: Grant<WriteNotes>, Path((id, how)): Path<(SubjectId, String)>| {
                let db = db.clone();
                async move {
                    let chart = grant.subject(id).await?;
                    let mut tx = db.change(&chart, Change::delete("notes", row_of(id))).await?;
                    sqlx::query("delete from notes").execute(tx.conn()).await.map_err(|_| Problem::internal())?;
                    match how.as_str() {
                        "panic" => panic!("half way"),
                        "refuse" => Err(Problem::conflict()),
                        _ => Ok(StatusCode::OK),
                    }
                }
            },
        )
    });
    for (how, status) in [("return", 200), ("refuse", 409), ("panic", 500)] {
        let (reply, records) = bench.records_of(post(&service, &owner, &format!("/forget/{patient}/{how}"), "")).await;
        assert_eq!(reply.status, status);
        assert_eq!(outcomes(&records), [Outcome::RolledBack], "{how}");
        assert_eq!(count(&bench, "select count(*) from notes").await, 1, "{how}");
    }
    assert_eq!(post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status, 201);
}

// proves GLM-19 for changes: what is not on record did not happen.
#[tokio::test]
async fn nothing_is_committed_before_its_record_is_durable() {
    let bench = Bench::with(small_segments()).await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let blocked = bench.block_ledger().await;
    let mut created = 0;
    loop {
        let reply = post(&service, &owner, &path, "\"another\"").await;
        if reply.status != 201 {
            reply.is_problem(503);
            break;
        }
        created += 1;
        assert!(created < 1_000, "the segment never ran full");
    }
    assert_eq!(count(&bench, "select count(*) from notes").await, 1 + created);
    blocked.unblock(bench.ward.ledger()).await;
    let records = bench.records().await;
    let (attempts, outcomes) = (of_kind(&records, Kind::Attempt), outcomes(&records));
    // The bench's own two changes are among them.
    let committed = outcomes.iter().filter(|o| **o == Outcome::Committed).count();
    assert_eq!(committed as i64, 2 + created);
    assert_eq!(outcomes.len(), attempts.len(), "every attempt has its outcome");
    assert_eq!(count(&bench, "select count(*) from ward_attempts").await, committed as i64);
}

/// A client that hangs up at any moment: the record and the file say the same, and no attempt is left open.
#[tokio::test]
async fn a_client_that_hangs_up_during_a_commit_cannot_part_the_ledger_from_the_file() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let mut cut = 0;
    for step in 0..60_u64 {
        let mut request = request(Method::POST, Some(&owner), &path);
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = format!("\"{step}\"").into();
        let running = service.clone().oneshot(request);
        cut += i32::from(tokio::time::timeout(Duration::from_micros(step * 100), running).await.is_err());
    }
    assert!(cut > 0, "no request was cut");
    let mut tries = 0;
    let by_attempt = loop {
        let mut by_attempt = HashMap::new();
        for record in bench.records().await {
            match record.kind() {
                Kind::Attempt => drop(by_attempt.insert(record.attempt().unwrap(), None)),
                Kind::Outcome => drop(by_attempt.insert(record.attempt().unwrap(), record.outcome())),
                _ => {}
            }
        }
        if by_attempt.values().all(Option::is_some) {
            break by_attempt;
        }
        tries += 1;
        assert!(tries < 500, "an attempt was left open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let stored = raw(&bench.clinic_file(&bench.harbour), "select id from ward_attempts").await;
    let stored: Vec<Vec<u8>> = stored.iter().map(|row| row.get(0)).collect();
    for (attempt, outcome) in &by_attempt {
        let committed = stored.iter().any(|id| id == attempt.as_bytes());
        let expected = if committed { Outcome::Committed } else { Outcome::RolledBack };
        assert_eq!(*outcome, Some(expected), "{attempt}");
    }
    assert!(stored.len() <= by_attempt.len());
    // The connection that writes is as good as before.
    assert_eq!(post(&service, &owner, &path, "\"last\"").await.status, 201);
}

#[tokio::test]
async fn a_transaction_smuggled_out_of_its_request_does_not_commit() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    let (result, records) = bench
        .records_of(async {
            let mut tx = bench.db.change(&chart, Change::delete("notes", row_of(patient))).await.expect("begun");
            sqlx::query("delete from notes").execute(tx.conn()).await.expect("deleted");
            closer.finish(End::Completed);
            tx.commit().await
        })
        .await;
    assert!(matches!(result, Err(TxError::Trail(_))), "{result:?}");
    assert_eq!(outcomes(&records), [Outcome::RolledBack]);
    assert_eq!(count(&bench, "select count(*) from notes").await, 1);
    assert!(matches!(bench.db.read(&chart).await, Err(TxError::Trail(_))));
    assert!(matches!(bench.db.change(&chart, Change::import("notes")).await, Err(TxError::Trail(_))));
}

/// `'; commit; --`: a statement that ends the transaction past the ledger.
#[tokio::test]
async fn a_statement_that_commits_by_itself_changes_nothing() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    for (name, sql) in [
        ("commit", "delete from notes; commit"),
        ("end", "delete from notes; end transaction"),
        ("commit and go on", "delete from notes; commit; begin; delete from staff"),
        ("roll back and commit by itself", "rollback; delete from notes"),
        ("roll back, begin anew and commit", "rollback; begin; delete from notes; commit"),
        ("roll back and begin anew", "rollback; begin; delete from notes"),
        ("forget the attempt", "delete from notes; delete from ward_attempts"),
    ] {
        for commit in [false, true] {
            let (trail, mut closer) = bench.trail();
            let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
            let ((), records) = bench
                .records_of(async {
                    let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
                    let _ = sqlx::raw_sql(sql).execute(tx.conn()).await;
                    if commit {
                        assert!(tx.commit().await.is_err(), "{name}");
                    }
                    closer.finish(End::Completed);
                })
                .await;
            assert_eq!(outcomes(&records), [Outcome::RolledBack], "{name}, {commit}");
            assert_eq!(count(&bench, "select count(*) from notes").await, 1, "{name}, {commit}");
        }
    }
    let service = bench.serve(|router| router);
    assert_eq!(post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status, 201);
}

/// An injected statement that reaches for the neighbour's file, or leaves something behind for whoever comes next.
#[tokio::test]
async fn a_change_that_reaches_beyond_its_own_tables_is_rolled_back_and_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let _ = bench.patient(&bench.meadow, "Max", "a cold").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let service = bench.serve(|router| router);
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    for (name, sql) in [
        ("another clinic's file", format!("attach '{meadow}' as other; delete from other.notes")),
        (
            "another clinic's file, autocommitted",
            format!("rollback; attach '{meadow}' as other; delete from other.notes"),
        ),
        ("a table before the table", "create temp table notes (id, patient, text)".to_owned()),
        ("a view before the table", "create temp view patients as select 1".to_owned()),
        ("a table before the attempts", "create temp table ward_attempts (id)".to_owned()),
        ("a trigger", "create temp trigger t after insert on notes begin delete from notes; end".to_owned()),
    ] {
        let (trail, mut closer) = bench.trail();
        let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
        let (committed, records) = bench
            .records_of(async {
                let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
                let _ = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(tx.conn()).await;
                let committed = tx.commit().await;
                closer.finish(End::Completed);
                committed
            })
            .await;
        assert!(matches!(committed, Err(TxError::RolledBack)), "{name}: {committed:?}");
        assert_eq!(outcomes(&records), [Outcome::RolledBack], "{name}");
        assert_eq!(raw(&bench.clinic_file(&bench.meadow), "select id from notes").await.len(), 1, "{name}");
        let before = count(&bench, "select count(*) from notes").await;
        assert_eq!(
            post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status,
            201,
            "{name}"
        );
        assert_eq!(count(&bench, "select count(*) from notes").await, before + 1, "{name}");
    }
    // The same of a connection that reads.
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    for _ in 0..8 {
        let mut tx = bench.db.read(&chart).await.expect("begun");
        let sql = "create temp table notes (id, patient, text); commit; create temp view patients as select 1";
        let _ = sqlx::raw_sql(sql).execute(tx.conn()).await;
    }
    for _ in 0..8 {
        assert!(get(&service, &owner, &format!("/patients/{patient}/notes")).await.body.contains("a cough"));
    }
}

#[tokio::test]
async fn many_changes_at_once_take_their_turns() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let mut running = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (service, owner, path) = (service.clone(), owner.clone(), path.clone());
        running.spawn(async move { post(&service, &owner, &path, &format!("\"{n}\"")).await.status });
    }
    assert_eq!(running.join_all().await, vec![201; 24]);
    assert_eq!(count(&bench, "select count(*) from notes").await, 25);
}

// ── After a crash ──────────────────────────────────────────────────────────────────────────────────────────────────

fn copy(from: &FilePath, to: &FilePath) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        // The index of the write-ahead log is in memory: a crash does not keep it.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

#[tokio::test]
async fn what_a_crash_left_open_is_settled_from_the_file_and_not_guessed() {
    for (name, committed) in [("before the commit", false), ("after the commit, before its outcome", true)] {
        let root = RootKey::generate();
        let dir = tempfile::tempdir().expect("a folder");
        let image = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
        let store: Arc<dyn tower_ward::store::Durable> =
            Arc::new(tower_ward::store::MemoryStore::new(std::num::NonZeroUsize::MAX).danger_forgetful());
        let bench = Bench::open(dir, Arc::clone(&store), clock.clone(), &root, Setup::default()).await;
        let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
        let (trail, mut closer) = bench.trail();
        let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
        let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
        sqlx::query("update notes set author = 'changed'").execute(tx.conn()).await.expect("changed");
        trail.settled().await.expect("durable");
        // The disk at the moment of the crash: the ledger with the attempt alone, the file with or without the change.
        copy(&bench.ledger_dir(), &image.path().join("ledger"));
        let clinics = bench.clinic_file(&bench.harbour).parent().expect("a folder").to_owned();
        if committed {
            tx.commit().await.expect("committed");
            copy(&clinics, &image.path().join("clinics"));
        } else {
            copy(&clinics, &image.path().join("clinics"));
            drop(tx);
        }
        closer.finish(End::Completed);
        drop(bench);

        let bench = Bench::open(image, store, clock, &root, Setup::default()).await;
        let ledger = bench.ward.ledger();
        assert_eq!(ledger.unsettled().len(), 1, "{name}");
        assert_eq!(ledger.unsettled()[0].subjects(), [patient]);
        let (settled, records) = bench.records_of(bench.db.settle(ledger)).await;
        assert_eq!(settled.expect("settled"), 1, "{name}");
        let expected = if committed { Outcome::Committed } else { Outcome::RolledBack };
        assert_eq!(outcomes(&records), [expected], "{name}");
        let changed = count(&bench, "select count(*) from notes where author = 'changed'").await;
        assert_eq!(changed, i64::from(committed), "{name}");
        assert_eq!(bench.db.settle(ledger).await.expect("nothing to do"), 0, "{name}");
    }
}

// ── Files and schemas ──────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_file_that_was_renamed_to_another_clinics_name_does_not_open() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let _ = bench.patient(&bench.harbour, "Ada", CANARY).await;
    copy(bench.clinic_file(&bench.harbour).parent().expect("a folder"), folder.path());
    std::fs::remove_file(folder.path().join("meadow.sqlite")).expect("removed");
    let _ = std::fs::remove_file(folder.path().join("meadow.sqlite-wal"));
    for end in ["", "-wal"] {
        let from = folder.path().join(format!("harbour.sqlite{end}"));
        if from.exists() {
            std::fs::rename(from, folder.path().join(format!("meadow.sqlite{end}"))).expect("renamed");
        }
    }
    let db = Db::open(folder.path(), SCHEMA).expect("opens");
    let error = db.create(&bench.meadow).await.expect_err("foreign");
    assert!(matches!(&error, DbError::Foreign(tenant) if *tenant == bench.meadow), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the file of clinic `meadow` was made for another clinic: it was copied or renamed, put the right one back"
    );
}

#[tokio::test]
async fn a_clinic_without_a_file_is_refused_and_gets_none_by_being_asked_for() {
    let bench = Bench::new().await;
    let north = TenantId::new("northgate").expect("a tenant id");
    bench.keyring.create_tenant(&north).await.expect("a key");
    let (trail, _closer) = bench.trail();
    let clinic = bench.danger::<ReadStaff>(&trail, &north).clinic().await.expect("open");
    assert!(matches!(bench.db.read(&clinic).await, Err(TxError::Db(DbError::Missing(tenant))) if tenant == north));
    assert!(matches!(bench.db.change(&clinic, Change::import("staff")).await, Err(TxError::Db(DbError::Missing(_)))));
    assert!(!bench.clinic_file(&north).exists());
}

mod wrong {
    use crate::support::model::Clinical;

    pub(super) mod table {
        tower_ward::columns! { pub(crate) Missing: String = "letters"."text" as super::Clinical; }
    }
    pub(super) mod column {
        tower_ward::columns! { pub(crate) Missing: String = "notes"."txet" as super::Clinical; }
    }
    pub(super) mod kind {
        tower_ward::columns! { pub(crate) Text: String = "notes"."author" as super::Clinical; }
    }
}

#[tokio::test]
async fn a_schema_that_would_take_something_unsealed_does_not_boot() {
    let tenant = TenantId::new("harbour").expect("a tenant id");
    for (schema, expected) in [
        (
            Schema::new(&model::MIGRATIONS, &[model::COLUMNS, wrong::table::COLUMNS]),
            "column `letters.text` is declared in `columns!` but not in the schema: write its migration",
        ),
        (
            Schema::new(&model::MIGRATIONS, &[wrong::column::COLUMNS]),
            "column `notes.txet` is declared in `columns!` but not in the schema: write its migration",
        ),
        (
            Schema::new(&model::MIGRATIONS, &[wrong::kind::COLUMNS]),
            "column `notes.author` holds sealed values and must be declared `blob` in the schema",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(folder.path(), schema).expect("opens");
        assert_eq!(db.create(&tenant).await.map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let twins = Db::open(folder.path(), Schema::new(&model::MIGRATIONS, &[model::COLUMNS, model::COLUMNS]));
    assert!(matches!(twins, Err(DbError::Twins(_))));
}

// ── Relations ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn only_relations_that_are_kept_can_be_changed_and_only_through_their_persons_door() {
    let bench = Bench::new().await;
    let subject = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let user = bench.user(&bench.harbour, "doctor").await.id;
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(subject).await.expect("open");
    let clinic = bench.danger::<ReadStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    for relation in [Relations::OWN, Relations::CLINIC, Relations::NONE, Relations::ASSIGNED.union(Relations::CIRCLE)] {
        let mut tx = bench.db.change(&chart, Change::assign(user, relation)).await.expect("begun");
        assert!(matches!(tx.relate(None).await, Err(TxError::NoRelation)), "{relation:?}");
        assert!(matches!(tx.unrelate().await, Err(TxError::NoRelation)), "{relation:?}");
    }
    let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
    assert!(matches!(tx.relate(None).await, Err(TxError::NoRelation)), "it was begun for something else");
    drop(tx);
    let assign = Change::assign(user, Relations::ASSIGNED);
    assert!(matches!(bench.db.change(&clinic, assign).await, Err(TxError::NoSubject)));
    let mut tx = bench.db.change(&chart, assign).await.expect("begun");
    tx.relate(None).await.expect("assigned");
    assert!(tx.unrelate().await.expect("ended"));
    assert!(!tx.unrelate().await.expect("already"));
}

/// One assignment of a generated clinic: of which user, to which person, of which kind, ending how many seconds from now.
type Drawn = (usize, usize, bool, Option<i64>);

/// The filter in SQL and the source of relations are two ways to ask one question: lists and doors agree, or somebody is
/// shown who could not be opened, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_of_a_list_and_the_doors_of_its_people_agree() {
    const PEOPLE: usize = 5;
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(bench.patient(&bench.harbour, &format!("p{n}"), "a note").await);
    }
    let mut users: Vec<(User, Option<usize>)> = Vec::new();
    for (role, own) in [
        ("every_relation", Some(0)),
        ("every_relation", None),
        ("doctor", Some(1)),
        ("patient", Some(2)),
        ("owner", None),
    ] {
        users.push((bench.user_who_is(&bench.harbour, role, own.map(|n| people[n])).await, own));
    }
    let strategy = vec((0..users.len(), 0..PEOPLE, any::<bool>(), prop::option::of(-2..=2_i64)), 0..12);
    let now = bench.now();
    let (trail, _closer) = bench.trail();
    let check = async |drawn: Vec<Drawn>| {
        lay_out(&bench, &trail, &people, &users, &drawn, now).await;
        for (user, own) in &users {
            let listed = get(&service, user, "/patients").await.body;
            let listed: Vec<String> = serde_json::from_str(&listed).expect("names");
            let role = bench.ward.identity().verify(&user.token).expect("a token").role().to_owned();
            for (n, patient) in people.iter().enumerate() {
                let is_own = *own == Some(n);
                let expected = match role.as_str() {
                    "owner" => true,
                    "patient" => is_own,
                    "doctor" => holds(&drawn, &users, user, n, &[true]),
                    _ => is_own || holds(&drawn, &users, user, n, &[true, false]),
                };
                let status = get(&service, user, &format!("/patients/{patient}/notes")).await.status;
                let found = (listed.contains(&format!("p{n}")), status == 200);
                prop_assert_eq!(found, (expected, expected), "{}, person {}", role, n);
            }
        }
        Ok(())
    };
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let run = |drawn| tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(check(drawn)));
    TestRunner::new(config).run(&strategy, run).unwrap_or_else(|error| panic!("{error}"));
}

/// Whether the last assignment of one of these kinds still holds: the model of the table.
fn holds(drawn: &[Drawn], users: &[(User, Option<usize>)], user: &User, person: usize, kinds: &[bool]) -> bool {
    kinds.iter().any(|kind| {
        let last = drawn.iter().rfind(|(u, p, k, _)| users[*u].0.id == user.id && *p == person && k == kind);
        last.is_some_and(|(.., ends)| ends.is_none_or(|seconds| seconds > 0))
    })
}

async fn lay_out(
    bench: &Bench,
    trail: &tower_ward::audit::Trail,
    people: &[SubjectId],
    users: &[(User, Option<usize>)],
    drawn: &[Drawn],
    now: Timestamp,
) {
    let chart = bench.danger::<WriteNotes>(trail, &bench.harbour).subject(people[0]).await.expect("open");
    let mut tx = bench.db.change(&chart, Change::import("relations")).await.expect("begun");
    sqlx::query("delete from ward_relations").execute(tx.conn()).await.expect("emptied");
    tx.commit().await.expect("committed");
    for (user, person, assigned, ends) in drawn {
        let relation = if *assigned { Relations::ASSIGNED } else { Relations::CIRCLE };
        let until = ends.map(|s| Timestamp::from_second(now.as_second() + s).expect("in range"));
        bench.relate(&bench.harbour, &users[*user].0, people[*person], relation, until).await;
    }
}

#[tokio::test]
async fn an_assignment_that_ended_is_effective_on_the_next_request() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let path = format!("/patients/{patient}/notes");
    assert_eq!(get(&service, &doctor, &path).await.status, 200);
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    let mut tx = bench.db.change(&chart, Change::unassign(doctor.id, Relations::ASSIGNED)).await.expect("begun");
    assert!(tx.unrelate().await.expect("ended"));
    assert_eq!(get(&service, &doctor, &path).await.status, 200, "not before it is committed");
    tx.commit().await.expect("committed");
    assert_eq!(get(&service, &doctor, &path).await.status, 404);
}

#[tokio::test]
async fn a_handler_that_asks_for_a_reading_transaction_and_writes_fails_and_says_so_to_nobody() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (db, stash) = (bench.db.clone(), Arc::new(Mutex::new(None)));
    let kept = Arc::clone(&stash);
    let service = bench.serve(|router| {
        router.get("/oops/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (db, kept) = (db.clone(), Arc::clone(&kept));
            async move {
                let chart = grant.subject(id).await?;
                let mut tx = db.read(&chart).await?;
                let written = sqlx::query("update notes set author = ?").bind(CANARY).execute(tx.conn()).await;
                *kept.lock().unwrap() = written.as_ref().err().map(ToString::to_string);
                written.map_err(TxError::from).map_err(Problem::from)?;
                Ok::<_, Problem>(Json(()))
            }
        })
    });
    get(&service, &owner, &format!("/oops/{patient}")).await.is_problem(503);
    let said = stash.lock().unwrap().take().expect("an error");
    assert!(said.contains("readonly") && !said.contains(CANARY), "{said}");
}

#[tokio::test]
async fn a_note_moved_to_another_row_or_patient_does_not_open() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let eve = bench.patient(&bench.harbour, "Eve", "hers").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(eve).await.expect("open");
    insert_note(&bench.db, &chart, RowId::generate(&bench.clock), "hers too").await.expect("inserted");
    for (name, sql) in [
        (
            "another patient's note put to this one",
            "update notes set patient = (select id from patients order by id desc limit 1)",
        ),
        (
            "one note's text put into another row",
            "update notes set text = (select text from notes order by id desc limit 1)",
        ),
    ] {
        let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
        sqlx::query(sql).execute(tx.conn()).await.expect("moved");
        tx.commit().await.expect("committed");
        let statuses = [
            get(&service, &owner, &format!("/patients/{ada}/notes")).await,
            get(&service, &owner, &format!("/patients/{eve}/notes")).await,
        ];
        assert!(statuses.iter().any(|reply| reply.status == 500), "{name}: {statuses:?}");
        for reply in statuses.iter().filter(|reply| reply.status != 200) {
            reply.is_problem(500);
        }
    }
}
