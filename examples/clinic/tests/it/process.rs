//! The clinic as a process of its own, on a copy of one data folder: started, spoken to, killed, and read from outside.

mod evidence;
mod users;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use clinic::app::Demo;
pub(crate) use evidence::{Changes, Records, Rows, check_changes};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
pub(crate) use users::{CANARY, Users, until};

/// Longer than anything here takes: what waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The suite whose long form was asked for.
pub(crate) fn is_long(suite: &str) -> bool {
    std::env::var("TOWER_WARD_LONG").is_ok_and(|asked| asked == suite)
}

/// Numbers that look random and come again with the same seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    /// From `TOWER_WARD_SEED`, or at random; prints which, so that a failure can be had again.
    pub(crate) fn printed() -> Self {
        let seed = std::env::var("TOWER_WARD_SEED")
            .map_or_else(|_| u64::from_be_bytes(tower_ward::entropy::array()), |seed| seed.parse().unwrap());
        println!("again with TOWER_WARD_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn of<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(several.len() as u64)).unwrap();
        &several[place]
    }

    pub(crate) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end * 1_000))
    }
}

/// A data folder of its own, with the demo in it.
pub(crate) fn data_folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(&template(), dir.path());
    dir
}

/// The folder that the others are copies of, laid out once for each build of the server.
fn template() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let server = fs::metadata(env!("CARGO_BIN_EXE_clinic")).unwrap();
    let ready = tmp.join(format!("process-{}-{}-{}", server.len(), server.mtime(), server.mtime_nsec()));
    // Tests run in several processes.
    let lock = File::create(tmp.join("process.lock")).unwrap();
    lock.lock().unwrap();
    if !ready.exists() {
        for old in fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path()) {
            if old.is_dir() && old.file_name().unwrap().to_str().is_some_and(|name| name.starts_with("process-")) {
                fs::remove_dir_all(old).unwrap();
            }
        }
        let dir = TempDir::new_in(tmp).unwrap();
        let data = dir.path().join("data");
        Clinic::start(&data).kill();
        fs::rename(data, &ready).unwrap();
    }
    ready
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The command that starts the server on this folder.
pub(crate) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clinic"));
    command
        .args(["--plain-http", "--listen", "127.0.0.1:0", "--peer-quota", "1000000", "--user-quota", "1000000"])
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// A running server. Dropped, it is killed.
pub(crate) struct Clinic {
    child: Child,
    // Whoever prints into a closed pipe is killed.
    _out: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    pub(crate) demo: Demo,
}

impl Drop for Clinic {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Clinic {
    /// Starts the server, and returns when it answers.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_by(command(data), data)
    }

    /// The same with a command that ends in starting the server.
    pub(crate) fn start_by(mut command: Command, data: &Path) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // The last line of the greeting.
        while !line.contains("All logins") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the server ended: {:?}", child.wait());
        }
        let demo: Demo = serde_json::from_slice(&fs::read(data.join("demo.json")).unwrap()).unwrap();
        Self { child, _out: out, address: demo.listen, demo }
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// A client of the first user with this role in the first clinic but `clinic`, not yet connected.
    pub(crate) async fn login(&self, clinic: usize, role: &str) -> Client {
        let clinic = &self.demo.clinics[clinic];
        let user = clinic.users.iter().find(|user| user.role == role).unwrap();
        let mut client = Client { host: clinic.host.clone(), address: self.address, token: None, connection: None };
        let login = json!({ "username": user.username, "password": user.password });
        let answer = client.send(&Method::POST, "/api/login", Some(&login)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        client.token = Some(answer.json()["access_token"].as_str().unwrap().to_owned());
        client
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this took too long")
}

/// A client with one connection at a time.
pub(crate) struct Client {
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Clone for Client {
    /// The same user on a connection of its own.
    fn clone(&self) -> Self {
        Self { host: self.host.clone(), address: self.address, token: self.token.clone(), connection: None }
    }
}

/// A response whose head arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) request_id: String,
    pub(crate) content_type: String,
    /// Nothing if it was cut off.
    pub(crate) body: Option<Bytes>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().expect("the body was cut off")).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.as_ref().expect("the body was cut off").to_vec()).unwrap()
    }
}

impl Client {
    /// Nothing if the connection broke before the head of an answer.
    pub(crate) async fn send(&mut self, method: &Method, path: &str, body: Option<&Value>) -> Option<Answer> {
        let mut connection = match self.connection.take() {
            Some(open) if open.is_ready() => open,
            _ => {
                let tcp = TcpStream::connect(self.address).await.ok()?;
                let (open, driver) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
                tokio::spawn(driver);
                open
            }
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        request = request.header("x-purpose", "administration").header("x-reason", "f-4711");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body)).unwrap();
        let (head, body) = within(connection.send_request(request)).await.ok()?.into_parts();
        let text = |name: &str| head.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let (request_id, content_type) = (text("x-request-id"), text("content-type"));
        let body = within(body.collect()).await.ok().map(|whole| whole.to_bytes());
        // The driver needs a moment until it takes another request.
        if body.is_some() && connection.ready().await.is_ok() {
            self.connection = Some(connection);
        }
        Some(Answer { status: head.status, request_id, content_type, body })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Option<Answer> {
        self.send(&Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Option<Answer> {
        self.send(&Method::POST, path, Some(body)).await
    }

    /// The patients that this user may see.
    pub(crate) async fn patients(&mut self) -> Vec<String> {
        let answer = self.get("/api/patients?limit=100").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let items = answer.json();
        items["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Somebody who may be registered.
pub(crate) fn somebody(family: &str) -> Value {
    json!({ "given": "Crash", "family": family, "birth_date": "1980-02-29", "sex": "other" })
}

/// Something that may be prescribed.
pub(crate) fn drug(name: &str) -> Value {
    json!({ "drug": name, "dose": "1 tablet", "instructions": "once daily" })
}
