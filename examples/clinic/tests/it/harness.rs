//! The clinic's server in this process on a data folder of its own, and clients that reach it as anybody does: over TLS,
//! trusting the `ca.pem` that it wrote.
//!
//! Laying out the demo takes seconds, so it is done once for each build of these tests and each day, under
//! `target/tmp/clinic-template`, and copied for each test.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use clinic::{
    api::{self, App},
    app::{self, Demo},
    args::Args,
    demo_data::{self, DemoData},
    model,
    seed::{DemoClinic, DemoUser},
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_ward::{
    axum::{Access, Router},
    clock::{Clock, SystemClock},
    db::Db,
    stack::Ward,
};
use uuid::Uuid;

/// The clinic that most tests are about, and two others.
pub(crate) const HOME: &str = "harbour";
pub(crate) const AWAY: &str = "meadow";
pub(crate) const FAR: &str = "northgate";

/// Every role of the policy.
pub(crate) const ROLES: [&str; 7] =
    ["receptionist", "doctor", "owner", "clinic_admin", "caregiver", "family_member", "patient"];

/// Longer than anything here takes: what waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How to reach a running server, and what its demo is made of.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) demo: Demo,
    roots: Arc<RootCertStore>,
}

impl Place {
    /// What stands in a data folder whose server runs.
    pub(crate) fn of(dir: &Path) -> Self {
        let demo = read_demo(dir);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join(&demo.ca)).unwrap()).unwrap();
        Self { address: demo.listen, demo, roots: Arc::new(roots) }
    }

    pub(crate) fn clinic(&self, tenant: &str) -> &DemoClinic {
        self.demo.clinics.iter().find(|c| c.tenant == tenant).unwrap()
    }

    pub(crate) fn users<'a>(&'a self, tenant: &str, role: &'a str) -> impl Iterator<Item = &'a DemoUser> {
        self.clinic(tenant).users.iter().filter(move |u| u.role == role)
    }

    /// Somebody without a token at a clinic's host.
    pub(crate) fn guest(&self, tenant: &str) -> Client {
        self.at(&self.clinic(tenant).host)
    }

    /// Somebody without a token at this host.
    pub(crate) fn at(&self, host: &str) -> Client {
        let line = Line {
            address: self.address,
            server_name: host.to_owned(),
            roots: Arc::clone(&self.roots),
            sender: Mutex::default(),
        };
        let authority = format!("{host}:{}", self.address.port());
        Client { line: Arc::new(line), authority, token: None, refresh: None }
    }

    /// The first user of a role, logged in.
    pub(crate) async fn login(&self, tenant: &str, role: &str) -> Client {
        let user = self.users(tenant, role).next().unwrap();
        self.login_as(tenant, user).await
    }

    pub(crate) async fn login_as(&self, tenant: &str, user: &DemoUser) -> Client {
        let mut client = self.guest(tenant);
        let reply = client.try_login(&user.username, &user.password).await;
        reply.expect(200);
        client.use_tokens(&reply);
        client
    }

    /// What the fixtures call `harbour-patient-001`, as the server calls it.
    pub(crate) fn patient(&self, demo_id: &str) -> Uuid {
        self.patients()[demo_id]
    }

    /// From the fixtures' ids of patients to the server's.
    pub(crate) fn patients(&self) -> BTreeMap<String, Uuid> {
        let named = |c: demo_data::Clinic| {
            let ids = self.clinic(&c.tenant).patients.clone();
            c.patients.into_iter().map(|p| p.id).zip(ids)
        };
        data().clinics.into_iter().flat_map(named).collect()
    }

    /// The patients that a user may reach, as the fixtures say: nothing of the server's own opinion is in it.
    pub(crate) fn reach(&self, tenant: &str, user: &DemoUser) -> BTreeSet<Uuid> {
        let data = data();
        let clinic = data.clinics.iter().find(|c| c.tenant == tenant).unwrap();
        let patients = self.patients();
        let is = |email: &str| email.split('@').next() == Some(user.username.as_str());
        match user.role.as_str() {
            "doctor" | "caregiver" => {
                let staff = clinic.staff.iter().find(|s| is(&s.email)).unwrap();
                clinic.care_team.iter().filter(|a| a.staff == staff.id).map(|a| patients[&a.patient]).collect()
            }
            "family_member" => {
                let member = clinic.family.iter().find(|f| is(&f.email)).unwrap();
                member.members_of.iter().map(|m| patients[&m.patient]).collect()
            }
            "patient" => user.subject.into_iter().collect(),
            _ => self.clinic(tenant).patients.iter().copied().collect(),
        }
    }

    /// Sends bytes as they stand over TLS, and reads until the server closes.
    pub(crate) async fn raw(&self, server_name: &str, request: &str) -> Reply {
        let io = connect(self.address, server_name, &self.roots, b"http/1.1").await.unwrap();
        talk(io, request).await
    }

    /// Sends bytes as they stand, in the clear.
    pub(crate) async fn plain(&self, request: &str) -> Reply {
        talk(TcpStream::connect(self.address).await.unwrap(), request).await
    }
}

