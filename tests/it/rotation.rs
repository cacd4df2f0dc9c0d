//! New keys for people, and their values sealed anew, while everybody works and processes die.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader, Write as _},
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sqlx::Row as _;
use tower_ward::{
    access::{DoorError, Jobs, Permission, Policy, Task, danger_grant},
    audit::{End, Kind, Ledger, LedgerOptions, RequestFacts, TrailError},
    clock::{ManualClock, SystemClock},
    db::{
        Change, Db, DbError, Rotation, RotationError, RotationLog, RotationMode, RotationOptions, RotationProgress,
        RotationStage, RotationStep, SqliteRelations, TxError,
    },
    field::{Encrypted, Told},
    id::{RowId, SubjectId, TenantId, UserId},
    identity::{Identity, IdentityOptions},
    keys::{Keyring, KeyringOptions, RootKey},
    secret::ExposeSecret as _,
    stack::Ward,
    store::{Durable, ObjectName, SqliteStore},
    tenant::Hosts,
};

use crate::support::model::{
    self, Clinical, NoteText, Payroll, ReadNotes, Remind, SCHEMA, Schedule, WriteNotes, insert_note, insert_patient,
    notes_of,
};

tower_ward::permissions! {
    pub(crate) RotateKeys = "keys.rotate" changes Clinical, Schedule, Payroll;
    pub(crate) RotateNotes = "keys.rotate_notes" changes Clinical;
}

#[derive(Debug)]
enum Rekey {}
impl Task for Rekey {
    type Permission = RotateKeys;
    const ID: &'static str = "rekey";
}

#[derive(Debug)]
enum RekeyNotes {}
impl Task for RekeyNotes {
    type Permission = RotateNotes;
    const ID: &'static str = "rekey_notes";
}

/// A server's parts on a folder: what is opened again after each death.
#[derive(Clone)]
struct Site {
    keyring: Keyring,
    store: Arc<dyn Durable>,
    ledger: Ledger,
    db: Db,
    jobs: Jobs,
    clock: tower_ward::clock::SharedClock,
    tenant: TenantId,
}

const TRAIL: Duration = Duration::from_millis(1_500);

impl Site {
    async fn open(folder: &Path, root: &RootKey, clock: tower_ward::clock::SharedClock) -> Self {
        let root = RootKey::decode(root.encode().expose_secret(), "the test").unwrap();
        let store: Arc<dyn Durable> = Arc::new(SqliteStore::open(folder.join("keys.sqlite")).await.unwrap());
        let options = KeyringOptions::default().with_clock(Arc::clone(&clock));
        let keyring = Keyring::open_with(root, Arc::clone(&store), &options).await.unwrap();
        let ledger_options = LedgerOptions::new().with_segment_size(1 << 20).with_trail_deadline(TRAIL);
        let ledger = Ledger::open(&folder.join("ledger"), ledger_options, Arc::clone(&clock)).unwrap();
        let identity_options = IdentityOptions::new("https://clinic.example");
        let identity =
            Identity::open(Arc::clone(&store), &keyring, Arc::clone(&clock), identity_options).await.unwrap();
        let db = Db::open(folder.join("clinics"), SCHEMA).unwrap();
        let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").unwrap();
        let tenant = TenantId::new("harbour").unwrap();
        keyring.create_tenant(&tenant).await.unwrap();
        db.create(&tenant).await.unwrap();
        hosts.register(tenant.clone()).unwrap();
        db.settle(&ledger).await.unwrap();
        let relations = SqliteRelations::new(db.clone(), keyring.clone(), Arc::clone(&clock));
        let ward = Ward::builder()
            .with_clock(Arc::clone(&clock))
            .with_job_store(Arc::clone(&store))
            .add_task::<Rekey>()
            .add_task::<RekeyNotes>()
            .add_task::<Remind>()
            .keys(keyring.clone())
            .audit(ledger.clone())
            .authenticate(identity)
            .tenants(hosts)
            .policy(Policy::from_toml(model::POLICY).unwrap())
            .relations(relations)
            .build()
            .unwrap();
        let jobs = ward.jobs().unwrap().clone();
        Self { keyring, store, ledger, db, jobs, clock, tenant }
    }

    fn rotation(&self) -> Rotation<Db> {
        Rotation::new(&self.db, &self.keyring, &self.ledger, Arc::clone(&self.store), RotationOptions::new())
    }

