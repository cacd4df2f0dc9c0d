//! Noninterference: over every route, every role, and every way of not being one's own, the answer for somebody else's is
//! the answer for nobody's. Once as the server is, and once with each of its two walls taken away, to see the other hold.
//!
//! The walls are taken away from outside, on the data of a server that does not run and with settings of this test's own:
//! there is no switch in the server or the library that could be left on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
};

use axum::body::Body;
use clinic::{
    api::{self, App, Enrol, Join},
    app,
    data::{Data, Erasing},
    model,
    seed::{DemoUser, Seed},
};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;
use tower_ward::{
    access::{BoxFuture, Policy, RelationError, RelationSource, Relations},
    audit::{Ledger, LedgerOptions},
    axum::Access,
    clock::{SharedClock, SystemClock},
    db::{Db, PostgresDb, PostgresOptions},
    id::{SubjectId, TenantId, UserId},
    identity::{Identity, IdentityOptions},
    keys::{KeySource, Keyring, KeyringOptions, RootKey},
    quota::Quota,
    stack::{ConnInfo, Ward, WardService},
    store::{Durable, SqliteStore},
    tenant::Hosts,
};
use uuid::Uuid;

use crate::harness::*;

/// A server that is asked without a network.
struct Stand {
    service: WardService<axum::Router>,
    ward: Ward,
    place: Place,
    routes: Vec<(Method, String, Option<String>)>,
    dir: DemoFolder,
}

fn plenty() -> Quota {
    Quota::per_minute(NonZeroU32::new(1_000_000).unwrap())
}

/// Every method of every route, with the permission that it asks for. The one that ends the session comes last.
fn routes(ward: &Ward, app: App) -> Vec<(Method, String, Option<String>)> {
    let mut found = Vec::new();
    for route in api::routes(ward, app).routes() {
        let permission = match route.access() {
            Access::Permission(permission) => Some(permission.id().to_owned()),
            _ => None,
        };
        for method in route.methods() {
            found.push((method.clone(), route.path().to_owned(), permission.clone()));
        }
    }
    // And before it the one after which nobody is found any more.
    found.sort_by_key(|(_, path, permission)| {
        (path.ends_with("/logout"), permission.as_deref() == Some("patients.erase"))
    });
    found
}

impl Stand {
    /// The server as it is.
    async fn as_it_is(dir: DemoFolder) -> Self {
        let server = app::start(&args(dir.path()), |_| ()).await.unwrap();
        let (service, ward, app) = (server.service.clone(), server.ward.clone(), server.app.clone());
        Self { routes: routes(&ward, app), place: Place::of(dir.path()), service, ward, dir }
    }

    /// The same routes on the same data, under a policy by which every role may do everything to everybody, and with
    /// relations that hold between all.
    async fn without_scope(dir: DemoFolder) -> Self {
        let clock = SystemClock::shared();
        let keyring = keyring(dir.path(), &clock).await;
        let accounts: Arc<dyn Durable> = Arc::new(
            SqliteStore::open_with_clock(dir.path().join("accounts.sqlite"), Arc::clone(&clock)).await.unwrap(),
        );
        let options = IdentityOptions::new("https://localhost");
        let identity = Identity::open(Arc::clone(&accounts), &keyring, Arc::clone(&clock), options).await.unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger"), LedgerOptions::new(), Arc::clone(&clock)).unwrap();
        let data = if on_postgres() {
            let options = PostgresOptions::new(&dir.url("clinic_app")).unwrap();
            Data::Postgres(PostgresDb::open(&options, model::POSTGRES_SCHEMA, &keyring).await.unwrap())
        } else {
            Data::Sqlite(Db::open(dir.path().join("clinics"), model::SCHEMA).unwrap())
        };
        let hosts = Hosts::new("{tenant}.localhost", "localhost").unwrap();
        for tenant in [HOME, AWAY, FAR] {
            hosts.register(TenantId::new(tenant).unwrap()).unwrap();
        }
        let erasures = Erasing::open(&keyring, &data, &ledger).await.unwrap();
        let ward = Ward::builder()
            .with_clock(Arc::clone(&clock))
            .with_peer_quota(plenty())
            .with_principal_quota(plenty())
            .add_task::<Seed>()
            .add_task::<Join>()
            .add_task::<Enrol>()
            .with_job_store(accounts)
            .keys(keyring)
            .audit(ledger)
            .authenticate(identity.clone())
            .tenants(hosts)
            .policy(Policy::from_toml(&everything_to_everybody()).unwrap())
            .relations(Related)
            .build()
            .unwrap();
        let app = App { identity, data, jobs: ward.jobs().cloned(), erasures, clock };
        let service = api::routes(&ward, app.clone()).into_service().unwrap();
        Self { routes: routes(&ward, app), place: Place::of(dir.path()), service, ward, dir }
    }

