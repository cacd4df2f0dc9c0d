//! Statements that somebody injected, in the transaction of one clinic, to reach another.

use sqlx::Executor as _;
use tower_ward::{audit::End, db::Change, id::RowId};

use super::Site;
use crate::support::model::ReadNotes;

/// What is run as the application's role, in a transaction that entered `harbour`. None may show a row of `meadow`, nor be
/// committed with a change of one.
const CORPUS: &[(&str, &str)] = &[
    ("the setting", "select set_config('ward.scope', 'meadow\nread\n-\n-\n-\n-', true)"),
    ("the setting for the session", "select set_config('ward.scope', 'meadow\nread\n-\n-\n-\n-', false)"),
    ("by `set`", "set local ward.scope = 'meadow'"),
    ("the setting of another place", "select set_config('app.tenant', 'meadow', true)"),
    ("an empty setting", "select set_config('ward.scope', '', true)"),
    ("reset", "reset ward.scope"),
    ("reset all", "reset all"),
    (
        "the proof of nothing",
        "select set_config('ward.scope', 'meadow\nread\n-\n-\n-\n-', true), set_config('ward.proof', '', true)",
    ),
    (
        "the proof of now",
        "select set_config('ward.scope', 'meadow\nread\n-\n-\n-\n-', true), set_config('ward.proof', current_setting('ward.proof'), true)",
    ),
    (
        "a proof that is no number",
        "select set_config('ward.scope', 'meadow\nread\n-\n-\n-\n-', true), set_config('ward.proof', 'zz', true)",
    ),
    (
        "to enter without a signature",
        "select ward.enter('meadow\nread\n-\n-\n-\n-\n' || (extract(epoch from clock_timestamp()) * 1000)::bigint, null)",
    ),
    (
        "to enter with a signature of one's own",
        "select ward.enter('meadow\nread\n-\n-\n-\n-\n' || (extract(epoch from clock_timestamp()) * 1000)::bigint, sha256('x'))",
    ),
    ("to sign", "select ward.hmac(enter_inner, enter_outer, 'x') from ward.keys"),
    (
        "to ask past the transaction",
        "select * from ward.related('meadow\nread\n-\n-\n-\n-\n0', '\\x00', array[]::uuid[], array['assigned'], 0)",
    ),
    ("row security off", "set local row_security = off"),
    ("the owner's role", "set local role ward_owner"),
    ("another session's role", "set session authorization postgres"),
    ("no role", "reset role"),
    ("the policies", "drop policy ward_read on notes"),
    ("a policy for all", "create policy open on notes using (true)"),
    ("a view", "create view seen as select * from notes"),
    (
        "a function of the owner's",
        "create function seen() returns setof notes language sql security definer as 'select * from notes'",
    ),
    (
        "a function in the temporary schema",
        "create function pg_temp.tenant() returns text language sql as 'select ''meadow'''",
    ),
    (
        "another function of that name",
        "create function public.tenant() returns text language sql as 'select ''meadow'''",
    ),
    ("the search path", "set local search_path = pg_temp, public, ward"),
    ("a temporary table", "create temporary table patients as select 1"),
    ("a trigger", "create trigger t before insert on notes for each row execute function ward.left()"),
    ("a rule", "create rule r as on select to notes do instead select * from patients"),
    ("copy to a program", "copy notes to program 'cat'"),
    ("copy from a file", "create table t (t text); copy t from '/etc/passwd'"),
    ("a file", "select pg_read_file('PG_VERSION')"),
    ("a large object", "select lo_import('/etc/passwd')"),
    ("statistics", "select most_common_vals::text from pg_stats where tablename = 'notes' and schemaname = 'public'"),
    ("what others run", "select query from pg_stat_activity where query like '%meadow%' and pid <> pg_backend_pid()"),
    ("a lock", "lock table notes in access exclusive mode"),
    (
        "a leaky function in the condition",
        "select text from notes where (case when tenant = 'meadow' then 1 / 0 else 1 end) = 1",
    ),
    (
        "an oracle by a key",
        "insert into notes (tenant, id, patient, text) select 'meadow', id, patient, text from notes",
    ),
    ("a copy of all", "copy notes to stdout"),
    ("the owner of the database", "alter database clinic set ward.scope = 'meadow'"),
    ("the role's own settings", "alter role ward_app set row_security = off"),
    ("replica", "set session_replication_role = replica"),
    ("the constraint at once", "set constraints all immediate"),
    ("the key of a prepared one", "prepare sqlx_s_1 as select * from notes"),
];

