//! Noninterference: over every route, every role, and every way of not being one's own, the answer for somebody else's is
//! the answer for nobody's. Once as the server is, and once with each of its walls taken away, to see the others hold.
//!
//! The walls are taken away from outside, on the data of a server that does not run and with settings of this test's own:
//! there is no switch in the server or the library that could be left on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU32,
    path::Path,
    sync::{Arc, Mutex},
};

use clinic::{
    api::{self, App, Enrol, Join},
    app,
    data::{Data, Erasing},
    model,
    seed::{DemoUser, Seed},
};
use http::Method;
use serde_json::{Value, json};
use tower_ward::{
    access::{BoxFuture, Policy, Relations},
    audit::{Ledger, LedgerOptions},
    axum::{Access, Route},
    clock::{SharedClock, SystemClock},
    db::{Db, PostgresDb, PostgresOptions},
    id::{SubjectId, TenantId},
    identity::{Identity, IdentityOptions},
    keys::{KeySource, Keyring, KeyringOptions, RootKey},
    quota::Quota,
    stack::Ward,
    store::SqliteStore,
    tenant::Hosts,
    testing::{
        Actor, Canaries, Cast, Client, DangerRelated, Finding, FindingKind, Parameters, Report, Sweep, Whose,
        danger_without_scope,
    },
};
use uuid::Uuid;

use crate::harness::*;

/// A server that is asked without a network.
struct Stand {
    ward: Ward,
    app: App,
    place: Place,
    routes: Vec<Route>,
    dir: DemoFolder,
    client: Client,
}

fn plenty() -> Quota {
    Quota::per_minute(NonZeroU32::new(1_000_000).unwrap())
}

/// Every route. The one that ends the session comes last.
fn routes(ward: &Ward, app: App) -> Vec<Route> {
    let mut found = api::routes(ward, app).routes().to_vec();
    // And before it the one after which nobody is found any more.
    found.sort_by_key(|route| (route.path().ends_with("/logout"), asks(route, "patients.erase")));
    found
}

/// Whether a route asks for this permission.
fn asks(route: &Route, permission: &str) -> bool {
    matches!(route.access(), Access::Permission(asked) if asked.id() == permission)
}

impl Stand {
    /// The server as it is.
    async fn as_it_is(dir: DemoFolder) -> Self {
        let server = app::start(&args(dir.path()), |_| ()).await.unwrap();
        Self::of(server.ward.clone(), server.app.clone(), dir)
    }

    /// The same routes on the same data, under a policy by which every role may do everything to everybody, and with
    /// relations that hold between all.
    async fn without_scope(dir: DemoFolder) -> Self {
        let clock = SystemClock::shared();
        let keyring = keyring(dir.path(), &clock).await;
        let accounts = store(dir.path(), "accounts", &clock).await;
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
            .policy(danger_without_scope(&Policy::from_toml(app::POLICY).unwrap()))
            .relations(DangerRelated)
            .build()
            .unwrap();
        let app = App { identity, data, jobs: ward.jobs().cloned(), erasures, clock };
        Self::of(ward, app, dir)
    }

    fn of(ward: Ward, app: App, dir: DemoFolder) -> Self {
        let client = Client::new(&ward, api::routes(&ward, app.clone()).into_service().unwrap());
        Self { routes: routes(&ward, app.clone()), place: Place::of(dir.path()), client, ward, app, dir }
    }