    /// Does something under a grant of its own.
    async fn with<P: Permission, T>(&self, work: impl AsyncFnOnce(tower_ward::access::Grant<P>) -> T) -> T {
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new());
        let user = UserId::from_bytes([7; 16]);
        let grant = danger_grant(&trail, &self.keyring, &self.clock, user, self.tenant.clone(), "a test").unwrap();
        let output = trail.cover(work(grant)).await.unwrap();
        closer.finish(End::Completed);
        output
    }

    async fn patient(&self, name: &str) -> SubjectId {
        let subject = SubjectId::generate(&*self.clock);
        self.keyring.create_subject(&self.tenant, subject).await.unwrap();
        self.with::<model::AdmitPatients, _>(async |grant| {
            insert_patient(&self.db, &grant.subject(subject).await.unwrap(), name).await.unwrap();
        })
        .await;
        subject
    }

    async fn write(&self, subject: SubjectId, text: &str) -> RowId {
        let row = RowId::generate(&*self.clock);
        self.with::<WriteNotes, _>(async |grant| {
            insert_note(&self.db, &grant.subject(subject).await.unwrap(), row, text).await.unwrap();
        })
        .await;
        row
    }

    async fn read(&self, subject: SubjectId) -> Result<Vec<String>, DoorError> {
        self.with::<ReadNotes, _>(async |grant| {
            let chart = grant.subject(subject).await?;
            Ok(notes_of(&self.db, &chart).await.expect("every value opens"))
        })
        .await
    }

    /// One step of the rotation, as a job.
    async fn step(&self, rotation: &Rotation<Db>) -> RotationStep {
        let envelope =
            self.jobs.danger_issue_for_clinic::<Rekey>(self.tenant.clone(), Duration::from_secs(60)).unwrap();
        let rotation = rotation.clone();
        self.jobs
            .run::<Rekey, _, _, _>(&envelope, async move |grant| rotation.step(&grant).await)
            .await
            .unwrap()
            .unwrap()
    }

    /// Steps until the rotation stands at this stage.
    async fn until(&self, rotation: &Rotation<Db>, stage: RotationStage, clock: &ManualClock) -> RotationProgress {
        for _ in 0..1_000 {
            match self.step(rotation).await {
                RotationStep::Done(progress) => {
                    assert_eq!(stage, RotationStage::Done);
                    return progress;
                }
                RotationStep::Again(progress, _) if progress.stage == stage => return progress,
                RotationStep::Again(_, wait) => clock.advance(wait.min(Duration::from_millis(500))),
                other => panic!("{other:?}"),
            }
        }
        panic!("it does not come to {stage:?}");
    }

    /// The epochs that stand in the values of this person, and how often.
    async fn epochs(&self, folder: &Path, subject: SubjectId) -> BTreeMap<u32, usize> {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("clinics/harbour.sqlite"));
        let mut connection = options.read_only(true).connect().await.unwrap();
        let mut found = BTreeMap::new();
        let sql = "select text from notes where patient = ?1 union all select name from patients where id = ?1";
        for row in sqlx::query(sql).bind(subject).fetch_all(&mut connection).await.unwrap() {
            let value: Vec<u8> = row.get(0);
            *found.entry(u32::from_be_bytes(value[2..6].try_into().unwrap())).or_default() += 1;
        }
        found
    }

    async fn keys(&self, subject: SubjectId) -> usize {
        let name = ObjectName::tenant(&self.tenant, "key", &format!("subject-{subject}")).unwrap();
        usize::from(self.store.get(&name).await.unwrap().unwrap().value[7])
    }
}

fn clock() -> ManualClock {
    ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap())
}

