//! The server, put together.

use std::{fmt::Write as _, fs::File, future::Future, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};
use tower_ward::{
    access::Policy,
    audit::PostgresLedger,
    clock::{SharedClock, SystemClock},
    db::Db,
    headers::HeadersLayer,
    id::TenantId,
    identity::{Identity, IdentityOptions},
    keys::{KekReport, KeyReport, KeySource, Keyring, RootKey},
    quota::Quota,
    stack::{ConnInfo, Ward, WardService},
    tenant::Hosts,
};

use crate::{
    api::{self, App, Enrol, Join},
    args::Args,
    certs,
    data::{Data, Erasing, Kept},
    database::Database,
    demo_data,
    folder::{Folder, Part},
    ledger, model,
    seed::{self, DemoClinic, Seed},
    serve::{self, Ended, Limits, Listener},
    stores::{self, InDatabase, Stores},
    urls::Urls,
};

/// The clinics' policy: who may do what.
pub const POLICY: &str = include_str!("../policy.toml");

/// Whatever keeps the server from starting, said in one sentence.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a script may rely on, as `demo.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Demo {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// The certificate to trust, relative to the data folder.
    pub ca: String,
    /// The clinics.
    pub clinics: Vec<DemoClinic>,
}

/// A server that is bound and ready, but does not answer yet.
#[derive(Debug)]
pub struct Server {
    /// The service, for whoever serves it otherwise.
    pub service: WardService<axum::Router>,
    /// The ward.
    pub ward: Ward,
    /// What the handlers share.
    pub app: App,
    /// How the keys stood when the server was put together.
    pub keys: KeyReport,
    /// What a script may rely on.
    pub demo: Demo,
    stores: Stores,
    listener: Listener,
    plain: bool,
    ledger_years: NonZeroU16,
    /// What keeps other servers off the folder.
    held: Option<File>,
}

/// What was opened, and is not compared with the ledger yet.
struct Opened {
    ward: Ward,
    identity: Identity,
    data: Data,
    keyring: Keyring,
    stores: Stores,
}

/// The databases that were asked for.
struct Places<'a> {
    clinics: Option<Database<'a>>,
    ledger: Option<PostgresLedger>,
    keys: Option<InDatabase>,
}

/// The parts that seeding and serving share.
struct Parts {
    ward: Ward,
    app: App,
}

/// Lays out what is missing, opens everything, and binds the address.
///
/// # Errors
///
/// Whatever is wrong, before the first request is answered.
pub async fn start(args: &Args, say: impl Fn(&str)) -> Result<Server, Error> {
    let clock = SystemClock::shared();
    let folder = Folder::find(&args.data, args.fresh)?
        .with_keys_copy(args.key_copy.as_deref())?
        .with_database(Part::Ledger, args.ledger_database.is_some())?
        .with_database(Part::Clinics, args.database_url.is_some())?
        .with_database(Part::Keys, args.keys_database.is_some())?;
    let demo_data = demo_data::load()?;
    // What speaks against the start is found before the folder is made, or emptied.
    let public = !args.listen.ip().to_canonical().is_loopback();
    if public && folder.is_new() {
        return Err(LOOPBACK_ONLY.into());
    }
    let source = args.key.clone().transpose().map_err(|e| format!("--key: {e}"))?;
    let root = source.as_ref().map(RootKey::load).transpose()?;
    let socket = if public { None } else { Some(bind(args.listen)?) };
    let urls = Urls::asked(args)?;
    let clinics = Database::asked(&urls)?;
    if let Some(clinics) = &clinics {
        clinics.look(&folder).await?;
    }
    let places = Places {
        clinics,
        ledger: ledger::database(&urls, &folder, &clock).await?,
        keys: stores::database(&urls, &folder, &clock).await?,
    };
    folder.make()?;
    let held = folder.hold()?;
    let Opened { ward, identity, data, keyring, stores } = open(root, args, places, &folder, &clock).await?;
    let mut tenants = Vec::new();
    for clinic in &demo_data.clinics {
        let tenant = TenantId::new(&clinic.tenant)?;
        data.create(&tenant).await?;
        ward.hosts().register(tenant.clone())?;
        tenants.push(tenant);
    }
    let settled = data.settle(ward.ledger()).await?;
    if settled > 0 {
        say(&format!("settled {settled} change(s) that a crash left open"));
    }
    // What was settled may be an erasure, which is finished here.
    let erasures = Erasing::open(&keyring, &data, ward.ledger()).await?;
    let app = App { identity, data, jobs: ward.jobs().cloned(), erasures, clock: Arc::clone(&clock) };
    let parts = Parts { ward, app };
    let router = api::routes(&parts.ward, parts.app.clone());
    let service = router.into_service()?;
    if public && parts.app.identity.has_demo_accounts().await? {
        return Err(LOOPBACK_ONLY.into());
    }
    let socket = match socket {
        Some(socket) => socket,
        None => bind(args.listen)?,
    };
    let listen = socket.local_addr()?;
    let hosts: Vec<String> =
        tenants.iter().map(|t| parts.ward.hosts().host_of(t)).chain(["localhost".into()]).collect();
    let certs = certs::open(folder.path(), &hosts, clock.now())?;
    let clinics = if folder.is_new() {
        lay_out(&parts, &demo_data, &tenants, &say).await?
    } else {
        let old: Demo = serde_json::from_slice(&std::fs::read(folder.demo_json())?)
            .map_err(|_| "`demo.json` cannot be read: start once with --fresh")?;
        old.clinics
    };
    let demo = Demo { listen, ca: "ca.pem".to_owned(), clinics };
    folder.write_private("demo.json", &serde_json::to_vec_pretty(&demo)?)?;
    let listener =
        if args.plain_http { Listener::plain(socket)? } else { Listener::tls(socket, certs.chain(), certs.key())? };
    let keys = keyring.report().await?;
    say(&key_line(&keys, stores.in_database()));
    let Parts { ward, app } = parts;
    let (plain, ledger_years) = (args.plain_http, args.ledger_years);
    Ok(Server { service, ward, app, keys, demo, stores, listener, plain, ledger_years, held })
}

