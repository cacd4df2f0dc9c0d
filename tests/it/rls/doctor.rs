//! The doctor finds each misconfiguration by its name, and nothing in a database that is as it was installed.

use tower_ward::db::{DbError, FindingKind, PostgresDb, PostgresOptions};

use super::{
    Site,
    site::{APP, OWNER, SCHEMA},
};

/// What is done by the owner (or, where it takes one, a superuser), what the doctor calls it, and of which object; and how it
/// is undone where the installation does not.
const PLANTED: &[(&str, &str, FindingKind, &str, &str)] = &[
    (OWNER, "alter table notes disable row level security", FindingKind::RlsOff, "notes", ""),
    (OWNER, "alter table notes no force row level security", FindingKind::NotForced, "notes", ""),
    (OWNER, "drop policy ward_read on notes", FindingKind::NoPolicy, "notes.ward_read", ""),
    (OWNER, "alter policy ward_read on notes using (true)", FindingKind::OtherPolicy, "notes.ward_read", ""),
    (
        OWNER,
        "alter policy ward_insert on notes with check (tenant = (select ward.tenant()))",
        FindingKind::OtherPolicy,
        "notes.ward_insert",
        "",
    ),
    (
        OWNER,
        "create policy support on notes for select using (true)",
        FindingKind::ExtraPolicy,
        "notes.support",
        "drop policy support on notes",
    ),
    ("postgres", "alter role ward_app superuser", FindingKind::Superuser, APP, "alter role ward_app nosuperuser"),
    ("postgres", "alter role ward_app bypassrls", FindingKind::BypassRls, APP, "alter role ward_app nobypassrls"),
    ("postgres", "grant ward_owner to ward_app", FindingKind::Owner, "notes", "revoke ward_owner from ward_app"),
    (
        "postgres",
        "alter table staff owner to ward_app",
        FindingKind::Owner,
        "staff",
        "alter table staff owner to ward_owner",
    ),
    ("postgres", "alter role ward_app createrole", FindingKind::RoleRights, APP, "alter role ward_app nocreaterole"),
    (
        "postgres",
        "alter role ward_app set ward.scope = 'meadow'",
        FindingKind::RoleSetting,
        "ward.scope=meadow",
        "alter role ward_app reset all",
    ),
    (OWNER, "grant temporary on database clinic to ward_app", FindingKind::MayCreate, "clinic", ""),
    (
        "postgres",
        "grant create on schema public to public",
        FindingKind::MayCreate,
        "public",
        "revoke create on schema public from public",
    ),
    (OWNER, "create table letters (id uuid primary key)", FindingKind::Undeclared, "letters", "drop table letters"),
    (
        OWNER,
        "alter table notes drop constraint notes_pkey; alter table notes alter tenant drop not null",
        FindingKind::TenantColumn,
        "notes",
        "alter table notes add primary key (tenant, id)",
    ),
    (
        OWNER,
        "alter table notes alter tenant drop default",
        FindingKind::TenantColumn,
        "notes",
        "alter table notes alter tenant set default ward.tenant()",
    ),
    (
        OWNER,
        "alter table counters drop constraint counters_pkey, add primary key (name)",
        FindingKind::PrimaryKey,
        "counters",
        "alter table counters drop constraint counters_pkey, add primary key (tenant, name)",
    ),
    (
        OWNER,
        "alter table notes add constraint by_patient foreign key (id) references codes_of_notes (id)",
        FindingKind::Undeclared,
        "codes_of_notes",
        "alter table notes drop constraint by_patient; drop table codes_of_notes",
    ),
    (
        OWNER,
        "create unique index by_word on patient_words (word)",
        FindingKind::UniqueIndex,
        "by_word",
        "drop index by_word",
    ),
    (OWNER, "grant truncate on notes to ward_app", FindingKind::TableRights, "notes", ""),
    (
        OWNER,
        "grant update (tenant) on notes to ward_app",
        FindingKind::TableRights,
        "notes.tenant",
        "revoke update (tenant) on notes from ward_app",
    ),
    (OWNER, "grant insert on codes to ward_app", FindingKind::TableRights, "codes", ""),
    (OWNER, "grant delete on ward_attempts to ward_app", FindingKind::TableRights, "ward_attempts", ""),
    (OWNER, "grant select on ward.keys to ward_app", FindingKind::SecretReadable, "keys", ""),
    (
        OWNER,
        "create function all_notes() returns bigint language sql security definer as 'select count(*) from public.notes'",
        FindingKind::DefinerFunction,
        "all_notes()",
        "drop function all_notes",
    ),
    (
        OWNER,
        "create or replace function ward.verified() returns text[] language sql security definer as $$ select array['meadow', 'read', '-', '-', '-', '-'] $$",
        FindingKind::OtherFunction,
        "ward.verified",
        "",
    ),
    (
        OWNER,
        "create view every_note as select * from notes; grant select on every_note to ward_app",
        FindingKind::OwnerView,
        "every_note",
        "drop view every_note",
    ),
    (
        OWNER,
        "create materialized view kept as select * from notes; grant select on kept to ward_app",
        FindingKind::OwnerView,
        "kept",
        "drop materialized view kept",
    ),
    (
        OWNER,
        "create rule gone as on delete to staff do instead nothing",
        FindingKind::Rule,
        "staff.gone",
        "drop rule gone on staff",
    ),
    (OWNER, "alter table notes disable trigger ward_changed", FindingKind::Trigger, "notes.ward_changed", ""),
    (OWNER, "drop trigger ward_left on ward_attempts", FindingKind::Trigger, "ward_attempts.ward_left", ""),
    (
        OWNER,
        "drop trigger ward_changed on staff; alter table staff alter salary type text using ''",
        FindingKind::NotBytes,
        "staff.salary",
        "alter table staff alter salary type bytea using ''",
    ),
    (
        OWNER,
        "drop trigger ward_changed on notes; create trigger ward_changed after update on notes for each row when (false)
            execute function ward.touch_notes()",
        FindingKind::Trigger,
        "notes.ward_changed",
        "",
    ),
    (
        OWNER,
        "drop trigger ward_made on notes; create trigger ward_made after insert on notes for each row
            execute function ward.touch_notes()",
        FindingKind::Trigger,
        "notes.ward_made",
        "",
    ),
    (OWNER, "alter function ward.tenant() immutable", FindingKind::OtherFunction, "ward.tenant", ""),
    (OWNER, "alter function ward.leave(bytea) reset search_path", FindingKind::OtherFunction, "ward.leave", ""),
    (OWNER, "alter function ward.tenant() security invoker", FindingKind::OtherFunction, "ward.tenant", ""),
    (
        "postgres",
        "create function ward.leave(text) returns text language sql security definer as 'select $1'",
        FindingKind::OtherFunction,
        "ward.leave",
        "drop function ward.leave(text)",
    ),
    (
        OWNER,
        "create function ward.more() returns int language sql as 'select 1'",
        FindingKind::OtherFunction,
        "ward.more",
        "drop function ward.more()",
    ),
    (
        "postgres",
        "create schema rep; create view rep.v1 as select * from notes; create view rep.v2 as select * from rep.v1;
            grant usage on schema rep to ward_app; grant select on rep.v2 to ward_app",
        FindingKind::Elsewhere,
        "rep.v2",
        "drop schema rep cascade",
    ),
    (
        OWNER,
        "create schema rep; create table rep.notes_2025 () inherits (notes); grant usage on schema rep to public;
            grant select on rep.notes_2025 to public",
        FindingKind::Elsewhere,
        "rep.notes_2025",
        "drop schema rep cascade",
    ),
    (
        "postgres",
        "grant set on parameter session_replication_role to ward_app",
        FindingKind::RoleSetting,
        "session_replication_role",
        "revoke set on parameter session_replication_role from ward_app",
    ),
    (
        "postgres",
        "alter database clinic set search_path = rep, public",
        FindingKind::RoleSetting,
        "search_path=rep, public",
        "alter database clinic reset search_path",
    ),
    (OWNER, "grant update (patient) on notes to ward_app", FindingKind::TableRights, "notes.patient", ""),
    (
        OWNER,
        "alter default privileges in schema public grant select on tables to public",
        FindingKind::DefaultRights,
        "public",
        "alter default privileges in schema public revoke select on tables from public",
    ),
    (
        OWNER,
        "alter table notes add about uuid, add constraint about_note foreign key (tenant, about) references notes (tenant, id) on delete cascade",
        FindingKind::ForeignKey,
        "about_note",
        "alter table notes drop about",
    ),
];

