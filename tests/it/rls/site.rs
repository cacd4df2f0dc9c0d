//! A database with two clinics, and doors to them.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use sqlx::{Connection as _, Executor as _, PgConnection, migrate::Migrator};
use tower_ward::{
    access::{Grant, Permission, danger_grant},
    audit::{Closer, End, Ledger, LedgerOptions, Record, RequestFacts, Trail},
    clock::{SharedClock, SystemClock},
    db::{Change, DbError, PostgresDb, PostgresOptions, PostgresTx, Schema, TxError},
    field::{BlindIndex, Encrypted},
    id::{RowId, SubjectId, TenantId, UserId},
    keys::{Keyring, RootKey},
    store::MemoryStore,
};

use crate::{
    postgres::{bouncer::Bouncer, server::cluster::Cluster},
    support::{
        ledger::records_on_disk,
        model::{AdmitPatients, COLUMNS, NoteText, PatientName, ReadNotes, WriteNotes, row_of},
    },
};

static MIGRATIONS: Migrator = sqlx::migrate!("tests/it/rls/migrations");
pub(crate) const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS])
    .with_people(&[("patients", "id"), ("patient_words", "patient"), ("notes", "patient")])
    .with_clinics(&["staff"])
    .with_shared(&["counters"])
    .with_global(&["codes"])
    .with_indexes(&[("patient_words", "word")]);

/// As whom the servers log in, and who owns the tables.
pub(crate) const APP: &str = "ward_app";
pub(crate) const OWNER: &str = "ward_owner";