    async fn ask(&self, tenant: &str, token: Option<&str>, method: &Method, path: &str) -> Reply {
        let body = valid_body(method, path).map(|body| body.to_string());
        self.send(tenant, token, method, path, body).await
    }

    async fn send(
        &self,
        tenant: &str,
        token: Option<&str>,
        method: &Method,
        path: &str,
        body: Option<String>,
    ) -> Reply {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, format!("{tenant}.localhost"));
        request = request.header("x-purpose", "administration").header("x-reason", "f-4711");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let peer = ConnInfo::new(SocketAddr::from(([127, 0, 0, 1], 40_000)), None);
        let request = request.extension(peer).body(body.map_or_else(Body::empty, Body::from)).unwrap();
        let (parts, body) = self.service.clone().oneshot(request).await.unwrap().into_parts();
        Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    async fn login(&self, tenant: &str, user: &DemoUser) -> String {
        let body = json!({ "username": user.username, "password": user.password }).to_string();
        let reply = self.send(tenant, None, &Method::POST, "/api/login", Some(body)).await;
        reply.expect(200);
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A patient whom nobody misses.
    async fn newcomer(&self) -> Uuid {
        let owner = self.login(HOME, self.user(HOME, "owner")).await;
        let new = json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" }).to_string();
        let reply = self.send(HOME, Some(&owner), &Method::POST, "/api/patients", Some(new)).await;
        reply.expect(201).json()["id"].as_str().unwrap().parse().unwrap()
    }

    fn user<'a>(&'a self, tenant: &str, role: &'a str) -> &'a DemoUser {
        self.place.users(tenant, role).next().unwrap()
    }
}

/// Every relation holds between everybody.
#[derive(Debug)]
struct Related;

impl RelationSource for Related {
    fn relations<'a>(
        &'a self,
        _: &'a TenantId,
        _: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        Box::pin(async move { Ok(vec![among; subjects.len()]) })
    }
}

fn everything_to_everybody() -> String {
    let permissions: BTreeSet<String> =
        crate::matrix::golden().into_iter().filter(|row| !row.cells.is_empty()).map(|row| row.permission).collect();
    let mut policy = String::new();
    for role in ROLES {
        let _ = writeln!(policy, "[roles.{role}]");
        let _ = writeln!(
            policy,
            "ceiling = ['identity', 'clinical', 'schedule', 'directory', 'payroll', 'messages', 'billing', 'hr', 'incidents']"
        );
        for permission in &permissions {
            let _ = writeln!(policy, "grants.'{permission}' = 'clinic'");
        }
    }
    policy
}

async fn keyring(data: &Path, clock: &SharedClock) -> Keyring {
    let root = RootKey::load(&KeySource::File(data.join("root.key"))).unwrap();
    let store = async |name| Arc::new(SqliteStore::open_with_clock(data.join(name), Arc::clone(clock)).await.unwrap());
    let options = KeyringOptions::default().add_copy("copy", store("keys-copy.sqlite").await).unwrap();
    Keyring::open_with(root, store("keys.sqlite").await, &options).await.unwrap()
}

