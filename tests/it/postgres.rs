//! The ledger in PostgreSQL: many nodes, lost answers, a server that goes away, and whoever owns the tables.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

pub(crate) mod bouncer;
#[cfg(feature = "cli")]
mod command;
mod kill;
mod retention;
pub(crate) mod server;
mod store;

use std::collections::HashMap;

use server::{Postgres, cluster};
use sqlx::{Connection as _, Executor as _, Row as _};
use tower_ward::{
    audit::{
        Fault, Kind, Known, Ledger, LedgerError, LedgerQuery, OperatorLedger, PostgresLedger, Report, RequestFacts,
        Sinks, Stream, VerifyError, verify_postgres,
    },
    clock::SystemClock,
    id::{SubjectId, UserId},
};

use crate::sinks::{append, clinic, options, until};

async fn open(place: &PostgresLedger) -> Result<Ledger, LedgerError> {
    Ledger::open_postgres(place, Sinks::new(), options(), SystemClock::shared()).await
}

fn check(server: &Postgres) -> Result<Report, VerifyError> {
    let place = server.place();
    std::thread::spawn(move || verify_postgres(&place, &Known::new())).join().unwrap()
}

/// How often each event is on record.
fn found(server: &Postgres) -> HashMap<u64, usize> {
    let mut found = HashMap::new();
    let bodies = server.owner(|mut conn| async move {
        let rows =
            conn.fetch_all("select convert_from(record, 'UTF8') from ward_ledger.records order by idx").await.unwrap();
        rows.into_iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>()
    });
    for body in bodies {
        let record: serde_json::Value = serde_json::from_str(&body).unwrap();
        if let Some(n) = record["reason"].as_str().and_then(|reason| reason.strip_prefix("number ")) {
            *found.entry(n.parse().unwrap()).or_default() += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_write_one_ledger() {
    let server = Postgres::start();
    let nodes = [
        open(&server.place()).await.unwrap(),
        open(&server.place()).await.unwrap(),
        open(&server.place()).await.unwrap(),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..24_u64 {
        let ledger = nodes[task as usize % 3].clone();
        tasks.spawn(async move {
            for n in 0..25 {
                append(&ledger, task * 1_000 + n).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for node in &nodes {
        node.shutdown().await;
    }
    let report = check(&server).unwrap();
    let found = found(&server);
    assert_eq!((found.len(), found.values().all(|count| *count == 1)), (600, true));
    assert_eq!((report.records(), report.tenants()), (1_200, 3), "each event and its end");
    // A restart goes on with the same tree.
    let ledger = open(&server.place()).await.unwrap();
    assert_eq!(ledger.head(), report.head());
    append(&ledger, 77).await.unwrap();
    // And is read back as one in a folder is, page by page.
    let reading = ledger.clone();
    let (pages, timeline) = tokio::task::spawn_blocking(move || {
        let chain = Stream::Tenant(clinic(0));
        let mut query = LedgerQuery::new().add_kind(Kind::Event).with_limit(64.try_into().unwrap());
        let mut pages = Vec::new();
        loop {
            let page = reading.danger_page(Some(&chain), &query).unwrap();
            pages.push(page.records.len());
            match page.next {
                Some(next) => query = query.with_cursor(next),
                None => break,
            }
        }
        (pages, reading.danger_timeline(&clinic(1), SubjectId::from_bytes([7; 16]), None, 10).unwrap())
    })
    .await
    .unwrap();
    let of_clinic_0 = found.keys().filter(|n| **n % 3 == 0).count();
    assert_eq!((pages.iter().sum::<usize>(), pages.len() > 2), (of_clinic_0, true), "{pages:?}");
    assert_eq!(timeline.records.len(), 10);
    ledger.shutdown().await;
    check(&server).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_moment_loses_and_doubles_nothing() {
    let server = Postgres::start();
    let nodes = [open(&server.place()).await.unwrap(), open(&server.place()).await.unwrap()];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let (ledger, stop) = (nodes[task as usize % 2].clone(), stop.clone());
        tasks.spawn(async move {
            let (mut good, mut n) = (Vec::new(), task * 1_000_000);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                match append(&ledger, n).await {
                    Ok(()) => good.push(n),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            }
            good
        });
    }
    for _ in 0..40 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'writer'");
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    while let Some(done) = tasks.join_next().await {
        acknowledged.extend(done.unwrap());
    }
    for node in &nodes {
        node.shutdown().await;
    }
    check(&server).unwrap();
    let found = found(&server);
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
    assert!(acknowledged.iter().all(|n| found.contains_key(n)), "an acknowledged record is lost");
    assert!(found.values().all(|count| *count == 1), "a record stands twice");
}

/// An attempt of a node that lives is that node's own: nobody else says how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_living_node_has_begun_is_not_settled_by_another() {
    let server = Postgres::start();
    let first = open(&server.place()).await.unwrap();
    append(&first, 1).await.unwrap();
    until("its end is there", || first.head().size() == 2).await;
    // What `db` writes before a change, which takes a whole clinic: as that node would have written it.
    let attempt = r#"{"v":1,"index":2,"stream":"clinic-1","seq":2,"prev":"#;
    let prev = server.owner(|mut conn| async move {
        let row = conn.fetch_one("select encode(hash, 'hex') from ward_ledger.records where idx = 1").await.unwrap();
        row.get::<String, _>(0)
    });
    let node = server.owner(|mut conn| async move {
        conn.fetch_one("select node::text from ward_ledger.batches limit 1").await.unwrap().get::<String, _>(0)
    });
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let record = format!(
        r#"{attempt}"{prev}","at":"2026-01-02T03:04:05.000000000Z","mono":1,"trail":"{id}","kind":"attempt","action":"update","attempt":"{id}"}}"#
    );
    server.sql(&format!(
        "insert into ward_ledger.batches select 2, 1, root, gen_random_uuid(), '{node}' from ward_ledger.batches limit 1;
         insert into ward_ledger.records values (2, 'clinic-1', 2, sha256('\\x00' || convert_to('{record}', 'UTF8')), convert_to('{record}', 'UTF8'))"
    ));
    let root = first.head();
    let root = tower_ward::audit::Head::to_string(&root).split_once(':').unwrap().1.to_owned();
    server.forge(&format!("update ward_ledger.batches set root = decode('{root}', 'hex') where first = 2"));

    let second = open(&server.place()).await.unwrap();
    assert_eq!(second.unsettled().len(), 0, "the node that began it lives");
    second.shutdown().await;
    first.shutdown().await;
    drop((first, second));
    let third = open(&server.place()).await.unwrap();
    assert_eq!(third.unsettled().len(), 1, "nobody else will say how it ended");
    third.shutdown().await;
}

/// The server may think for hours that a session lives whose client lost it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_not_ended_keeps_its_node_out_of_nothing() {
    let server = Postgres::start();
    let ledger = open(&server.place()).await.unwrap();
    append(&ledger, 1).await.unwrap();
    let mut old = sqlx::PgConnection::connect(&server.url("postgres")).await.unwrap();
    let held = "select count(pg_advisory_lock_shared((classid::bigint << 32) | objid::bigint)) from pg_locks
        where locktype = 'advisory' and objsubid = 1 and granted";
    assert_eq!(sqlx::query_scalar::<_, i64>(held).fetch_one(&mut old).await.unwrap(), 1, "the node's lock");
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'writer'");
    // The first one may be what finds the connection gone.
    let _ = append(&ledger, 2).await;
    until("the node is back", || ledger.is_available()).await;
    append(&ledger, 3).await.unwrap();
    ledger.shutdown().await;
    drop(old);
    assert_eq!(found(&server).get(&3), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_shuts_the_doors_and_nothing_acknowledged_is_lost() {
    let server = Postgres::start();
    let ledger = open(&server.place()).await.unwrap();
    append(&ledger, 1).await.unwrap();
    until("its end is there", || ledger.head().size() == 2).await;
    server.down();
    assert!(append(&ledger, 2).await.is_err());
    assert!(!ledger.is_available());
    assert!(append(&ledger, 3).await.is_err());
    server.up();
    until("the doors open again", || ledger.is_available()).await;
    append(&ledger, 4).await.unwrap();
    ledger.shutdown().await;
    check(&server).unwrap();
    let found = found(&server);
    // The second one's door was open: it is on record, though nobody was told that.
    assert_eq!((found.get(&1), found.get(&2), found.get(&3), found.get(&4)), (Some(&1), Some(&1), None, Some(&1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_guarded_is_refused() {
    let server = Postgres::start();
    for (name, role, before, after) in [
        ("the owner", "keeper", "", ""),
        ("a superuser", "postgres", "", ""),
        (
            "update",
            "writer",
            "grant update on ward_ledger.records to writer",
            "revoke update on ward_ledger.records from writer",
        ),
        (
            "update of one column",
            "writer",
            "grant update (record) on ward_ledger.records to writer",
            "revoke update (record) on ward_ledger.records from writer",
        ),
        (
            "delete",
            "writer",
            "grant delete on ward_ledger.batches to writer",
            "revoke delete on ward_ledger.batches from writer",
        ),
        (
            "truncate",
            "writer",
            "grant truncate on ward_ledger.records to writer",
            "revoke truncate on ward_ledger.records from writer",
        ),
        (
            "by public",
            "writer",
            "grant delete on ward_ledger.records to public",
            "revoke delete on ward_ledger.records from public",
        ),
        (
            "insert",
            "writer",
            "grant insert on ward_ledger.batches to writer",
            "revoke insert on ward_ledger.batches from writer",
        ),
        (
            "by a membership that is not inherited",
            "writer",
            "alter role writer noinherit; grant keeper to writer",
            "revoke keeper from writer; alter role writer inherit",
        ),
        ("by membership", "writer", "grant keeper to writer", "revoke keeper from writer"),
        (
            "a trigger is off",
            "writer",
            "alter table ward_ledger.records disable trigger keep",
            "alter table ward_ledger.records enable trigger keep",
        ),
        (
            "how long to keep",
            "writer",
            "grant update on ward_ledger.retention to writer",
            "revoke update on ward_ledger.retention from writer",
        ),
        (
            "a trigger of rows is off",
            "writer",
            "alter table ward_ledger.records disable trigger keep_row",
            "alter table ward_ledger.records enable trigger keep_row",
        ),
        (
            "a trigger is gone",
            "writer",
            "alter trigger keep on ward_ledger.batches rename to other",
            "alter trigger other on ward_ledger.batches rename to keep",
        ),
    ] {
        server.sql(&format!("select 1; {before}"));
        let refused = open(&server.place_as(role)).await;
        assert!(matches!(refused, Err(LedgerError::Unguarded { .. })), "{name}: {refused:?}");
        server.sql(&format!("select 1; {after}"));
    }
    open(&server.place()).await.unwrap().shutdown().await;

    let unsynced = Postgres::start_with(false);
    assert!(matches!(open(&unsynced.place()).await, Err(LedgerError::Unguarded { what }) if what.contains("fsync")));
    let elsewhere = server.place().with_schema("nowhere").unwrap();
    assert!(matches!(open(&elsewhere).await, Err(LedgerError::Database { .. })));
}

// proves CLA-18
#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_writes_can_neither_change_nor_remove() {
    let server = Postgres::start();
    let ledger = open(&server.place()).await.unwrap();
    append(&ledger, 1).await.unwrap();
    ledger.shutdown().await;
    let statements = [
        "update ward_ledger.records set record = 'x'",
        "update ward_ledger.batches set count = 1",
        "delete from ward_ledger.records",
        "delete from ward_ledger.batches",
        "truncate ward_ledger.records",
        "truncate ward_ledger.batches, ward_ledger.records",
        "drop table ward_ledger.records",
        "alter table ward_ledger.records disable trigger keep",
        "alter table ward_ledger.records drop column hash",
        "drop trigger keep on ward_ledger.records",
        "create or replace function ward_ledger.keep() returns trigger language plpgsql as 'begin return old; end'",
        "drop schema ward_ledger cascade",
        "set session_replication_role = replica",
        "insert into ward_ledger.batches values (2, 1, sha256('x'), gen_random_uuid(), gen_random_uuid())",
        "insert into ward_ledger.records values (9, 'clinic-1', 2, sha256('x'), 'x')",
        "insert into ward_ledger.records values (9223372036854775807, 'clinic-1', 2, sha256('x'), 'x')",
        "update ward_ledger.checkpoint set size = 9223372036854775807, note = 'x'",
        "select 1 from ward_ledger.turn for update",
        "insert into ward_ledger.records select * from ward_ledger.records",
        "insert into ward_ledger.records select * from ward_ledger.records on conflict (idx) do update set record = 'x'",
    ];
    for statement in statements {
        let failed = server.as_role("writer", |mut conn| async move { conn.execute(statement).await.is_err() });
        assert!(failed, "{statement}");
    }
    // Not even the owner by mistake: the triggers have to be taken away first.
    for statement in &statements[..6] {
        let failed = server.as_role("keeper", |mut conn| async move { conn.execute(*statement).await.is_err() });
        assert!(failed, "the owner: {statement}");
    }
    // The one verb that adds takes batches alone, behind the last record.
    for (name, follows, bodies, added) in [
        ("behind another record", "sha256('x')", "array['x'::bytea]", false),
        ("nothing", "hash", "array[]::bytea[]", false),
        ("a hash that is none of it", "hash", "array['y'::bytea]", false),
        ("a record", "hash", "array['x'::bytea]", true),
    ] {
        let statement = format!(
            "select ward_ledger.append(2, {follows}, gen_random_uuid(), gen_random_uuid(), sha256('r'), array['a'], array[0::bigint],
                array[sha256('\\x00'::bytea || 'x')], {bodies}) from ward_ledger.records where idx = 1"
        );
        let answer = server.as_role("writer", |mut conn| async move {
            sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(statement)).fetch_one(&mut conn).await.ok()
        });
        assert_eq!(answer == Some(2), added, "{name}: {answer:?}");
        assert_eq!(check(&server).is_ok(), !added, "{name}");
    }
}

/// A node that has nothing to write lives all the same, and learns of what others write.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_takes_back_a_lost_session_and_learns_of_new_clinics() {
    let server = Postgres::start();
    let (idle, busy) = (open(&server.place()).await.unwrap(), open(&server.place()).await.unwrap());
    append(&idle, 0).await.unwrap();
    append(&busy, 1).await.unwrap();
    let head = busy.head();
    until("the idle node knows of it", || idle.head().size() >= head.size()).await;
    let (trail, _closer) = idle.begin(RequestFacts::new());
    let operator = UserId::generate(&SystemClock::new());
    let view = OperatorLedger::danger_open(&trail, operator, "operator", "ticket 4711").unwrap();
    view.tenants(&[clinic(1)], &LedgerQuery::new()).await.unwrap();

    let locks = || {
        server.owner(|mut conn| async move {
            let sql = "select count(*) from pg_locks where locktype = 'advisory' and granted and objsubid = 1";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut conn).await.unwrap()
        })
    };
    assert_eq!(locks(), 2);
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'writer'");
    until("both hold their locks again", || locks() == 2).await;
    append(&idle, 2).await.unwrap();
    for node in [&idle, &busy] {
        node.shutdown().await;
    }
    check(&server).unwrap();
}

/// What whoever owns the database does, and what is found: of 30 records, in 15 batches of two.
#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_with_the_tables_is_found() {
    let server = Postgres::start();
    let ledger = open(&server.place()).await.unwrap();
    for n in 0..15 {
        append(&ledger, n).await.unwrap();
        // The end of the request is in the ledger before the next one begins.
        until("the end is there", || ledger.head().size() == n * 2 + 2).await;
    }
    ledger.shutdown().await;
    assert_eq!(check(&server).unwrap().records(), 30);
    server.sql("create schema kept; create table kept.records as table ward_ledger.records; create table kept.batches as table ward_ledger.batches");
    for (name, statements, kind, index) in [
        ("a letter", "update ward_ledger.records set record = overlay(record placing 'X' from 20) where idx = 7", Fault::Edited, 7),
        (
            "a letter, and its hash",
            "update ward_ledger.records set record = convert_to(replace(convert_from(record, 'UTF8'), 'number 4', 'number 9'), 'UTF8') where idx = 8;
             update ward_ledger.records set hash = sha256('\\x00' || record) where idx = 8",
            Fault::Edited,
            8,
        ),
        ("the hash beside it", "update ward_ledger.records set hash = sha256('x') where idx = 9", Fault::Edited, 9),
        ("the clinic beside it", "update ward_ledger.records set stream = 'clinic-9' where idx = 9", Fault::Edited, 9),
        ("the number beside it", "update ward_ledger.records set seq = 99 where idx = 9", Fault::Edited, 9),
        ("a body is gone", "update ward_ledger.records set record = null where idx = 7", Fault::Deleted, 7),
        ("one is gone", "delete from ward_ledger.records where idx = 5", Fault::Deleted, 5),
        ("the first is gone", "delete from ward_ledger.records where idx = 0", Fault::Deleted, 0),
        ("the end of a batch is gone", "update ward_ledger.batches set count = count + 1 where first = (select max(first) from ward_ledger.batches)", Fault::Truncated, 30),
        (
            "one is gone and the others moved up",
            "delete from ward_ledger.records where idx = 5; update ward_ledger.records set idx = -idx where idx > 5; update ward_ledger.records set idx = -idx - 1 where idx < 0",
            Fault::Edited,
            5,
        ),
        ("one stands twice", "update ward_ledger.records a set record = b.record, hash = b.hash from ward_ledger.records b where a.idx = 6 and b.idx = 5", Fault::Edited, 6),
        ("one in no batch", "insert into ward_ledger.records select 30, 'clinic-7', 0, hash, record from ward_ledger.records where idx = 1", Fault::Inserted, 30),
        ("a batch is gone", "delete from ward_ledger.batches where first = (select max(first) from ward_ledger.batches where first < 20)", Fault::Inserted, 0),
        ("a batch is longer", "update ward_ledger.batches set count = count + 1 where first = (select max(first) from ward_ledger.batches where first < 20)", Fault::Edited, 0),
        ("another root", "update ward_ledger.batches set root = sha256('x') where first = (select max(first) from ward_ledger.batches where first < 20)", Fault::Edited, 0),
    ] {
        server.forge(&format!("alter table ward_ledger.records drop constraint if exists records_idx_check; {statements}"));
        let found = check(&server).err();
        let found = found.unwrap_or_else(|| panic!("{name}: nothing was found"));
        assert_eq!(found.kind(), kind, "{name}: {found}");
        if index > 0 || name.contains("first") {
            assert_eq!(found.index(), index, "{name}: {found}");
        }
        let refused = open(&server.place()).await;
        assert!(matches!(refused, Err(LedgerError::Damaged(_))), "{name}: {refused:?}");
        server.forge(
            "truncate ward_ledger.records, ward_ledger.batches; insert into ward_ledger.records table kept.records; insert into ward_ledger.batches table kept.batches",
        );
        check(&server).unwrap();
    }
}
