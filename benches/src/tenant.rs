//! A clinic's rows among those of all, found by row-level security, against the same queries with the clinic in each of them.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres,
    migrate::Migrator,
    postgres::{PgArguments, PgPoolOptions},
    query::Query,
    types::Uuid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use tower_ward::{
    access::{SubjectGrant, danger_grant},
    audit::Closer,
    db::{Change, PostgresDb, PostgresOptions, Schema},
    id::{RowId, TenantId},
};

use crate::{
    bench::{Bench, Clinical, ReadNotes, WriteNotes},
    postgres::server::cluster::Cluster,
    ratio::{Row, Target, time},
};

tower_ward::columns! { pub Name: String = "patients"."name" as Clinical, indexed; }

static MIGRATIONS: Migrator = sqlx::migrate!("../tests/it/rls/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS])
    .with_people(&[("patients", "id"), ("patient_words", "patient"), ("notes", "patient")])
    .with_clinics(&["staff"])
    .with_shared(&["counters"])
    .with_global(&["codes"])
    .with_indexes(&[("patient_words", "word")]);

/// How much there is, and how much of it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) people: u32,
    pub(crate) clinics: u32,
    /// Transactions of each kind, on each side.
    pub(crate) rounds: usize,
}

/// Clinics that are asked about, in turn.
const ASKED: u32 = 16;
/// Different words of names.
const WORDS: u32 = 100;

/// A query, without the clinic and with it; `$1` is what is looked for, `$2` the clinic.
struct Kind {
    what: &'static str,
    ours: &'static str,
    floor: &'static str,
    binds: fn(&Clinic, usize) -> Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    Id(Uuid),
    Word(u32),
}

const KINDS: &[Kind] = &[
    Kind {
        what: "the first page of 25",
        ours: "select id, name from patients where id >= $1 order by id limit 25",
        floor: "select id, name from patients where id >= $1 and tenant = $2 order by id limit 25",
        binds: |_, _| Bound::Id(Uuid::nil()),
    },
    Kind {
        what: "a page of 25 in the middle",
        ours: "select id, name from patients where id > $1 order by id limit 25",
        floor: "select id, name from patients where id > $1 and tenant = $2 order by id limit 25",
        binds: |clinic, _| Bound::Id(clinic.ids[clinic.ids.len() / 2]),
    },
    Kind {
        what: "one row",
        ours: "select id, name from patients where id = $1",
        floor: "select id, name from patients where id = $1 and tenant = $2",
        binds: |clinic, round| Bound::Id(clinic.ids[round % clinic.ids.len()]),
    },
    Kind {
        what: "a search by word, joined",
        ours: "select p.id, p.name from patient_words w join patients p on p.id = w.patient
            where w.word = substr(sha256(int4send($1)), 1, 16) order by p.id limit 25",
        floor: "select p.id, p.name from patient_words w join patients p on p.id = w.patient and p.tenant = w.tenant
            where w.word = substr(sha256(int4send($1)), 1, 16) and w.tenant = $2 order by p.id limit 25",
        binds: |_, round| Bound::Word(u32::try_from(round).unwrap_or(0) % WORDS),
    },
];

fn bind<'q>(sql: &'static str, bound: Bound) -> Query<'q, Postgres, PgArguments> {
    match bound {
        Bound::Id(id) => sqlx::query(sql).bind(id),
        Bound::Word(word) => sqlx::query(sql).bind(i32::try_from(word).unwrap_or(0)),
    }
}

/// A clinic that is asked about.
struct Clinic {
    name: String,
    chart: SubjectGrant<ReadNotes>,
    changes: SubjectGrant<WriteNotes>,
    ids: Vec<Uuid>,
    _closer: Closer,
}

