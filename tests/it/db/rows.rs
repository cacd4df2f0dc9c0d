//! Whose rows a change reaches, and what an injected statement leaves behind.

use super::*;

/// What became of a change that runs this SQL through the first person's door, ignoring the statement's own error.
async fn try_change(bench: &Bench, through: SubjectId, sql: &str) -> (Result<(), TxError>, Vec<Outcome>) {
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(through).await.expect("open");
    let (result, records) = bench
        .records_of(async {
            let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
            let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx.conn()).await;
            let result = tx.commit().await;
            closer.finish(End::Completed);
            result
        })
        .await;
    (result, outcomes(&records))
}

async fn everything(bench: &Bench) -> Vec<Vec<u8>> {
    let sql = "select id || patient || coalesce(author, '') || text as row from notes
               union all select id || name from patients union all select id || salary from staff
               union all select user || subject || kind || coalesce(until, '') from ward_relations order by 1";
    raw(&bench.clinic_file(&bench.harbour), sql).await.iter().map(|row| row.get(0)).collect()
}

fn sql(id: impl AsRef<[u8]>) -> String {
    let hex: String = id.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

// proves GLM-19 for whose data it was: a change stands in the timeline of the person whose row it changed.
#[tokio::test]
async fn a_change_through_one_persons_door_reaches_no_row_of_another() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let eve = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, eve, Relations::ASSIGNED, None).await;
    let before = everything(&bench).await;
    let (mine, hers) = (sql(ada.as_bytes()), sql(eve.as_bytes()));
    let her_note = raw(&bench.clinic_file(&bench.harbour), "select id, patient from notes").await;
    let her_note = her_note.iter().find(|row| row.get::<Vec<u8>, _>(1) == eve.as_bytes()).expect("a note");
    let her_note = sql(her_note.get::<Vec<u8>, _>(0));
    for (name, statement) in [
        ("a forgotten `where`", "delete from notes".to_owned()),
        ("a forgotten `where` of an update", "update notes set author = 'eve'".to_owned()),
        ("a row's id alone", format!("delete from notes where id = {her_note}")),
        ("a row given to another", format!("update notes set patient = {hers} where patient = {mine}")),
        ("a row taken from another", format!("update notes set patient = {mine} where patient = {hers}")),
        ("a row written for another", format!("insert into notes (id, patient, text) values (x'01', {hers}, x'02')")),
        ("a row of nobody", "insert into notes (id, patient, text) values (x'01', x'', x'02')".to_owned()),
        (
            "a row replaced",
            format!("insert or replace into notes (id, patient, text) values ({her_note}, {mine}, x'')"),
        ),
        (
            "an upsert",
            format!(
                "insert into notes (id, patient, text) values ({her_note}, {mine}, x'')
                 on conflict (id) do update set text = excluded.text"
            ),
        ),
        ("quietly", format!("update or ignore notes set author = 'eve' where patient = {hers}")),
        ("the person herself", format!("delete from patients where id = {hers}")),
        ("another's number", format!("update patients set id = x'00' where id = {hers}")),
        ("rows of no person", "insert into staff (id, salary) values (x'01', x'02')".to_owned()),
        (
            "after a row of one's own",
            format!("update notes set author = 'me' where patient = {mine}; delete from notes where id = {her_note}"),
        ),
        // proves MED-08 for who may see whom: relations change by their own verbs, on record.
        (
            "a relation of one's own making",
            format!(
                "insert into ward_relations values ({}, {hers}, 'assigned', null, x'00')",
                sql(doctor.id.as_bytes())
            ),
        ),
        ("another's relation ended", "delete from ward_relations".to_owned()),
        ("whose file it is", "update ward_tenant set id = 'meadow'".to_owned()),
        ("the attempts", "delete from ward_attempts".to_owned()),
    ] {
        let (result, outcomes) = try_change(&bench, ada, &statement).await;
        assert!(matches!(&result, Err(TxError::OtherRow { table }) if statement.contains(table)), "{name}: {result:?}");
        assert_eq!(outcomes, [Outcome::RolledBack], "{name}");
        assert_eq!(everything(&bench).await, before, "{name}");
    }
    let (result, outcomes) =
        try_change(&bench, ada, &format!("update notes set author = 'me' where patient = {mine}")).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(outcomes, [Outcome::Committed]);
    assert_ne!(everything(&bench).await, before);
}