// proves GLM-11, CLA-13, CCA-11
#[tokio::test]
async fn each_misconfiguration_is_refused_by_its_name() {
    let site = Site::new().await;
    assert_eq!(site.db.examine().await.unwrap(), [], "as it was installed");
    let mut kinds = std::collections::BTreeSet::new();
    for (role, planted, kind, object, undone) in PLANTED {
        if object == &"codes_of_notes" {
            site.sql(OWNER, "create table codes_of_notes (id uuid primary key)").await;
        }
        site.sql(role, planted).await;
        let refused = site.open().await.expect_err(planted);
        let DbError::Unguarded(findings) = &refused else { panic!("{planted}: {refused:?}") };
        let found = findings.iter().any(|finding| finding.kind() == *kind && finding.object() == *object);
        assert!(found, "{planted}: {refused}");
        assert!(refused.to_string().contains(&format!("`{object}`: ")), "{refused}");
        kinds.insert(*kind);
        if !undone.is_empty() {
            site.sql(role, undone).await;
        }
        site.install().await.unwrap();
        assert_eq!(site.db.examine().await.unwrap(), [], "{planted}: undone");
    }
    println!("{} misconfigurations of {} kinds", PLANTED.len(), kinds.len());
    assert!(PLANTED.len() >= 12 && kinds.len() >= 12);
}

