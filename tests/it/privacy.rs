//! Erasures: decided, done, mirrored, and never half.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sqlx::Row;
use tower_ward::{
    access::{DoorError, Relations, danger_grant},
    audit::{Action, End, Kind, Ledger, LedgerOptions, Record, RequestFacts, verify},
    clock::{ManualClock, Timestamp},
    db::{Change, Db, DbError, Schema, TxError},
    field::BlindIndex,
    id::{RowId, SubjectId, TenantId, UserId},
    keys::{KeyError, Keyring, KeyringOptions, RootKey},
    privacy::{ErasureError, Erasures},
    secret::ExposeSecret as _,
    store::{BoxFuture, Durable, Entry, MemoryStore, ObjectName, Prefix, SqliteStore, StoreError},
};

use crate::support::{
    Bench, CANARY, Setup, get,
    model::{self, AdmitPatients, ErasePatients, ReadNotes, WriteNotes, notes_of},
    of_kind,
};

fn memory() -> Arc<dyn Durable> {
    Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful())
}

async fn count(file: &Path, table: &str, column: &str, subject: SubjectId) -> i64 {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = options.connect().await.expect("the file");
    let sql = format!("select count(*) from {table} where {column} = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(subject).fetch_one(&mut connection).await.expect("rows");
    row.get(0)
}

/// What the ledger says of erasures, in its order.
fn told(records: &[Record]) -> Vec<(Kind, Option<String>)> {
    records
        .iter()
        .filter(|record| record.action() == Some(Action::Erase))
        .map(|record| {
            let word = record.outcome().map(|outcome| outcome.as_str()).or(record.reason());
            (record.kind(), word.map(ToOwned::to_owned))
        })
        .collect()
}

fn whole() -> Vec<(Kind, Option<String>)> {
    vec![
        (Kind::Opened, None),
        (Kind::Attempt, None),
        (Kind::Outcome, Some("committed".to_owned())),
        (Kind::Event, Some("shredded".to_owned())),
        (Kind::Event, Some("confirmed".to_owned())),
    ]
}

async fn erasures(bench: &Bench) -> Result<Erasures<Db>, ErasureError> {
    Erasures::open(&bench.keyring, &bench.db, bench.ward.ledger()).await
}

/// Whether the notes of this person open.
async fn reads(bench: &Bench, subject: SubjectId) -> Result<Vec<String>, DoorError> {
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(subject).await;
    let notes = match chart {
        Ok(chart) => Ok(notes_of(&bench.db, &chart).await.expect("every value opens")),
        Err(error) => Err(error),
    };
    closer.finish(End::Completed);
    notes
}

async fn erase(bench: &Bench, erasures: &Erasures<Db>, subject: SubjectId) -> Result<usize, ErasureError> {
    let (trail, mut closer) = bench.trail();
    let grant = bench.danger::<ErasePatients>(&trail, &bench.harbour);
    let erased = erasures.erase(&grant, subject).await;
    closer.finish(End::Completed);
    erased.map(|erased| {
        assert!(erased.is_complete());
        erased.confirmed()
    })
}

// proves CLA-37, CLA-40, GLM-39 (the key half)
#[tokio::test]
async fn an_erased_person_opens_nowhere_and_the_ledger_says_so() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let ben = bench.patient(&bench.harbour, "Ben", "well").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, ada, Relations::ASSIGNED, None).await;
    let file = bench.clinic_file(&bench.harbour);
    for (table, column) in [("patient_words", "patient"), ("ward_relations", "subject"), ("notes", "patient")] {
        assert_eq!(count(&file, table, column, ada).await, 1, "{table}");
    }
    // Somebody reads at that very moment.
    let (reading, mut closer) = bench.trail();
    let open = bench.danger::<ReadNotes>(&reading, &bench.harbour).subject(ada).await.unwrap();
    assert_eq!(notes_of(&bench.db, &open).await.unwrap(), [CANARY]);

    let erasures = erasures(&bench).await.unwrap();
    let (writing, mut writes) = bench.trail();
    let desk = bench.danger::<AdmitPatients>(&writing, &bench.harbour).subject(ada).await.unwrap();
    let (confirmed, records) = bench.records_of(erase(&bench, &erasures, ada)).await;
    assert_eq!((confirmed.unwrap(), told(&records)), (1, whole()));
    let late = (
        bench.db.change(&desk, Change::update("patients", model::row_of(ada))).await.map(|_| ()),
        BlindIndex::<model::PatientName>::of(&"Ada".to_owned(), &desk),
    );
    writes.finish(End::Completed);
    let shredded = records.iter().find(|record| record.reason() == Some("shredded")).unwrap();
    assert_eq!((shredded.tenant(), shredded.subjects()), (Some(&bench.harbour), &[ada][..]));

    assert!(notes_of(&bench.db, &open).await.is_err(), "an open door was stopped");
    closer.finish(End::Completed);
    // Nor does a door that was opened before put back what was taken away.
    assert!(matches!(late.0, Err(TxError::Erased)), "{:?}", late.0);
    assert!(late.1.is_err(), "no index of an erased person's name is made");
    assert!(matches!(reads(&bench, ada).await, Err(DoorError::NotFound)));
    assert_eq!(reads(&bench, ben).await.unwrap(), ["well"], "the others stay");
    assert_eq!(count(&file, "patient_words", "patient", ada).await, 0, "no search finds her");
    assert_eq!(count(&file, "ward_relations", "subject", ada).await, 0, "she is nobody's patient");
    assert_eq!(count(&file, "notes", "patient", ada).await, 1, "what is sealed may stay where the law wants it kept");
    assert_eq!(count(&file, "patient_words", "patient", ben).await, 1);
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    assert_eq!(get(&service, &owner, &format!("/patients/{ada}/notes")).await.status, 404);
    let list = get(&service, &owner, "/patients").await;
    assert_eq!((list.status, list.body.as_str()), (200, r#"["Ben"]"#), "a list leaves her out");

    // Asked again, it says the same and decides nothing anew.
    let (confirmed, records) = bench.records_of(erase(&bench, &erasures, ada)).await;
    assert_eq!((confirmed.unwrap(), told(&records)), (1, vec![(Kind::Opened, None)]));
    verify(&bench.ledger_dir()).expect("the ledger holds");
}

#[tokio::test]
async fn nobody_erases_who_may_not() {
    let bench = Bench::new().await;
    let erasures = erasures(&bench).await.unwrap();
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let stranger = SubjectId::generate(&bench.clock);
    let (trail, mut closer) = bench.trail();
    // Another clinic's owner, and somebody who is nobody.
    let elsewhere = bench.danger::<ErasePatients>(&trail, &bench.meadow);
    assert!(matches!(erasures.erase(&elsewhere, ada).await, Err(ErasureError::Door(DoorError::NotFound))));
    closer.finish(End::Completed);
    let (trail, mut closer) = bench.trail();
    let here = bench.danger::<ErasePatients>(&trail, &bench.harbour);
    assert!(matches!(erasures.erase(&here, stranger).await, Err(ErasureError::Door(DoorError::NotFound))));
    closer.finish(End::Completed);
    // A grant that was kept for later.
    assert!(matches!(erasures.erase(&here, ada).await, Err(ErasureError::Door(DoorError::Closed(_)))));
    let records = bench.records().await;
    assert_eq!(of_kind(&records, Kind::Refused).len(), 2);
    assert!(told(&records).is_empty());
    assert_eq!(reads(&bench, ada).await.unwrap(), [CANARY]);
}

#[tokio::test]
async fn what_the_application_cannot_delete_keeps_the_person() {
    let bench = Bench::new().await;
    let erasures = erasures(&bench).await.unwrap();
    let (ada, ben) =
        (bench.patient(&bench.harbour, "Ada", CANARY).await, bench.patient(&bench.harbour, "Ben", "well").await);
    let delete = async |of: SubjectId, table: &'static str| {
        let (trail, mut closer) = bench.trail();
        let grant = bench.danger::<ErasePatients>(&trail, &bench.harbour);
        let erased = erasures
            .erase_with(&grant, ada, async |tx| {
                let sql = format!("delete from {table} where patient = ?");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(of).execute(tx.conn()).await.map(|_| ())
            })
            .await;
        closer.finish(End::Completed);
        erased
    };
    assert!(matches!(delete(ada, "no_such_table").await, Err(ErasureError::Application(_))));
    assert!(matches!(delete(ben, "notes").await, Err(ErasureError::Application(_))), "another person's rows");
    assert_eq!(reads(&bench, ada).await.unwrap(), [CANARY]);
    let file = bench.clinic_file(&bench.harbour);
    assert_eq!(count(&file, "patient_words", "patient", ada).await, 1, "all was rolled back");
    assert!(delete(ada, "notes").await.unwrap().is_complete());
    assert_eq!((count(&file, "notes", "patient", ada).await, count(&file, "notes", "patient", ben).await), (0, 1));
}