    async fn login(&self, tenant: &str, user: &DemoUser) -> String {
        let body = json!({ "username": user.username, "password": user.password });
        let reply = self.client.send(&id(tenant), None, &Method::POST, "/api/login", Some(&body)).await;
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A patient whom nobody misses.
    async fn newcomer(&self) -> Uuid {
        let owner = self.login(HOME, self.user(HOME, "owner")).await;
        let new = new_patient();
        let reply = self.client.send(&id(HOME), Some(&owner), &Method::POST, "/api/patients", Some(&new)).await;
        reply.json()["id"].as_str().unwrap().parse().unwrap()
    }

    async fn who_is(&self, tenant: &str, token: &str) -> Uuid {
        let me = self.client.send(&id(tenant), Some(token), &Method::GET, "/api/me", None).await.json();
        me["user"].as_str().unwrap().parse().unwrap()
    }

    fn user<'a>(&'a self, tenant: &str, role: &'a str) -> &'a DemoUser {
        self.place.users(tenant, role).next().unwrap()
    }
}

fn new_patient() -> Value {
    json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" })
}

fn id(tenant: &str) -> TenantId {
    TenantId::new(tenant).unwrap()
}

async fn keyring(data: &Path, clock: &SharedClock) -> Keyring {
    let root = RootKey::load(&KeySource::File(data.join("root.key"))).unwrap();
    let copy = SqliteStore::open_with_clock(data.join("keys-copy.sqlite"), Arc::clone(clock)).await.unwrap();
    let options = KeyringOptions::default().add_copy("copy", Arc::new(copy)).unwrap();
    Keyring::open_with(root, store(data, "keys", clock).await, &options).await.unwrap()
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
    dir.cluster().danger_without_row_security("clinic", "public").await.unwrap();
}

/// What would tell that something of another clinic came out.
fn foreign_canaries() -> Canaries {
    canaries(foreign_texts())
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

/// The demo's people, as the sweep asks for them.
struct Players<'a> {
    stand: &'a Stand,
    people: &'a People,
    /// By role.
    around: Mutex<HashMap<String, Arc<Around>>>,
    /// By role, method and path: what was sent for one's own. The same is sent for everybody else.
    bodies: Mutex<HashMap<String, Value>>,
}

/// Who is there for somebody of a role.
struct Around {
    reach: BTreeSet<Uuid>,
    /// Whom no request here logs in as: what the assignments change is nobody's of these.
    other: Uuid,
    /// Somebody of the other clinic.
    foreign: Uuid,
    /// The token of who may do all that the records need.
    owner: String,
}

impl Players<'_> {
    async fn own(&self, user: &DemoUser, around: &Around, route: &Route) -> Uuid {
        if route.path().contains("/employees/") {
            // Staff are employees, and see what is theirs.
            return user.subject.filter(|_| user.role != "patient").unwrap_or(self.people.employees[HOME][0]);
        }
        // Whoever is asked for here is asked for no more, so they are new ones each time.
        if asks(route, "patients.erase") {
            return self.stand.newcomer().await;
        }
        *around.reach.first().unwrap()
    }

    /// Those of the clinic whom the role may not reach.
    async fn unassigned(&self, user: &DemoUser, around: &Around, route: &Route) -> Vec<Uuid> {
        if !route.path().contains("/employees/") {
            let patients = self.people.patients[HOME].iter().filter(|id| !around.reach.contains(id)).take(2);
            let patients: Vec<Uuid> = patients.copied().collect();
            let used_up = !patients.is_empty() && asks(route, "patients.erase");
            return if used_up { vec![self.stand.newcomer().await] } else { patients };
        }
        let Access::Permission(permission) = route.access() else { return vec![] };
        if self.stand.ward.policy().relations(&user.role, permission.id()).contains(Relations::CLINIC) {
            return vec![];
        }
        let themself = self.own(user, around, route).await;
        self.people.employees[HOME].iter().filter(|id| **id != themself).take(2).copied().collect()
    }
}