/// The people whom the requests name.
struct People {
    patients: BTreeMap<&'static str, Vec<Uuid>>,
    employees: BTreeMap<&'static str, Vec<Uuid>>,
    /// One of each patient, from any clinic.
    attachments: BTreeMap<Uuid, Uuid>,
    absent: Vec<Uuid>,
}

impl People {
    async fn of(dir: &DemoFolder) -> Self {
        let data = dir.path();
        let place = Place::of(data);
        let (mut patients, mut employees, mut attachments) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for tenant in [HOME, AWAY, FAR] {
            patients.insert(tenant, place.clinic(tenant).patients.clone());
            employees.insert(tenant, employees_of(dir, tenant).await);
            attachments.extend(attachments_of(dir, tenant).await);
        }
        // Neighbours of those who are there, and of those who are elsewhere.
        let near = patients[HOME].iter().take(2).chain(patients[AWAY].iter().take(3));
        let absent = near.map(|id| absent(*id)).collect();
        Self { patients, employees, attachments, absent }
    }

    /// A route's path with its parameters filled in, an attachment of this patient among them.
    fn fill(&self, path: &str, id: Uuid, user: Uuid) -> String {
        let attachment = self.attachments.get(&id).copied().unwrap_or_default();
        fill(&path.replace("{attachment}", &attachment.to_string()), id, user)
    }

    /// Those of other clinics.
    fn foreign(&self) -> Vec<Uuid> {
        let patients = self.patients[AWAY].iter().take(3).chain(self.patients[FAR].iter().take(1));
        patients.chain(&self.employees[AWAY][..1]).chain(&self.employees[FAR][..1]).copied().collect()
    }
}

/// The employees of a clinic, past the library.
async fn employees_of(dir: &DemoFolder, tenant: &str) -> Vec<Uuid> {
    if on_postgres() {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&dir.url("postgres")).await.unwrap();
        let sql = "select id from employees where tenant = $1 order by id";
        return sqlx::query_scalar(sql).bind(tenant).fetch_all(&mut conn).await.unwrap();
    }
    let mut file = open_file(dir.path(), tenant).await;
    let ids: Vec<Vec<u8>> =
        sqlx::query_scalar("select id from employees order by id").fetch_all(&mut file).await.unwrap();
    ids.iter().map(|id| Uuid::from_slice(id).unwrap()).collect()
}

/// The attachments of a clinic's patients, past the library.
async fn attachments_of(dir: &DemoFolder, tenant: &str) -> Vec<(Uuid, Uuid)> {
    if on_postgres() {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&dir.url("postgres")).await.unwrap();
        let sql = "select patient, id from attachments where tenant = $1";
        return sqlx::query_as(sql).bind(tenant).fetch_all(&mut conn).await.unwrap();
    }
    let mut file = open_file(dir.path(), tenant).await;
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select patient, id from attachments").fetch_all(&mut file).await.unwrap();
    rows.iter().map(|(patient, id)| (Uuid::from_slice(patient).unwrap(), Uuid::from_slice(id).unwrap())).collect()
}

/// Takes row-level security off every table of a server that runs: one that starts would refuse to.
async fn without_rows_secured(dir: &DemoFolder) {
    dir.sql(
        "do $$ declare name text; begin
            for name in select tablename from pg_tables where schemaname = 'public' loop
                execute format('alter table %I disable row level security', name);
            end loop;
         end $$",
    )
    .await;
}

/// What would tell that something of another clinic came out.
fn foreign_needles() -> Needles {
    Needles::new(foreign_texts())
}

/// What the people of other clinics alone have.
pub(crate) fn foreign_texts() -> impl Iterator<Item = String> {
    let others = data().clinics.into_iter().filter(|clinic| clinic.tenant != HOME);
    // What these requests write themselves comes back to who wrote it.
    let written = valid_body(&Method::PATCH, "/api/patients/x").unwrap()["phone"].clone();
    let texts = others.flat_map(|clinic| {
        let patients = clinic.patients.into_iter().flat_map(|p| [p.nhs_test_number, p.phone, p.email]);
        patients.chain(clinic.staff.into_iter().map(|s| s.email)).collect::<Vec<_>>()
    });
    texts.filter(move |text| *text != written)
}