/// A clinic that locked its own key can still have a person erased: the law does not wait for it.
#[tokio::test]
async fn a_person_of_a_locked_clinic_can_be_erased() {
    let bench = Bench::new().await;
    let erasures = erasures(&bench).await.unwrap();
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    bench.keyring.revoke_tenant(&bench.harbour).await.unwrap();
    assert!(matches!(reads(&bench, ada).await, Err(DoorError::Key(KeyError::Revoked))));
    assert_eq!(erase(&bench, &erasures, ada).await.unwrap(), 1);
    bench.keyring.restore_tenant(&bench.harbour).await.unwrap();
    assert!(matches!(reads(&bench, ada).await, Err(DoorError::NotFound)));
}

/// The places of a server that keeps its keys in SQLite files of their own.
struct Place {
    root: RootKey,
    keys: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: RootKey::generate(), keys: tempfile::tempdir().unwrap() }
    }

    async fn store(&self, name: &str) -> Arc<dyn Durable> {
        Arc::new(SqliteStore::open(self.keys.path().join(name)).await.unwrap())
    }

    async fn bench(&self, dir: tempfile::TempDir, name: &str) -> Bench {
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap());
        Bench::open(dir, self.store(name).await, clock, &self.root, Setup::default()).await
    }

    /// A copy of the key store as it is now, its log included.
    fn copy(&self, from: &str, to: &str) {
        for end in ["", "-wal", "-shm"] {
            let (from, to) =
                (self.keys.path().join(format!("{from}{end}")), self.keys.path().join(format!("{to}{end}")));
            if from.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// attack: an older copy of the key store, with the keys of whoever was erased since, is put in the place of the newer.
#[tokio::test]
async fn a_server_whose_ledger_knows_an_erasure_that_its_journal_lacks_does_not_start() {
    let place = Place::new();
    let bench = place.bench(tempfile::tempdir().unwrap(), "keys").await;
    let first = erasures(&bench).await.unwrap();
    let (ada, ben) =
        (bench.patient(&bench.harbour, "Ada", CANARY).await, bench.patient(&bench.harbour, "Ben", "well").await);
    place.copy("keys", "older");
    assert_eq!(erase(&bench, &first, ada).await.unwrap(), 1);
    let dir = bench.close().await;

    let bench = place.bench(dir, "older").await;
    assert_eq!(reads(&bench, ada).await.unwrap(), [CANARY], "the older keys do open");
    match erasures(&bench).await {
        Err(error @ ErasureError::Disagree { .. }) => assert_eq!(
            error.to_string(),
            format!(
                "the ledger knows that `{ada}` of clinic `harbour` was erased, and the key store does not: an older copy \
                 of it was put in place. Put the newest copy back"
            )
        ),
        other => panic!("{other:?}"),
    }
    // The newest one starts, and knows.
    let bench = place.bench(bench.close().await, "keys").await;
    erasures(&bench).await.unwrap();
    assert!(matches!(reads(&bench, ada).await, Err(DoorError::NotFound)));
    assert_eq!(reads(&bench, ben).await.unwrap(), ["well"]);
}

/// attack: a full backup of the data, and the key-encryption key, but not the journal.
#[tokio::test]
async fn a_restored_backup_of_the_data_does_not_open_for_an_erased_person() {
    let place = Place::new();
    let bench = place.bench(tempfile::tempdir().unwrap(), "keys").await;
    let first = erasures(&bench).await.unwrap();
    let (ada, ben) =
        (bench.patient(&bench.harbour, "Ada", CANARY).await, bench.patient(&bench.harbour, "Ben", "well").await);
    let backup = tempfile::tempdir().unwrap();
    let clinics = bench.clinic_file(&bench.harbour).parent().unwrap().to_owned();
    bench.db.close().await;
    copy_folder(&clinics, backup.path());
    let bench = place.bench(bench.close().await, "keys").await;
    drop(first);
    let second = erasures(&bench).await.unwrap();
    assert_eq!(erase(&bench, &second, ada).await.unwrap(), 1);
    let harbour = bench.harbour.clone();
    bench.db.close().await;
    let dir = bench.close().await;

    // Restored beside the keys that there are.
    copy_folder(backup.path(), &clinics);
    let bench = place.bench(dir, "keys").await;
    erasures(&bench).await.unwrap();
    assert_eq!(count(&bench.clinic_file(&harbour), "notes", "patient", ada).await, 1, "the sealed note is back");
    assert!(matches!(reads(&bench, ada).await, Err(DoorError::NotFound)), "and does not open");
    assert_eq!(reads(&bench, ben).await.unwrap(), ["well"]);

    // Restored on another machine, with the root key and without the key store: nobody opens, since keys are not derived.
    let elsewhere = tempfile::tempdir().unwrap();
    copy_folder(backup.path(), &elsewhere.path().join("clinics"));
    let bench = place.bench(elsewhere, "empty").await;
    for person in [ada, ben] {
        assert!(matches!(reads(&bench, person).await, Err(DoorError::NotFound)));
    }
}

/// A key store that takes nothing more when it is told so.
#[derive(Debug)]
struct Breakable {
    inner: Arc<dyn Durable>,
    broken: AtomicBool,
}

impl Breakable {
    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) { Err(StoreError::Busy) } else { Ok(()) }
    }
}

