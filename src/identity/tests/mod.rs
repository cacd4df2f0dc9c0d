//! Attacks on logins, tokens and sessions, and the edges of every time.

mod account;
mod actor;
mod canary;
mod lockout;
mod login;
mod password;
mod revocation;
mod session;
mod token;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Identity, IdentityOptions, NewAccount, Tokens};
use crate::{
    audit::{Actor, Closer, Ledger, LedgerOptions, Record, RequestFacts, Trail},
    clock::{Clock, ManualClock, Timestamp},
    id::{TenantId, UserId},
    keys::{Keyring, RootKey},
    secret::{ExposeSecret, SecretString},
    store::{BoxFuture, Durable, Entry, MemoryStore, ObjectName, Prefix, StoreError},
};

const PASSWORD: &str = "canary-password-3f81c0";
const ISSUER: &str = "https://clinic.example";

/// A store that counts what is asked of it, and fails when told to.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Durable>,
    calls: AtomicU64,
    broken: AtomicBool,
    /// Calls from now on wait until there are as many permits; none is ever given back.
    gate: tokio::sync::Semaphore,
    /// Calls that came, the waiting ones included.
    arrived: AtomicU64,
    /// All bytes that were ever written.
    written: Mutex<Vec<u8>>,
}

impl Watched {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn breaks(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Stops after so many more calls.
    fn pauses_after(&self, calls: usize) {
        self.gate.forget_permits(usize::MAX);
        self.gate.add_permits(calls);
    }

    fn goes_on(&self) {
        self.gate.add_permits(1 << 20);
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        // Somebody else may always come in between.
        tokio::task::yield_now().await;
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("not closed").forget();
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Full);
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(name.as_bytes());
        written.extend_from_slice(value);
        Ok(())
    }
}

impl Durable for Watched {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            self.call("", b"").await?;
            self.inner.get(name).await
        })
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.call(name.as_str(), value).await?;
            self.inner.insert_new(name, value, expires).await
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.call(name.as_str(), value).await?;
            self.inner.compare_and_swap(name, version, value, expires).await
        })
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.call("", b"").await?;
            self.inner.remove(name).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        Box::pin(async move {
            self.call("", b"").await?;
            self.inner.list(prefix, after, limit).await
        })
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        self.inner.written_since(version, limit)
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.newest_version()
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.take_over(mark, entries)
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.scrub()
    }
}

/// A clinic with one account, on a clock that stands still.
struct World {
    clock: ManualClock,
    store: Arc<Watched>,
    keyring: Keyring,
    options: IdentityOptions,
    identity: Identity,
    trails: Trails,
    clinic: TenantId,
    user: UserId,
}

impl World {
    async fn new() -> Self {
        Self::with(IdentityOptions::new(ISSUER)).await
    }

    async fn with(options: IdentityOptions) -> Self {
        let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
        let capacity = NonZeroUsize::new(100_000).expect("not zero");
        // Its clock never moves: nothing expires in the store, so every edge is the code's own.
        let still = ManualClock::at(clock.now());
        let inner = Arc::new(MemoryStore::new(capacity).with_clock(still.shared()).danger_forgetful());
        let store = Arc::new(Watched {
            inner,
            calls: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            arrived: AtomicU64::new(0),
            gate: tokio::sync::Semaphore::new(tokio::sync::Semaphore::MAX_PERMITS),
            written: Mutex::default(),
        });
        let keyring = Keyring::open(RootKey::generate(), store.clone()).await.expect("a keyring");
        let identity = Identity::open(store.clone(), &keyring, clock.shared(), options.clone()).await.expect("opens");
        let clinic = tenant("northgate");
        let trails = Trails::new(&clock);
        let user =
            identity.danger_create_account(&trails.admin(), &clinic, account("dr.adeyemi")).await.expect("an account");
        Self { clock, store, keyring, options, identity, trails, clinic, user }
    }

    /// The same after the process has ended and started again.
    async fn restarted(&self) -> Identity {
        let store = self.store.clone();
        Identity::open(store, &self.keyring, self.clock.shared(), self.options.clone()).await.expect("opens")
    }

    fn trail(&self) -> Trail {
        self.trails.begin()
    }

    /// The trail of somebody who may change accounts.
    fn admin(&self) -> Trail {
        self.trails.admin()
    }

    /// The trail of a request that carried this token.
    fn trail_of(&self, tokens: &Tokens) -> Trail {
        let (trail, who) = (self.trail(), tokens.principal());
        assert!(trail.set_actor(super::record::actor(who.tenant(), who.user(), who.role(), who.session())));
        trail
    }

    /// Ends all requests; returns the records of the ledger.
    async fn records(&self) -> Vec<Record> {
        let text = self.trails.recorded().await;
        // No record here has a brace inside.
        let ends = |line: &str| line.find('}').map(|end| format!("{{\"v\":1,{}", &line[..=end]));
        text.split("{\"v\":1,")
            .skip(1)
            .map(|line| Record::from_bytes(ends(line).expect("whole").as_bytes()).expect("a record"))
            .collect()
    }

    async fn login(&self) -> Tokens {
        self.identity
            .login(&self.trail(), &self.clinic, "dr.adeyemi", PASSWORD.into())
            .await
            .expect("the right password")
    }

    async fn try_login(&self, username: &str, password: &str) -> Result<Tokens, super::LoginError> {
        self.identity.login(&self.trail(), &self.clinic, username, password.into()).await
    }

    async fn refresh(&self, token: &SecretString) -> Result<Tokens, super::RefreshError> {
        self.identity.refresh(&self.trail(), &self.clinic, token.expose_secret()).await
    }

    fn verify(&self, tokens: &Tokens) -> Result<super::Principal, super::TokenError> {
        self.identity.verify(tokens.access_token().expose_secret())
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Where the tests' requests are recorded.
struct Trails {
    dir: tempfile::TempDir,
    ledger: Ledger,
    /// Trails stay open until the end of the test.
    open: Mutex<Vec<Closer>>,
}

impl Trails {
    fn new(clock: &ManualClock) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let options = LedgerOptions::new().with_segment_size(1 << 20);
        let ledger = Ledger::open(dir.path(), options, clock.shared()).expect("a ledger");
        Self { dir, ledger, open: Mutex::default() }
    }

    fn begin(&self) -> Trail {
        let (trail, closer) = self.ledger.begin(RequestFacts::new());
        self.open.lock().expect("not poisoned").push(closer);
        trail
    }

    fn admin(&self) -> Trail {
        let trail = self.begin();
        assert!(trail.set_actor(Actor { role: Some("admin".into()), ..Actor::default() }));
        trail
    }

    /// Ends all requests; returns every byte of the ledger.
    async fn recorded(&self) -> String {
        self.open.lock().expect("not poisoned").clear();
        self.ledger.shutdown().await;
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.dir.path()).expect("a folder") {
            bytes.extend(std::fs::read(file.expect("a file").path()).unwrap_or_default());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant's id")
}

fn account(username: &str) -> NewAccount {
    NewAccount::new(username, PASSWORD.into(), "doctor")
}