/// What one sweep counted.
#[derive(Debug, Default)]
struct Counts {
    own: usize,
    foreign: usize,
    absent: usize,
    unassigned: usize,
    /// Own ones that were served.
    served: usize,
    /// Unassigned ones that were served.
    reached: usize,
    /// Foreign or absent ones that were answered with anything but 403 and 404.
    let_by: BTreeMap<String, usize>,
}

impl Counts {
    fn all(&self) -> usize {
        self.own + self.foreign + self.absent + self.unassigned
    }
}

async fn sweep(stand: &Stand, people: &People, needles: &Needles) -> Counts {
    let mut counts = Counts::default();
    let check = |what: &str, reply: &Reply| assert_eq!(needles.found_in(&reply.body), None, "{what}");
    for role in ROLES {
        let user = stand.user(HOME, role);
        let reach = stand.place.reach(HOME, user);
        let token = stand.login(HOME, user).await;
        let elsewhere = stand.login(AWAY, stand.user(AWAY, role)).await;
        // Somebody whom no request here logs in as: what the assignments change is nobody's of these.
        let other = stand.login(HOME, stand.place.users(HOME, "doctor").last().unwrap()).await;
        let me = stand.ask(HOME, Some(&other), &Method::GET, "/api/me").await.json();
        let other: Uuid = me["user"].as_str().unwrap().parse().unwrap();
        for (method, path, permission) in &stand.routes {
            let granted = permission.as_ref().is_none_or(|p| !stand.ward.policy().relations(role, p).is_empty());
            let case = format!("{role} {method} {path}");
            if !path.contains("{id}") {
                // Own, foreign and absent are then whose token it is.
                let foreign = stand.ask(HOME, Some(&elsewhere), method, path).await;
                let other_way = stand.ask(AWAY, Some(&token), method, path).await;
                let none = stand.ask(HOME, None, method, path).await;
                let forged = stand.ask(HOME, Some(&format!("{token}x")), method, path).await;
                // Last, since it may end the session.
                let own = stand.ask(HOME, Some(&token), method, path).await;
                for (name, reply) in [("own", &own), ("foreign", &foreign), ("none", &none), ("forged", &forged)] {
                    check(&format!("{case}, {name} token"), reply);
                }
                counts.own += 1;
                counts.foreign += 2;
                counts.absent += 2;
                if permission.is_some() {
                    assert_eq!(foreign.status, 403, "{case}: a token of another clinic");
                    assert_eq!(foreign.fingerprint(), other_way.fingerprint(), "{case}: either way round");
                    assert_eq!(
                        (none.status.as_u16(), forged.status.as_u16()),
                        (401, 401),
                        "{case}: no token, and none"
                    );
                    assert_eq!(own.status == 403, !granted, "{case}: {own:?}");
                    counts.served += usize::from(own.status.is_success());
                }
                continue;
            }
            let is_employee = path.contains("/employees/");
            // Whoever is asked for here is asked for no more, so they are new ones each time.
            let erases = permission.as_deref() == Some("patients.erase");
            let own = match (is_employee, erases) {
                // Staff are employees, and see what is theirs.
                (true, _) => user.subject.filter(|_| role != "patient").unwrap_or(people.employees[HOME][0]),
                (_, true) => stand.newcomer().await,
                _ => *reach.first().unwrap(),
            };
            let fill = |id: Uuid| people.fill(path, id, other);
            let themself = own;
            let own = stand.ask(HOME, Some(&token), method, &fill(own)).await;
            check(&case, &own);
            counts.own += 1;
            counts.served += usize::from(own.status.is_success());
            assert_eq!(own.status == 403, !granted, "{case}: one's own: {own:?}");
            if granted && *method == Method::GET {
                assert_eq!(own.status, 200, "{case}: one's own: {own:?}");
            }
            let mut faces: BTreeMap<String, String> = BTreeMap::new();
            let strangers = people.foreign().into_iter().map(|id| ("foreign", id));
            for (kind, id) in strangers.chain(people.absent.iter().map(|id| ("absent", *id))) {
                let reply = stand.ask(HOME, Some(&token), method, &fill(id)).await;
                check(&format!("{case} {kind} {id}"), &reply);
                let expected = if granted { 404 } else { 403 };
                if reply.status != expected {
                    *counts.let_by.entry(format!("{case}: {}", reply.status)).or_default() += 1;
                }
                faces.entry(reply.fingerprint()).or_insert_with(|| format!("{kind} {id}"));
                *(if kind == "foreign" { &mut counts.foreign } else { &mut counts.absent }) += 1;
            }
            assert_eq!(faces.len(), 1, "{case}: can be told apart: {faces:#?}");
            let only_own =
                permission.as_ref().is_some_and(|p| stand.ward.policy().relations(role, p) == Relations::OWN);
            let colleagues = people.employees[HOME].iter().filter(|id| is_employee && only_own && **id != themself);
            let unassigned = people.patients[HOME].iter().filter(|id| !is_employee && !reach.contains(id)).take(2);
            let unassigned = unassigned.chain(colleagues.take(2));
            for id in unassigned {
                let id = if erases { stand.newcomer().await } else { *id };
                let reply = stand.ask(HOME, Some(&token), method, &fill(id)).await;
                counts.unassigned += 1;
                counts.reached += usize::from(reply.status.is_success());
                let same = faces.contains_key(&reply.fingerprint());
                assert_eq!(same, !reply.status.is_success() && reply.status != 409, "{case}: unassigned: {reply:?}");
            }
        }
    }
    counts
}