impl Cast for Players<'_> {
    fn actor<'a>(&'a self, role: &'a str) -> BoxFuture<'a, Option<Actor>> {
        Box::pin(async move {
            let stand = self.stand;
            let token = stand.login(HOME, stand.user(HOME, role)).await;
            let elsewhere = stand.login(AWAY, stand.user(AWAY, role)).await;
            let other = stand.login(HOME, stand.place.users(HOME, "doctor").last().unwrap()).await;
            let (other, foreign) = (stand.who_is(HOME, &other).await, stand.who_is(AWAY, &elsewhere).await);
            let owner = stand.login(HOME, stand.user(HOME, "owner")).await;
            let reach = stand.place.reach(HOME, stand.user(HOME, role));
            let around = Around { reach, other, foreign, owner };
            self.around.lock().unwrap().insert(role.to_owned(), Arc::new(around));
            Some(Actor::new(role, &token, &elsewhere))
        })
    }

    fn parameters<'a>(
        &'a self,
        actor: &'a Actor,
        _: &'a Method,
        route: &'a Route,
        whose: Whose,
    ) -> BoxFuture<'a, Vec<Parameters>> {
        Box::pin(async move {
            let user = self.stand.user(HOME, actor.role());
            let around = Arc::clone(&self.around.lock().unwrap()[actor.role()]);
            let ids = match whose {
                Whose::Own => vec![self.own(user, &around, route).await],
                Whose::Foreign => self.people.foreign(),
                Whose::Absent => self.people.absent.clone(),
                _ => self.unassigned(user, &around, route).await,
            };
            let user = match whose {
                Whose::Foreign => around.foreign,
                Whose::Absent => absent(around.other),
                _ => around.other,
            };
            let named = |id: Uuid| {
                let attachment = self.people.attachments.get(&id).copied().unwrap_or_else(|| absent(id));
                vec![("id", id.to_string()), ("user", user.to_string()), ("attachment", attachment.to_string())]
            };
            ids.into_iter().map(named).collect()
        })
    }

    fn body<'a>(
        &'a self,
        actor: &'a Actor,
        method: &'a Method,
        route: &'a Route,
        whose: Whose,
        example: Option<Value>,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            let key = format!("{} {method} {}", actor.role(), route.path());
            if whose != Whose::Own {
                let sent = self.bodies.lock().unwrap().get(&key).cloned();
                return sent.or_else(|| valid_body(method, route.path())).or(example);
            }
            let body = self.own_body(actor, method, route).await.or(example)?;
            self.bodies.lock().unwrap().insert(key, body.clone());
            Some(body)
        })
    }

    fn serves_nobody(&self, method: &Method, route: &Route) -> bool {
        // Who is taken out of a circle has to have joined it: `circle` looks at that.
        *method == Method::DELETE && route.path().ends_with("/circle/{user}")
    }
}

impl Players<'_> {
    /// What the route takes for one's own, and names what is there.
    async fn own_body(&self, actor: &Actor, method: &Method, route: &Route) -> Option<Value> {
        if (method, route.path()) == (&Method::POST, "/api/patients") {
            return Some(new_patient());
        }
        let mut body = valid_body(method, route.path())?;
        let around = Arc::clone(&self.around.lock().unwrap()[actor.role()]);
        if body.get("clinician").is_some() {
            body["clinician"] = json!(around.other);
        }
        if *method != Method::PATCH {
            return Some(body);
        }
        let user = self.stand.user(HOME, actor.role());
        let path = route.path().replace("{id}", &self.own(user, &around, route).await.to_string());
        let ask = |method: Method, body: Option<Value>| {
            let (path, owner) = (path.clone(), around.owner.clone());
            async move { self.stand.client.send(&id(HOME), Some(&owner), &method, &path, body.as_ref()).await }
        };
        // What is changed is the record itself, or one of several that is made for it.
        let there = if body.get("id").is_some() {
            let mut new = valid_body(&Method::POST, route.path());
            if let Some(new) = new.as_mut().filter(|new| new.get("clinician").is_some()) {
                new["clinician"] = json!(around.other);
            }
            ask(Method::POST, new).await.json()
        } else {
            ask(Method::GET, None).await.json()
        };
        for named in ["id", "version"] {
            if let (Some(value), Some(there)) = (body.get_mut(named), there.get(named)) {
                *value = there.clone();
            }
        }
        Some(body)
    }
}

