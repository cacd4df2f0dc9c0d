//! Servers: in this process, and as the program itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clinic::{
    api::{self, App},
    app::{self, Demo},
    args::Args,
    demo_data,
    seed::{DemoClinic, DemoUser},
};
use http::Method;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tower_ward::{
    axum::{Access, Router},
    stack::Ward,
};
use uuid::Uuid;

use super::{
    Client, PATIENCE, Reply, args,
    client::{connect, talk, trickle},
    data, demo_folder,
    folder::DemoFolder,
    read_demo,
};

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
        Client::new(self.address, host, &self.roots)
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

    /// Sends a head as it stands over TLS, and a body that takes forever.
    pub(crate) async fn trickle(&self, server_name: &str, head: &str) -> Reply {
        let io = connect(self.address, server_name, &self.roots, b"http/1.1").await.unwrap();
        trickle(io, head).await
    }

    /// Sends bytes as they stand, in the clear.
    pub(crate) async fn plain(&self, request: &str) -> Reply {
        talk(TcpStream::connect(self.address).await.unwrap(), request).await
    }
}
/// A server that runs in this process.
pub(crate) struct Site {
    place: Place,
    pub(crate) ward: Ward,
    app: App,
    dir: DemoFolder,
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
    pub(crate) async fn start_in(dir: impl Into<DemoFolder>) -> Self {
        let dir = dir.into();
        let args = args(dir.path());
        Self::start_with(dir, &args).await
    }

    /// Starts on this folder with arguments of one's own.
    pub(crate) async fn start_with(dir: impl Into<DemoFolder>, args: &Args) -> Self {
        let dir = dir.into();
        let server = app::start(args, |_| ()).await.unwrap();
        let (place, ward, app) = (Place::of(dir.path()), server.ward.clone(), server.app.clone());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let ended = server.run(async {
                let _ = stopped.await;
            });
            let _ = ended.await.unwrap();
        });
        Self { place, ward, app, dir, stop, ended }
    }

    /// Stops the server as a signal would, and gives its folder.
    pub(crate) async fn stop(self) -> DemoFolder {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.ended).await.expect("the server does not stop").unwrap();
        self.dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn folder(&self) -> &DemoFolder {
        &self.dir
    }

    /// The routes, with the state that the server has.
    pub(crate) fn router(&self) -> Router {
        api::routes(&self.ward, self.app.clone())
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