async fn talk(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Reply {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An end without a close_notify is an end too.
    let _ = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("no answer");
    Reply::parse(&answer)
}

/// A server that runs in this process.
pub(crate) struct Site {
    place: Place,
    pub(crate) ward: Ward,
    dir: TempDir,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl std::ops::Deref for Site {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Site {
    /// Starts on a copy of the laid-out demo, with quotas that no test reaches.
    pub(crate) async fn start() -> Self {
        Self::start_in(demo_folder().await).await
    }

    /// Starts on this folder.
    pub(crate) async fn start_in(dir: TempDir) -> Self {
        let args = args(dir.path());
        Self::start_with(dir, &args).await
    }

    /// Starts on this folder with arguments of one's own.
    pub(crate) async fn start_with(dir: TempDir, args: &Args) -> Self {
        let server = app::start(args, |_| ()).await.unwrap();
        let (place, ward) = (Place::of(dir.path()), server.ward.clone());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let ended = server.run(async {
                let _ = stopped.await;
            });
            let _ = ended.await.unwrap();
        });
        Self { place, ward, dir, stop, ended }
    }

    /// Stops the server as a signal would, and gives its folder.
    pub(crate) async fn stop(self) -> TempDir {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.ended).await.expect("the server does not stop").unwrap();
        self.dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The routes, with the state that the server has.
    pub(crate) fn router(&self) -> Router {
        let app = App {
            identity: self.ward.identity().clone(),
            db: Db::open(self.path().join("clinics"), model::SCHEMA).unwrap(),
            clock: Arc::clone(self.ward.clock()),
        };
        api::routes(&self.ward, app)
    }

    /// Each method of each route that names a person, and the permission that it asks for.
    pub(crate) fn routes_with_a_person(&self) -> Vec<(Method, String, String)> {
        let mut found = Vec::new();
        for route in self.router().routes() {
            let Access::Permission(permission) = route.access() else { continue };
            if route.path().contains("{id}") {
                for method in route.methods() {
                    found.push((method.clone(), route.path().to_owned(), permission.id().to_owned()));
                }
            }
        }
        assert!(found.len() >= 15, "the routes were not found");
        found
    }

    /// Whether the policy grants a permission to a role, under any relation.
    pub(crate) fn grants(&self, role: &str, permission: &str) -> bool {
        !self.ward.policy().relations(role, permission).is_empty()
    }
}

/// A connection, made when it is needed and again when it was lost.
struct Line {
    address: SocketAddr,
    server_name: String,
    roots: Arc<RootCertStore>,
    sender: Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

impl Line {
    async fn sender(&self) -> http2::SendRequest<Full<Bytes>> {
        if let Some(sender) = self.sender.lock().unwrap().clone().filter(|s| !s.is_closed()) {
            return sender;
        }
        let io = connect(self.address, &self.server_name, &self.roots, b"h2").await.unwrap();
        let (sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        tokio::spawn(conn);
        *self.sender.lock().unwrap() = Some(sender.clone());
        sender
    }
}

async fn connect(
    address: SocketAddr,
    server_name: &str,
    roots: &Arc<RootCertStore>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // The names resolve to wherever the server listens: no resolver is asked.
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(server_name.to_owned()).unwrap(), tcp).await
}

/// Somebody at a host, with a token or without. Clones share a connection.
#[derive(Clone)]
pub(crate) struct Client {
    line: Arc<Line>,
    authority: String,
    pub(crate) token: Option<String>,
    pub(crate) refresh: Option<String>,
}

impl Client {
    /// The same line, with this token.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same line, which asks for this authority.
    pub(crate) fn with_authority(&self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self.clone() }
    }

    pub(crate) fn use_tokens(&mut self, reply: &Reply) {
        let tokens = reply.json();
        self.token = Some(tokens["access_token"].as_str().unwrap().to_owned());
        self.refresh = Some(tokens["refresh_token"].as_str().unwrap().to_owned());
    }

    pub(crate) async fn try_login(&self, username: &str, password: &str) -> Reply {
        self.post("/api/login", &serde_json::json!({ "username": username, "password": password })).await
    }

    pub(crate) async fn try_refresh(&self, refresh_token: &str) -> Reply {
        self.post("/api/refresh", &serde_json::json!({ "refresh_token": refresh_token })).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = self.request(method, path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.exchange(request, body.map(|b| b.to_string().into_bytes()).unwrap_or_default()).await
    }

    /// A request to be changed and given to [`exchange`](Self::exchange).
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub(crate) async fn exchange(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        let request = request.body(Full::new(body.into())).unwrap();
        let answered = async {
            let (parts, body) = self.line.sender().await.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply { status: parts.status, headers: parts.headers, body }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("no answer")
    }

    /// Who the token says one is.
    pub(crate) async fn user_id(&self) -> Uuid {
        let me = self.get("/api/me").await;
        me.expect(200);
        me.json()["user"].as_str().unwrap().parse().unwrap()
    }

    /// The ids in the whole list of patients, page by page.
    pub(crate) async fn list(&self, limit: usize, q: &str) -> Vec<Uuid> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/api/patients?limit={limit}{q}{cursor}")).await;
            page.expect(200);
            let page = page.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|i| i["id"].as_str().unwrap().parse::<Uuid>().unwrap()));
            match page.get("next") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                None => return found,
            }
        }
    }
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// A response of HTTP/1.1, as it came.
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.trim().parse().unwrap());
        }
        Self { status, headers, body: Bytes::copy_from_slice(&bytes[end + 4..]) }
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Demands a refusal as RFC 9457 writes it, with nothing in it that `sent` holds.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, sent: &[&str]) -> &Self {
        self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for key in ["type", "title"] {
            assert!(problem[key].is_string(), "{key}: {problem}");
        }
        for text in sent {
            assert!(!self.holds(text), "`{text}` came back");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is not JSON")
    }

    /// The one value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "`{name}` is there {} times on a {}", values.len(), self.status);
        values[0].to_str().unwrap()
    }

    /// Whether a text stands anywhere in headers or body.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let in_headers = self.headers.iter().any(|(_, value)| find(value.as_bytes(), text.as_bytes()));
        in_headers || find(&self.body, text.as_bytes())
    }

    /// All that a client can tell two answers apart by, but for time, the request's id and what the limit has left.
    pub(crate) fn fingerprint(&self) -> String {
        let mut headers: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !["x-request-id", "ratelimit", "date", "retry-after"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        format!("{}\n{}\n\n{:?}", self.status, headers.join("\n"), self.body)
    }
}