impl Durable for Breakable {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.inner.get(name)
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.insert_new(name, value, expires).await
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.compare_and_swap(name, version, value, expires).await
        })
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.remove(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        self.inner.list(prefix, after, limit)
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        self.inner.written_since(version, limit)
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.newest_version()
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.take_over(mark, entries).await
        })
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.scrub()
    }
}

/// The key store fails between the decision and the keys; the next start finishes it, and so does asking again.
#[tokio::test]
async fn an_erasure_that_was_decided_is_finished() {
    for restarts in [true, false] {
        let (inner, root) = (memory(), RootKey::generate());
        let store = Arc::new(Breakable { inner, broken: AtomicBool::new(false) });
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::open(dir, store.clone(), clock.clone(), &root, Setup::default()).await;
        let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
        let first = erasures(&bench).await.unwrap();
        let (trail, mut closer) = bench.trail();
        let grant = bench.danger::<ErasePatients>(&trail, &bench.harbour);
        let stopped = first
            .erase_with(&grant, ada, async |_| {
                store.broken.store(true, Ordering::SeqCst);
                Ok(())
            })
            .await;
        assert!(matches!(stopped, Err(ErasureError::Keys(_))), "{stopped:?}");
        closer.finish(End::Completed);
        let file = bench.clinic_file(&bench.harbour);
        assert_eq!(count(&file, "patient_words", "patient", ada).await, 0, "it was decided");
        assert_eq!(reads(&bench, ada).await.unwrap(), [CANARY], "and is not done");
        store.broken.store(false, Ordering::SeqCst);
        let bench = if restarts {
            let bench = Bench::open(bench.close().await, store, clock, &root, Setup::default()).await;
            let (_, records) = bench.records_of(erasures(&bench)).await;
            assert_eq!(told(&records), whole()[3..]);
            bench
        } else {
            assert_eq!(erase(&bench, &first, ada).await.unwrap(), 1);
            bench
        };
        assert!(matches!(reads(&bench, ada).await, Err(DoorError::NotFound)));
        // And the start after that has nothing to do.
        let bench =
            Bench::open(bench.close().await, memory(), ManualClock::at(Timestamp::UNIX_EPOCH), &root, Setup::default())
                .await;
        assert!(
            matches!(erasures(&bench).await, Err(ErasureError::Disagree { .. })),
            "an empty key store is an older one"
        );
    }
}

