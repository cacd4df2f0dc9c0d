//! What the planner makes of the policies: the clinic's index is used, and the clinic is asked for once in a statement.

use sqlx::AssertSqlSafe;
use tower_ward::{audit::End, id::RowId};

use super::Site;
use crate::support::model::ReadNotes;

/// 500 clinics of 100 people; a word of the index is found at several people of each.
const PEOPLE: &str = "
    insert into ward.tenants select 'clinic-' || n from generate_series(1, 499) n;
    insert into patients (tenant, id, name)
        select case when n % 500 = 0 then 'harbour' else 'clinic-' || n % 500 end, gen_random_uuid(), sha256(int4send(n))
        from generate_series(1, 50000) n;
    insert into patient_words (tenant, patient, word)
        select tenant, id, substr(sha256(int4send((random() * 20)::int)), 1, 16) from patients;
    insert into notes (tenant, id, patient, text) select tenant, gen_random_uuid(), id, sha256(name) from patients;
    analyze";

const WORD: &str = "substr(sha256(int4send(7)), 1, 16)";

// proves GLM-11
#[tokio::test]
async fn the_clinic_is_asked_for_once_in_a_statement_and_its_index_is_used() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    site.sql("postgres", PEOPLE).await;
    let site_db = site.open().await.unwrap();
    let queries = [
        // What it is, the query, the index, and how many tables each of which asks.
        ("list", "select id, name from patients order by id limit 25".to_owned(), "patients_pkey", 1),
        (
            "a page in the middle",
            "select id, name from patients where id > '80000000-0000-0000-0000-000000000000' order by id limit 25"
                .to_owned(),
            "patients_pkey",
            1,
        ),
        ("read one", format!("select id, name from patients where id = '{ada}'"), "patients_pkey", 1),
        ("count all", "select count(*) from notes".to_owned(), "notes", 1),
        (
            "search by word",
            format!("select patient from patient_words where word = {WORD} order by patient limit 25"),
            "patient_words_by_word",
            1,
        ),
        (
            "join",
            format!(
                "select p.id, p.name from patient_words w join patients p on p.id = w.patient and p.tenant = w.tenant
                 where w.word = {WORD} order by p.id limit 25"
            ),
            "patient_words_by_word",
            2,
        ),
        (
            "join of all",
            "select p.id, n.id from patients p join notes n on n.patient = p.id and n.tenant = p.tenant".to_owned(),
            "notes_",
            2,
        ),
    ];
    for (name, query, index, tables) in queries {
        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
        let mut tx = site_db.read(&chart).await.unwrap();
        let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_xact_user_functions
            where schemaname = 'ward' and funcname = 'tenant'";
        let before: i64 = sqlx::query_scalar(calls).fetch_one(tx.conn()).await.unwrap();
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("explain (analyze, costs off, timing off, summary off) {query}")))
                .fetch_all(tx.conn())
                .await
                .unwrap();
        let after: i64 = sqlx::query_scalar(calls).fetch_one(tx.conn()).await.unwrap();
        let plan = plan.join("\n");
        assert_eq!(after - before, tables, "{name}: asked so often\n{plan}");
        let asked = plan.lines().filter(|line| line.trim_start().starts_with("InitPlan")).count();
        assert_eq!(asked, usize::try_from(tables).unwrap(), "{name}\n{plan}");
        assert!(!plan.contains("Seq Scan") && plan.contains(index), "{name}\n{plan}");
        // The clinic is what the index is searched by, and not what is sieved from what it found.
        assert!(
            plan.lines().any(|line| line.contains("Index Cond: (")
                && (line.contains("tenant = $") || line.contains("tenant = (InitPlan"))),
            "{name}\n{plan}"
        );
        assert!(!plan.lines().any(|line| line.contains("Filter:") && line.contains("tenant")), "{name}\n{plan}");
        drop(tx);
        closer.finish(End::Completed);
    }
    // Written as a function without a `select` around it, it would be asked for once a row: the sight is not broken.
    site.sql(super::site::OWNER, "alter policy ward_read on notes using (tenant = ward.tenant())").await;
    let (trail, mut closer) = site.trail();
    let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
    let mut tx = site_db.read(&chart).await.unwrap();
    let none = RowId::from_bytes([0; 16]);
    sqlx::query("select count(*) from notes where id <> $1 and tenant || '' <> ''")
        .bind(none)
        .execute(tx.conn())
        .await
        .unwrap();
    let calls = "select sum(calls)::bigint from pg_stat_xact_user_functions where funcname = 'tenant'";
    let calls: i64 = sqlx::query_scalar(calls).fetch_one(tx.conn()).await.unwrap();
    assert!(calls > 1, "{calls}");
    drop(tx);
    closer.finish(End::Completed);
}
