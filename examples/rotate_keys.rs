//! Keys are replaced from the top to the bottom, while everything goes on: the platform's, a clinic's, and a person's.
//!
//! `cargo run --example rotate_keys --features sqlite,stack`
//!
//! What lies above a person's keys is wrapped anew, which touches no value. A person's own key is replaced by sealing their
//! values anew: a job does that, with `tower_ward::db::Rotation`, and `ward rotate values` begins it and looks on.

use std::{error::Error, sync::Arc, time::Duration};

use tower_ward::{
    access::{JobGrant, NoRelations, Policy, Task},
    audit::{Ledger, LedgerOptions},
    clock::SystemClock,
    db::{Change, Db, Rotation, RotationMode, RotationOptions, Schema},
    field::Encrypted,
    id::{RowId, TenantId},
    identity::{Identity, IdentityOptions},
    keys::{Kek, KekId, Keyring, KeyringOptions, RootKey},
    stack::Ward,
    store::{Durable, SqliteStore},
    tenant::Hosts,
};

tower_ward::classes! { Clinical = "clinical"; }
tower_ward::permissions! { RotateKeys = "keys.rotate" changes Clinical; }
tower_ward::columns! { NoteText: String = "notes"."text" as Clinical; }

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./examples/first_steps/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("notes", "patient")]);

enum Rekey {}
impl Task for Rekey {
    type Permission = RotateKeys;
    const ID: &'static str = "rekey";
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock = SystemClock::shared();
    let store: Arc<dyn Durable> = Arc::new(SqliteStore::open(folder.path().join("keys.sqlite")).await?);
    // Next year's key is made known beside this year's. Either may be one that an HSM or a KMS holds.
    let (this_year, next_year) = (KekId::new("root-2026")?, KekId::new("root-2027")?);
    let options = KeyringOptions::default().add_kek(Kek::new(next_year.clone(), RootKey::generate()));
    let root = Kek::new(this_year.clone(), RootKey::generate());
    let keyring = Keyring::open_with(root, Arc::clone(&store), &options).await?;
    // Short, so that this example ends soon: doors stay open for ten minutes by default, and a rotation waits for them.
    let ledger_options = LedgerOptions::new().with_segment_size(1 << 20).with_trail_deadline(Duration::from_secs(2));
    let ledger = Ledger::open(&folder.path().join("ledger"), ledger_options, Arc::clone(&clock))?;
    let db = Db::open(folder.path().join("clinics"), SCHEMA)?;
    let harbour = TenantId::new("harbour")?;
    keyring.create_tenant(&harbour).await?;
    db.create(&harbour).await?;

    // 1. The platform's key: everything that is wrapped under the old is wrapped under the new.
    let moved = keyring.rewrap_all(&this_year, &next_year, |_| ()).await?;
    println!("{moved} keys are wrapped under `{}`; `{this_year}` may be destroyed", keyring.kek_of(&harbour).await?);
    assert_eq!(keyring.kek_of(&harbour).await?, next_year);
    let again = Keyring::open(Kek::new(this_year, RootKey::generate()), Arc::clone(&store)).await;
    println!("refused: {}", again.err().ok_or("the old name still opens it")?);

    // 2. The clinic's wrapping key.
    let moved = keyring.rotate_tenant(&harbour).await?;
    println!("the clinic has a new wrapping key; {moved} people's keys are wrapped under it");

    // 3. People's keys: by a job, in a server.
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example")?;
    hosts.register(harbour.clone())?;
    let identity_options = IdentityOptions::new("https://clinic.example");
    let identity = Identity::open(Arc::clone(&store), &keyring, Arc::clone(&clock), identity_options).await?;
    let ward = Ward::builder()
        .with_job_store(Arc::clone(&store))
        .add_task::<Rekey>()
        .keys(keyring.clone())
        .audit(ledger.clone())
        .authenticate(identity)
        .tenants(hosts)
        .policy(Policy::from_toml("[roles.doctor]")?)
        .relations(NoRelations)
        .build()?;
    let jobs = ward.jobs().ok_or("a ward without a job store")?;
    // A patient, admitted by a job as well.
    let envelope = jobs.danger_issue_for_clinic::<Rekey>(harbour.clone(), Duration::from_secs(60))?;
    let (in_job, time) = (db.clone(), Arc::clone(&clock));
    let admit = async move |grant: JobGrant<Rekey>| -> Result<(), Box<dyn Error + Send + Sync>> {
        let (chart, row) = (grant.admit().await?, RowId::generate(&*time));
        let mut tx = in_job.change(&chart, Change::create("notes", row)).await?;
        sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
            .bind(row)
            .bind(chart.subject())
            .bind(Encrypted::<NoteText>::seal(&"a cough".to_owned(), &chart, row)?)
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    };
    jobs.run::<Rekey, _, _, _>(&envelope, admit).await?.map_err(|error| error.to_string())?;

    let rotation = Rotation::new(&db, &keyring, &ledger, store, RotationOptions::new());
    rotation.begin(&harbour, RotationMode::Whole).await?;
    let mut last = "";
    let done = rotation
        .run::<Rekey>(jobs, &harbour, |now| {
            if now.stage.as_str() != last {
                last = now.stage.as_str();
                println!("  {last}");
            }
        })
        .await?;
    assert_eq!((done.values, done.damaged), (1, 0));
    println!("{} value(s) of {} person sealed anew, {} damaged", done.values, done.total, done.damaged);
    print!("{}", keyring.report().await?);
    ledger.shutdown().await;
    Ok(())
}