static MIGRATIONS: &sqlx::migrate::Migrator = &model::MIGRATIONS;

#[tokio::test]
async fn a_schema_says_where_its_blind_indexes_stand() {
    const PEOPLE: &[(&str, &str)] = &[("patients", "id"), ("patient_words", "patient"), ("notes", "patient")];
    let schema = |indexes| Schema::new(MIGRATIONS, &[model::COLUMNS]).with_people(PEOPLE).with_indexes(indexes);
    let harbour = TenantId::new("harbour").unwrap();
    let open = async |schema| {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path(), schema).unwrap();
        let created = db.create(&harbour).await;
        db.close().await;
        created
    };
    assert!(open(schema(&[("patient_words", "word")])).await.is_ok());
    let none = open(schema(&[])).await.unwrap_err();
    assert!(matches!(none, DbError::NoIndex { table: "patients", column: "name" }), "{none}");
    let rows: [(&str, &[(&str, &str)]); 4] = [
        ("a column that is not there", &[("patient_words", "index")]),
        ("a table that is not there", &[("words", "word")]),
        ("a table of no person", &[("staff", "salary")]),
        ("a column that cannot be null, beside sealed ones", &[("notes", "text")]),
    ];
    for (attack, indexes) in rows {
        let refused = open(schema(indexes)).await.unwrap_err();
        assert!(matches!(refused, DbError::Index { .. }), "{attack}: {refused}");
    }
    assert!(open(schema(&[("notes", "author")])).await.is_ok(), "one that can be null is set to null");
}