/// Whether `needle` stands in `hay`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> bool {
    assert!(!needle.is_empty());
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Texts that must not be found, looked for all at once.
pub(crate) struct Needles {
    /// By the first bytes; the hay is folded to lower case for the ones that are.
    by_start: HashMap<[u8; Self::START], Vec<(String, bool)>>,
    starts: Vec<bool>,
}

impl Needles {
    /// Shorter ones would be found by chance in so many random bytes.
    pub(crate) const START: usize = 6;
    /// From this length on, case does not matter: chance is out of the question all the same.
    const FOLDED: usize = 8;

    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut by_start: HashMap<_, Vec<_>> = HashMap::new();
        let mut starts = vec![false; 1 << 16];
        for text in texts.into_iter().collect::<BTreeSet<_>>() {
            let folded = text.len() >= Self::FOLDED;
            let needle = if folded { text.to_ascii_lowercase() } else { text };
            let Some(start) = needle.as_bytes().first_chunk::<{ Self::START }>() else { continue };
            let lower = start.map(|b| b.to_ascii_lowercase());
            starts[usize::from(lower[0]) << 8 | usize::from(lower[1])] = true;
            by_start.entry(lower).or_default().push((needle, folded));
        }
        Self { by_start, starts }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_start.values().map(Vec::len).sum()
    }

    /// The first of them that stands in `hay`.
    pub(crate) fn found_in(&self, hay: &[u8]) -> Option<&str> {
        // Most of a ledger's file is empty.
        let hay = &hay[..hay.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)];
        let lower = hay.to_ascii_lowercase();
        for at in 0..lower.len().saturating_sub(Self::START - 1) {
            if !self.starts[usize::from(lower[at]) << 8 | usize::from(lower[at + 1])] {
                continue;
            }
            let start = lower[at..].first_chunk::<{ Self::START }>().unwrap();
            for (needle, folded) in self.by_start.get(start).into_iter().flatten() {
                if (if *folded { &lower } else { hay })[at..].starts_with(needle.as_bytes()) {
                    return Some(needle);
                }
            }
        }
        None
    }
}

/// The fixtures.
/// The fixtures.
pub(crate) fn data() -> DemoData {
    demo_data::load().unwrap()
}

/// An id that differs from this one and is nobody's.
pub(crate) fn absent(near: Uuid) -> Uuid {
    let mut bytes = near.into_bytes();
    bytes[15] ^= 0x55;
    Uuid::from_bytes(bytes)
}

