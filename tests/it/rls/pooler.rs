//! Many clients of several clinics behind a real PgBouncer in transaction mode, which gives each transaction whatever session is
//! free; sessions that died; and whoever hangs up while a transaction begins.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::task::JoinSet;
use tower_ward::{
    access::{RelationSource as _, Relations, SubjectGrant},
    audit::End,
    db::{Change, PostgresRelations, PostgresTx, TxError},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId},
};

use super::Site;
use crate::support::model::{NoteText, ReadNotes, WriteNotes};

const CLIENTS: u32 = 64;
/// Of the pooler's, for all of them.
const SESSIONS: u32 = 8;
const PEOPLE: usize = 4;

struct Clinic {
    tenant: TenantId,
    people: Vec<SubjectId>,
}

impl Clinic {
    fn canary(&self) -> String {
        format!("canary of {}", self.tenant)
    }

    /// A clinic whose people have one note each, of which the sealed text and the plain column say whose it is; the first of them
    /// is assigned to the site's user.
    async fn found(site: &Site, tenant: TenantId) -> Self {
        let mut clinic = Self { tenant, people: Vec::new() };
        for _ in 0..PEOPLE {
            clinic.people.push(site.patient(&clinic.tenant, "Ada", &clinic.canary()).await);
        }
        let assign = Change::assign(site.user, Relations::ASSIGNED);
        let assigned =
            site.change(&clinic.tenant, clinic.people[0], assign, async |tx, _| tx.relate(None).await.unwrap());
        assigned.await.unwrap();
        site.sql(
            "postgres",
            &format!("update notes set author = '{}' where tenant = '{}'", clinic.canary(), clinic.tenant),
        )
        .await;
        clinic
    }
}

/// What is asked, in turn.
const READS: &[&str] = &[
    "select tenant, author from notes order by id limit 20",
    "select n.tenant || ' ' || p.tenant, n.author from patients p join notes n on n.patient = p.id order by n.id desc limit 20",
    "select tenant, min(author) from notes group by tenant",
    "select tenant, null from patients union all select tenant, null from patient_words union all select tenant, null from counters
     union all (select tenant, id::text from ward_attempts limit 20) union all select tenant, kind from ward_relations
     union all select tenant, null from ward_erased",
    "with recursive all_of (tenant, author) as (
        (select tenant, author from notes order by id limit 1) union
        (select n.tenant, n.author from notes n, all_of a where n.tenant >= a.tenant limit 20))
     select * from all_of",
    "select p.tenant, (select max(author) from notes n where n.patient = p.id) from patients p where exists (
        select 1 from notes where patient = p.id)",
];

/// What an injected statement leaves on a session, if it can.
const LEFT: &[&str] = &[
    "select set_config('ward.scope', 'OTHER|read|-|-|-|-', false), set_config('ward.proof', repeat('0', 64), false); commit",
    "declare kept cursor with hold for select author from notes; commit",
    "set search_path = pg_catalog; commit",
    "set default_transaction_read_only = on; commit",
    "set default_transaction_isolation = serializable; set row_security = off; commit",
    "prepare kept as select author from notes; commit",
    "set role none; set statement_timeout = '29s'; commit",
    "rollback; begin",
];

struct Crowd {
    site: Site,
    clinics: Vec<Clinic>,
    source: PostgresRelations,
}

