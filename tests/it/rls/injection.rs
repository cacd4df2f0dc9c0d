//! Statements that somebody injected, in the transaction of one clinic, to reach another.

use sqlx::Executor as _;
use tower_ward::{audit::End, db::Change, id::RowId};

use super::Site;
use crate::support::model::ReadNotes;

/// What is run as the application's role, in a transaction that entered `harbour`. None may show a row of `meadow`, nor be
/// committed with a change of one.
const CORPUS: &[(&str, &str)] = &[
    ("the setting", "select set_config('ward.scope', 'meadow|read|-|-|-|-', true)"),
    ("the setting for the session", "select set_config('ward.scope', 'meadow|read|-|-|-|-', false)"),
    ("by `set`", "set local ward.scope = 'meadow'"),
    ("the setting of another place", "select set_config('app.tenant', 'meadow', true)"),
    ("an empty setting", "select set_config('ward.scope', '', true)"),
    ("reset", "reset ward.scope"),
    ("reset all", "reset all"),
    (
        "the proof of nothing",
        "select set_config('ward.scope', 'meadow|read|-|-|-|-', true), set_config('ward.proof', '', true)",
    ),
    (
        "the proof of now",
        "select set_config('ward.scope', 'meadow|read|-|-|-|-', true), set_config('ward.proof', current_setting('ward.proof'), true)",
    ),
    (
        "a proof that is no number",
        "select set_config('ward.scope', 'meadow|read|-|-|-|-', true), set_config('ward.proof', 'zz', true)",
    ),
    (
        "to enter without a signature",
        "select ward.enter('meadow|read|-|-|-|-|' || concat_ws(' ', pg_backend_pid(), extract(epoch from transaction_timestamp())), null)",
    ),
    (
        "to enter with a signature of one's own",
        "select ward.enter('meadow|read|-|-|-|-|' || concat_ws(' ', pg_backend_pid(), extract(epoch from transaction_timestamp())), sha256('x'))",
    ),
    ("to sign", "select ward.hmac(enter_inner, enter_outer, 'x') from ward.keys"),
    (
        "to ask past the transaction",
        "select * from ward.related('meadow|read|-|-|-|-\n0', '\\x00', array[]::uuid[], array['assigned'], 0)",
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
    ("what proves a relation", "select mac from ward_relations"),
    ("the statements of others", "deallocate all"),
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

/// What is left in a session, by statements that were injected into one clinic's transaction and end it, is nobody else's: the
/// next one has a session as if it were new, or another one.
// proves CLA-15
#[tokio::test]
async fn what_an_injection_leaves_in_a_session_does_not_reach_the_next_clinic() {
    let site = Site::with_connections(1).await;
    let (harbour, meadow) = (site.harbour.clone(), site.meadow.clone());
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let eve = site.patient(&meadow, "Eve", "of Eve").await;
    // Each name that a statement has is given to another one, which would keep what is bound to it.
    let swap = "do $$ declare one record; begin
        for one in select name, parameter_types from pg_prepared_statements loop
            execute format('deallocate %I', one.name);
            execute format('prepare %I as select 1', one.name);
        end loop;
    end $$";
    for (name, text) in [
        ("settings", "commit; set client_encoding = 'latin1'; set search_path = pg_catalog; set statement_timeout = 1"),
        ("a scope for the session", "commit; set ward.scope = 'x'; set ward.proof = 'zz'"),
        (
            "only reading",
            "commit; set default_transaction_read_only = on; set default_transaction_isolation = serializable",
        ),
        ("quotes", "commit; set standard_conforming_strings = off"),
        ("a cursor that stays", "declare held cursor with hold for select id from notes; commit"),
        ("a lock that stays", "select pg_advisory_lock(1); commit"),
        ("an ear", "listen everything; commit"),
        ("the statements of others", "deallocate all"),
        (
            "one statement of others",
            "do $$ begin execute format('deallocate %I', (select name from pg_prepared_statements limit 1)); end $$",
        ),
        ("other statements", swap),
        (
            "other statements, for good",
            "rollback; deallocate all; prepare sqlx_s_1 as select 1; prepare other as select * from notes",
        ),
    ] {
        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
        let mut tx = site.db.read(&chart).await.unwrap();
        let _ = sqlx::query("select id, text from notes").fetch_all(tx.conn()).await.unwrap();
        sqlx::raw_sql(text).execute(tx.conn()).await.unwrap();
        drop(tx);
        closer.finish(End::Completed);

        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &meadow).subject(eve).await.unwrap();
        let mut tx = site.db.read(&chart).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let left: (String, String, String, String, i64, i64, i64, i64) = sqlx::query_as(
            "select current_setting('client_encoding'), current_setting('search_path'), current_setting('transaction_isolation'),
                current_setting('standard_conforming_strings'), (select count(*) from pg_cursors where is_holdable),
                (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
                (select count(*) from pg_listening_channels()), (select count(*) from pg_prepared_statements where from_sql)",
        )
        .persistent(false)
        .fetch_one(tx.conn())
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        let fresh = ("UTF8".into(), "\"$user\", public".into(), "read committed".into(), "on".into(), 0, 0, 0, 0);
        assert_eq!(left, fresh, "{name}");
        drop(tx);
        closer.finish(End::Completed);
        // And what is written arrives as it was meant.
        site.write(&meadow, eve, "é, of Eve").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(site.notes(&meadow, eve).await.contains(&"é, of Eve".to_owned()), "{name}");
    }
    assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
}

/// Whatever is put in the place of what, a change is in the ledger or is not made.
#[tokio::test]
async fn no_injection_hides_a_change_from_the_ledger() {
    let site = Site::with_connections(1).await;
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "first").await;
    let mut made = 0;
    for text in [
        "deallocate all",
        "do $$ declare one record; begin for one in select name from pg_prepared_statements loop
            execute format('deallocate %I', one.name);
            execute format('prepare %I as select 1 limit 0', one.name); end loop; end $$",
        "select set_config('ward.leave', 'x', true)",
        "set constraints all deferred",
        "savepoint before; update notes set text = '\\x00'; rollback to before",
        "set local synchronous_commit = off",
    ] {
        let done = site
            .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
                tx.conn().execute(text).await.unwrap();
                tx.conn().execute("update notes set text = text || '\\x00'").await.unwrap();
            })
            .await;
        made += usize::from(done.is_ok());
        println!("{text}: {done:?}");
    }
    // The ledger's part, by itself: an injected call of it is not signed.
    let done = site
        .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
            tx.conn().execute("update notes set text = '\\x01'").await.unwrap();
            assert!(tx.conn().execute("select * from ward.leave('\\x00')").await.is_err());
        })
        .await;
    assert!(done.is_err(), "{done:?}");
    let records = site.into_records().await;
    let changed = crate::support::of_kind(&records, tower_ward::audit::Kind::Changed).len();
    // The patient and the note, and one for each change that was made.
    assert_eq!(changed, 2 + made, "{made} changes were committed");
    assert!(made >= 4, "{made}");
}

