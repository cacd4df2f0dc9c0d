//! What a transaction may change, what becomes of it, and what the ledger says.

use tower_ward::{
    access::{RelationSource as _, Relations},
    audit::{Action, End, Kind, Outcome},
    db::{Change, PostgresRelations, TxError},
    field::Encrypted,
    id::{RowId, UserId},
    privacy::Erasures,
};

use super::Site;
use crate::support::{
    model::{ErasePatients, KeepStaff, NoteText, ReadNotes, Salary, WriteNotes},
    of_kind,
};

// proves GLM-11, CLA-13, CCA-12, MED-05
#[tokio::test]
async fn a_transaction_sees_and_changes_the_rows_of_its_door_alone() {
    let site = Site::new().await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let ben = site.patient(&harbour, "Ben", "of Ben").await;
    let eve = site.patient(&meadow, "Eve", "of Eve").await;
    assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
    assert_eq!(site.notes(&meadow, eve).await, ["of Eve"]);

    // A statement without a `where` reaches the door's person, in his clinic, and nobody else.
    site.change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
        let done = sqlx::query("update notes set author = 'me'").execute(tx.conn()).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        let gone = sqlx::query("delete from patient_words").execute(tx.conn()).await.unwrap();
        assert_eq!(gone.rows_affected(), 1);
        let seen: Vec<String> = sqlx::query_scalar("select tenant from patients").fetch_all(tx.conn()).await.unwrap();
        assert_eq!(seen, ["harbour", "harbour"], "what is read is the clinic's");
    })
    .await
    .unwrap();
    assert_eq!(site.number("select count(*) from notes where author = 'me'").await, 1);
    assert_eq!(site.number("select count(*) from patient_words").await, 2);

    // Nobody's row is made, moved or given away.
    for (name, statement, state) in [
        (
            "another person's",
            "insert into notes (id, patient, text) select gen_random_uuid(), id, '' from patients",
            "42501",
        ),
        (
            "another clinic's",
            "insert into notes (tenant, id, patient, text) values ('meadow', gen_random_uuid(), gen_random_uuid(), '')",
            "42501",
        ),
        ("a row of no person", "insert into staff (id, salary) values (gen_random_uuid(), '')", "42501"),
        ("to another clinic", "update notes set tenant = 'meadow'", "42501"),
        ("to another person", "update notes set patient = gen_random_uuid()", "42501"),
        ("with another key", "update notes set id = gen_random_uuid()", "42501"),
        (
            "the library's",
            "insert into ward_relations values ('harbour', gen_random_uuid(), gen_random_uuid(), 'assigned', null, '\\x00112233445566778899aabbccddeeff')",
            "42501",
        ),
        ("the attempts", "delete from ward_attempts", "42501"),
        ("a code for all", "insert into codes values ('x', 'y')", "42501"),
        ("all of them", "truncate notes", "42501"),
        ("the keys", "select * from ward.keys", "42501"),
        ("what was noted", "delete from ward.touched", "42501"),
        ("the policies", "alter table notes disable row level security", "42501"),
        ("the role", "set role ward_owner", "42501"),
        ("a table before it", "create temporary table notes (id uuid)", "42501"),
        (
            "a parent elsewhere",
            "insert into notes (id, patient, text) values (gen_random_uuid(), gen_random_uuid(), '')",
            "42501",
        ),
    ] {
        let done = site
            .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
                let error = sqlx::query(statement).execute(tx.conn()).await.expect_err(name);
                assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some(state), "{name}: {error}");
            })
            .await;
        assert!(matches!(done, Err(TxError::RolledBack)), "{name}: {done:?}");
    }
    // What every door may change, and a clinic's own rows.
    site.change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
        sqlx::query("insert into counters (name, value) values ('letters', 1)").execute(tx.conn()).await.unwrap();
    })
    .await
    .unwrap();
    let (trail, mut closer) = site.trail();
    let clinic = site.grant::<KeepStaff>(&trail, &harbour).clinic().await.unwrap();
    let row = RowId::generate(&*site.clock);
    let mut tx = site.db.change(&clinic, Change::create("staff", row)).await.unwrap();
    sqlx::query("insert into staff (id, salary) values ($1, $2)")
        .bind(row)
        .bind(Encrypted::<Salary>::seal(&"40,000".to_owned(), &clinic, row).unwrap())
        .execute(tx.conn())
        .await
        .unwrap();
    let stray = sqlx::query("update notes set author = 'clinic'").execute(tx.conn()).await.unwrap();
    assert_eq!(stray.rows_affected(), 0, "no person's row through a clinic's door");
    tx.commit().await.unwrap();
    // And what reads changes nothing.
    let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ben).await.unwrap();
    let mut tx = site.db.read(&chart).await.unwrap();
    let error = sqlx::query("update notes set author = 'reader'").execute(tx.conn()).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("25006"), "{error}");
    drop(tx);
    closer.finish(End::Completed);
    assert_eq!(site.number("select count(*) from notes where author is not null").await, 1);
}