/// A request: what was done, and the marks of what it committed.
type Done = (&'static str, Vec<String>);

impl Crowd {
    async fn request(&self, n: usize) -> Done {
        // Spread so that neither the clinic nor what is done follows from the client.
        let mixed = (n as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = |shift: u32, of: usize| usize::try_from(mixed >> shift & 0xffff).unwrap() % of;
        let (clinic, other) = (&self.clinics[at(8, 4)], &self.clinics[(at(8, 4) + 1 + at(24, 3)) % 4]);
        let person = clinic.people[at(16, PEOPLE)];
        match n % 10 {
            0..=3 => self.reads(clinic, other, person, at(32, READS.len())).await,
            4 => self.relates(clinic, other).await,
            5 | 6 => self.commits(clinic, person, n).await,
            7 => self.drops(clinic, person, n).await,
            8 => self.injects(clinic, other, person, at(32, LEFT.len())).await,
            _ => self.hangs_up(clinic, person, n, Duration::from_micros(mixed >> 40 & 0x7_ffff)).await,
        }
    }

    async fn reads(&self, clinic: &Clinic, other: &Clinic, person: SubjectId, query: usize) -> Done {
        let (trail, mut closer) = self.site.trail();
        let chart = self.site.grant::<ReadNotes>(&trail, &clinic.tenant).subject(person).await.unwrap();
        let mut tx = self.site.db.read(&chart).await.unwrap();
        let rows = sqlx::query(READS[query]).fetch_all(tx.conn()).await.unwrap();
        assert!(!rows.is_empty(), "{}: {}", clinic.tenant, READS[query]);
        for row in rows {
            let (tenants, author): (String, Option<String>) = (row.get(0), row.get(1));
            assert!(tenants.split(' ').all(|tenant| tenant == clinic.tenant.as_str()), "{}: {tenants}", clinic.tenant);
            self.is_own(clinic, &author.unwrap_or_default());
        }
        let stranger = sqlx::query_scalar::<_, i64>("select count(*) from notes where patient = any ($1)");
        let stranger = stranger.bind(other.people.clone()).fetch_one(tx.conn()).await.unwrap();
        assert_eq!(stranger, 0, "{}", clinic.tenant);
        let notes: Vec<(RowId, Encrypted<NoteText>)> =
            sqlx::query_as("select id, text from notes where patient = $1 order by id limit 2")
                .bind(person)
                .fetch_all(tx.conn())
                .await
                .unwrap();
        assert!(!notes.is_empty());
        for (row, text) in notes {
            self.is_own(clinic, &text.open(&chart, row).unwrap().disclose());
        }
        drop(tx);
        closer.finish(End::Completed);
        ("read", Vec::new())
    }

    fn is_own(&self, clinic: &Clinic, text: &str) {
        for other in self.clinics.iter().filter(|other| other.tenant != clinic.tenant) {
            assert!(!text.contains(other.tenant.as_str()), "{} sees {text:?}", clinic.tenant);
        }
    }

    /// Outside of any transaction.
    async fn relates(&self, clinic: &Clinic, other: &Clinic) -> Done {
        let asked = [clinic.people[0], clinic.people[1], other.people[0]];
        let found = self.source.relations(&clinic.tenant, self.site.user, &asked, Relations::ASSIGNED).await.unwrap();
        assert_eq!(found, [Relations::ASSIGNED, Relations::NONE, Relations::NONE], "{}", clinic.tenant);
        ("asked for relations", Vec::new())
    }

    async fn write(&self, tx: &mut PostgresTx, chart: &SubjectGrant<WriteNotes>, clinic: &Clinic, mark: &str) -> RowId {
        let row = RowId::generate(&*self.site.clock);
        let made: (String, String) = sqlx::query_as(
            "insert into notes (id, patient, author, text) values ($1, $2, $3, $4) returning tenant, author",
        )
        .bind(row)
        .bind(chart.subject())
        .bind(mark)
        .bind(Encrypted::<NoteText>::seal(&clinic.canary(), chart, row).unwrap())
        .fetch_one(tx.conn())
        .await
        .unwrap();
        assert_eq!(made, (clinic.tenant.to_string(), mark.to_owned()));
        row
    }

    async fn commits(&self, clinic: &Clinic, person: SubjectId, n: usize) -> Done {
        let mark = format!("made {n} in {}", clinic.tenant);
        let change = Change::create("notes", RowId::generate(&*self.site.clock));
        let done = self.site.change(&clinic.tenant, person, change, async |tx, chart| {
            self.write(tx, chart, clinic, &mark).await;
            let seen: Vec<String> =
                sqlx::query_scalar("select distinct tenant from notes").fetch_all(tx.conn()).await.unwrap();
            assert_eq!(seen, [clinic.tenant.as_str()]);
        });
        done.await.unwrap();
        ("committed", vec![mark])
    }

    async fn drops(&self, clinic: &Clinic, person: SubjectId, n: usize) -> Done {
        let (trail, mut closer) = self.site.trail();
        let chart = self.site.grant::<WriteNotes>(&trail, &clinic.tenant).subject(person).await.unwrap();
        let change = Change::create("notes", RowId::generate(&*self.site.clock));
        let mut tx = self.site.db.change(&chart, change).await.unwrap();
        self.write(&mut tx, &chart, clinic, &format!("dropped {n} in {}", clinic.tenant)).await;
        drop(tx);
        closer.finish(End::Completed);
        ("dropped without a commit", Vec::new())
    }

    async fn injects(&self, clinic: &Clinic, other: &Clinic, person: SubjectId, what: usize) -> Done {
        let (trail, mut closer) = self.site.trail();
        let chart = self.site.grant::<ReadNotes>(&trail, &clinic.tenant).subject(person).await.unwrap();
        // What another one of these left is not there.
        for kept in ["fetch all from kept", "execute kept"] {
            let mut tx = self.site.db.read(&chart).await.unwrap();
            let error = sqlx::raw_sql(kept).fetch_all(tx.conn()).await.expect_err(kept);
            let code = error.as_database_error().unwrap().code().unwrap_or_default().into_owned();
            assert!(["34000", "26000"].contains(&code.as_str()), "{kept}: {error}");
        }
        // The setting, in the transaction itself.
        let mut tx = self.site.db.read(&chart).await.unwrap();
        let forged = format!("{}|read|-|-|-|-", other.tenant);
        sqlx::query("select set_config('ward.scope', $1, true)").bind(forged).execute(tx.conn()).await.unwrap();
        let seen = sqlx::query_scalar::<_, String>("select tenant from notes").fetch_all(tx.conn()).await;
        let error = seen.expect_err("forged");
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("WD001"), "{error}");
        drop(tx);
        // And what outlives it.
        let mut tx = self.site.db.read(&chart).await.unwrap();
        let left = LEFT[what].replace("OTHER", other.tenant.as_str());
        sqlx::raw_sql(AssertSqlSafe(left)).execute(tx.conn()).await.unwrap();
        let seen = sqlx::query_scalar::<_, String>("select tenant from public.notes").fetch_all(tx.conn()).await;
        assert!(seen.as_ref().map_or(true, Vec::is_empty), "{}: {seen:?}", LEFT[what]);
        drop(tx);
        closer.finish(End::Completed);
        ("injected", Vec::new())
    }

    /// Begins a change and is gone before its end, wherever it is then. What it commits is told by the database alone.
    async fn hangs_up(&self, clinic: &Clinic, person: SubjectId, n: usize, after: Duration) -> Done {
        let mark = format!("perhaps {n} in {}", clinic.tenant);
        let work = async {
            let change = Change::create("notes", RowId::generate(&*self.site.clock));
            let done = self.site.change(&clinic.tenant, person, change, async |tx, chart| {
                self.write(tx, chart, clinic, &mark).await;
                self.write(tx, chart, clinic, &mark).await;
            });
            done.await
        };
        match tokio::time::timeout(after, work).await {
            Ok(Ok(())) => ("not hung up in time", vec![mark.clone(), mark]),
            Ok(Err(error)) => panic!("{mark}: {error}"),
            Err(_) => ("hung up", Vec::new()),
        }
    }
}

/// With `TOWER_WARD_LONG=tenants` 200,000 requests.
// proves CLA-15
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_of_four_clinics_share_few_sessions_and_none_sees_another() {
    let requests = if std::env::var("TOWER_WARD_LONG").is_ok_and(|suite| suite == "tenants") { 200_000 } else { 3_000 };
    let site = Site::start(NonZeroU32::new(CLIENTS).unwrap(), Some(SESSIONS)).await;
    let mut clinics = Vec::new();
    for name in ["harbour", "meadow", "northgate", "southgate"] {
        let tenant = TenantId::new(name).unwrap();
        if ![&site.harbour, &site.meadow].contains(&&tenant) {
            site.keyring.create_tenant(&tenant).await.unwrap();
            site.db.create(&tenant).await.unwrap();
        }
        clinics.push(Clinic::found(&site, tenant).await);
    }
    let attempts = "select count(*) from ward_attempts where not void";
    let (notes_before, attempts_before) =
        (site.number("select count(*) from notes").await, site.number(attempts).await);
    let source = PostgresRelations::new(site.db.clone(), site.keyring.clone(), site.clock.clone());
    let crowd = Arc::new(Crowd { site, clinics, source });
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (crowd, next) = (Arc::clone(&crowd), Arc::clone(&next));
        clients.spawn(async move {
            let mut done = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= requests {
                    return done;
                }
                done.push(crowd.request(n).await);
            }
        });
    }
    let mut most = 0;
    let mut all = Vec::new();
    while !clients.is_empty() {
        tokio::select! {
            done = clients.join_next() => all.extend(done.into_iter().flat_map(Result::unwrap)),
            () = tokio::time::sleep(Duration::from_millis(250)) => {
                let sessions = "select count(*) from pg_stat_activity where usename = 'ward_app'";
                most = most.max(crowd.site.number(sessions).await);
            }
        }
    }
    let (mut counts, mut made): (BTreeMap<_, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for (what, marks) in all {
        *counts.entry(what).or_default() += 1;
        made.extend(marks);
    }
    println!("{requests} requests of {CLIENTS} clients through {most} sessions: {counts:?}");
    assert_eq!(counts.values().sum::<usize>(), requests);
    assert!(most >= 2 && most <= i64::from(SESSIONS), "{most} sessions");
    for what in ["read", "asked for relations", "committed", "dropped without a commit", "injected", "hung up"] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what}");
    }
    // Whoever hung up may have left something that is still coming to its end.
    let site = &crowd.site;
    tokio::time::timeout(Duration::from_secs(30), site.db.close()).await.expect("every connection comes back");

    let mut conn = site.connect("postgres").await;
    let rows: Vec<(String, String)> =
        sqlx::query_as("select tenant, author from notes where author not like 'canary%'")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    let (mut found, mut perhaps) = (Vec::new(), BTreeMap::new());
    for (tenant, mark) in rows {
        assert!(mark.ends_with(&format!(" in {tenant}")), "{mark} is in {tenant}");
        match mark.split_once(' ').unwrap().0 {
            "made" => found.push(mark),
            "perhaps" => *perhaps.entry(mark).or_insert(0) += 1,
            _ => panic!("{mark} was never committed"),
        }
    }
    let said: BTreeSet<_> = made.iter().filter(|mark| mark.starts_with("perhaps")).cloned().collect();
    assert!(perhaps.values().all(|rows| *rows == 2), "half of a transaction: {perhaps:?}");
    assert!(said.iter().all(|mark| perhaps.contains_key(mark)), "an acknowledged change is lost");
    made.retain(|mark| mark.starts_with("made"));
    made.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, made, "what was committed is there, once");
    let changes = i64::try_from(made.len() + perhaps.len()).unwrap();
    println!("{} changes committed, {} of those that hung up besides", made.len(), perhaps.len() - said.len());
    assert_eq!(site.number(attempts).await - attempts_before, changes);
    let notes = i64::try_from(made.len() + 2 * perhaps.len()).unwrap();
    assert_eq!(site.number("select count(*) from notes").await - notes_before, notes, "and nothing else is");
    assert_eq!(site.number("select count(*) from ward.touched").await, 0);
}

