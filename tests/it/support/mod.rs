//! A small test clinic on temporary folders, and the verbs to attack it with.

#[cfg(feature = "transit")]
pub(crate) mod bao;
#[cfg(feature = "pkcs11")]
pub(crate) mod gcm;
pub(crate) mod ledger;
pub(crate) mod model;
#[cfg(any(feature = "aws-kms", feature = "postgres", feature = "transit"))]
pub(crate) mod program;
#[cfg(feature = "pkcs11")]
pub(crate) mod softhsm;

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::BodyExt;
use model::{AdmitPatients, App, WriteNotes};
use tower::{Service, ServiceExt};
use tower_ward::{
    access::{BoxFuture, Jobs, Permission, Policy, RelationError, RelationSource, Relations, danger_grant},
    audit::{Action, Closer, End, Event, Kind, Ledger, LedgerOptions, Record, RequestFacts, Trail},
    axum::Router,
    clock::{Clock, ManualClock, SharedClock, Timestamp},
    db::{Change, Db, SqliteRelations},
    id::{RowId, SubjectId, TenantId, UserId},
    identity::{Identity, IdentityOptions, NewAccount},
    keys::{Keyring, RootKey},
    problem::Reason,
    quota::Quota,
    secret::ExposeSecret,
    stack::{ConnInfo, Ward, WardService},
    store::{Durable, MemoryStore},
    tenant::Hosts,
};

const PASSWORD: &str = "correct horse battery staple";
/// A text that stands for what must not leak.
pub(crate) const CANARY: &str = "Zebedee-Quillfeather-canary";

/// What a test changes about the bench before it is put together.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) ledger: LedgerOptions,
    pub(crate) policy: String,
    pub(crate) peer_quota: Quota,
    pub(crate) principal_quota: Quota,
    pub(crate) deadline: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let many = Quota::per_minute(NonZeroU32::new(100_000).unwrap());
        Self {
            ledger: LedgerOptions::new().with_segment_size(1 << 20),
            policy: model::POLICY.to_owned(),
            peer_quota: many,
            principal_quota: many,
            deadline: Duration::from_secs(30),
        }
    }
}

/// Relations that can be made to fail, and that count how often they were asked.
#[derive(Debug, Clone)]
pub(crate) struct Fallible {
    inner: SqliteRelations,
    broken: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl RelationSource for Fallible {
    fn relations<'a>(
        &'a self,
        tenant: &'a TenantId,
        user: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(async { Err(RelationError::new(CANARY)) });
        }
        self.inner.relations(tenant, user, subjects, among)
    }
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) token: String,
    pub(crate) host: String,
}