/// A body that the route takes.
pub(crate) fn valid_body(method: &Method, path: &str) -> Option<Value> {
    match (method.as_str(), path.rsplit('/').next().unwrap()) {
        ("PATCH", _) => Some(serde_json::json!({ "version": 1, "phone": "07700 900001" })),
        ("POST", "notes") => Some(serde_json::json!({ "text": "A note." })),
        ("POST", "prescriptions") => {
            Some(serde_json::json!({ "drug": "Paracetamol", "dose": "1 tablet", "instructions": "When needed." }))
        }
        _ => None,
    }
}

/// A route's path with its parameters filled in.
pub(crate) fn fill(path: &str, id: impl std::fmt::Display, user: impl std::fmt::Display) -> String {
    path.replace("{id}", &id.to_string()).replace("{user}", &user.to_string())
}

/// The records in a ledger's folder. They are read as bytes, so that nothing which writes them says what is in them.
pub(crate) fn records(ledger: &Path) -> Vec<Value> {
    const START: &[u8] = br#"{"v":1,"index":"#;
    let mut found = Vec::new();
    for file in files(ledger).into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg")) {
        let mut bytes = fs::read(file).unwrap();
        // Files are made longer than what they hold.
        bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1));
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(START)) {
            found.extend(serde_json::Deserializer::from_slice(&bytes[at..]).into_iter().next().and_then(Result::ok));
        }
    }
    found
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file holds, unless it is gone by now: a database that closes takes its log away.
pub(crate) fn read(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

pub(crate) fn read_demo(dir: &Path) -> Demo {
    serde_json::from_slice(&fs::read(dir.join("demo.json")).unwrap()).unwrap()
}

/// The command line for a server on this folder, on any free port, with quotas that no test reaches.
pub(crate) fn args(dir: &Path) -> Args {
    let mut args = Args::parse_from(["clinic", "--listen", "127.0.0.1:0"]);
    args.data = dir.to_owned();
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    (args.peer_quota, args.user_quota) = (plenty, plenty);
    args
}

/// A new folder with the demo laid out in it.
pub(crate) async fn demo_folder() -> TempDir {
    let template = template().await;
    let dir = tempfile::tempdir().unwrap();
    copy(&template, dir.path());
    dir
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(&name));
        } else {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// The laid-out demo of this build and day. The first test to come makes it; the others wait.
async fn template() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clinic-template");
    fs::create_dir_all(&home).unwrap();
    let binary = fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let built = binary.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    // Policy and fixtures are part of the binary. The demo's dates count from the day on which it is laid out.
    let day = SystemClock::new().now().as_second() / 86_400;
    let name = format!("{built:x}-{:x}-{day}", binary.len());
    let ready = home.join(&name);

    let lock = fs::File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    if !ready.exists() {
        for old in fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            fs::remove_dir_all(old).unwrap();
        }
        let making = home.join("making");
        let server = app::start(&args(&making), |_| ()).await.unwrap();
        let _ = server.run(async {}).await.unwrap();
        fs::rename(&making, &ready).unwrap();
    }
    lock.unlock().unwrap();
    ready
}

/// The program itself, in a process of its own.
pub(crate) struct Child {
    pub(crate) place: Place,
    process: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    _outputs: TempDir,
}

impl Child {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) async fn start(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let outputs = tempfile::tempdir().unwrap();
        let (out, err) = (outputs.path().join("out"), outputs.path().join("err"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_clinic"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let ready = async {
            while !fs::read_to_string(&out).unwrap().contains("Ctrl-C") {
                if let Some(status) = process.try_wait().unwrap() {
                    panic!("it ended: {status}: {}", fs::read_to_string(&err).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("it is never ready");
        Self { place: Place::of(data), process, out, err, _outputs: outputs }
    }

    /// Asks it to end, and gives what it printed on stdout and stderr.
    pub(crate) async fn stop(mut self) -> (String, String) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let ended = async {
            loop {
                // The clients in this process have to hear of it too.
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, ended).await.expect("it does not end").success());
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        (read(&self.out), read(&self.err))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to a clinic's file, whose server does not run.
pub(crate) async fn open_file(data: &Path, tenant: &str) -> SqliteConnection {
    let path = data.join(format!("clinics/{tenant}.sqlite"));
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Moves what a clinic's write-ahead log holds into its file.
pub(crate) async fn checkpoint(data: &Path, tenant: &str) {
    let mut file = open_file(data, tenant).await;
    let (busy, ..): (i64, i64, i64) =
        sqlx::query_as("pragma wal_checkpoint(truncate)").fetch_one(&mut file).await.unwrap();
    assert_eq!(busy, 0);
    file.close().await.unwrap();
}