// proves CLA-07: rotation without downtime; the values are the same, and sealed anew.
#[tokio::test]
async fn people_get_new_keys_and_their_values_are_sealed_anew_while_everybody_works() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let mut people = Vec::new();
    for i in 0..30 {
        let subject = site.patient(&format!("patient {i}")).await;
        for n in 0..3 {
            site.write(subject, &format!("note {n} of {i}")).await;
        }
        people.push(subject);
    }
    let gone = site.patient("gone").await;
    assert!(site.keyring.erase_subject(&site.tenant, gone).await.unwrap().is_complete());
    // Another process that shares the store.
    let options = KeyringOptions::default().with_clock(clock.shared());
    let again = RootKey::decode(root.encode().expose_secret(), "the test").unwrap();
    let other = Keyring::open_with(again, Arc::clone(&site.store), &options).await.unwrap();
    other.subject(&site.tenant, people[0]).await.unwrap();

    let rotation = site.rotation();
    assert_eq!(rotation.progress(&site.tenant).await.unwrap(), None);
    let begun = rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    assert_eq!((begun.stage, begun.total), (RotationStage::Prepare, 30));
    assert!(matches!(rotation.begin(&site.tenant, RotationMode::Whole).await, Err(RotationError::GoingOn)));
    let works = async || {
        for (i, subject) in people.iter().enumerate() {
            let read = site.read(*subject).await.unwrap();
            assert!(read.len() >= 3 && read.contains(&format!("note 0 of {i}")), "{read:?}");
        }
        site.write(people[7], "written meanwhile").await;
    };
    for stage in [RotationStage::Known, RotationStage::Switch, RotationStage::Settle, RotationStage::Reseal] {
        let progress = site.until(&rotation, stage, &clock).await;
        assert_eq!(progress.values, 0);
        works().await;
    }
    assert_eq!(
        site.epochs(folder.path(), people[7]).await,
        BTreeMap::from([(1, 6), (2, 2)]),
        "old and new side by side"
    );
    // The other process knows the new key, whatever it had in memory.
    assert!(other.subject(&site.tenant, people[0]).await.is_ok());
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    works().await;
    assert_eq!(
        (done.damaged, done.values),
        (0, 30 * 4 + 2),
        "three notes and a name each, and what the old key sealed since"
    );
    for subject in &people {
        assert_eq!(site.epochs(folder.path(), *subject).await.into_keys().collect::<Vec<_>>(), [2]);
        assert_eq!(site.keys(*subject).await, 1, "the old key is gone");
    }
    assert!(matches!(site.read(gone).await, Err(DoorError::NotFound)));

    // The record that it is complete is signed, and whoever has the public key can check it.
    site.ledger.shutdown().await;
    let records = crate::support::ledger::records_on_disk(&folder.path().join("ledger"));
    let complete: Vec<_> =
        records.iter().filter(|record| record.reason().is_some_and(|r| r.starts_with("complete "))).collect();
    assert_eq!(complete.len(), 1);
    let (_, signature) = complete[0].reason().unwrap().rsplit_once(' ').unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let statement = format!(
        "tower-ward/v1/rotation-complete\nharbour\n{}\nvalues {}\ndamaged 0\nbegun {}",
        done.id, done.values, done.begun
    );
    let log = RotationLog::new(&site.keyring, Arc::clone(&site.store), Arc::clone(&site.clock));
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, log.public_key().unwrap());
    key.verify(statement.as_bytes(), &signature).expect("it is signed");
    assert!(key.verify(statement.replace("damaged 0", "damaged 1").as_bytes(), &signature).is_err());
    // Each person's own timeline says that their values were sealed anew.
    let anew = records.iter().filter(|r| r.kind() == Kind::Attempt && r.entity() == Some("key_epoch")).count();
    assert!(anew >= 60, "{anew}");
}

