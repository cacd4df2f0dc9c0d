//! Old bodies go out of the tables, and young ones do not, whatever a server is made to say.

use std::time::Duration;

use sqlx::{Executor as _, Row as _};
use tower_ward::{
    audit::{
        CheckpointSigner, CheckpointVerifier, Fault, Known, Ledger, LedgerQuery, OperatorLedger, PostgresSink,
        RequestFacts, Retention, RetentionError, Sinks, Stream, VerifyError, verify_postgres,
    },
    clock::{ManualClock, SystemClock},
    id::UserId,
};

use super::server::Postgres;
use crate::sinks::{append, clinic, options, until};

const YEARS: Duration = Duration::from_secs(8 * 366 * 24 * 3600);

fn clock() -> ManualClock {
    ManualClock::at("2026-11-30T10:00:00Z".parse().unwrap())
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::generate("clinic.example/ledger").unwrap()
}

async fn open(server: &Postgres, signer: &CheckpointSigner, clock: &ManualClock) -> Ledger {
    let options = options().with_signer(signer.clone());
    Ledger::open_postgres(&server.place(), Sinks::new(), options, clock.shared()).await.unwrap()
}

/// Seven years, by a clock that jumps.
fn seven() -> Retention {
    Retention::new().danger_trust_clock()
}

/// How many bodies are gone, if all is well.
fn verified(server: &Postgres, signer: &CheckpointSigner) -> Result<u64, VerifyError> {
    let keys = CheckpointVerifier::new(signer.verifier_key().clone()).unwrap();
    let place = server.place();
    let report = std::thread::spawn(move || verify_postgres(&place, &Known::new().with_keys(keys))).join().unwrap();
    report.map(|report| report.dropped())
}

/// What is there, and what is not.
fn bodies(server: &Postgres) -> Vec<bool> {
    server.owner(|mut conn| async move {
        let rows = conn.fetch_all("select record is not null from ward_ledger.records order by idx").await.unwrap();
        rows.into_iter().map(|row| row.get(0)).collect()
    })
}

/// Six events of three clinics and their ends, some years ago.
async fn old(server: &Postgres, signer: &CheckpointSigner, clock: &ManualClock) -> Ledger {
    let ledger = open(server, signer, clock).await;
    for n in 0..6 {
        append(&ledger, n).await.unwrap();
        until("the end is there", || ledger.head().size() == n * 2 + 2).await;
    }
    clock.advance(YEARS);
    ledger
}