#[tokio::test]
async fn a_clinics_door_changes_rows_of_no_person_and_no_others() {
    let bench = Bench::new().await;
    let _ = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let (trail, _closer) = bench.trail();
    let clinic = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    for (statement, table) in [
        ("update notes set author = 'eve'", Some("notes")),
        ("delete from patients", Some("patients")),
        ("insert into staff (id, salary) values (zeroblob(16), x'02')", None),
        ("delete from _sqlx_migrations", Some("_sqlx_migrations")),
        ("update _sqlx_migrations set success = 0", Some("_sqlx_migrations")),
    ] {
        let mut tx = bench.db.change(&clinic, Change::import("staff")).await.expect("begun");
        let done = sqlx::raw_sql(statement).execute(tx.conn()).await;
        let result = tx.commit().await;
        match (table, result) {
            (None, Ok(())) => assert!(done.is_ok()),
            (Some(expected), Err(TxError::OtherRow { table })) => {
                assert_eq!((table.as_str(), done.is_err()), (expected, true))
            }
            (_, result) => panic!("{statement}: {result:?}"),
        }
    }
    assert_eq!(count(&bench, "select count(*) from staff").await, 1);
}

/// The columns of which none is indexed, and none of `staff`: these are other tests'.
const WITHOUT_INDEX: &[&[tower_ward::field::ColumnInfo]] = &[model::COLUMNS.split_at(1).1.split_at(1).0];

#[tokio::test]
async fn a_shared_table_is_open_to_every_door_and_a_misspelt_one_does_not_boot() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let folder = tempfile::tempdir().expect("a folder");
    let schema =
        |people, shared| Schema::new(&model::MIGRATIONS, WITHOUT_INDEX).with_people(people).with_shared(shared);
    let db =
        Db::open(folder.path(), schema(&[("Patients", "ID"), ("notes", "patient")], &["Staff"])).expect("a folder");
    db.create(&bench.harbour).await.expect("a file");
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(ada).await.expect("open");
    let clinic = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    let insert = "insert into staff (id, salary) select randomblob(16), x'02'";
    let mut tx = db.change(&chart, Change::import("staff")).await.expect("begun");
    sqlx::raw_sql(insert).execute(tx.conn()).await.expect("inserted");
    tx.commit().await.expect("committed");
    let mut tx = db.change(&clinic, Change::import("staff")).await.expect("begun");
    sqlx::raw_sql(insert).execute(tx.conn()).await.expect("inserted");
    tx.commit().await.expect("committed");
    for (people, shared, wrong) in [
        (&[("patient", "id")][..], &[][..], "`patient.id`"),
        (&[("patients", "number")], &[], "`patients.number`"),
        (&[], &["counters"], "`counters`"),
        // Of two declarations the laxer would win, and the library's own tables would open.
        (&[("notes", "patient")], &["notes"], "`notes`"),
        (&[("notes", "patient"), ("Notes", "id")], &[], "`Notes`"),
        (&[], &["staff", "staff"], "`staff`"),
        // attack on oneself: any door would write what another's key alone opens.
        (&[], &["Notes"], "`Notes` has sealed columns"),
        (&[("ward_relations", "subject")], &[], "`ward_relations`"),
        (&[], &["ward_attempts"], "`ward_attempts`"),
        (&[], &["_sqlx_migrations"], "`_sqlx_migrations`"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(folder.path(), schema(people, shared)).expect("a folder");
        let error = db.create(&bench.harbour).await.expect_err("it is not there").to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

/// Nothing of a table's name is taken for anything but its name.
#[tokio::test]
async fn a_table_may_have_any_name_and_is_watched_all_the_same() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let names = ["ward_rounds", "o'brien", "a \"b\"", "select", "Über"];
    let made: String = names.iter().map(|n| format!("create table \"{}\" (x);", n.replace('"', "\"\""))).collect();
    let root = bench.ledger_dir();
    let folder = root.parent().expect("the bench's folder").join("named");
    let db = Db::open(&folder, SCHEMA).expect("a folder");
    db.create(&bench.harbour).await.expect("a file");
    db.close().await;
    tamper(&folder.join("harbour.sqlite"), &made).await;
    let db = Db::open(&folder, SCHEMA).expect("a folder");
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(ada).await.expect("open");
    let clinic = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    for name in names {
        let insert = format!("insert into \"{}\" values (1)", name.replace('"', "\"\""));
        let mut tx = db.change(&clinic, Change::import("staff")).await.expect("begun");
        sqlx::raw_sql(AssertSqlSafe(insert.as_str())).execute(tx.conn()).await.expect("inserted");
        tx.commit().await.expect("committed");
        let mut tx = db.change(&chart, Change::import("staff")).await.expect("begun");
        assert!(sqlx::raw_sql(AssertSqlSafe(insert.as_str())).execute(tx.conn()).await.is_err(), "{name}");
        assert!(matches!(tx.commit().await, Err(TxError::OtherRow { .. })), "{name}");
    }
}

#[tokio::test]
async fn a_tool_that_vacuums_or_analyses_beside_the_server_stops_no_change() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    for tool in ["vacuum", "analyze", "create table bookkeeping (at)"] {
        tamper(&bench.clinic_file(&bench.harbour), tool).await;
        for _ in 0..2 {
            assert_eq!(post(&service, &owner, &path, "\"next\"").await.status, 201, "{tool}");
        }
    }
}