/// A backup of the data from before a rotation opens for as long as the old keys are kept, and they are kept until somebody
/// says that they may go.
#[tokio::test]
async fn a_backup_from_before_opens_until_the_old_keys_are_retired() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let ada = site.patient("Ada").await;
    site.write(ada, "a note").await;
    let path = |name: &str| folder.path().join("clinics").join(name);
    let restore = async |site: Site| {
        site.db.close().await;
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(path(&format!("harbour.sqlite{end}")));
        }
        std::fs::copy(folder.path().join("backup"), path("harbour.sqlite")).unwrap();
        Site { db: Db::open(folder.path().join("clinics"), SCHEMA).unwrap(), ..site }
    };
    site.db.close().await;
    std::fs::copy(path("harbour.sqlite"), folder.path().join("backup")).unwrap();
    let site = Site { db: Db::open(folder.path().join("clinics"), SCHEMA).unwrap(), ..site };
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Reseal).await.unwrap();
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!((done.values, site.keys(ada).await), (2, 2));
    let site = restore(site).await;
    assert_eq!(site.epochs(folder.path(), ada).await, BTreeMap::from([(1, 2)]), "as it was before");
    assert_eq!(site.read(ada).await.unwrap(), ["a note"]);
    // What was restored is sealed anew before the old keys go.
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Retire).await.unwrap();
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!((done.values, site.keys(ada).await), (2, 1));
    assert_eq!(site.read(ada).await.unwrap(), ["a note"]);
    let site = restore(site).await;
    let chart = site
        .with::<ReadNotes, _>(async |grant| {
            let chart = grant.subject(ada).await.unwrap();
            notes_of(&site.db, &chart).await.is_err()
        })
        .await;
    assert!(chart, "and now it does not open any more");

    // What the ledger says was sealed under the old key too, and is never sealed anew. It opens, also after the wrapping
    // key above it was replaced, and in a process that read all of it from the store.
    let said = async |site: &Site| {
        site.with::<ReadNotes, _>(async |grant| {
            let chart = grant.subject(ada).await.unwrap();
            let records = chart.timeline(None, 1_000).await.unwrap().records;
            let diffs = records.iter().filter(|record| !record.changes().is_empty());
            let texts = diffs.filter_map(|record| Some(chart.open_diff(record).unwrap().get::<NoteText>()?.after));
            texts.map(|text| if let Told::Value(text) = text { text.disclose() } else { panic!("no text") }).collect()
        })
        .await
    };
    let texts: Vec<String> = said(&site).await;
    assert_eq!(texts, ["a note"]);
    site.keyring.rotate_tenant(&site.tenant).await.unwrap();
    site.ledger.shutdown().await;
    let again = Site::open(folder.path(), &root, clock.shared()).await;
    let texts: Vec<String> = said(&again).await;
    assert_eq!(texts, ["a note"], "after a start");
    // And not after an erasure.
    assert!(again.keyring.erase_subject(&again.tenant, ada).await.unwrap().is_complete());
    assert!(matches!(again.read(ada).await, Err(DoorError::NotFound)));
}

/// attack on oneself: rows that the rotation does not see would lose their key, with a signed word that all is well.
#[tokio::test]
async fn a_table_whose_rows_are_not_known_by_a_blob_is_not_rotated() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let ada = site.patient("Ada").await;
    use sqlx::ConnectOptions as _;
    let file = folder.path().join("clinics/harbour.sqlite");
    site.db.close().await;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    sqlx::raw_sql(
        "alter table notes rename to old; drop index if exists notes_by_patient;
         create table notes (id text not null primary key, patient blob not null, author text, text blob not null) strict;",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let site = Site { db: Db::open(folder.path().join("clinics"), SCHEMA).unwrap(), ..site };
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    let envelope = site.jobs.danger_issue_for_clinic::<Rekey>(site.tenant.clone(), Duration::from_secs(60)).unwrap();
    let step = async move |grant| rotation.step::<Rekey>(&grant).await;
    let refused = site.jobs.run::<Rekey, _, _, _>(&envelope, step).await.unwrap();
    let Err(RotationError::Db(DbError::RowId(table))) = &refused else { panic!("{refused:?}") };
    assert_eq!(table, "notes");
    assert_eq!(site.keys(ada).await, 1);
}

/// A door that was opened before the switch seals under the old key for as long as its trail lives, and no longer.
#[tokio::test]
async fn a_value_that_a_late_door_seals_under_the_old_key_is_not_lost() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let ada = site.patient("Ada").await;
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    site.until(&rotation, RotationStage::Switch, &clock).await;
    let (trail, mut closer) = site.ledger.begin(RequestFacts::new());
    let user = UserId::from_bytes([7; 16]);
    let grant =
        danger_grant::<WriteNotes>(&trail, &site.keyring, &site.clock, user, site.tenant.clone(), "a test").unwrap();
    let late = grant.subject(ada).await.unwrap();
    let in_time = Encrypted::<NoteText>::seal(&"in time".to_owned(), &late, RowId::from_bytes([1; 16])).unwrap();
    site.until(&rotation, RotationStage::Settle, &clock).await;
    // It still seals under the old key, and commits.
    let mut tx = site.db.change(&late, Change::create("notes", RowId::from_bytes([1; 16]))).await.unwrap();
    sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
        .bind(RowId::from_bytes([1; 16]))
        .bind(ada)
        .bind(in_time)
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(site.epochs(folder.path(), ada).await, BTreeMap::from([(1, 2)]));
    // And another that does not commit in time.
    let too_late = site.db.change(&late, Change::create("notes", RowId::from_bytes([2; 16]))).await.unwrap();
    clock.advance(TRAIL);
    assert!(matches!(too_late.commit().await, Err(TxError::Trail(TrailError::Expired))));
    closer.finish(End::Completed);
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!(done.values, 2);
    assert_eq!(site.read(ada).await.unwrap(), ["in time"]);
    assert_eq!((site.epochs(folder.path(), ada).await, site.keys(ada).await), (BTreeMap::from([(2, 2)]), 1));
}