// proves GLM-12, CLA-11, CLA-12, CCA-28
#[tokio::test]
async fn whatever_runs_as_the_servers_role_sees_no_row_of_another_clinic() {
    let site = Site::new().await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let eve = site.patient(&meadow, "Eve", "of Eve").await;
    let mut tried = 0;
    for (name, attack) in CORPUS {
        // In a transaction that reads, and in one that changes; what follows is what a handler would run next.
        for changes in [false, true] {
            let (trail, mut closer) = site.trail();
            let chart = site.grant::<crate::support::model::WriteNotes>(&trail, &harbour).subject(ada).await.unwrap();
            let follows = "select tenant from notes union all select tenant from patients";
            let seen: Vec<String> = if changes {
                let change = Change::update("notes", RowId::generate(&*site.clock));
                let mut tx = site.db.change(&chart, change).await.unwrap();
                let _ = tx.conn().execute(*attack).await;
                let seen = sqlx::query_scalar(follows).fetch_all(tx.conn()).await.unwrap_or_default();
                let _ = sqlx::query("update notes set author = 'injected' where patient <> $1")
                    .bind(ada)
                    .execute(tx.conn())
                    .await;
                let _ = tx.commit().await;
                seen
            } else {
                let mut tx = site.db.read(&chart).await.unwrap();
                let _ = tx.conn().execute(*attack).await;
                sqlx::query_scalar(follows).fetch_all(tx.conn()).await.unwrap_or_default()
            };
            closer.finish(End::Completed);
            assert!(seen.iter().all(|tenant| tenant == "harbour"), "{name}: {seen:?}");
            tried += 1;
        }
        assert_eq!(site.number("select count(*) from notes where author = 'injected'").await, 0, "{name}");
        // The next one on these connections is nobody's either.
        assert_eq!(site.notes(&meadow, eve).await, ["of Eve"], "{name}");
        assert_eq!(site.notes(&harbour, ada).await, ["of Ada"], "{name}");
    }
    // Were there no policy, the same statement would show them: the sight is not broken.
    site.sql(super::site::OWNER, "alter policy ward_read on notes using (true)").await;
    let (trail, mut closer) = site.trail();
    let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
    let mut tx = site.db.read(&chart).await.unwrap();
    let seen: Vec<String> = sqlx::query_scalar("select tenant from notes").fetch_all(tx.conn()).await.unwrap();
    assert!(seen.iter().any(|tenant| tenant == "meadow"), "{seen:?}");
    drop(tx);
    closer.finish(End::Completed);
    site.install().await.unwrap();
    // What stuck to the role is found at the next start.
    println!("{tried} injections, no row of another clinic");
    site.sql("postgres", "alter role ward_app reset all").await;
    site.open().await.expect("nothing of it was left behind");
}

/// The transaction ends, and another begins, all by what was injected: it has entered no clinic.
// proves CLA-12
#[tokio::test]
async fn a_transaction_that_an_injection_begins_anew_is_in_no_clinic() {
    let site = Site::new().await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    site.patient(&meadow, "Eve", "of Eve").await;
    for text in [
        "commit; begin",
        "rollback; begin",
        "rollback; begin read write",
        "end; start transaction",
        "rollback and chain",
    ] {
        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
        let mut tx = site.db.read(&chart).await.unwrap();
        // The scope of before, said again in the transaction after.
        let kept: (String, String) =
            sqlx::query_as("select current_setting('ward.scope'), current_setting('ward.proof')")
                .fetch_one(tx.conn())
                .await
                .unwrap();
        tx.conn().execute(sqlx::AssertSqlSafe(text.to_owned())).await.unwrap();
        let seen: i64 = sqlx::query_scalar("select count(*) from notes").fetch_one(tx.conn()).await.unwrap();
        assert_eq!(seen, 0, "{text}");
        sqlx::query("select set_config('ward.scope', $1, true), set_config('ward.proof', $2, true)")
            .bind(kept.0)
            .bind(kept.1)
            .execute(tx.conn())
            .await
            .unwrap();
        let again = sqlx::query_scalar::<_, i64>("select count(*) from notes").fetch_one(tx.conn()).await;
        let error = again.expect_err(text);
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("WD001"), "{text}: {error}");
        drop(tx);
        closer.finish(End::Completed);
    }
    assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
}