#[tokio::test]
async fn a_foreign_key_that_could_lead_into_another_clinic_is_found() {
    let site = Site::new().await;
    site.sql(
        OWNER,
        "alter table counters add id uuid unique; alter table staff add counter uuid references counters (id)",
    )
    .await;
    let refused = site.open().await.unwrap_err().to_string();
    assert!(refused.contains("`staff_counter_fkey`: ") && refused.contains("`counters_id_key`: "), "{refused}");
}

#[tokio::test]
async fn a_clinic_that_sees_another_is_found_whatever_let_it() {
    let site = Site::new().await;
    site.patient(&site.harbour, "Ada", "of Ada").await;
    // Something that the catalogue does not tell: here a superuser's function in the place of the built-in one.
    site.sql(
        "postgres",
        "alter policy ward_read on notes using (true); alter policy ward_read on ward_canary using (true)",
    )
    .await;
    let refused = site.open().await.unwrap_err();
    let DbError::Unguarded(findings) = &refused else { panic!("{refused:?}") };
    let leaks: Vec<_> = findings.iter().filter(|f| f.kind() == FindingKind::Leak).map(|f| f.object()).collect();
    assert!(leaks.contains(&"notes") && leaks.iter().any(|object| object.contains("ward_canary")), "{refused}");
}

#[tokio::test]
async fn another_keyring_is_refused_and_nothing_is_served() {
    let site = Site::new().await;
    let store =
        std::sync::Arc::new(tower_ward::store::MemoryStore::new(std::num::NonZeroUsize::MAX).danger_forgetful());
    let stranger = tower_ward::keys::Keyring::open(tower_ward::keys::RootKey::generate(), store).await.unwrap();
    let options = PostgresOptions::new(&site.url(APP)).unwrap();
    let refused = PostgresDb::open(&options, SCHEMA, &stranger).await.unwrap_err();
    assert!(matches!(refused, DbError::OtherKey), "{refused:?}");
    // Nor is the database taken over by whoever has its owner's role and other keys.
    let owner = PostgresOptions::new(&site.url(OWNER)).unwrap();
    let taken = PostgresDb::install(&owner, APP, SCHEMA, &stranger).await.unwrap_err();
    assert!(matches!(taken, DbError::OtherKey), "{taken:?}");
    site.open().await.unwrap();
    PostgresDb::install(&owner, APP, SCHEMA, &site.keyring).await.unwrap();
    // Without the key, as after a backup was put back, it is installed anew.
    site.sql("postgres", "delete from ward.keys").await;
    PostgresDb::install(&owner, APP, SCHEMA, &site.keyring).await.unwrap();
    site.open().await.unwrap();
    // A clinic that nobody made.
    let nobody = tower_ward::id::TenantId::new("nowhere").unwrap();
    site.keyring.create_tenant(&nobody).await.unwrap();
    let (trail, mut closer) = site.trail();
    let clinic = site.grant::<crate::support::model::KeepStaff>(&trail, &nobody).clinic().await.unwrap();
    let read = site.db.read(&clinic).await;
    assert!(matches!(read, Err(tower_ward::db::TxError::Db(DbError::Missing(_)))), "{read:?}");
    closer.finish(tower_ward::audit::End::Completed);
}