// proves CCA-25
#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_when_the_ledger_and_the_database_find_it_old_enough() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    let ledger = old(&server, &signer, &clock).await;
    // The database has had them for a moment, whatever the server's clock says.
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (0, 3));
    assert_eq!(bodies(&server), [true; 15]);
    assert_eq!(verified(&server, &signer), Ok(0));
    // Seven years later there as well.
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let other = open(&server, &signer, &clock).await;
    let report = other.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (12, 0));
    assert_eq!(bodies(&server), [[false; 12].as_slice(), &[true; 3]].concat());
    // Both nodes go on, a third one begins, and pages pass by what is gone.
    append(&ledger, 7).await.unwrap();
    append(&other, 8).await.unwrap();
    let third = open(&server, &signer, &clock).await;
    append(&third, 9).await.unwrap();
    for node in [&ledger, &other, &third] {
        node.shutdown().await;
    }
    let page = tokio::task::spawn_blocking(move || {
        third.danger_page(Some(&Stream::Tenant(clinic(1))), &LedgerQuery::new()).unwrap()
    });
    let page = page.await.unwrap();
    assert_eq!((page.records.len(), page.sequences), (3, Some(0..=6)), "an event, its end, the prune record");
    assert_eq!(verified(&server, &signer), Ok(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_owns_the_tables_drops_nothing_that_no_prune_record_covers() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    let ledger = old(&server, &signer, &clock).await;
    append(&ledger, 0).await.unwrap();
    server.sql("update ward_ledger.retention set keep = '0 s'");
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    let dropped = verified(&server, &signer).unwrap();
    assert_eq!(dropped, 12);
    let (young, prune) = (12, bodies(&server).len() as u64 - 2);
    for (name, index, kind, at) in
        [("a young body", young, Fault::Deleted, young), ("a prune record", prune, Fault::Deleted, 0)]
    {
        let before: Vec<u8> = server.owner(|mut conn| async move {
            let row = sqlx::query("select record from ward_ledger.records where idx = $1").bind(index as i64);
            row.fetch_one(&mut conn).await.unwrap().get(0)
        });
        // The triggers let a body go: there is nothing else to see for them.
        server.sql(&format!("update ward_ledger.records set record = null where idx = {index}"));
        let found = verified(&server, &signer).expect_err(name);
        assert_eq!(found.kind(), kind, "{name}");
        assert!(found.index() == at || at == 0, "{name}: {found}");
        let hex: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
        server.forge(&format!("update ward_ledger.records set record = '\\x{hex}' where idx = {index}"));
        assert_eq!(verified(&server, &signer), Ok(dropped), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_writes_drops_nothing_by_a_record_that_is_none_and_nothing_young() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    let ledger = old(&server, &signer, &clock).await;
    append(&ledger, 1).await.unwrap();
    until("the end is there", || ledger.head().size() == 14).await;
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    let ask = |statement: &'static str| {
        server.as_role("writer", |mut conn| async move {
            sqlx::query_scalar::<_, i64>(statement).fetch_one(&mut conn).await.ok()
        })
    };
    // Of clinic 1 the numbers 0 to 3 are old, 4 and 5 young, 6 is the prune record.
    for (name, statement, answer) in [
        ("no prune record", "select ward_ledger.prune('clinic-1', 4, 0, 100)", None),
        ("none at all", "select ward_ledger.prune('clinic-1', 40, 0, 100)", None),
        ("another chain's", "select ward_ledger.prune('clinic-7', 6, 0, 100)", None),
        ("too young for the database", "select ward_ledger.prune('clinic-1', 6, 0, 100)", Some(0)),
    ] {
        assert_eq!(ask(statement), answer, "{name}");
    }
    assert!(bodies(&server).iter().all(|body| *body));
    server.sql("update ward_ledger.retention set keep = '0 s'");
    assert_eq!(ask("select ward_ledger.prune('clinic-1', 6, 0, 1)"), Some(1), "the part that was asked for");
    assert_eq!(ask("select ward_ledger.prune('clinic-1', 6, 0, 100)"), Some(3));
    assert_eq!(ask("select ward_ledger.prune('clinic-1', 6, 0, 100)"), Some(0));
    let gone: Vec<_> = bodies(&server).iter().enumerate().filter(|(_, body)| !**body).map(|(n, _)| n).collect();
    assert_eq!(gone, [2, 3, 8, 9]);
    assert_eq!(verified(&server, &signer), Ok(4));
    // A place without a body is no record, though its hash, its number and the root before it are right.
    let before = super::check(&server).unwrap();
    let root: String = before.root().iter().map(|byte| format!("{byte:02x}")).collect();
    let added = format!(
        "select ward_ledger.append({}, hash, gen_random_uuid(), gen_random_uuid(), '\\x{root}', array['clinic-1'], array[7::bigint],
            array[sha256('x')], array[null::bytea]) from ward_ledger.records order by idx desc limit 1",
        before.records()
    );
    let added = server.as_role("writer", |mut conn| async move {
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(added)).fetch_one(&mut conn).await
    });
    assert_eq!(added.unwrap(), before.records() as i64);
    let found = verified(&server, &signer).unwrap_err();
    assert_eq!((found.index(), found.kind()), (before.records(), Fault::Deleted));
    // The owner's setting is not the role's.
    for statement in ["update ward_ledger.retention set keep = '0 s'", "delete from ward_ledger.retention"] {
        let failed = server.as_role("writer", |mut conn| async move { conn.execute(statement).await.is_err() });
        assert!(failed, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_drops_what_the_ledger_drops_and_a_new_one_gets_what_is_left() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let folder = tempfile::tempdir().unwrap();
    let options = || options().with_signer(signer.clone());
    let with = |server: &Postgres| {
        let sinks = Sinks::new().add_required("archive", PostgresSink::new(&server.place()).unwrap());
        Ledger::open_with(folder.path(), sinks, options(), clock.shared()).unwrap()
    };
    let ledger = with(&server);
    for n in 0..6 {
        append(&ledger, n).await.unwrap();
    }
    until("the ends are there", || ledger.head().size() == 12).await;
    clock.advance(YEARS);
    assert_eq!(ledger.prune(&seven()).await.unwrap().bodies(), 12);
    until("the archive has dropped them", || bodies(&server).iter().filter(|body| !**body).count() == 12).await;
    ledger.shutdown().await;
    drop(ledger);
    assert_eq!(verified(&server, &signer), Ok(12));
    // A new one.
    let second = Postgres::start();
    let ledger = with(&second);
    ledger.shutdown().await;
    assert_eq!(bodies(&second).iter().filter(|body| !**body).count(), 12);
    assert_eq!(verified(&second, &signer), Ok(12));
}

/// What a server was told before a hold came, or before its prune record was replaced, is not done after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_does_not_go_by_a_prune_record_that_is_older_than_a_hold() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    let ledger = old(&server, &signer, &clock).await;
    ledger.prune(&seven()).await.unwrap();
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let ask = || {
        server.as_role("writer", |mut conn| async move {
            let asked = sqlx::query_scalar::<_, i64>("select ward_ledger.prune('clinic-1', 4, 0, 100)");
            asked.fetch_one(&mut conn).await.unwrap()
        })
    };
    let operator = UserId::generate(&SystemClock::new());
    let hold = async |held: bool| {
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        let view = OperatorLedger::danger_open(&trail, operator, "operator", "file 4711").unwrap();
        match held {
            true => view.hold(&clinic(1), None).await.unwrap(),
            false => view.release(&clinic(1), None).await.unwrap(),
        }
    };
    hold(true).await;
    assert_eq!(ask(), -1);
    let platform = "select count(*) from ward_ledger.records where stream = 'platform' and position('\"kind\":\"held\"'::bytea in record) > 0";
    let mirrored = server
        .owner(|mut conn| async move { sqlx::query_scalar::<_, i64>(platform).fetch_one(&mut conn).await.unwrap() });
    assert_eq!(mirrored, 1, "the operator's own chain says it too, and is not held by it");
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.skipped()), (8, &[][..]), "the other two clinics'");
    hold(false).await;
    assert_eq!(ask(), 4, "the hold has ended");
    ledger.shutdown().await;
    assert_eq!(verified(&server, &signer), Ok(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_servers_one_prunes_at_a_time() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    let ledger = old(&server, &signer, &clock).await;
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let other = open(&server, &signer, &clock).await;
    let retention = seven();
    let (one, two) = tokio::join!(ledger.prune(&retention), other.prune(&retention));
    let ran = [&one, &two].into_iter().filter(|run| run.is_ok()).count();
    assert!(ran >= 1, "{one:?} {two:?}");
    for run in [one, two] {
        assert!(matches!(run, Ok(_) | Err(RetentionError::Running)), "{run:?}");
    }
    for node in [&ledger, &other] {
        node.shutdown().await;
    }
    assert_eq!(verified(&server, &signer), Ok(12));
}

/// Bodies may go before another server has looked at their records.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lags_behind_what_was_dropped_goes_on() {
    let (server, signer, clock) = (Postgres::start(), signer(), clock());
    server.sql("update ward_ledger.retention set keep = '0 s'");
    let lagging = open(&server, &signer, &clock).await;
    let ledger = old(&server, &signer, &clock).await;
    assert_eq!(ledger.prune(&seven()).await.unwrap().bodies(), 12);
    append(&lagging, 7).await.unwrap();
    until("it knows of all", || lagging.head().size() >= 16).await;
    for node in [&ledger, &lagging] {
        node.shutdown().await;
    }
    assert_eq!(verified(&server, &signer), Ok(12));
}