/// attack: a damaged value would be lost for good with its key; so its owner keeps the key, and the others go on.
#[tokio::test]
async fn a_value_that_does_not_open_keeps_its_key_and_holds_up_nobody() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let (ada, ben) = (site.patient("Ada").await, site.patient("Ben").await);
    site.write(ada, "sound").await;
    site.write(ben, "well").await;
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("clinics/harbour.sqlite"));
    let mut connection = options.connect().await.unwrap();
    let sql = "insert into notes (id, patient, text) select x'00000000000000000000000000000009', patient, text from notes where patient = ?";
    sqlx::query(sql).bind(ada).execute(&mut connection).await.unwrap();
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!((done.values, done.damaged), (4, 1));
    assert_eq!((site.keys(ada).await, site.keys(ben).await), (2, 1));
    assert_eq!(site.epochs(folder.path(), ada).await, BTreeMap::from([(1, 1), (2, 2)]));
    assert_eq!(site.read(ben).await.unwrap(), ["well"]);
    // Once it is gone, the next rotation retires the key.
    sqlx::query("delete from notes where id = x'00000000000000000000000000000009'")
        .execute(&mut connection)
        .await
        .unwrap();
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!((done.damaged, site.keys(ada).await), (0, 1));
    assert_eq!(site.read(ada).await.unwrap(), ["sound"]);
}