/// The copy was away while somebody was erased, and then takes the place of the store, which is lost.
#[tokio::test]
async fn an_erasure_that_no_copy_had_confirmed_is_done_again_in_the_copy_that_takes_the_stores_place() {
    let (folder, root) = (tempfile::tempdir().unwrap(), RootKey::generate());
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap()).shared();
    let again = || RootKey::decode(root.encode().expose_secret(), "the test").unwrap();
    let copy = Arc::new(Breakable { inner: memory(), broken: AtomicBool::new(false) });
    let (tenant, owner) = (TenantId::new("harbour").unwrap(), UserId::from_bytes([7; 16]));
    let open = |name: &str| {
        let options = LedgerOptions::new().with_segment_size(1 << 20);
        let ledger = Ledger::open(&folder.path().join("ledger"), options, Arc::clone(&clock)).unwrap();
        (ledger, Db::open(folder.path().join(name), model::SCHEMA).unwrap())
    };
    let (ledger, db) = open("clinics");
    let options = KeyringOptions::default().add_copy("b", copy.clone()).unwrap();
    let keyring = Keyring::open_with(again(), memory(), &options).await.unwrap();
    keyring.create_tenant(&tenant).await.unwrap();
    db.create(&tenant).await.unwrap();
    let (ada, ben) = (SubjectId::from_bytes([1; 16]), SubjectId::from_bytes([2; 16]));
    for person in [ada, ben] {
        keyring.create_subject(&tenant, person).await.unwrap();
    }
    // An erasure that every copy confirms also brings the copy up to date.
    let first = Erasures::open(&keyring, &db, &ledger).await.unwrap();
    let erase = async |erasures: &Erasures<Db>, person| {
        let (trail, mut closer) = ledger.begin(RequestFacts::new());
        let grant = danger_grant::<ErasePatients>(&trail, &keyring, &clock, owner, tenant.clone(), "a test").unwrap();
        let erased = erasures.erase(&grant, person).await.unwrap();
        closer.finish(End::Completed);
        erased
    };
    assert!(erase(&first, ben).await.is_complete());
    copy.broken.store(true, Ordering::SeqCst);
    let erased = erase(&first, ada).await;
    assert_eq!((erased.is_complete(), erased.pending()), (false, &["b".to_owned()][..]));
    ledger.shutdown().await;
    db.close().await;
    drop((first, keyring));

    copy.broken.store(false, Ordering::SeqCst);
    let options = KeyringOptions::default().danger_forget_copy("b");
    let keyring = Keyring::open_with(again(), copy, &options).await.unwrap();
    assert!(keyring.subject(&tenant, ada).await.is_ok(), "the copy had not heard of it");
    let (ledger, db) = open("clinics");
    Erasures::open(&keyring, &db, &ledger).await.expect("it is no older key store");
    assert!(matches!(keyring.subject(&tenant, ada).await, Err(KeyError::Erased)));
    ledger.shutdown().await;
    let records = crate::support::ledger::records_on_disk(&folder.path().join("ledger"));
    let words: Vec<_> = records.iter().filter(|r| r.subjects() == [ada]).filter_map(Record::reason).collect();
    assert_eq!(words, ["shredded", "confirmed"]);
}