pub(crate) struct Site {
    /// It ends before the server does.
    bouncer: Option<Bouncer>,
    pub(crate) server: Cluster,
    connections: NonZeroU32,
    pub(crate) db: PostgresDb,
    pub(crate) keyring: Keyring,
    pub(crate) ledger: Ledger,
    pub(crate) clock: SharedClock,
    pub(crate) harbour: TenantId,
    pub(crate) meadow: TenantId,
    pub(crate) user: UserId,
    dir: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with_connections(16).await
    }

    /// With so many connections: with one, everybody has the one that somebody had before.
    pub(crate) async fn with_connections(most: u32) -> Self {
        Self::start(NonZeroU32::new(most).unwrap(), None).await
    }

    /// With so many connections, behind a pooler with so many of its own.
    pub(crate) async fn start(connections: NonZeroU32, pooler: Option<u32>) -> Self {
        // So that a test may count how often a function was asked.
        let server = Cluster::start(&["track_functions=all"]);
        let bouncer = pooler.map(|connections| Bouncer::start(&server, connections));
        server.sql(&format!("create role {APP} login; create role {OWNER} login"));
        server.sql(&format!("create database clinic owner {OWNER}"));
        let clock = SystemClock::shared();
        let store = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
        let keyring = Keyring::open(RootKey::generate(), store).await.unwrap();
        let [harbour, meadow] = ["harbour", "meadow"].map(|name| TenantId::new(name).unwrap());
        let owner = PostgresOptions::new(&url(&server, OWNER)).unwrap();
        PostgresDb::install(&owner, APP, SCHEMA, &keyring).await.unwrap();
        let options = app(&server, bouncer.as_ref(), connections);
        let db = PostgresDb::open(&options, SCHEMA, &keyring).await.unwrap();
        for tenant in [&harbour, &meadow] {
            keyring.create_tenant(tenant).await.unwrap();
            db.create(tenant).await.unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let options = LedgerOptions::new().with_segment_size(1 << 20);
        let ledger = Ledger::open(&dir.path().join("ledger"), options, Arc::clone(&clock)).unwrap();
        let user = UserId::generate(&*clock);
        Self { bouncer, server, connections, db, keyring, ledger, clock, harbour, meadow, user, dir }
    }

    pub(crate) fn url(&self, role: &str) -> String {
        url(&self.server, role)
    }

    /// Installs the database again, as its owner.
    pub(crate) async fn install(&self) -> Result<(), DbError> {
        let options = PostgresOptions::new(&self.url(OWNER)).unwrap();
        PostgresDb::install(&options, APP, SCHEMA, &self.keyring).await
    }

    /// Opens it anew, as a server that starts.
    pub(crate) async fn open(&self) -> Result<PostgresDb, DbError> {
        let options = app(&self.server, self.bouncer.as_ref(), self.connections);
        PostgresDb::open(&options, SCHEMA, &self.keyring).await
    }

    /// A connection past the library.
    pub(crate) async fn connect(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.url(role)).await.unwrap()
    }

    /// Runs statements past the library.
    pub(crate) async fn sql(&self, role: &str, statements: &str) {
        let mut conn = self.connect(role).await;
        conn.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    }

    /// A number, as the superuser sees it.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut conn = self.connect("postgres").await;
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
    }

    pub(crate) fn trail(&self) -> (Trail, Closer) {
        self.ledger.begin(RequestFacts::new())
    }

    pub(crate) fn grant<P: Permission>(&self, trail: &Trail, tenant: &TenantId) -> Grant<P> {
        danger_grant::<P>(trail, &self.keyring, &self.clock, self.user, tenant.clone(), "a test").unwrap()
    }

    /// A new patient with one note.
    pub(crate) async fn patient(&self, tenant: &TenantId, name: &str, note: &str) -> SubjectId {
        let (trail, mut closer) = self.trail();
        let chart = self.grant::<AdmitPatients>(&trail, tenant).admit().await.unwrap();
        let subject = chart.subject();
        let mut tx = self.db.change(&chart, Change::create("patients", row_of(subject))).await.unwrap();
        let name = name.to_owned();
        sqlx::query("insert into patients (id, name) values ($1, $2)")
            .bind(subject)
            .bind(Encrypted::<PatientName>::seal(&name, &chart, row_of(subject)).unwrap())
            .execute(tx.conn())
            .await
            .unwrap();
        sqlx::query("insert into patient_words (patient, word) values ($1, $2)")
            .bind(subject)
            .bind(BlindIndex::<PatientName>::of(&name, &chart).unwrap())
            .execute(tx.conn())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        closer.finish(End::Completed);
        self.write(tenant, subject, note).await.unwrap();
        subject
    }

    /// Begins a change of a person's, does something in it, and commits.
    pub(crate) async fn change(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        change: Change,
        work: impl AsyncFnOnce(&mut PostgresTx, &tower_ward::access::SubjectGrant<WriteNotes>),
    ) -> Result<(), TxError> {
        let (trail, mut closer) = self.trail();
        let chart = self.grant::<WriteNotes>(&trail, tenant).subject(subject).await.unwrap();
        let mut tx = self.db.change(&chart, change).await?;
        work(&mut tx, &chart).await;
        let done = tx.commit().await;
        closer.finish(End::Completed);
        done
    }

    pub(crate) async fn write(&self, tenant: &TenantId, subject: SubjectId, text: &str) -> Result<(), TxError> {
        let row = RowId::generate(&*self.clock);
        self.change(tenant, subject, Change::create("notes", row), async |tx, chart| {
            sqlx::query("insert into notes (id, patient, text) values ($1, $2, $3)")
                .bind(row)
                .bind(subject)
                .bind(Encrypted::<NoteText>::seal(&text.to_owned(), chart, row).unwrap())
                .execute(tx.conn())
                .await
                .unwrap();
        })
        .await
    }

    /// What is written about a person, and what of it is seen without a word of whose it is to be.
    pub(crate) async fn notes(&self, tenant: &TenantId, subject: SubjectId) -> Vec<String> {
        let (trail, mut closer) = self.trail();
        let chart = self.grant::<ReadNotes>(&trail, tenant).subject(subject).await.unwrap();
        let mut tx = self.db.read(&chart).await.unwrap();
        let rows: Vec<(RowId, SubjectId, Encrypted<NoteText>)> =
            sqlx::query_as("select id, patient, text from notes order by id").fetch_all(tx.conn()).await.unwrap();
        let notes = rows.iter().filter(|row| row.1 == subject);
        let notes = notes.map(|(row, _, text)| text.open(&chart, *row).unwrap().disclose()).collect();
        closer.finish(End::Completed);
        notes
    }

    /// The records of the ledger, which ends with it.
    pub(crate) async fn into_records(self) -> Vec<Record> {
        self.ledger.shutdown().await;
        records_on_disk(&self.dir.path().join("ledger"))
    }
}

/// As a server reaches it.
fn app(server: &Cluster, bouncer: Option<&Bouncer>, connections: NonZeroU32) -> PostgresOptions {
    let options = match bouncer {
        None => PostgresOptions::new(&url(server, APP)).unwrap(),
        Some(bouncer) => {
            PostgresOptions::new(&bouncer.url(APP).replace("/postgres?", "/clinic?")).unwrap().with_pooler()
        }
    };
    options.with_connections(connections)
}

fn url(server: &Cluster, role: &str) -> String {
    server.url_of(role, "clinic")
}