// proves CLA-15
#[tokio::test]
async fn a_connection_that_another_clinic_used_knows_nothing_of_it() {
    let site = Site::new().await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let eve = site.patient(&meadow, "Eve", "of Eve").await;
    for _ in 0..20 {
        assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
        assert_eq!(site.notes(&meadow, eve).await, ["of Eve"]);
    }
    // Nor does one that has entered none, by the role that the servers log in as.
    let mut conn = site.connect(super::site::APP).await;
    for table in ["patients", "notes", "staff", "ward_relations", "ward_attempts"] {
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
        assert_eq!(seen, 0, "{table}");
    }
    // Not even the owner, who is no superuser.
    let mut conn = site.connect(super::site::OWNER).await;
    let seen: i64 = sqlx::query_scalar("select count(*) from notes").fetch_one(&mut conn).await.unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn each_row_with_a_sealed_column_is_in_the_ledger_as_it_was_and_as_it_is() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    let own = async |sql: &'static str| {
        site.change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, chart| {
            let row: RowId = sqlx::query_scalar("select id from notes").fetch_one(tx.conn()).await.unwrap();
            let text = Encrypted::<NoteText>::seal(&"second".to_owned(), chart, row).unwrap();
            sqlx::query(sql).bind(text).execute(tx.conn()).await.unwrap();
        })
        .await
    };
    own("update notes set text = $1").await.unwrap();
    own("update notes set author = 'x' where $1::bytea is not null").await.unwrap();
    own("with gone as (delete from notes returning id, patient) insert into notes (id, patient, text) select gen_random_uuid(), patient, $1 from gone").await.unwrap();
    let records = site.into_records().await;
    let said: Vec<Action> = of_kind(&records, Kind::Changed).iter().filter_map(|record| record.action()).collect();
    // Patient and note made; the text changed; nothing for the author; one gone, one made.
    assert_eq!(said.len(), 5, "{said:?}");
    assert_eq!(said[..3], [Action::Create, Action::Create, Action::Update]);
    assert!(said[3..].contains(&Action::Delete) && said[3..].contains(&Action::Create), "{said:?}");
}

#[tokio::test]
async fn what_became_of_an_attempt_is_asked_of_the_database_and_never_guessed() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    // Rolled back by the application.
    let (trail, mut closer) = site.trail();
    let chart = site.grant::<WriteNotes>(&trail, &harbour).subject(ada).await.unwrap();
    let tx = site.db.change(&chart, Change::update("notes", RowId::generate(&*site.clock))).await.unwrap();
    drop(tx);
    closer.finish(End::Completed);
    // Committed by somebody else than the library.
    let done = site
        .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
            sqlx::query("update notes set author = 'sneaked'").execute(tx.conn()).await.unwrap();
            let error = sqlx::raw_sql("commit").execute(tx.conn()).await.unwrap_err();
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("WD008"), "{error}");
        })
        .await;
    assert!(matches!(done, Err(TxError::RolledBack)), "{done:?}");
    assert_eq!(site.number("select count(*) from notes where author = 'sneaked'").await, 0);
    // The driver's own nested one ends what it did not begin.
    let done = site
        .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
            let mut nested = sqlx::Connection::begin(tx.conn()).await.unwrap();
            sqlx::query("update notes set author = 'nested'").execute(&mut *nested).await.unwrap();
            nested.commit().await.unwrap_err();
        })
        .await;
    assert!(matches!(done, Err(TxError::RolledBack)), "{done:?}");
    assert_eq!(site.number("select count(*) from notes where author = 'nested'").await, 0);
    let records = site.into_records().await;
    let outcomes: Vec<_> = of_kind(&records, Kind::Outcome).iter().map(|record| record.outcome().unwrap()).collect();
    assert_eq!(
        outcomes,
        [Outcome::Committed, Outcome::Committed, Outcome::RolledBack, Outcome::RolledBack, Outcome::RolledBack]
    );
}