#[tokio::test]
async fn what_a_rotation_may_not_do_it_does_not_begin() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    let ada = site.patient("Ada").await;
    let rotation = site.rotation();
    let envelope =
        || site.jobs.danger_issue_for_clinic::<RekeyNotes>(site.tenant.clone(), Duration::from_secs(60)).unwrap();
    let step = async || {
        let rotation = rotation.clone();
        let step = async move |grant| rotation.step::<RekeyNotes>(&grant).await;
        site.jobs.run::<RekeyNotes, _, _, _>(&envelope(), step).await.unwrap()
    };
    assert!(matches!(step().await, Err(RotationError::None)));
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    match step().await {
        Err(error @ RotationError::Permission { class: "schedule", .. }) => assert_eq!(
            error.to_string(),
            "the task's permission `keys.rotate_notes` does not open `schedule` data: let it change every class that is \
             sealed"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(site.keys(ada).await, 1, "nothing was begun");
    // Somebody who writes the key store sets it to its end, so that old keys are destroyed before their values.
    let name = ObjectName::tenant(&site.tenant, "rotation", "progress").unwrap();
    let there = site.store.get(&name).await.unwrap().unwrap();
    let forged = String::from_utf8_lossy(&there.value[..there.value.len() - 64]).replace("prepare", "retire");
    let mut forged = forged.into_bytes();
    forged.extend_from_slice(&there.value[there.value.len() - 64..]);
    assert!(site.store.compare_and_swap(&name, there.version, &forged, None).await.unwrap());
    assert!(matches!(rotation.progress(&site.tenant).await, Err(RotationError::State)));
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    for i in 0..5 {
        let subject = site.patient(&format!("patient {i}")).await;
        site.write(subject, "a note").await;
    }
    let rotation = site.rotation();
    rotation.begin(&site.tenant, RotationMode::Count).await.unwrap();
    let done = site.until(&rotation, RotationStage::Done, &clock).await;
    assert_eq!((done.mode, done.people, done.values), (RotationMode::Count, 5, 10));
    let (people, _) = (site.keyring.report().await.unwrap(), ());
    assert_eq!((people.subjects, people.epochs_open), (5, 0));
    rotation.begin(&site.tenant, RotationMode::Whole).await.expect("a dry run that has ended is in nobody's way");
    site.until(&rotation, RotationStage::Switch, &clock).await;
    assert_eq!(site.keyring.report().await.unwrap().epochs_open, 5);
}

/// The pace is one of the options, and holds back the next step.
#[tokio::test]
async fn a_rotation_keeps_its_pace() {
    let (folder, clock, root) = (tempfile::tempdir().unwrap(), clock(), RootKey::generate());
    let site = Site::open(folder.path(), &root, clock.shared()).await;
    for i in 0..10 {
        site.patient(&format!("patient {i}")).await;
    }
    let options = RotationOptions::new().with_pace(NonZeroU32::new(4).unwrap());
    let rotation = Rotation::new(&site.db, &site.keyring, &site.ledger, Arc::clone(&site.store), options);
    rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
    site.until(&rotation, RotationStage::Reseal, &clock).await;
    match site.step(&rotation).await {
        RotationStep::Again(progress, wait) => {
            assert_eq!((progress.stage, wait), (RotationStage::Verify, Duration::from_millis(2_500)));
        }
        other => panic!("{other:?}"),
    }
}

/// `ward rotate` begins it, a server that attends does the work, and both go on with their day.
#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ward_rotate_begins_a_rotation_and_looks_on_while_a_server_does_it() {
    let (folder, root) = (tempfile::tempdir().unwrap(), RootKey::generate());
    root.write_new_file(&folder.path().join("root.key")).unwrap();
    let site = Site::open(folder.path(), &root, SystemClock::shared()).await;
    let ada = site.patient("Ada").await;
    site.write(ada, "a note").await;
    let (source, path) =
        (format!("file:{}", folder.path().join("root.key").display()), folder.path().join("keys.sqlite"));
    let ward = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ward"));
        command.args(args).args(["--root", &source]).arg("--store").arg(&path);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let attends = tokio::spawn({
        let site = site.clone();
        async move {
            let rotation = site.rotation();
            rotation.attend::<Rekey>(&site.jobs, || vec![site.tenant.clone()]).await;
        }
    });
    let (code, said, _) = ward(&["rotate", "values", "harbour", "--dry-run"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "1 people, 2 sealed values; nothing was changed\n"));
    assert_eq!(site.keys(ada).await, 1);
    let (code, said, error) = ward(&["rotate", "values", "harbour"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(said.contains(": 2 values of 1 people were sealed anew; the old keys are kept\n"), "{said}");
    assert_eq!((site.epochs(folder.path(), ada).await, site.keys(ada).await), (BTreeMap::from([(2, 2)]), 2));
    let (code, said, error) = ward(&["rotate", "values", "harbour", "--retire"]).await;
    assert_eq!((code, said.contains("the old keys are destroyed")), (Some(0), true), "{error}");
    assert_eq!(site.keys(ada).await, 1);
    let (code, said, _) = ward(&["rotate", "clinic", "harbour"]).await;
    assert_eq!((code, said.contains("the keys of 1 people are wrapped under it")), (Some(0), true), "{said}");
    assert_eq!(site.read(ada).await.unwrap(), ["a note"]);

    // Cut, in this process too, which is another one than the one that was told.
    let (code, said, _) = ward(&["keys", "revoke", "harbour"]).await;
    assert_eq!((code, said.contains("within 5 s")), (Some(0), true));
    let began = tokio::time::Instant::now();
    while site.keyring.subject(&site.tenant, ada).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, said, _) = ward(&["keys", "report"]).await;
    assert_eq!(code, Some(0));
    for line in [
        "root (platform)          enabled         1  local:",
        "subjects       1 (0 with two epochs open, 0 damaged)",
        "! access to the keys of `harbour` is revoked",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert_eq!(ward(&["keys", "restore", "harbour"]).await.0, Some(0));
    assert_eq!(site.read(ada).await.unwrap(), ["a note"]);

    // What is wrong is said, and never a key.
    for (args, expected) in [
        (&["rotate", "clinic", "nowhere"][..], "there is no such key here"),
        (&["rotate", "clinic", "No Where"], "error: TENANT: "),
        (&["rotate", "root", "--to", "next"], "the key-encryption key `next`"),
        (&["keys", "report", "--kek", "next"], "error: --kek: write NAME=SOURCE"),
        (&["keys", "report", "--copy", "b=/no/such/file"], "/no/such/file: there is no such file"),
    ] {
        let (code, said, error) = ward(args).await;
        assert!(code == Some(1) && said.is_empty() && error.contains(expected), "{args:?}: {code:?} {said} {error}");
    }
    attends.abort();
    // Another root key takes the platform's place, and the old one is not needed any more.
    let next = RootKey::generate();
    next.write_new_file(&folder.path().join("next.key")).unwrap();
    let kek = format!("next=file:{}", folder.path().join("next.key").display());
    let (code, said, error) = ward(&["rotate", "root", "--to", "next", "--kek", &kek]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(said.starts_with("2 keys are wrapped under `next`; nothing is left under `root`"), "{said}");
    let kek = tower_ward::keys::Kek::new("next".parse().unwrap(), next);
    let copy = folder.path().join("copy.sqlite");
    let store = Arc::new(tower_ward::store::SqliteStore::open(&copy).await.unwrap());
    let options = KeyringOptions::default().add_copy("spare", store).unwrap();
    let keyring = Keyring::open_with(kek, Arc::clone(&site.store), &options).await.unwrap();
    assert!(keyring.subject(&site.tenant, ada).await.is_ok());
    // Registered from now on: who leaves it out is told how to name it.
    let root = format!("file:{}", folder.path().join("next.key").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ward"));
    command.args(["keys", "report", "--root-name", "next", "--root", &root, "--store"]).arg(&path);
    let output = command.output().unwrap();
    let said = "error: the copy `spare` of the key store is registered: give it by `--copy spare=FILE`\n";
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), said));
    let output = command.arg("--copy").arg(format!("spare={}", copy.display())).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("copy           spare, "));
}

