//! A server with two guarded routes, a sealed column and a ledger: the program of `docs/howto.md`, block by block.
//!
//! `cargo run --example first_steps --features axum,sqlite` sends itself requests and ends;
//! with `-- FOLDER` it serves on 127.0.0.1:8080, and keeps what it is told in that folder.

use std::{net::SocketAddr, path::Path as FilePath, pin::pin, sync::Arc, time::Duration};

use axum::{body::Body, extract::State};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use tower_ward::{
    access::{Grant, ManagesAccounts, NoRelations, Policy, danger_grant},
    audit::{Action, End, Event, Ledger, LedgerOptions, RequestFacts, verify},
    axum::{Json, Path, Router},
    clock::{SharedClock, SystemClock},
    db::{Change, Db, Schema},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId, UserId},
    identity::{AccountError, Identity, IdentityOptions, NewAccount, generate_password},
    keys::{KeySource, Keyring, RootKey},
    problem::Problem,
    secret::{ExposeSecret as _, SecretString},
    stack::{ConnInfo, Visit, Ward, WardService},
    store::{Durable, SqliteStore},
    tenant::Hosts,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

tower_ward::classes! { Clinical = "clinical"; }
tower_ward::permissions! {
    AdmitPatients = "patients.admit" changes Clinical;
    ReadNotes = "notes.read" opens Clinical;
    ManageAccounts = "accounts.manage";
}
tower_ward::columns! { NoteText: String = "notes"."text" as Clinical; }
impl ManagesAccounts for ManageAccounts {}

const POLICY: &str = r#"
    [roles.doctor]
    ceiling = ["clinical"]
    grants."patients.admit" = "clinic"
    grants."notes.read" = "clinic"

    [roles.receptionist]
"#;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./examples/first_steps/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("notes", "patient")]);

/// What the handlers need.
#[derive(Clone)]
struct App {
    db: Db,
    identity: Identity,
    clock: SharedClock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPatient {
    note: String,
}

/// Admits a patient with a first note.
async fn admit(
    grant: Grant<AdmitPatients>,
    State(app): State<App>,
    Json(new): Json<NewPatient>,
) -> Result<(StatusCode, Json<SubjectId>), Problem> {
    // A new person, whose key is durable before this returns.
    let chart = grant.admit().await?;
    let row = RowId::generate(&*app.clock);
    // Sealed for this clinic, person, column and row.
    let text = Encrypted::<NoteText>::seal(&new.note, &chart, row)?;
    // The record of the attempt is on its way to the ledger.
    let mut tx = app.db.change(&chart, Change::create("notes", row)).await?;
    sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
        .bind(row)
        .bind(chart.subject())
        .bind(text)
        .execute(tx.conn())
        .await
        .map_err(|_| Problem::internal())?;
    // What the doors cannot know is recorded by hand. Nothing about a person goes into its texts.
    grant.trail().record(Event::new(Action::Create).with_entity("registration").add_subject(chart.subject()))?;
    // Waits for the records, then commits.
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(chart.subject())))
}

/// Reads a patient's notes.
async fn read_notes(
    grant: Grant<ReadNotes>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
) -> Result<Json<Vec<String>>, Problem> {
    // Relation, key, record; or the same 404 as "absent".
    let chart = grant.subject(patient).await?;
    // This clinic's file, read-only.
    let mut tx = app.db.read(&chart).await?;
    let rows: Vec<(RowId, Encrypted<NoteText>)> =
        sqlx::query_as("select id, text from notes where patient = ? order by id")
            .bind(chart.subject())
            .fetch_all(tx.conn())
            .await
            .map_err(|_| Problem::internal())?;
    let texts = rows.iter().map(|(row, text)| Ok(text.open(&chart, *row)?.disclose()));
    texts.collect::<Result<_, Problem>>().map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: String,
}

/// Gives a token to who knows a password.
async fn login(visit: Visit, State(app): State<App>, Json(login): Json<Login>) -> Result<Json<Value>, Problem> {
    let clinic = visit.clinic().ok_or_else(Problem::not_found)?;
    let password = SecretString::from(login.password);
    let tokens = app.identity.login(visit.trail(), clinic, &login.username, password).await?;
    Ok(Json(json!({ "token_type": "Bearer", "access_token": tokens.access_token().expose_secret() })))
}

/// The server and what it is made of.
struct Server {
    service: WardService<axum::Router>,
    ward: Ward,
    keyring: Keyring,
    harbour: TenantId,
}

async fn open(folder: &FilePath) -> Result<Server, Error> {
    let clock = SystemClock::shared();
    let root = RootKey::load(&KeySource::File(folder.join("root.key")))?;
    let store: Arc<dyn Durable> = Arc::new(SqliteStore::open(folder.join("keys.sqlite")).await?);
    let keyring = Keyring::open(root, Arc::clone(&store)).await?;
    let ledger = Ledger::open(&folder.join("ledger"), LedgerOptions::new(), Arc::clone(&clock))?;
    let options = IdentityOptions::new("https://clinic.example");
    let identity = Identity::open(store, &keyring, Arc::clone(&clock), options).await?;
    let db = Db::open(folder.join("clinics"), SCHEMA)?;
    // What a crash left open is settled before the first request.
    db.settle(&ledger).await?;

    let hosts = Hosts::new("{tenant}.localhost", "localhost")?;
    let harbour = TenantId::new("harbour")?;
    keyring.create_tenant(&harbour).await?;
    db.create(&harbour).await?;
    hosts.register(harbour.clone())?;

    let ward = Ward::builder()
        .with_clock(Arc::clone(&clock))
        .keys(keyring.clone())
        .audit(ledger)
        .authenticate(identity.clone())
        .tenants(hosts)
        .policy(Policy::from_toml(POLICY)?)
        .relations(NoRelations)
        .build()?;
    let router = Router::new(&ward).post("/patients", admit).get("/patients/{id}/notes", read_notes).public_post(
        "/login",
        "gives tokens to who knows a password",
        login,
    );
    print!("{}", router.matrix());
    let service = router.with_state(App { db, identity, clock }).into_service()?;
    Ok(Server { service, ward, keyring, harbour })
}