const LOOPBACK_ONLY: &str =
    "demo accounts exist, so only a loopback address is listened on: use --listen 127.0.0.1:8443";

/// Connections that the kernel keeps while nobody accepts them. One that finds no room there is tried again by its client
/// after one second, then two, then four.
const BACKLOG: u32 = 4_096;

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|e| format!("cannot listen on `{address}`: {e}; name another address with --listen"))
}

async fn open(
    root: Option<RootKey>,
    args: &Args,
    places: Places<'_>,
    folder: &Folder,
    clock: &SharedClock,
) -> Result<Opened, Error> {
    let root = match root {
        Some(root) => root,
        None => {
            if folder.is_new() {
                RootKey::generate().write_new_file(&folder.root_key())?;
            }
            RootKey::load(&KeySource::File(folder.root_key()))?
        }
    };
    let (keyring, stores) = stores::open(root, places.keys, folder, clock).await?;
    let accounts = stores.accounts();
    for clinic in demo_data::load()?.clinics {
        keyring.create_tenant(&TenantId::new(&clinic.tenant)?).await?;
    }
    let ledger = ledger::open(args, places.ledger, folder, clock).await?;
    let identity =
        Identity::open(Arc::clone(&accounts), &keyring, Arc::clone(clock), IdentityOptions::new("https://localhost"))
            .await?;
    let data = match places.clinics {
        Some(database) => Data::Postgres(database.open(&keyring).await?),
        None => Data::Sqlite(Db::open(folder.clinics(), model::SCHEMA)?),
    };
    // RFC 6797 §7.2: no word about https over http.
    let headers = HeadersLayer::builder();
    let headers = if args.plain_http { headers.danger_over_plain_http() } else { headers };
    let relations = Kept::of(&data, &keyring, clock);
    let ward = Ward::builder()
        .with_clock(Arc::clone(clock))
        .with_headers(headers.build()?)
        .with_peer_quota(Quota::per_minute(args.peer_quota))
        .with_principal_quota(Quota::per_minute(args.user_quota))
        .with_job_store(accounts)
        .add_task::<Seed>()
        .add_task::<Join>()
        .add_task::<Enrol>()
        .keys(keyring.clone())
        .audit(ledger)
        .authenticate(identity.clone())
        .tenants(Hosts::new("{tenant}.localhost", "localhost")?)
        .policy(Policy::from_toml(POLICY)?)
        .relations(relations)
        .build()?;
    Ok(Opened { ward, identity, data, keyring, stores })
}