const FOLDER: &str = "TOWER_WARD_TEST_ROTATION";

/// Runs this test again as a process of its own.
fn again(test: &str, folder: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// Long form: 100 kills. A process rotates and writes all the while, and is killed at every stage of it; the next goes on. In
/// the end every write that was acknowledged is there, opens, and is sealed under the newest key.
// proves CLA-07
#[test]
fn a_rotation_that_is_killed_again_and_again_loses_no_value() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(folder) = std::env::var(FOLDER) {
        runtime.block_on(rotate_for_ever(Path::new(&folder)));
        return;
    }
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|what| what == "keys");
    let each = if long { 15 } else { 1 };
    let folder = tempfile::tempdir().unwrap();
    RootKey::generate().write_new_file(&folder.path().join("root.key")).unwrap();
    let root =
        || RootKey::load(&format!("file:{}", folder.path().join("root.key").display()).parse().unwrap()).unwrap();
    runtime.block_on(async {
        let site = Site::open(folder.path(), &root(), SystemClock::shared()).await;
        for i in 0..40 {
            let subject = site.patient(&format!("patient {i}")).await;
            site.write(subject, &format!("first note of {i}")).await;
        }
        site.ledger.shutdown().await;
        site.db.close().await;
    });
    let (mut killed, mut acknowledged) = (HashMap::<String, u32>::new(), HashMap::<String, String>::new());
    let mut rotations = 0;
    while rotations == 0 || killed.len() < 7 || killed.values().any(|times| *times < each) {
        let mut child = again("rotation::a_rotation_that_is_killed_again_and_again_loses_no_value", folder.path());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut doomed = false;
        loop {
            line.clear();
            if out.read_line(&mut line).unwrap() == 0 {
                break;
            }
            let mut words = line.trim_end().splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("ack"), Some(row), Some(text)) => {
                    acknowledged.insert(row.to_owned(), text.to_owned());
                }
                (Some("stage"), Some("done"), _) => rotations += 1,
                (Some("stage"), Some(stage), _) if !doomed => {
                    let times = killed.entry(stage.to_owned()).or_default();
                    if *times < each {
                        *times += 1;
                        doomed = true;
                        let [a, b] = tower_ward::entropy::array();
                        std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 5));
                        child.kill().unwrap();
                    }
                }
                _ => {}
            }
            if rotations > 0 && killed.len() == 7 && killed.values().all(|times| *times >= each) && !doomed {
                child.kill().unwrap();
                doomed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(doomed, "the child ended by itself: {status}");
    }
    let kills: u32 = killed.values().sum();
    println!("{kills} kills, {} writes acknowledged, {rotations} rotations", acknowledged.len());
    assert!(kills >= 7 * each && acknowledged.len() > 20, "{kills} kills, {} acknowledged", acknowledged.len());

    runtime.block_on(async {
        let site = Site::open(folder.path(), &root(), SystemClock::shared()).await;
        let rotation = site.rotation();
        if rotation.progress(&site.tenant).await.unwrap().is_none_or(|there| there.stage == RotationStage::Done) {
            rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
        }
        let done = rotation.run::<Rekey>(&site.jobs, &site.tenant, |_| ()).await.unwrap();
        assert_eq!(done.damaged, 0);
        let report = site.keyring.report().await.unwrap();
        assert_eq!((report.subjects, report.epochs_open), (40, 0), "every old key is gone");
        let mut found = HashMap::new();
        for (subject, row, text) in all_notes(&site, folder.path()).await {
            found.insert(row.to_string(), text);
            assert_eq!(site.epochs(folder.path(), subject).await.len(), 1);
        }
        for (row, text) in &acknowledged {
            assert_eq!(found.get(row), Some(text), "an acknowledged value is lost");
        }
        assert!((0..40).all(|i| found.values().any(|text| *text == format!("first note of {i}"))));
        site.ledger.shutdown().await;
    });
}