/// Puts the other clinics' rows into this one's file, past the library.
async fn plant(data: &Path) {
    for tenant in [AWAY, FAR] {
        checkpoint(data, tenant).await;
        let mut file = open_file(data, HOME).await;
        let from = data.join(format!("clinics/{tenant}.sqlite"));
        sqlx::query(sqlx::AssertSqlSafe(format!("attach '{}' as away", from.display())))
            .execute(&mut file)
            .await
            .unwrap();
        for table in [
            "patients",
            "patient_names",
            "patient_clinical",
            "encounters",
            "notes",
            "prescriptions",
            "results",
            "appointments",
            "staff",
            "employees",
            "messages",
            "quotes",
            "invoices",
            "attachments",
            "circle_invitations",
            "absences",
            "timesheets",
            "training",
            "credentials",
            "incidents",
        ] {
            let sql = format!("insert into main.{table} select * from away.{table}");
            let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut file).await.unwrap();
            assert!(done.rows_affected() > 0, "{table} of {tenant}");
        }
        sqlx::Connection::close(file).await.unwrap();
    }
}

/// Gives everybody who is named a key in this clinic, who had none.
async fn give_keys(data: &Path, people: &People) {
    let home = TenantId::new(HOME).unwrap();
    let keyring = keyring(data, &SystemClock::shared()).await;
    for id in people.foreign().iter().chain(&people.absent) {
        let subject = SubjectId::from(*id);
        assert!(keyring.subject(&home, subject).await.is_err(), "{id} has a key here already");
        assert!(keyring.create_subject(&home, subject).await.is_ok());
    }
}

// proves GLM-12, GLM-17, GLM-18, CCA-28
#[tokio::test]
async fn every_route_answers_for_somebody_elses_as_for_nobodys() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    let stand = Stand::as_it_is(dir).await;
    let counts = sweep(&stand, &people, &foreign_needles()).await;
    println!("noninterference, as it is: {} cases: {counts:?}", counts.all());
    assert!(counts.all() >= 3_000 && counts.served > 100, "{counts:?}");
    assert!(counts.let_by.is_empty() && counts.reached == 0, "{counts:?}");
}