/// Under what the keys are, where, and how many copies there are of them.
fn key_line(keys: &KeyReport, in_database: bool) -> String {
    let describe = |kek: &KekReport| match &kek.description {
        Ok(key) => format!("`{}` ({})", kek.id, key.key),
        Err(_) => format!("`{}`", kek.id),
    };
    let under: Vec<String> = keys.keks.iter().map(describe).collect();
    let copies = match keys.copies.len() {
        0 => "no copy".to_owned(),
        1 => "1 copy".to_owned(),
        several => format!("{several} copies"),
    };
    let place = if in_database { ", in a PostgreSQL database," } else { "" };
    format!("keys are under {}; the key store{place} has {copies}", under.join(", "))
}

const LOGGED: &str = "the key of whoever is erased stays, wrapped, in the log of its PostgreSQL server until that has moved on: some \
    ten minutes with `wal_recycle = off`, and else until its files are written over";

/// Fills every clinic, each by a job of its own.
async fn lay_out(
    parts: &Parts,
    data: &demo_data::DemoData,
    tenants: &[TenantId],
    say: &impl Fn(&str),
) -> Result<Vec<DemoClinic>, Error> {
    let jobs = parts.ward.jobs().ok_or("the ward was built without a job store")?;
    let mut clinics = Vec::new();
    for (clinic, tenant) in data.clinics.iter().zip(tenants) {
        let (patients, notes) = (clinic.patients.len(), clinic.notes.len());
        say(&format!("laying out {} ({patients} patients, {notes} notes)", clinic.name));
        let envelope = jobs.danger_issue_for_clinic::<Seed>(tenant.clone(), Duration::from_secs(600))?;
        let host = parts.ward.hosts().host_of(tenant);
        let app = &parts.app;
        let filled =
            jobs.run::<Seed, _, _, _>(&envelope, |grant| async move { seed::fill(app, &grant, clinic, host).await });
        clinics.push(filled.await??);
    }
    Ok(clinics)
}

impl Server {
    /// Answers until `shutdown` completes, then finishes what is in flight and closes the ledger.
    ///
    /// # Errors
    ///
    /// If the process cannot serve.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Ended, Error> {
        let keeping = tokio::spawn(ledger::keep(self.ward.ledger().clone(), self.ledger_years));
        let extension = |facts: serve::ConnFacts| ConnInfo::new(facts.peer, facts.sni.as_deref().map(Into::into));
        let ended = serve::serve(self.listener, self.service, extension, Limits::default(), shutdown).await;
        keeping.abort();
        // What still holds a connection was cut, so this is for the log files alone, and not waited for at any price.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.app.data.close()).await;
        self.ward.ledger().shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(5), self.stores.close()).await;
        drop(self.held);
        Ok(ended)
    }

    /// What whoever runs this should know of its keys: one sentence each.
    #[must_use]
    pub fn key_notes(&self) -> Vec<String> {
        let (mut keys, mut notes) = (self.keys.clone(), Vec::new());
        for kek in &mut keys.keks {
            if let (true, Ok(key)) = (kek.platform, &mut kek.description)
                && key.provider == "local"
            {
                notes.push(format!(
                    "the root key `{}` is on this machine, which is right for a demo; production keeps it in an HSM or a KMS",
                    kek.id
                ));
                key.confined = true;
            }
        }
        for copy in &mut keys.copies {
            // One that can be reached takes over what was laid out while this is being read.
            copy.behind = copy.behind.map(|_| 0);
        }
        notes.extend(keys.findings());
        if self.stores.in_database() {
            notes.push(LOGGED.to_owned());
        }
        notes
    }

    /// What whoever runs this should know of its ledger: one sentence each.
    #[must_use]
    pub fn ledger_notes(&self) -> Vec<String> {
        self.ward.ledger().report().findings().collect()
    }

    /// What to tell whoever started it: where the clinics are, and one login for each role.
    #[must_use]
    pub fn greeting(&self) -> String {
        let mut out = String::new();
        let scheme = if self.plain { "http" } else { "https" };
        for clinic in &self.demo.clinics {
            let _ = writeln!(out, "\n  {scheme}://{}:{}", clinic.host, self.demo.listen.port());
            let mut seen: Vec<&str> = Vec::new();
            for user in &clinic.users {
                if !seen.contains(&user.role.as_str()) {
                    seen.push(&user.role);
                    let _ = writeln!(out, "    {:14} {:24} {}", user.role, user.username, user.password);
                }
            }
        }
        out
    }
}