pub(crate) async fn rows(bench: &Bench, size: Size) -> Vec<Row> {
    let server = Cluster::start(&["shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"]);
    let url = |role: &str| server.url_of(role, "clinic");
    server.sql("create role ward_app login; create role ward_owner login");
    server.sql("create database clinic owner ward_owner");
    let options = |url: &str| PostgresOptions::new(url).expect("a url").with_connections(NonZeroU32::MIN);
    PostgresDb::install(&options(&url("ward_owner")), "ward_app", SCHEMA, &bench.keyring).await.expect("installed");
    let mut floor = PgConnection::connect(&url("postgres")).await.expect("connected");
    fill(&mut floor, size).await;
    let db = PostgresDb::open(&options(&url("ward_app")), SCHEMA, &bench.keyring).await;
    let db = db.expect("opened");
    let clinics = clinics(bench, &mut floor, size).await;

    let mut rows = Vec::new();
    for kind in KINDS {
        let mut took: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
        for round in 0..size.rounds + size.rounds / 10 {
            let clinic = &clinics[round % clinics.len()];
            let bound = (kind.binds)(clinic, round);
            // The one that comes second finds the pages in the processor's cache.
            let (ours, plain);
            if round % 2 == 0 {
                ours = guarded(&db, clinic, kind, bound).await;
                plain = unguarded(&mut floor, clinic, kind, bound).await;
            } else {
                plain = unguarded(&mut floor, clinic, kind, bound).await;
                ours = guarded(&db, clinic, kind, bound).await;
            }
            assert_eq!(ours.1, plain.1, "{}: the same rows", kind.what);
            // The first ones prepare their statements.
            if round >= size.rounds / 10 {
                took[0].push(plain.0);
                took[1].push(ours.0);
            }
        }
        for (what, of, at, target) in [
            ("the query, p50", 0, 0.5, Target::AtMost(1.15)),
            ("the query, p99", 0, 0.99, Target::AtMost(1.3)),
            ("with all of its transaction, p50", 1, 0.5, Target::None),
            ("with all of its transaction, p99", 1, 0.99, Target::None),
        ] {
            let [floor, ours] = [0, 1].map(|side| quantile(took[side].iter().map(|took: &[f64; 2]| took[of]), at));
            rows.push(Row {
                what: format!(
                    "{} among {} rows of {} clinics, {what} / without row-level security",
                    kind.what, size.people, size.clinics
                ),
                floor: time(floor),
                ours: time(ours),
                ratio: ours / floor,
                target,
            });
        }
    }
    db.close().await;
    rows.extend(round_trips(bench, &server, &clinics[0]).await);
    rows
}

/// As many people, each with a word of their name, spread over the clinics.
async fn fill(owner: &mut PgConnection, Size { people, clinics, .. }: Size) {
    let name = |n: &str| format!("'clinic-' || lpad(({n} % {clinics})::text, 4, '0')");
    let script = format!(
        "alter table patients disable trigger ward_made;
         set session_replication_role = replica;
         insert into ward.tenants select {} from generate_series(0, {clinics} - 1) n;
         insert into patients (tenant, id, name) select {}, gen_random_uuid(), sha256(int4send(n)) || sha256(int4send(-n))
             from generate_series(1, {people}) n;
         insert into patient_words (tenant, patient, word)
             select tenant, id, substr(sha256(int4send((random() * {WORDS})::int)), 1, 16) from patients;
         reset session_replication_role;
         alter table patients enable always trigger ward_made;
         vacuum analyze patients; vacuum analyze patient_words; analyze; checkpoint",
        name("n"),
        name("n"),
    );
    for statement in script.split(';') {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *owner).await.expect("done");
    }
}

async fn clinics(bench: &Bench, owner: &mut PgConnection, size: Size) -> Vec<Clinic> {
    let mut clinics = Vec::new();
    for n in (0..size.clinics).step_by((size.clinics / ASKED) as usize).take(ASKED as usize) {
        let name = format!("clinic-{n:04}");
        let tenant = TenantId::new(&name).expect("a name");
        bench.keyring.create_tenant(&tenant).await.expect("a key");
        let (trail, closer) = bench.trail();
        let grant = |tenant: &TenantId| {
            danger_grant::<ReadNotes>(&trail, &bench.keyring, &bench.clock, bench.user, tenant.clone(), "a benchmark")
        };
        let chart = grant(&tenant).expect("recorded").admit().await.expect("admitted");
        let grant = danger_grant::<WriteNotes>(&trail, &bench.keyring, &bench.clock, bench.user, tenant, "a benchmark");
        let changes = grant.expect("recorded").admit().await.expect("admitted");
        let ids = sqlx::query_scalar("select id from patients where tenant = $1 order by id").bind(&name);
        let ids = ids.fetch_all(&mut *owner).await.expect("read");
        clinics.push(Clinic { name, chart, changes, ids, _closer: closer });
    }
    clinics
}

/// Nanoseconds of the query and of the whole transaction, and how many rows it found.
type Took = ([f64; 2], usize);

async fn guarded(db: &PostgresDb, clinic: &Clinic, kind: &Kind, bound: Bound) -> Took {
    let begun = Instant::now();
    let mut tx = db.read(&clinic.chart).await.expect("begun");
    let asked = Instant::now();
    let found = bind(kind.ours, bound).fetch_all(tx.conn()).await.expect("read").len();
    let query = nanos(asked);
    // What the drop does by itself later, so that it is within the time.
    sqlx::raw_sql("ROLLBACK; BEGIN").execute(tx.conn()).await.expect("ended");
    let all = nanos(begun);
    drop(tx);
    settle().await;
    ([query, all], found)
}