/// A request whose client hangs up while its transaction begins leaves none behind on the connection.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_while_a_transaction_begins_leaves_none_to_the_next() {
    let site = Arc::new(Site::start(NonZeroU32::MIN, None).await);
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let mut hung_up = 0;
    for round in 0..200_u64 {
        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
        let (db, reader) = (site.db.clone(), chart);
        let task = tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_micros(round * 5), db.read(&reader))
                .await
                .map_err(|_| hung_up += 1);
            hung_up
        });
        hung_up = task.await.unwrap();
        closer.finish(End::Completed);
        // Though nobody asks for the connection.
        if round % 8 == 0 {
            let open = "select count(*) from pg_stat_activity where usename = 'ward_app' and state like 'idle in transaction%'";
            let mut tries = 0;
            while site.number(open).await > 0 {
                tries += 1;
                assert!(tries < 100, "round {round}: a transaction stands open");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // On the same connection: what it finds is neither a transaction that only reads nor one of somebody else.
        let change = Change::update("notes", RowId::generate(&*site.clock));
        let done = site.change(&harbour, ada, change, async |tx, _| {
            sqlx::query("update notes set author = 'me'").execute(tx.conn()).await.unwrap();
        });
        done.await.unwrap_or_else(|error: TxError| panic!("round {round}: {error}"));
    }
    assert!(hung_up > 20, "{hung_up}");
    site.db.close().await;
}