/// Plans hold as constants what a query is given, and whoever turns `debug_print_plan` on has them written to the log, or sent.
#[tokio::test]
async fn no_key_of_the_database_is_in_a_plan_that_it_prints() {
    let site = Site::new().await;
    let harbour = site.harbour.clone();
    for setting in ["debug_print_plan", "debug_print_rewritten", "debug_print_parse"] {
        site.sql("postgres", &format!("alter system set {setting} = on")).await;
    }
    site.sql("postgres", "select pg_reload_conf()").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    // Every way into a clinic and out of it.
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let doctor = tower_ward::id::UserId::generate(&*site.clock);
    let assigned = tower_ward::access::Relations::ASSIGNED;
    site.change(&harbour, ada, Change::assign(doctor, assigned), async |tx, _| tx.relate(None).await.unwrap())
        .await
        .unwrap();
    site.change(&harbour, ada, Change::unassign(doctor, assigned), async |tx, _| {
        assert!(tx.unrelate().await.unwrap());
    })
    .await
    .unwrap();
    let sneaked = site
        .change(&harbour, ada, Change::update("notes", RowId::generate(&*site.clock)), async |tx, _| {
            tx.conn().execute("commit").await.unwrap_err();
        })
        .await;
    assert!(sneaked.is_err());
    let erasures = tower_ward::privacy::Erasures::open(&site.keyring, &site.db, &site.ledger).await.unwrap();
    let (trail, mut closer) = site.trail();
    let grant = site.grant::<crate::support::model::ErasePatients>(&trail, &harbour);
    assert!(erasures.erase(&grant, ada).await.unwrap().is_complete());
    closer.finish(End::Completed);

    let log = std::fs::read_to_string(site.server.folder().join("server.log")).unwrap();
    assert!(log.contains(":constvalue") && log.contains("ward.leave"), "plans are printed");
    let mut conn = site.connect("postgres").await;
    let keys: (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>) =
        sqlx::query_as("select enter_inner, enter_outer, proof_inner, proof_outer from ward.keys")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    for (name, key) in
        [("enter_inner", keys.0), ("enter_outer", keys.1), ("proof_inner", keys.2), ("proof_outer", keys.3)]
    {
        // As a plan prints bytes: signed, and decimal.
        let printed: Vec<String> = key[4..10].iter().map(|byte| byte.cast_signed().to_string()).collect();
        assert!(!log.contains(&printed.join(" ")), "{name} is in the log");
        assert!(!log.contains(&hex::encode(&key[4..10])), "{name} is in the log");
    }
}
