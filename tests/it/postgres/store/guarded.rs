//! Which places are refused, and what the role can do besides.

use sqlx::Executor as _;
use tower_ward::store::{Durable as _, PostgresPlace, PostgresStore, StoreError};

use super::{Cluster, name, place_as, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_fit_is_refused_with_its_own_sentence() {
    let (cluster, place) = server(&[]);
    for (attack, role, before, after, says) in [
        ("the owner logs in", "keeper", "", "", "owns the tables"),
        ("a superuser logs in", "postgres", "", "", "superuser"),
        (
            "a superuser who calls himself another",
            "admin",
            "create role admin superuser login; alter role admin set role writer",
            "drop role admin",
            "superuser",
        ),
        (
            "row security is bypassed",
            "writer",
            "alter role writer bypassrls",
            "alter role writer nobypassrls",
            "bypasses row security",
        ),
        (
            "a role that could copy the disk",
            "writer",
            "alter role writer replication",
            "alter role writer noreplication",
            "replicates",
        ),
        (
            "a role that can make itself another",
            "writer",
            "alter role writer createrole",
            "alter role writer nocreaterole",
            "makes roles",
        ),
        (
            "a role that may write everywhere",
            "writer",
            "grant pg_write_all_data to writer",
            "revoke pg_write_all_data from writer",
            "writes everything",
        ),
        (
            "a role that may run programs",
            "writer",
            "grant pg_execute_server_program to writer",
            "revoke pg_execute_server_program from writer",
            "superuser",
        ),
        (
            "an owner by membership",
            "writer",
            "alter role writer noinherit; grant keeper to writer",
            "revoke keeper from writer; alter role writer inherit",
            "owns the tables",
        ),
        (
            "answers before the disk",
            "writer",
            "alter role writer set synchronous_commit = off",
            "alter role writer reset synchronous_commit",
            "`synchronous_commit`",
        ),
        (
            "answers before the disk, by the database",
            "writer",
            "alter database postgres set synchronous_commit = off",
            "alter database postgres reset synchronous_commit",
            "`synchronous_commit`",
        ),
        (
            "tables beside it",
            "writer",
            "grant create on schema ward_store to writer",
            "revoke create on schema ward_store from writer",
            "revoke create",
        ),
        (
            "schemas beside it",
            "writer",
            "grant create on database postgres to writer",
            "revoke create on database postgres from writer",
            "revoke create",
        ),
        (
            "truncate",
            "writer",
            "grant truncate on ward_store.objects to writer",
            "revoke truncate on ward_store.objects from writer",
            "truncate",
        ),
        (
            "a trigger of its own",
            "writer",
            "grant trigger on ward_store.versions to writer",
            "revoke trigger on ward_store.versions from writer",
            "trigger",
        ),
        (
            "versions from the beginning",
            "writer",
            "grant delete on ward_store.versions to writer",
            "revoke delete on ward_store.versions from writer",
            "`versions`",
        ),
        (
            "everybody reads",
            "writer",
            "grant select on ward_store.objects to public",
            "revoke select on ward_store.objects from public",
            "everybody",
        ),
        (
            "everybody reads one column",
            "writer",
            "grant select (value) on ward_store.objects to public",
            "revoke select (value) on ward_store.objects from public",
            "everybody",
        ),
        (
            "everybody looks",
            "writer",
            "grant usage on schema ward_store to public",
            "revoke usage on schema ward_store from public",
            "everybody",
        ),
        (
            "a table that a crash empties",
            "writer",
            "alter table ward_store.objects set unlogged",
            "alter table ward_store.objects set logged",
            "not logged",
        ),
        (
            "rows that are hidden",
            "writer",
            "alter table ward_store.objects enable row level security",
            "alter table ward_store.objects disable row level security",
            "row security",
        ),
        (
            "a rule instead",
            "writer",
            "create rule gone as on delete to ward_store.objects do instead nothing",
            "drop rule gone on ward_store.objects",
            "rules",
        ),
        (
            "a trigger instead",
            "writer",
            "create function ward_store.no() returns trigger language plpgsql as 'begin return null; end'; create trigger no before delete on ward_store.objects for each row execute function ward_store.no()",
            "drop trigger no on ward_store.objects; drop function ward_store.no",
            "triggers",
        ),
        (
            "rows of another table",
            "writer",
            "create table ward_store.heir () inherits (ward_store.objects)",
            "drop table ward_store.heir",
            "heirs",
        ),
        (
            "samples of values",
            "writer",
            "alter table ward_store.objects alter column value set statistics 100",
            "alter table ward_store.objects alter column value set statistics 0",
            "samples",
        ),
        (
            "values in the log",
            "writer",
            "alter role writer set log_statement = 'all'",
            "alter role writer reset log_statement",
            "log_parameter_max_length",
        ),
        (
            "slow values in the log",
            "writer",
            "alter role writer set log_min_duration_statement = 0",
            "alter role writer reset log_min_duration_statement",
            "log_parameter_max_length",
        ),
        (
            "no right to remove",
            "writer",
            "revoke delete on ward_store.objects from writer",
            "grant delete on ward_store.objects to writer",
            "may not use",
        ),
        (
            "no right to the turn",
            "writer",
            "revoke update (last) on ward_store.versions from writer",
            "grant update (last) on ward_store.versions to writer",
            "may not use",
        ),
        (
            "no right to scrub",
            "writer",
            "revoke execute on function ward_store.scrub from writer",
            "grant execute on function ward_store.scrub to writer",
            "may not use",
        ),
        (
            "no way in",
            "writer",
            "revoke usage on schema ward_store from writer",
            "grant usage on schema ward_store to writer",
            "may not use",
        ),
        (
            "no tables",
            "writer",
            "alter table ward_store.objects rename to others",
            "alter table ward_store.others rename to objects",
            "not there",
        ),
    ] {
        if !before.is_empty() {
            cluster.sql(before);
        }
        let refused = PostgresStore::open(&place_as(&cluster, role)).await;
        assert!(
            matches!(&refused, Err(StoreError::Unguarded { what }) if what.contains(says)),
            "{attack}: {refused:?}"
        );
        if !after.is_empty() {
            cluster.sql(after);
        }
    }
    let nowhere = PostgresStore::open(&place.clone().with_schema("nowhere").unwrap()).await;
    assert!(matches!(&nowhere, Err(StoreError::Unguarded { what }) if what.contains("not there")), "{nowhere:?}");
    cluster.sql("update ward_store.versions set format = 2");
    assert!(matches!(PostgresStore::open(&place).await, Err(StoreError::Newer)));
    cluster.sql("update ward_store.versions set format = 1");
    // Logging without what is bound is no reason.
    cluster.sql("alter role writer set log_statement = 'all'; alter role writer set log_parameter_max_length = 0");
    PostgresStore::open(&place).await.unwrap();

    let (_unsynced, place) = server(&["fsync=off"]);
    let refused = PostgresStore::open(&place).await;
    assert!(matches!(&refused, Err(StoreError::Unguarded { what }) if what.contains("`fsync`")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_can_do_nothing_but_the_four_verbs() {
    let (cluster, place) = server(&[]);
    let store = PostgresStore::open(&place).await.unwrap();
    assert!(store.insert_new(&name("a"), b"1", None).await.unwrap());
    cluster.sql("create schema clinic; create table clinic.patients (id int)");
    for statement in [
        "truncate ward_store.objects",
        "drop table ward_store.objects",
        "alter table ward_store.objects add column x int",
        "alter table ward_store.objects disable trigger all",
        "alter table ward_store.objects alter column value set statistics 100",
        "create trigger t before insert on ward_store.objects for each row execute function suppress_redundant_updates_trigger()",
        "create index on ward_store.objects (value)",
        "create table ward_store.mine (x int)",
        "create schema mine",
        "create or replace function ward_store.scrub() returns void language sql as ''",
        "drop schema ward_store cascade",
        "insert into ward_store.versions values (false, 1, 1)",
        "delete from ward_store.versions",
        "update ward_store.versions set format = 9",
        "set session_replication_role = replica",
        "select * from clinic.patients",
        "insert into clinic.patients values (1)",
        "set role keeper",
        "copy ward_store.objects to '/tmp/ward-store-stolen'",
        "grant select on ward_store.objects to public",
    ] {
        let refused = cluster.as_role("writer", |mut conn| async move { conn.execute(statement).await });
        // `grant` without the right to is a warning, and grants nothing.
        assert!(refused.is_err() || statement.starts_with("grant"), "{statement}");
    }
    PostgresStore::open(&place).await.unwrap();
    assert!(store.get(&name("a")).await.unwrap().is_some());
}

/// The driver's own errors show, in `Debug`, the row that the server refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_shows_a_value_a_key_or_the_url() {
    let (cluster, place) = server(&[]);
    let store = PostgresStore::open(&place).await.unwrap();
    cluster.sql("alter table ward_store.objects add constraint none check (octet_length(value) < 5)");
    let refused = store.insert_new(&name("canary-key"), b"canary-value", None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let shown = format!("{refused} {refused:?} {store:?} {place:?}");
    assert!(shown.contains("23514"), "the server's code helps: {shown}");
    let bytes = b"canary-value".iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for hidden in ["canary", &bytes, "postgres://", "writer@", "host="] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    for url in [
        "postgres://w:canary-pass@localhost:99999/x",
        "postgres://w:canary-pass@localhost/x?host=/nowhere",
        "postgres://w:canary-pass@localhost:1/x",
    ] {
        let error = match PostgresPlace::new(url) {
            Ok(place) => PostgresStore::open(&place).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    assert!(matches!(PostgresStore::open(&place_as(&cluster, "nobody")).await, Err(StoreError::Unavailable(_))));
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_script_of_a_store() {
    let ward = |arguments: &[&str]| {
        let done =
            std::process::Command::new(env!("CARGO_BIN_EXE_ward")).args(["store"]).args(arguments).output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let cluster = Cluster::start(&[]);
    let (good, script, _) = ward(&["schema", "--role", "writer", "--schema", "ward_keys"]);
    assert!(good);
    cluster.run_as("keeper", &script);
    let place = place_as(&cluster, "writer").with_schema("ward_keys").unwrap();
    assert!(PostgresStore::open(&place).await.unwrap().insert_new(&name("a"), b"1", None).await.unwrap());
    for (arguments, says) in [
        (&["schema", "--role", "a b"][..], "`role`"),
        (&["schema", "--role", "w", "--schema", "public"], "`schema`"),
        (&["schema"], "--role"),
    ] {
        let (good, printed, said) = ward(arguments);
        assert!(!good && printed.is_empty() && said.contains(says), "{arguments:?}: {said}");
    }
}