/// A clinic `harbour` and its neighbour `meadow`.
pub(crate) struct Bench {
    pub(crate) ward: Ward,
    pub(crate) db: Db,
    pub(crate) keyring: Keyring,
    pub(crate) clock: ManualClock,
    pub(crate) relations: Fallible,
    pub(crate) store: Arc<dyn Durable>,
    pub(crate) harbour: TenantId,
    pub(crate) meadow: TenantId,
    users: AtomicUsize,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Durable> = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
        Self::open(dir, store, clock, &RootKey::generate(), setup).await
    }

    /// A bench over what an earlier one left behind.
    pub(crate) async fn open(
        dir: tempfile::TempDir,
        store: Arc<dyn Durable>,
        clock: ManualClock,
        root: &RootKey,
        setup: Setup,
    ) -> Self {
        let shared = clock.shared();
        let root = RootKey::decode(root.encode().expose_secret(), "the bench").expect("a root key");
        let keyring = Keyring::open(root, Arc::clone(&store)).await.expect("a keyring");
        let ledger = Ledger::open(&dir.path().join("ledger"), setup.ledger, Arc::clone(&shared)).expect("a ledger");
        let identity = Identity::open(
            Arc::clone(&store),
            &keyring,
            Arc::clone(&shared),
            IdentityOptions::new("https://clinic.example"),
        )
        .await
        .expect("an identity");
        let db = Db::open(dir.path().join("clinics"), model::SCHEMA).expect("a folder of files");
        let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").expect("hosts");
        let [harbour, meadow] = ["harbour", "meadow"].map(|name| TenantId::new(name).expect("a tenant id"));
        for tenant in [&harbour, &meadow] {
            keyring.create_tenant(tenant).await.expect("a key");
            db.create(tenant).await.expect("a file");
            hosts.register(tenant.clone()).expect("room");
        }
        let relations = Fallible {
            inner: SqliteRelations::new(db.clone(), keyring.clone(), Arc::clone(&shared)),
            broken: Arc::default(),
            asked: Arc::default(),
        };
        let ward = Ward::builder()
            .with_clock(shared)
            .with_peer_quota(setup.peer_quota)
            .with_principal_quota(setup.principal_quota)
            .with_deadline(setup.deadline)
            .with_job_store(Arc::clone(&store))
            .add_task::<model::Remind>()
            .add_task::<model::Digest>()
            .add_task::<model::Letters>()
            .add_task::<model::Audit>()
            .keys(keyring.clone())
            .audit(ledger)
            .authenticate(identity)
            .tenants(hosts)
            .policy(Policy::from_toml(&setup.policy).expect("a policy"))
            .relations(relations.clone())
            .build()
            .expect("a ward");
        Self { ward, db, keyring, clock, relations, store, harbour, meadow, users: AtomicUsize::new(0), dir }
    }

    /// Ends this process's life, as far as the folders can tell.
    pub(crate) async fn close(self) -> tempfile::TempDir {
        self.ward.ledger().shutdown().await;
        self.dir
    }

    pub(crate) fn app(&self) -> App {
        App { db: self.db.clone(), clock: self.shared_clock() }
    }

    pub(crate) fn shared_clock(&self) -> SharedClock {
        self.clock.shared()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn ledger_dir(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    pub(crate) fn clinic_file(&self, tenant: &TenantId) -> PathBuf {
        self.dir.path().join("clinics").join(format!("{tenant}.sqlite"))
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        self.ward.jobs().expect("a job store")
    }

    pub(crate) fn break_relations(&self, broken: bool) {
        self.relations.broken.store(broken, Ordering::SeqCst);
    }

    pub(crate) fn relations_asked(&self) -> usize {
        self.relations.asked.load(Ordering::SeqCst)
    }

    /// Every route that the policy asks for.
    pub(crate) fn router(&self) -> Router<App> {
        Router::new(&self.ward)
            .get("/patients/{id}/notes", model::read_notes)
            .post("/patients/{id}/notes", model::write_note)
            .get("/patients", model::list_patients)
            .post("/patients", model::admit_patient)
            .get("/staff", model::read_staff)
            .public_get("/healthz", "liveness, holds no data", || async { "ok" })
    }

    /// The routes of the clinic and those that a test adds.
    pub(crate) fn serve(&self, more: impl FnOnce(Router<App>) -> Router<App>) -> WardService<axum::Router> {
        more(self.router()).with_state(self.app()).into_service().expect("the policy fits the routes")
    }

    pub(crate) async fn user(&self, tenant: &TenantId, role: &str) -> User {
        self.user_who_is(tenant, role, None).await
    }

    pub(crate) async fn user_who_is(&self, tenant: &TenantId, role: &str, subject: Option<SubjectId>) -> User {
        let name = format!("user-{}", self.users.fetch_add(1, Ordering::SeqCst));
        let mut account = NewAccount::new(&name, PASSWORD.into(), role);
        if let Some(subject) = subject {
            account = account.with_subject(subject);
        }
        let identity = self.ward.identity();
        let (making, mut made) = self.trail();
        let _operator = self.danger::<AdmitPatients>(&making, tenant);
        let id = identity.danger_create_account(&making, tenant, account).await.expect("an account");
        made.finish(End::Completed);
        let (trail, mut closer) = self.trail();
        let tokens = identity.login(&trail, tenant, &name, PASSWORD.into()).await.expect("in");
        closer.finish(End::Completed);
        User { id, token: tokens.access_token().expose_secret().to_owned(), host: self.ward.hosts().host_of(tenant) }
    }

    pub(crate) fn trail(&self) -> (Trail, Closer) {
        self.ward.ledger().begin(RequestFacts::new())
    }

    /// A patient with one note, put there past the policy.
    pub(crate) async fn patient(&self, tenant: &TenantId, name: &str, note: &str) -> SubjectId {
        let subject = SubjectId::generate(&self.clock);
        self.keyring.create_subject(tenant, subject).await.expect("a key");
        let (trail, mut closer) = self.trail();
        let admit = self.danger::<AdmitPatients>(&trail, tenant);
        model::insert_patient(&self.db, &admit.subject(subject).await.expect("open"), name).await.expect("inserted");
        let write = self.danger::<WriteNotes>(&trail, tenant);
        let chart = write.subject(subject).await.expect("open");
        model::insert_note(&self.db, &chart, RowId::generate(&self.clock), note).await.expect("inserted");
        closer.finish(End::Completed);
        subject
    }

    pub(crate) fn danger<P: Permission>(&self, trail: &Trail, tenant: &TenantId) -> tower_ward::access::Grant<P> {
        let user = UserId::from_bytes([7; 16]);
        danger_grant(
            trail,
            &self.keyring,
            &self.shared_clock(),
            user,
            tenant.clone(),
            "the bench lays out its patients",
        )
        .expect("recorded")
    }

    pub(crate) async fn relate(
        &self,
        tenant: &TenantId,
        user: &User,
        subject: SubjectId,
        relation: Relations,
        until: Option<Timestamp>,
    ) {
        let (trail, mut closer) = self.trail();
        let chart = self.danger::<WriteNotes>(&trail, tenant).subject(subject).await.expect("open");
        let mut tx = self.db.change(&chart, Change::assign(user.id, relation)).await.expect("begun");
        tx.relate(until).await.expect("assigned");
        tx.commit().await.expect("committed");
        closer.finish(End::Completed);
    }

    /// Lets the ledger's segment run full with nowhere to go on: from soon on nothing can be written.
    ///
    /// Give it segments of 128 KiB, or it takes long.
    pub(crate) async fn block_ledger(&self) -> Blocked {
        let (trail, mut closer) = self.trail();
        for _ in 0..3 {
            let people = (0..1_000).map(|_| SubjectId::generate(&self.clock));
            let event = people.fold(Event::new(Action::Configuration), Event::add_subject);
            trail.record(event).expect("room");
        }
        trail.settled().await.expect("durable");
        closer.finish(End::Completed);
        let blocked = Blocked { from: self.ledger_dir(), to: self.dir.path().join("unmounted") };
        std::fs::rename(&blocked.from, &blocked.to).expect("renamed");
        blocked
    }

    /// Every record so far, this call's own left out.
    pub(crate) async fn records(&self) -> Vec<Record> {
        const FLUSH: &str = "flush";
        let (trail, mut closer) = self.trail();
        trail.record(Event::new(Action::Configuration).with_entity(FLUSH)).expect("room");
        trail.settled().await.expect("durable");
        closer.finish(End::Completed);
        let records = ledger::records_on_disk(&self.ledger_dir());
        let own: Vec<_> = records.iter().filter(|r| r.entity() == Some(FLUSH)).map(Record::trail).collect();
        records.into_iter().filter(|record| !own.contains(&record.trail())).collect()
    }

    /// The records that `what` leaves behind.
    pub(crate) async fn records_of<T>(&self, what: impl Future<Output = T>) -> (T, Vec<Record>) {
        let before = self.records().await.last().map(Record::index);
        let output = what.await;
        let records = self.records().await.into_iter().filter(|record| Some(record.index()) > before).collect();
        (output, records)
    }
}

/// A ledger whose folder is gone.
pub(crate) struct Blocked {
    from: PathBuf,
    to: PathBuf,
}

impl Blocked {
    /// The folder is back: waits until the ledger writes again.
    pub(crate) async fn unblock(self, ledger: &Ledger) {
        std::fs::rename(&self.to, &self.from).expect("renamed");
        while !ledger.is_available() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the body ended as it should.
    pub(crate) whole: bool,
    pub(crate) reason: Option<&'static str>,
}

impl Reply {
    pub(crate) async fn read<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
    {
        let (parts, body) = response.into_parts();
        let reason = parts.extensions.get::<Reason>().map(|reason| reason.0);
        let (mut text, mut whole) = (Vec::new(), true);
        let mut body = std::pin::pin!(body);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        let body = String::from_utf8(text).expect("text");
        Self { status: parts.status.as_u16(), headers: parts.headers, body, whole, reason }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// What a client can tell two answers apart by: everything but the id and the limits' counts.
    pub(crate) fn face(&self) -> (u16, &str, Vec<(&str, &[u8])>) {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .filter(|(name, _)| !matches!(*name, "x-request-id" | "ratelimit" | "ratelimit-policy"))
            .collect();
        headers.sort_unstable();
        (self.status, &self.body, headers)
    }

    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16) {
        assert_eq!((self.status, self.reason), (status, self.reason), "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(!self.body.contains(CANARY));
        self.is_dressed();
    }

    /// Whether the response wears what every response wears.
    #[track_caller]
    pub(crate) fn is_dressed(&self) {
        for name in ["strict-transport-security", "content-security-policy", "x-content-type-options", "x-request-id"] {
            assert_eq!(self.headers.get_all(name).iter().count(), 1, "{name} on a {}", self.status);
        }
    }
}

pub(crate) fn peer() -> ConnInfo {
    ConnInfo::new(SocketAddr::from(([192, 0, 2, 1], 40_000)), None)
}

/// A request as it comes off a connection.
pub(crate) fn request(method: Method, user: Option<&User>, path: &str) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, user.map_or("harbour.clinic.example", |user| &user.host));
    if let Some(user) = user {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", user.token));
    }
    request.extension(peer()).body(Body::empty()).expect("a request")
}

pub(crate) async fn send<S, B>(service: &S, request: Request<Body>) -> Reply
where
    S: Service<Request<Body>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    Reply::read(service.clone().oneshot(request).await.expect("an answer")).await
}

pub(crate) async fn get(service: &WardService<axum::Router>, user: &User, path: &str) -> Reply {
    send(service, request(Method::GET, Some(user), path)).await
}

pub(crate) async fn post(service: &WardService<axum::Router>, user: &User, path: &str, json: &str) -> Reply {
    let mut request = request(Method::POST, Some(user), path);
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
    *request.body_mut() = Body::from(json.to_owned());
    send(service, request).await
}

/// The records of one kind.
pub(crate) fn of_kind(records: &[Record], kind: Kind) -> Vec<&Record> {
    records.iter().filter(|record| record.kind() == kind).collect()
}