// proves CCA-15, CCA-16
#[tokio::test]
async fn relations_hold_from_their_commit_until_they_end_and_one_made_past_the_library_never() {
    let site = Site::new().await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "first").await;
    let doctor = UserId::generate(&*site.clock);
    let source = PostgresRelations::new(site.db.clone(), site.keyring.clone(), site.clock.clone());
    let all = Relations::ASSIGNED.union(Relations::CIRCLE);
    let holds = async |tenant| source.relations(tenant, doctor, &[ada], all).await.unwrap()[0];
    assert_eq!(holds(&harbour).await, Relations::NONE);
    site.change(&harbour, ada, Change::assign(doctor, Relations::ASSIGNED), async |tx, _| {
        tx.relate(None).await.unwrap()
    })
    .await
    .unwrap();
    assert_eq!(holds(&harbour).await, Relations::ASSIGNED);
    assert_eq!(holds(&meadow).await, Relations::NONE, "in its own clinic alone");
    site.change(&harbour, ada, Change::unassign(doctor, Relations::ASSIGNED), async |tx, _| {
        assert!(tx.unrelate().await.unwrap());
    })
    .await
    .unwrap();
    assert_eq!(holds(&harbour).await, Relations::NONE);
    // By the database's superuser, who has no key.
    site.sql(
        "postgres",
        &format!("insert into ward_relations values ('harbour', '{doctor}', '{ada}', 'circle', null, '\\x00112233445566778899aabbccddeeff')"),
    )
    .await;
    assert_eq!(holds(&harbour).await, Relations::NONE);
    // A transaction for something else makes none, by the library or past it.
    let done = site
        .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
            assert!(matches!(tx.relate(None).await, Err(TxError::NoRelation)));
            let forged = sqlx::query("select ward.relate(null, '\\x00112233445566778899aabbccddeeff', '\\x00')");
            assert!(forged.execute(tx.conn()).await.is_err());
        })
        .await;
    assert!(matches!(done, Err(TxError::RolledBack)), "{done:?}");
}

/// In the very transaction that ends it, and in one that makes another.
// proves CCA-15
#[tokio::test]
async fn an_injection_keeps_no_relation_and_makes_none_endless() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    let doctor = UserId::generate(&*site.clock);
    let source = PostgresRelations::new(site.db.clone(), site.keyring.clone(), site.clock.clone());
    let holds = async || source.relations(&site.harbour, doctor, &[ada], Relations::ASSIGNED).await.unwrap()[0];
    let soon = tower_ward::clock::Clock::now(&*site.clock) + std::time::Duration::from_secs(3600);
    let relate = async |tx: &mut tower_ward::db::PostgresTx| tx.relate(Some(soon)).await.unwrap();
    site.change(&harbour, ada, Change::assign(doctor, Relations::ASSIGNED), async |tx, _| relate(tx).await)
        .await
        .unwrap();
    assert_eq!(holds().await, Relations::ASSIGNED);
    for (name, change, text) in [
        ("its proof", Change::unassign(doctor, Relations::ASSIGNED), "select mac from ward_relations"),
        (
            "its proof by the library's function",
            Change::unassign(doctor, Relations::ASSIGNED),
            "select mac from ward.related('\\x00', gen_random_uuid(), array[]::uuid[], array['assigned'], 0)",
        ),
        (
            "put back",
            Change::unassign(doctor, Relations::ASSIGNED),
            "select ward.relate(null, '\\x00112233445566778899aabbccddeeff', '\\x00')",
        ),
        (
            "endless",
            Change::assign(doctor, Relations::ASSIGNED),
            "select ward.relate(null, '\\x00112233445566778899aabbccddeeff', '\\x00')",
        ),
        ("ended by who makes it", Change::assign(doctor, Relations::ASSIGNED), "select ward.unrelate()"),
        ("by hand", Change::assign(doctor, Relations::ASSIGNED), "update ward_relations set until = null"),
    ] {
        let done = site
            .change(&harbour, ada, change, async |tx, _| {
                let refused = sqlx::raw_sql(text).execute(tx.conn()).await;
                assert!(refused.is_err(), "{name}");
            })
            .await;
        assert!(done.is_err(), "{name}: {done:?}");
    }
    assert_eq!(holds().await, Relations::ASSIGNED);
    assert_eq!(site.number("select count(*) from ward_relations where until is not null").await, 1);
    site.change(&harbour, ada, Change::unassign(doctor, Relations::ASSIGNED), async |tx, _| {
        assert!(tx.unrelate().await.unwrap());
    })
    .await
    .unwrap();
    assert_eq!(holds().await, Relations::NONE);
}

