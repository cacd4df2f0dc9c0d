//! Files and schemas, and what a crash leaves of them.

use super::*;

fn copy(from: &FilePath, to: &FilePath) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        // The index of the write-ahead log is in memory: a crash does not keep it.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

#[tokio::test]
async fn what_a_crash_left_open_is_settled_from_the_file_and_not_guessed() {
    for (name, committed) in [("before the commit", false), ("after the commit, before its outcome", true)] {
        let root = RootKey::generate();
        let dir = tempfile::tempdir().expect("a folder");
        let image = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
        let store: Arc<dyn tower_ward::store::Durable> =
            Arc::new(tower_ward::store::MemoryStore::new(std::num::NonZeroUsize::MAX).danger_forgetful());
        let bench = Bench::open(dir, Arc::clone(&store), clock.clone(), &root, Setup::default()).await;
        let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
        let (trail, mut closer) = bench.trail();
        let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
        let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
        sqlx::query("update notes set author = 'changed'").execute(tx.conn()).await.expect("changed");
        trail.settled().await.expect("durable");
        // The disk at the moment of the crash: the ledger with the attempt alone, the file with or without the change.
        copy(&bench.ledger_dir(), &image.path().join("ledger"));
        let clinics = bench.clinic_file(&bench.harbour).parent().expect("a folder").to_owned();
        if committed {
            tx.commit().await.expect("committed");
            copy(&clinics, &image.path().join("clinics"));
        } else {
            copy(&clinics, &image.path().join("clinics"));
            drop(tx);
        }
        closer.finish(End::Completed);
        drop(bench);

        let bench = Bench::open(image, store, clock, &root, Setup::default()).await;
        let ledger = bench.ward.ledger();
        assert_eq!(ledger.unsettled().len(), 1, "{name}");
        assert_eq!(ledger.unsettled()[0].subjects(), [patient]);
        let (settled, records) = bench.records_of(bench.db.settle(ledger)).await;
        assert_eq!(settled.expect("settled"), 1, "{name}");
        let expected = if committed { Outcome::Committed } else { Outcome::RolledBack };
        assert_eq!(outcomes(&records), [expected], "{name}");
        let changed = count(&bench, "select count(*) from notes where author = 'changed'").await;
        assert_eq!(changed, i64::from(committed), "{name}");
        assert_eq!(bench.db.settle(ledger).await.expect("nothing to do"), 0, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_was_renamed_to_another_clinics_name_does_not_open() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let _ = bench.patient(&bench.harbour, "Ada", CANARY).await;
    copy(bench.clinic_file(&bench.harbour).parent().expect("a folder"), folder.path());
    std::fs::remove_file(folder.path().join("meadow.sqlite")).expect("removed");
    let _ = std::fs::remove_file(folder.path().join("meadow.sqlite-wal"));
    for end in ["", "-wal"] {
        let from = folder.path().join(format!("harbour.sqlite{end}"));
        if from.exists() {
            std::fs::rename(from, folder.path().join(format!("meadow.sqlite{end}"))).expect("renamed");
        }
    }
    let db = Db::open(folder.path(), SCHEMA).expect("opens");
    let error = db.create(&bench.meadow).await.expect_err("foreign");
    assert!(matches!(&error, DbError::Foreign(tenant) if *tenant == bench.meadow), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the file of clinic `meadow` was made for another clinic: it was copied or renamed, put the right one back"
    );
}

#[tokio::test]
async fn a_clinic_without_a_file_is_refused_and_gets_none_by_being_asked_for() {
    let bench = Bench::new().await;
    let north = TenantId::new("northgate").expect("a tenant id");
    bench.keyring.create_tenant(&north).await.expect("a key");
    let (trail, _closer) = bench.trail();
    let clinic = bench.danger::<KeepStaff>(&trail, &north).clinic().await.expect("open");
    assert!(matches!(bench.db.read(&clinic).await, Err(TxError::Db(DbError::Missing(tenant))) if tenant == north));
    assert!(matches!(bench.db.change(&clinic, Change::import("staff")).await, Err(TxError::Db(DbError::Missing(_)))));
    assert!(!bench.clinic_file(&north).exists());
}

mod wrong {
    use crate::support::model::Clinical;

    pub(super) mod table {
        tower_ward::columns! { pub(crate) Missing: String = "letters"."text" as super::Clinical; }
    }
    pub(super) mod column {
        tower_ward::columns! { pub(crate) Missing: String = "notes"."txet" as super::Clinical; }
    }
    pub(super) mod key {
        tower_ward::columns! { pub(crate) Word: String = "patient_words"."word" as super::Clinical; }
    }
    pub(super) mod kind {
        tower_ward::columns! { pub(crate) Text: String = "notes"."author" as super::Clinical; }
    }
}

#[tokio::test]
async fn a_schema_that_would_take_something_unsealed_does_not_boot() {
    let tenant = TenantId::new("harbour").expect("a tenant id");
    for (schema, expected) in [
        (
            Schema::new(&model::MIGRATIONS, &[model::COLUMNS, wrong::table::COLUMNS]),
            "column `letters.text` is declared in `columns!` or `with_people` but not in the schema: write its migration",
        ),
        (
            Schema::new(&model::MIGRATIONS, &[wrong::column::COLUMNS]),
            "column `notes.txet` is declared in `columns!` or `with_people` but not in the schema: write its migration",
        ),
        // attack on oneself: what a change made of such rows would never be said.
        (
            Schema::new(&model::MIGRATIONS, &[wrong::key::COLUMNS]),
            "table `patient_words` has sealed columns but no primary key of one `blob not null` column, which would be the \
             row's identifier: change the migration",
        ),
        (
            Schema::new(&model::MIGRATIONS, &[wrong::kind::COLUMNS]),
            "column `notes.author` holds sealed values and must be declared `blob` in the schema",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(folder.path(), schema).expect("opens");
        assert_eq!(db.create(&tenant).await.map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let twins = Db::open(folder.path(), Schema::new(&model::MIGRATIONS, &[model::COLUMNS, model::COLUMNS]));
    assert!(matches!(twins, Err(DbError::Twins(_))));
}