/// attack: a setting first, then what it makes possible, in one transaction.
// proves GLM-19 for whose data it was
#[tokio::test]
async fn a_setting_that_silences_the_triggers_takes_the_change_down_with_it() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let eve = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let found = raw(&bench.clinic_file(&bench.harbour), "select id, patient from notes").await;
    let note_of = |person: SubjectId| {
        let row = found.iter().find(|row| row.get::<Vec<u8>, _>(1) == person.as_bytes()).expect("a note");
        sql(row.get::<Vec<u8>, _>(0))
    };
    let (hers, mine, me) = (note_of(eve), note_of(ada), sql(ada.as_bytes()));
    // The last trigger, which would be at its old place again.
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(ada).await.expect("open");
    let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
    let (last, made): (String, String) =
        sqlx::query_as("select name, sql from temp.sqlite_schema order by rowid desc limit 1")
            .fetch_one(tx.conn())
            .await
            .expect("a trigger");
    drop(tx);
    closer.finish(End::Completed);
    let made = made.replacen("CREATE TRIGGER", "create temp trigger", 1);
    let before = everything(&bench).await;
    for (name, statement) in [
        (
            "another's row replaced without its trigger",
            format!(
                "pragma recursive_triggers = off; insert or replace into notes (id, patient, text) values ({hers}, {me}, x'00')"
            ),
        ),
        (
            "one's own row, as if it were new",
            format!(
                "pragma recursive_triggers = off; insert or replace into notes (id, patient, text) values ({mine}, {me}, x'00')"
            ),
        ),
        (
            "checks off",
            format!("pragma ignore_check_constraints = on; update notes set author = 'x' where id = {mine}"),
        ),
        ("a schema to write", format!("pragma writable_schema = on; update notes set author = 'x' where id = {mine}")),
        ("a trigger down, and up again", format!("drop trigger temp.\"{last}\"; {made}")),
    ] {
        let (result, outcomes) = try_change(&bench, ada, &statement).await;
        assert!(matches!(result, Err(TxError::RolledBack | TxError::OtherRow { .. })), "{name}: {result:?}");
        assert_eq!(outcomes, [Outcome::RolledBack], "{name}");
        assert_eq!(everything(&bench).await, before, "{name}");
    }
}