// proves GLM-12: every role may do everything to everybody, and the other clinics' rows stand in this one's file.
#[tokio::test]
async fn without_the_applications_scope_the_keys_still_refuse() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    if !on_postgres() {
        plant(dir.path()).await;
    }
    let stand = Stand::without_scope(dir).await;
    if on_postgres() {
        // All rows stand in one database, and nothing keeps them apart there any more.
        without_rows_secured(&stand.dir).await;
    }
    let counts = sweep(&stand, &people, &foreign_needles()).await;
    println!("noninterference, without scope: {} cases: {counts:?}", counts.all());
    assert!(counts.all() >= 3_000 && counts.served > 100, "{counts:?}");
    // The scope is gone indeed: whoever was out of reach is not.
    assert!(counts.reached > 50, "{counts:?}");
    assert!(counts.let_by.is_empty(), "{counts:?}");
}

// proves GLM-12: this clinic has a key for everybody who is named.
#[tokio::test]
async fn without_the_keys_the_applications_scope_still_refuses() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    give_keys(dir.path(), &people).await;
    let stand = Stand::as_it_is(dir).await;
    let counts = sweep(&stand, &people, &foreign_needles()).await;
    println!("noninterference, without keys: {} cases: {counts:?}", counts.all());
    assert!(counts.all() >= 3_000 && counts.served > 100, "{counts:?}");
    assert!(counts.let_by.is_empty() && counts.reached == 0, "{counts:?}");
}

/// With both walls gone, the door opens and what is behind it does not: it was sealed under another key, for another
/// clinic.
#[tokio::test]
async fn without_either_what_is_sealed_still_does_not_open() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    if !on_postgres() {
        plant(dir.path()).await;
    }
    give_keys(dir.path(), &people).await;
    let (needles, stand) = (foreign_needles(), Stand::without_scope(dir).await);
    if on_postgres() {
        without_rows_secured(&stand.dir).await;
    }
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for role in ROLES {
        let token = stand.login(HOME, stand.user(HOME, role)).await;
        for (method, path, _) in stand.routes.iter().filter(|(m, path, _)| *m == Method::GET && path.contains("{id}")) {
            // Who opened a record is of this clinic's own ledger.
            if path.ends_with("/timeline") {
                continue;
            }
            for id in people.foreign() {
                let reply = stand.ask(HOME, Some(&token), method, &people.fill(path, id, id)).await;
                assert_eq!(needles.found_in(&reply.body), None, "{role} {path} {id}");
                let empty = reply.status == 200 && reply.json()["items"].as_array().is_some_and(Vec::is_empty);
                assert!([404, 500].contains(&reply.status.as_u16()) || empty, "{role} {path} {id}: {reply:?}");
                *statuses.entry(reply.status.as_u16()).or_default() += 1;
            }
        }
    }
    println!("noninterference, without either: {statuses:?}");
    assert!(statuses[&500] > 200, "nothing was there to be opened: {statuses:?}");
}

// proves GLM-11, GLM-12, CLA-12: row-level security alone, on PostgreSQL.
pub(crate) async fn with_neither_scope_nor_keys_row_level_security_refuses() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    give_keys(dir.path(), &people).await;
    let stand = Stand::without_scope(dir).await;
    let counts = sweep(&stand, &people, &foreign_needles()).await;
    println!("noninterference, row-level security alone: {} cases: {counts:?}", counts.all());
    assert!(counts.all() >= 3_000 && counts.served > 100 && counts.reached > 50, "{counts:?}");
    assert!(counts.let_by.is_empty(), "{counts:?}");
}

// proves GLM-12, CLA-12: with the database's wall alone taken away.
pub(crate) async fn without_row_level_security_scope_and_keys_refuse() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    let stand = Stand::as_it_is(dir).await;
    without_rows_secured(&stand.dir).await;
    let counts = sweep(&stand, &people, &foreign_needles()).await;
    println!("noninterference, without row-level security: {} cases: {counts:?}", counts.all());
    assert!(counts.all() >= 3_000 && counts.served > 100, "{counts:?}");
    assert!(counts.let_by.is_empty() && counts.reached == 0, "{counts:?}");
}