/// A server that was away, and every session with it, is asked again for what only reads, and for what has not begun.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_died_are_found_out_before_anything_depends_on_them() {
    let site = Arc::new(Site::start(NonZeroU32::new(8).unwrap(), None).await);
    let harbour = site.harbour.clone();
    let ada = site.patient(&harbour, "Ada", "of Ada").await;
    let source = PostgresRelations::new(site.db.clone(), site.keyring.clone(), site.clock.clone());
    for round in 0..3 {
        // Every connection is open, and idle.
        let mut open = Vec::new();
        let (trail, mut closer) = site.trail();
        let chart = site.grant::<ReadNotes>(&trail, &harbour).subject(ada).await.unwrap();
        for _ in 0..8 {
            open.push(site.db.read(&chart).await.unwrap());
        }
        drop(open);
        closer.finish(End::Completed);
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round == 0 {
            let server = Arc::clone(&site);
            tokio::task::spawn_blocking(move || {
                server.server.down();
                server.server.up();
            })
            .await
            .unwrap();
        } else {
            site.sql("postgres", "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'ward_app'")
                .await;
        }
        if round == 2 {
            assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
        }
        let found = source.relations(&harbour, site.user, &[ada], Relations::ASSIGNED).await;
        assert_eq!(found.unwrap(), [Relations::NONE], "round {round}");
        assert_eq!(site.notes(&harbour, ada).await, ["of Ada"]);
    }
}