#[tokio::test]
async fn nobody_is_erased_while_something_of_theirs_is_changed() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    let erasures = Erasures::open(&site.keyring, &site.db, &site.ledger).await.unwrap();
    let (trail, mut closer) = site.trail();
    let chart = site.grant::<WriteNotes>(&trail, &harbour).subject(ada).await.unwrap();
    let mut tx = site.db.change(&chart, Change::update("patients", RowId::from_bytes(*ada.as_bytes()))).await.unwrap();
    let (erasing, mut ends) = site.trail();
    let grant = site.grant::<ErasePatients>(&erasing, &harbour);
    let erased = async {
        let done = erasures.erase(&grant, ada).await;
        ends.finish(End::Completed);
        done.unwrap()
    };
    let change = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        // Had the erasure gone by, this would stay behind it.
        sqlx::query("insert into patient_words (patient, word) values ($1, '\\x01')")
            .bind(ada)
            .execute(tx.conn())
            .await
            .unwrap();
        let done = tx.commit().await;
        closer.finish(End::Completed);
        done.unwrap();
    };
    let (erased, ()) = tokio::join!(erased, change);
    assert!(erased.is_complete());
    assert_eq!(site.number("select count(*) from patient_words").await, 0);
}

#[tokio::test]
async fn whoever_is_erased_leaves_no_relation_and_no_index_and_is_not_put_back() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    let doctor = UserId::generate(&*site.clock);
    site.change(&harbour, ada, Change::assign(doctor, Relations::ASSIGNED), async |tx, _| {
        tx.relate(None).await.unwrap()
    })
    .await
    .unwrap();
    let erasures = Erasures::open(&site.keyring, &site.db, &site.ledger).await.unwrap();
    let (trail, mut closer) = site.trail();
    let open = site.grant::<WriteNotes>(&trail, &harbour).subject(ada).await.unwrap();
    let (erasing, mut ends) = site.trail();
    let grant = site.grant::<ErasePatients>(&erasing, &harbour);
    let also = async |tx: &mut tower_ward::db::PostgresTx| {
        sqlx::query("delete from notes").execute(tx.conn()).await.map(|_| ())
    };
    assert!(erasures.erase_with(&grant, ada, also).await.unwrap().is_complete());
    ends.finish(End::Completed);
    for table in ["ward_relations", "patient_words", "notes"] {
        assert_eq!(site.number(&format!("select count(*) from {table}")).await, 0, "{table}");
    }
    // A door that was open before changes nothing any more.
    let late = site.db.change(&open, Change::update("patients", RowId::from_bytes(*ada.as_bytes()))).await;
    assert!(matches!(late, Err(TxError::Erased | TxError::Trail(_))), "{late:?}");
    closer.finish(End::Completed);
}

/// Neither the password of a URL, nor a key, nor what is written is printed with what holds them.
#[tokio::test]
async fn nothing_of_the_shared_database_is_printed_that_it_holds() {
    const CANARY: &str = crate::support::CANARY;
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, CANARY, CANARY).await;
    let url = format!("postgres://ward_app:{CANARY}@localhost/clinic");
    let mut printed = vec![format!("{:?} {:?}", tower_ward::db::PostgresOptions::new(&url).unwrap(), site.db)];
    let wrong = tower_ward::db::PostgresOptions::new(&format!("mysql://{CANARY}")).unwrap_err();
    printed.push(format!("{wrong} {wrong:?}"));
    let relations = PostgresRelations::new(site.db.clone(), site.keyring.clone(), site.clock.clone());
    printed.push(format!("{relations:?}"));
    let (trail, mut closer) = site.trail();
    let chart = site.grant::<WriteNotes>(&trail, &harbour).subject(ada).await.unwrap();
    printed.push(format!("{:?}", site.db.read(&chart).await.unwrap()));
    let mut tx = site.db.change(&chart, Change::update("notes", RowId::generate(&*site.clock))).await.unwrap();
    sqlx::query("update notes set author = $1").bind(CANARY).execute(tx.conn()).await.unwrap();
    printed.push(format!("{tx:?} {tx:#?}"));
    drop(tx);
    closer.finish(End::Completed);
    // The key with which requests are signed, as the database has it, in whole or in a part.
    let mut conn = site.connect("postgres").await;
    let key: Vec<u8> = sqlx::query_scalar("select enter_inner from ward.keys").fetch_one(&mut conn).await.unwrap();
    let key: Vec<u8> = key.into_iter().map(|byte| byte ^ 0x36).collect();
    for text in &printed {
        assert!(!text.contains(CANARY), "{text}");
        for part in [hex::encode(&key[..4]), format!("{:?}", &key[..4]).replace(['[', ']'], "")] {
            assert!(!text.contains(&part), "{text}");
        }
    }
    assert!(printed.iter().any(|text| text.contains("[REDACTED]")), "the signer is among it");
}