/// Every note, opened.
async fn all_notes(site: &Site, folder: &Path) -> Vec<(SubjectId, RowId, String)> {
    let mut all = Vec::new();
    for subject in people(folder).await {
        let notes = site
            .with::<ReadNotes, _>(async |grant| {
                let chart = grant.subject(subject).await.unwrap();
                let mut tx = site.db.read(&chart).await.unwrap();
                let sql = "select id, text from notes where patient = ?";
                let rows: Vec<(RowId, Encrypted<NoteText>)> =
                    sqlx::query_as(sql).bind(subject).fetch_all(tx.conn()).await.unwrap();
                rows.into_iter()
                    .map(|(row, text)| (subject, row, text.open(&chart, row).expect("it opens").disclose()))
                    .collect::<Vec<_>>()
            })
            .await;
        all.extend(notes);
    }
    all
}

async fn people(folder: &Path) -> Vec<SubjectId> {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("clinics/harbour.sqlite"));
    let mut connection = options.read_only(true).connect().await.unwrap();
    let rows = sqlx::query("select id from patients").fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| SubjectId::from_bytes(row.get::<Vec<u8>, _>(0).try_into().unwrap())).collect()
}

async fn rotate_for_ever(folder: &Path) {
    let root = RootKey::load(&format!("file:{}", folder.join("root.key").display()).parse().unwrap()).unwrap();
    let site = Site::open(folder, &root, SystemClock::shared()).await;
    let people = people(folder).await;
    for writer in 0..3 {
        let (site, people) = (site.clone(), people.clone());
        tokio::spawn(async move {
            let mut n = 0_u64;
            loop {
                n += 1;
                let subject = people[usize::from(tower_ward::entropy::array::<1>()[0]) % people.len()];
                let row = RowId::generate(&*site.clock);
                let text = format!("note {n} of writer {writer} by {}", std::process::id());
                let written = site
                    .with::<WriteNotes, _>(async |grant| {
                        let chart = grant.subject(subject).await.ok()?;
                        // One of them takes its time between its door and its value.
                        if writer == 0 {
                            tokio::time::sleep(Duration::from_millis(700)).await;
                        }
                        insert_note(&site.db, &chart, row, &text).await.ok()
                    })
                    .await;
                if written.is_some() {
                    say(format_args!("ack {row} {text}"));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let rotation = site.rotation();
    loop {
        if rotation.progress(&site.tenant).await.unwrap().is_none_or(|there| there.stage == RotationStage::Done) {
            rotation.begin(&site.tenant, RotationMode::Whole).await.unwrap();
            say(format_args!("stage prepare"));
        } else if let Some(there) = rotation.progress(&site.tenant).await.unwrap() {
            say(format_args!("stage {}", word(there.stage)));
        }
        rotation
            .run::<Rekey>(&site.jobs, &site.tenant, |progress| say(format_args!("stage {}", word(progress.stage))))
            .await
            .unwrap();
    }
}

fn word(stage: RotationStage) -> String {
    format!("{stage:?}").to_lowercase()
}
