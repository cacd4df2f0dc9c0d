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
    (OWNER, "alter table notes disable trigger ward_changed", FindingKind::Trigger, "notes", ""),
    (OWNER, "drop trigger ward_left on ward_attempts", FindingKind::Trigger, "ward_attempts", ""),
    (
        OWNER,
        "drop trigger ward_changed on staff; alter table staff alter salary type text using ''",
        FindingKind::NotBytes,
        "staff.salary",
        "alter table staff alter salary type bytea using ''",
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
async fn another_keyring_and_another_clock_are_refused_and_nothing_is_served() {
    let site = Site::new().await;
    let store =
        std::sync::Arc::new(tower_ward::store::MemoryStore::new(std::num::NonZeroUsize::MAX).danger_forgetful());
    let stranger = tower_ward::keys::Keyring::open(tower_ward::keys::RootKey::generate(), store).await.unwrap();
    let options = PostgresOptions::new(&site.url(APP)).unwrap();
    let refused = PostgresDb::open(&options, SCHEMA, &stranger, site.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, DbError::OtherKey), "{refused:?}");
    for (minutes, fits) in [(0, true), (2, false)] {
        use tower_ward::clock::Clock as _;
        let now = tower_ward::clock::SystemClock::new().now() + std::time::Duration::from_secs(minutes * 60);
        let clock = tower_ward::clock::ManualClock::at(now).shared();
        let opened = PostgresDb::open(&options, SCHEMA, &site.keyring, clock).await;
        assert_eq!(opened.is_ok(), fits, "{opened:?}");
        assert!(fits || matches!(opened, Err(DbError::Clock)), "{opened:?}");
    }
    // A clinic that nobody made.
    let nobody = tower_ward::id::TenantId::new("nowhere").unwrap();
    site.keyring.create_tenant(&nobody).await.unwrap();
    let (trail, mut closer) = site.trail();
    let clinic = site.grant::<crate::support::model::KeepStaff>(&trail, &nobody).clinic().await.unwrap();
    let read = site.db.read(&clinic).await;
    assert!(matches!(read, Err(tower_ward::db::TxError::Db(DbError::Missing(_)))), "{read:?}");
    closer.finish(tower_ward::audit::End::Completed);
}