impl Server {
    /// Makes an account and returns its password; `None` if there is one of that name.
    async fn hire(&self, name: &str, role: &str) -> Result<Option<SecretString>, Error> {
        let (trail, mut closer) = self.ward.ledger().begin(RequestFacts::new());
        let (clock, operator) = (self.ward.clock(), UserId::generate(&**self.ward.clock()));
        // Nobody can log in yet, so no policy can grant it. The ledger says so.
        let grant = danger_grant::<ManageAccounts>(
            &trail,
            &self.keyring,
            clock,
            operator,
            self.harbour.clone(),
            "the operator makes the first accounts",
        )?;
        let (clinic, password) = (grant.clinic().await?, generate_password());
        let account = NewAccount::new(name, password.clone(), role);
        let made = clinic.accounts(self.ward.identity()).create(account).await;
        closer.finish(End::Completed);
        match made {
            Ok(_) => Ok(Some(password)),
            Err(AccountError::Taken) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Serves until Ctrl-C.
async fn serve(server: Server, address: SocketAddr) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await?;
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = &mut stop => break,
        };
        let service = server.service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            // Who is at the other end: without it, every request is refused.
            request.extensions_mut().insert(ConnInfo::new(peer, None));
            service.clone().oneshot(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
    // Writes what is still queued.
    server.ward.ledger().shutdown().await;
    Ok(())
}

/// Sends one request to the clinic's host.
async fn send(
    server: &Server,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Value,
) -> Result<(StatusCode, Value), Error> {
    let host = server.ward.hosts().host_of(&server.harbour);
    let mut request = Request::builder().method(method.clone()).uri(path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if !body.is_null() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let peer = ConnInfo::new(SocketAddr::from(([127, 0, 0, 1], 4711)), None);
    let request = request.extension(peer).body(Body::from(body.to_string()))?;
    let (head, body) = server.service.clone().oneshot(request).await?.into_parts();
    let body = serde_json::from_slice(&body.collect().await.map_err(|_| "the answer broke off")?.to_bytes())?;
    println!("{method} {path}: {}", head.status);
    Ok((head.status, body))
}

async fn try_it(server: &Server, folder: &FilePath) -> Result<(), Error> {
    let mut tokens = Vec::new();
    for (name, role) in [("dr.adeyemi", "doctor"), ("front.desk", "receptionist")] {
        let password = server.hire(name, role).await?.ok_or("hired already")?;
        let login = json!({ "username": name, "password": password.expose_secret() });
        let (status, answer) = send(server, Method::POST, "/login", None, login).await?;
        assert_eq!(status, StatusCode::OK);
        tokens.push(answer["access_token"].as_str().ok_or("no token")?.to_owned());
    }
    let (doctor, desk) = (tokens[0].as_str(), tokens[1].as_str());

    let note = json!({ "note": "sleeps well" });
    let (status, patient) = send(server, Method::POST, "/patients", Some(doctor), note.clone()).await?;
    assert_eq!(status, StatusCode::CREATED);
    let path = format!("/patients/{}/notes", patient.as_str().ok_or("no patient")?);
    let (status, notes) = send(server, Method::GET, &path, Some(doctor), Value::Null).await?;
    assert_eq!((status, notes), (StatusCode::OK, json!(["sleeps well"])));

    // Nobody; somebody who may not; somebody whom the clinic does not have.
    assert_eq!(send(server, Method::GET, &path, None, Value::Null).await?.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(server, Method::GET, &path, Some(desk), Value::Null).await?.0, StatusCode::FORBIDDEN);
    assert_eq!(send(server, Method::POST, "/patients", Some(desk), note).await?.0, StatusCode::FORBIDDEN);
    let stranger = format!("/patients/{}/notes", SubjectId::generate(&**server.ward.clock()));
    assert_eq!(send(server, Method::GET, &stranger, Some(doctor), Value::Null).await?.0, StatusCode::NOT_FOUND);

    // The database has no word of it; the ledger has who asked for it, and was not edited.
    server.ward.ledger().shutdown().await;
    for entry in std::fs::read_dir(folder.join("clinics"))? {
        let bytes = std::fs::read(entry?.path())?;
        assert!(!bytes.windows(6).any(|word| word == b"sleeps"), "a note lies in the clear");
    }
    let patient: SubjectId = patient.as_str().ok_or("no patient")?.parse()?;
    let timeline = server.ward.ledger().danger_timeline(&server.harbour, patient, None, 100)?;
    for record in &timeline.records {
        println!("{} {:?} {:?} {:?}", record.at(), record.kind(), record.action(), record.entity());
    }
    println!("{} records, head {:?}", verify(&folder.join("ledger"))?.records(), server.ward.ledger().head());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    if let Some(folder) = std::env::args().nth(1) {
        let server = open(folder.as_ref()).await?;
        if let Some(password) = server.hire("dr.adeyemi", "doctor").await? {
            println!("dr.adeyemi's password: {}", password.expose_secret());
        }
        return serve(server, SocketAddr::from(([127, 0, 0, 1], 8080))).await;
    }
    let folder = tempfile::tempdir()?;
    RootKey::generate().write_new_file(&folder.path().join("root.key"))?;
    let server = open(folder.path()).await?;
    try_it(&server, folder.path()).await
}
