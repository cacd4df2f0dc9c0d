//! A person is erased: in the data, in the key store, in its copy, and in every backup of the data; and the ledger says so.
//!
//! `cargo run --example erase_patient --features sqlite`

use std::{error::Error, path::Path, sync::Arc};

use tower_ward::{
    access::{DoorError, danger_grant},
    audit::{End, Ledger, LedgerOptions, RequestFacts, verify},
    clock::{SharedClock, SystemClock},
    db::{Change, Db, Schema},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId, UserId},
    keys::{Keyring, KeyringOptions, RootKey},
    privacy::Erasures,
    store::SqliteStore,
};

tower_ward::classes! { Clinical = "clinical"; }
tower_ward::permissions! {
    WriteNotes = "notes.write" changes Clinical;
    ErasePatient = "patients.erase" changes;
}
tower_ward::columns! { NoteText: String = "notes"."text" as Clinical; }

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./examples/first_steps/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("notes", "patient")]);

struct App {
    keyring: Keyring,
    db: Db,
    ledger: Ledger,
    clock: SharedClock,
    harbour: TenantId,
    owner: UserId,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let clock = SystemClock::shared();
    // The keys, in a database of their own, and their copy: on another disk, in earnest.
    let (keys, copy) = (SqliteStore::open(path("keys.sqlite")).await?, SqliteStore::open(path("copy.sqlite")).await?);
    let options = KeyringOptions::default().add_copy("second-disk", Arc::new(copy))?;
    let keyring = Keyring::open_with(RootKey::generate(), Arc::new(keys), &options).await?;
    let ledger = Ledger::open(&path("ledger"), LedgerOptions::new().with_segment_size(1 << 20), Arc::clone(&clock))?;
    let db = Db::open(path("clinics"), SCHEMA)?;
    let (harbour, owner) = (TenantId::new("harbour")?, UserId::generate(&*clock));
    keyring.create_tenant(&harbour).await?;
    db.create(&harbour).await?;
    // Before the first request: what a crash left is finished, and an older key store is refused.
    db.settle(&ledger).await?;
    let erasures = Erasures::open(&keyring, &db, &ledger).await?;
    let app = App { keyring, db, ledger, clock, harbour, owner };

    let (ada, ben) = (app.admit("a cough, since Tuesday").await?, app.admit("a broken toe").await?);
    println!("Ada's note: {}", app.read(ada).await?.join(", "));
    // Last night's backup. The keys are not in it.
    copy_folder(&path("clinics"), &path("backup"))?;

    let (trail, mut closer) = app.ledger.begin(RequestFacts::new());
    let grant =
        danger_grant::<ErasePatient>(&trail, &app.keyring, &app.clock, app.owner, app.harbour.clone(), "asked")?;
    let erased = erasures.erase(&grant, ada).await?;
    closer.finish(End::Completed);
    assert!(erased.is_complete());
    println!("erased: complete {}, confirmed by {} copies of the key store", erased.is_complete(), erased.confirmed());

    println!("refused: {}", app.read(ada).await.err().ok_or("her notes open")?);
    println!("Ben's note: {}", app.read(ben).await?.join(", "));

    // Somebody restores the backup. Her rows are back, and do not open: there is no key, in no copy.
    app.db.close().await;
    std::fs::remove_dir_all(path("clinics"))?;
    copy_folder(&path("backup"), &path("clinics"))?;
    let app = App { db: Db::open(path("clinics"), SCHEMA)?, ..app };
    println!("refused, from the backup: {}", app.read(ada).await.err().ok_or("her notes open")?);
    println!("Ben's note, from the backup: {}", app.read(ben).await?.join(", "));

    app.ledger.shutdown().await;
    let report = verify(&path("ledger"))?;
    println!("the ledger holds: {} records, head {}", report.records(), report.head());
    Ok(())
}

impl App {
    async fn admit(&self, note: &str) -> Result<SubjectId, Box<dyn Error>> {
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new());
        let grant =
            danger_grant::<WriteNotes>(&trail, &self.keyring, &self.clock, self.owner, self.harbour.clone(), "ours")?;
        let (chart, row) = (grant.admit().await?, RowId::generate(&*self.clock));
        let mut tx = self.db.change(&chart, Change::create("notes", row)).await?;
        sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
            .bind(row)
            .bind(chart.subject())
            .bind(Encrypted::<NoteText>::seal(&note.to_owned(), &chart, row)?)
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        closer.finish(End::Completed);
        Ok(chart.subject())
    }

    async fn read(&self, patient: SubjectId) -> Result<Vec<String>, Box<dyn Error>> {
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new());
        let grant =
            danger_grant::<WriteNotes>(&trail, &self.keyring, &self.clock, self.owner, self.harbour.clone(), "ours")?;
        let chart = grant.subject(patient).await.map_err(|error: DoorError| error.to_string())?;
        let mut tx = self.db.read(&chart).await?;
        let rows: Vec<(RowId, Encrypted<NoteText>)> =
            sqlx::query_as("select id, text from notes where patient = ?").bind(patient).fetch_all(tx.conn()).await?;
        let notes = rows.iter().map(|(row, text)| Ok(text.open(&chart, *row)?.disclose())).collect();
        closer.finish(End::Completed);
        notes
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