/// A list of what belongs to no person, all of which is opened: one row that does not open, and it is an error.
fn is_closed_list(finding: &Finding) -> bool {
    let list = ["/api/staff", "/api/incidents"].iter().any(|path| finding.case.contains(path));
    let failed = finding.kind == FindingKind::Policy && finding.what.contains("500");
    list && (failed || finding.kind == FindingKind::Unserved)
}

async fn sweep(stand: &Stand, people: &People, name: &str, lists_meet_others: bool) -> Report {
    let service = api::routes(&stand.ward, stand.app.clone()).into_service().unwrap();
    let sweep = Sweep::new(&stand.ward, service, stand.routes.clone(), id(HOME), id(AWAY));
    let players = Players { stand, people, around: Mutex::default(), bodies: Mutex::default() };
    let report = sweep.with_canaries(foreign_canaries()).run(&players).await.unwrap();
    println!("noninterference, {name}: {report}");
    let (closed, others): (Vec<_>, Vec<_>) = report.findings().iter().partition(|finding| is_closed_list(finding));
    assert!(others.is_empty(), "{report}");
    // With all clinics' rows before them, these lists meet some that do not open; and with their own they are as they were.
    assert_eq!(!closed.is_empty(), lists_meet_others, "{report}");
    assert!(report.cases() >= 3_000 && report.served() > 100 && report.there() > 100, "{report}");
    report
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
        // Whose account it is that a member of staff has is not sealed: that they work here, the file alone says.
        let nobody = "update main.staff set \"user\" = randomblob(16) where id in (select id from away.staff)";
        sqlx::query(nobody).execute(&mut file).await.unwrap();
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
    let report = sweep(&stand, &people, "as it is", false).await;
    assert_eq!(report.reached(), 0, "{report}");
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
    let report = sweep(&stand, &people, "without scope", true).await;
    // The scope is gone indeed: whoever was out of reach is not.
    assert!(report.reached() > 50, "{report}");
}

// proves GLM-12: this clinic has a key for everybody who is named.
#[tokio::test]
async fn without_the_keys_the_applications_scope_still_refuses() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    give_keys(dir.path(), &people).await;
    let stand = Stand::as_it_is(dir).await;
    let report = sweep(&stand, &people, "without keys", false).await;
    assert_eq!(report.reached(), 0, "{report}");
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
    let (canaries, stand) = (foreign_canaries(), Stand::without_scope(dir).await);
    if on_postgres() {
        without_rows_secured(&stand.dir).await;
    }
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for role in ROLES {
        let token = stand.login(HOME, stand.user(HOME, role)).await;
        for route in stand.routes.iter().filter(|r| r.methods().contains(&Method::GET) && r.path().contains("{id}")) {
            let path = route.path();
            // Who opened a record is of this clinic's own ledger.
            if path.ends_with("/timeline") {
                continue;
            }
            for person in people.foreign() {
                let path = people.fill(path, person, person);
                let reply = stand.client.send(&id(HOME), Some(&token), &Method::GET, &path, None).await;
                assert_eq!(canaries.found_in(&reply.body), None, "{role} {path}");
                let empty = reply.status == 200 && reply.json()["items"].as_array().is_some_and(Vec::is_empty);
                assert!([404, 500].contains(&reply.status.as_u16()) || empty, "{role} {path}: {reply:?}");
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
    let report = sweep(&stand, &people, "row-level security alone", false).await;
    assert!(report.reached() > 50, "{report}");
}

// proves GLM-12, CLA-12: with the database's wall alone taken away.
pub(crate) async fn without_row_level_security_scope_and_keys_refuse() {
    let dir = demo_folder().await;
    let people = People::of(&dir).await;
    let stand = Stand::as_it_is(dir).await;
    without_rows_secured(&stand.dir).await;
    let report = sweep(&stand, &people, "without row-level security", true).await;
    assert_eq!(report.reached(), 0, "{report}");
}