async fn unguarded(conn: &mut PgConnection, clinic: &Clinic, kind: &Kind, bound: Bound) -> Took {
    let begun = Instant::now();
    let mut tx = conn.begin_with("BEGIN READ ONLY").await.expect("begun");
    let asked = Instant::now();
    let found = bind(kind.floor, bound).bind(&clinic.name).fetch_all(&mut *tx).await.expect("read").len();
    let query = nanos(asked);
    sqlx::raw_sql("ROLLBACK; BEGIN").execute(&mut *tx).await.expect("ended");
    let all = nanos(begun);
    tx.rollback().await.expect("ended");
    settle().await;
    ([query, all], found)
}

/// Until the connection is back.
async fn settle() {
    tokio::time::sleep(Duration::from_micros(300)).await;
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes")]
fn nanos(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
fn quantile(values: impl Iterator<Item = f64>, at: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * at) as usize]
}

/// How often a transaction waits for the server, counted by who stands between.
async fn round_trips(bench: &Bench, server: &Cluster, clinic: &Clinic) -> Vec<Row> {
    let between = Between::start(server);
    let url = |role: &str| between.url(server, role);
    let options = PostgresOptions::new(&url("ward_app")).expect("a url").with_connections(NonZeroU32::MIN);
    let db = PostgresDb::open(&options, SCHEMA, &bench.keyring).await.expect("opened");
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    let pool: PgPool = pool.connect(&url("postgres")).await.expect("connected");
    let (read, change) = ("select count(*) from counters", "insert into counters (name, value) values ($1, 1)");
    let plain_change = "insert into counters (tenant, name, value) values ('clinic-0000', $1, 1)";
    // Twice: the first prepares the statements.
    let mut counts = [0; 4];
    for turn in ["first", "second"] {
        between.take();
        let mut tx = pool.begin_with("BEGIN READ ONLY").await.expect("begun");
        sqlx::query(read).execute(&mut *tx).await.expect("read");
        // What ends it is sent later, and waited for by nobody.
        counts[0] = between.take();
        drop(tx);
        between.settled().await;
        let mut tx = db.read(&clinic.chart).await.expect("begun");
        sqlx::query(read).execute(tx.conn()).await.expect("read");
        counts[1] = between.take();
        drop(tx);
        between.settled().await;
        let mut tx = pool.begin_with("BEGIN").await.expect("begun");
        sqlx::query(plain_change).bind(format!("plain {turn}")).execute(&mut *tx).await.expect("inserted");
        tx.commit().await.expect("committed");
        counts[2] = between.take();
        between.settled().await;
        let change_of = Change::create("counters", RowId::generate(&*bench.clock));
        let mut tx = db.change(&clinic.changes, change_of).await.expect("begun");
        sqlx::query(change).bind(turn).execute(tx.conn()).await.expect("inserted");
        tx.commit().await.expect("committed");
        counts[3] = between.take();
        between.settled().await;
    }
    db.close().await;
    let row = |what: &str, plain: usize, ours: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let [plain, ours] = [plain, ours].map(|count| count as f64);
        Row {
            what: format!("{what} / of a plain one, and at most one more"),
            floor: plain.to_string(),
            ours: ours.to_string(),
            ratio: ours / plain,
            target: Target::AtMost((plain + 1.0) / plain),
        }
    };
    vec![
        row("round trips that wait in a transaction that reads", counts[0], counts[1]),
        row("round trips that wait in a transaction that changes a row", counts[2], counts[3]),
    ]
}

/// Stands between a client and the server, and counts how often the client speaks after the server did.
struct Between {
    folder: tempfile::TempDir,
    count: Arc<AtomicUsize>,
}

impl Between {
    fn start(server: &Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("ward-bt").tempdir_in("/tmp").expect("a folder");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
        let (count, there) = (Arc::new(AtomicUsize::new(0)), server.folder().join(".s.PGSQL.5432"));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&there).await.expect("the server");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let answered = Arc::new(AtomicBool::new(true));
                let (count, answers) = (Arc::clone(&counted), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut bytes = [0; 1 << 16];
                    while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
                        if answered.swap(false, Ordering::SeqCst) {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        if to_server.write_all(&bytes[..n]).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut bytes = [0; 1 << 16];
                    while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                        answers.store(true, Ordering::SeqCst);
                        if to_client.write_all(&bytes[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { folder, count }
    }

    fn url(&self, server: &Cluster, role: &str) -> String {
        let [here, there] = [self.folder.path(), server.folder()].map(|path| path.display().to_string());
        server.url_of(role, "clinic").replace(&there, &here)
    }

    fn take(&self) -> usize {
        self.count.swap(0, Ordering::SeqCst)
    }

    /// Once whoever dropped a transaction has given its connection back, none of which counts.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.take();
    }
}