/// Triggers, views and settings that would outlive the request on the one connection that writes.
#[tokio::test]
async fn an_injected_statement_leaves_neither_a_backdoor_nor_a_setting_behind() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let settings = "pragma query_only; pragma synchronous; pragma foreign_keys; pragma secure_delete";
    let mut expected = Vec::new();
    for (n, statement) in [
        "",
        "create trigger t after insert on notes begin delete from ward_relations; end",
        "create view mine as select * from patients",
        "create table mine (x)",
        "create index mine on notes (text)",
        "drop index notes_by_patient",
        "drop trigger temp.ward_2_notes; delete from notes",
        "drop table staff",
        "pragma query_only = on",
        "rollback; pragma synchronous = off; begin",
        "rollback; pragma foreign_keys = off; begin",
        "rollback; pragma query_only = on",
        "pragma secure_delete = off",
        "pragma recursive_triggers = off",
        "pragma ignore_check_constraints = on",
        "pragma max_page_count = 1",
        "pragma writable_schema = on",
        "pragma busy_timeout = 0",
    ]
    .into_iter()
    .enumerate()
    {
        let before = everything(&bench).await;
        let (result, _) = try_change(&bench, ada, statement).await;
        // Some settings do not change within a transaction.
        assert!(n == 0 || result.is_err() || statement == "pragma secure_delete = off", "{statement}: {result:?}");
        assert_eq!(everything(&bench).await, before, "{statement}");
        let (trail, _closer) = bench.trail();
        let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(ada).await.expect("open");
        let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("the next change begins");
        let rows = sqlx::raw_sql(settings).fetch_all(tx.conn()).await.expect("settings");
        let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        tx.commit().await.expect("the next change is committed");
        if n == 0 {
            expected = found;
        } else {
            assert_eq!(found, expected, "{statement}");
        }
    }
    let schema =
        raw(&bench.clinic_file(&bench.harbour), "select name from sqlite_schema where name in ('t', 'mine')").await;
    assert!(schema.is_empty());
}

/// Somebody who can write the clinic's file, but has no key.
#[tokio::test]
async fn a_relation_written_into_the_file_relates_nobody() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let (ada, eve) =
        (bench.patient(&bench.harbour, "Ada", "a cough").await, bench.patient(&bench.harbour, "Eve", CANARY).await);
    let (doctor, other) = (bench.user(&bench.harbour, "doctor").await, bench.user(&bench.harbour, "doctor").await);
    bench.relate(&bench.harbour, &doctor, ada, Relations::ASSIGNED, None).await;
    bench.relate(&bench.harbour, &other, eve, Relations::ASSIGNED, None).await;
    let soon = bench.now().checked_add(Duration::from_secs(60)).expect("in range");
    let late = bench.patient(&bench.harbour, "Zoe", CANARY).await;
    bench.relate(&bench.harbour, &doctor, late, Relations::ASSIGNED, Some(soon)).await;
    bench.clock.advance(Duration::from_secs(61));
    let file = bench.clinic_file(&bench.harbour);
    let (me, ada_, eve_) = (sql(doctor.id.as_bytes()), sql(ada.as_bytes()), sql(eve.as_bytes()));
    let whole = raw(&file, "select count(*) from ward_relations").await[0].get::<i64, _>(0);
    for (name, statement, victim) in [
        ("made up", format!("insert into ward_relations values ({me}, {eve_}, 'assigned', null, zeroblob(16))"), eve),
        ("without a MAC", format!("insert into ward_relations values ({me}, {eve_}, 'assigned', null, x'')"), eve),
        (
            "another's copied",
            format!(
                "insert into ward_relations select {me}, subject, kind, until, mac from ward_relations where subject = {eve_}"
            ),
            eve,
        ),
        (
            "one's own for another person",
            format!(
                "insert into ward_relations select user, {eve_}, kind, until, mac from ward_relations where subject = {ada_}"
            ),
            eve,
        ),
        ("made longer", "update ward_relations set until = until + 1000000 where until is not null".to_owned(), late),
        ("made endless", "update ward_relations set until = null where until is not null".to_owned(), late),
    ] {
        tamper(&file, &statement).await;
        let reply = get(&service, &doctor, &format!("/patients/{victim}/notes")).await;
        reply.is_problem(404);
        // The list's filter is in SQL, and believes the row; its door does not.
        let list = get(&service, &doctor, "/patients").await;
        assert_eq!(list.status, 503, "{name}: {}", list.body);
        tamper(&file, &format!("delete from ward_relations where user = {me} and subject <> {ada_}")).await;
        bench.relate(&bench.harbour, &doctor, late, Relations::ASSIGNED, Some(soon)).await;
        assert_eq!(get(&service, &doctor, &format!("/patients/{ada}/notes")).await.status, 200, "{name}");
    }
    assert_eq!(raw(&file, "select count(*) from ward_relations").await[0].get::<i64, _>(0), whole);
}