/// A copy of the key store on another disk: it confirms, and what it did not confirm is asked again.
#[tokio::test]
async fn an_erasure_is_confirmed_by_every_registered_copy_of_the_key_store() {
    let place = Place::new();
    let bench = place.bench(tempfile::tempdir().unwrap(), "other").await;
    let (store, copy) = (place.store("keys").await, place.store("copy").await);
    let root = RootKey::generate();
    let options = KeyringOptions::default().add_copy("b", copy).unwrap();
    let keyring = Keyring::open_with(root, store, &options).await.unwrap();
    keyring.create_tenant(&bench.harbour).await.unwrap();
    let ada = SubjectId::generate(&bench.clock);
    keyring.create_subject(&bench.harbour, ada).await.unwrap();
    let read = |name: &str| {
        let mut all = Vec::new();
        for end in ["", "-wal"] {
            all.extend(std::fs::read(place.keys.path().join(format!("{name}{end}"))).unwrap_or_default());
        }
        all
    };
    // What the wrapped key looks like in the file.
    let key = store_value(&place, "keys", &bench.harbour, ada).await;
    let part = &key[20..52];
    assert!(read("keys").windows(32).any(|window| window == part));
    let erased = keyring.erase_subject(&bench.harbour, ada).await.unwrap();
    assert_eq!((erased.is_complete(), erased.confirmed()), (true, 2));
    for name in ["keys", "copy"] {
        assert!(!read(name).windows(32).any(|window| window == part), "{name} still holds the wrapped key");
    }
}

async fn store_value(place: &Place, name: &str, tenant: &TenantId, subject: SubjectId) -> Vec<u8> {
    let name_of = ObjectName::tenant(tenant, "key", &format!("subject-{subject}")).unwrap();
    place.store(name).await.get(&name_of).await.unwrap().unwrap().value
}

/// Guards the tests above: what they erase was there, under grants that do open.
#[tokio::test]
async fn the_bench_can_write_what_is_erased() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(ada).await.unwrap();
    model::insert_note(&bench.db, &chart, RowId::generate(&bench.clock), "more").await.unwrap();
    let admit = bench.danger::<AdmitPatients>(&trail, &bench.harbour).subject(ada).await.unwrap();
    let tx = bench.db.change(&admit, Change::update("patients", model::row_of(ada))).await.unwrap();
    tx.commit().await.unwrap();
    closer.finish(End::Completed);
    assert_eq!(reads(&bench, ada).await.unwrap().len(), 2);
}
