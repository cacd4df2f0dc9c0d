//! Passwords: argon2id (RFC 9106) in PHC strings, on a bounded pool.
//!
//! 1. A password has 1 to 1,024 bytes and is hashed whole, as it is: no truncation, no trimming, no folding.
//! 2. Hashing runs on blocking threads, never on the reactor: at most `workers` at once, at most `line` waiting, and
//!    beyond that the login is shed at once.
//! 3. A user that does not exist costs the same hash as one that does.
//! 4. A stored hash is read only if it is argon2id version 19 and its cost is within bounds.
//!
//! # Security
//!
//! The working memory of a worker is used again by the next login, which saves a tenth of the time. What lies in it
//! between two logins lets somebody who reads the process's memory test a guess at no less than one of the passes; it
//! is wiped when the pool is dropped.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt},
};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

use super::error::{Fault, IdentityError};
use crate::{
    entropy,
    secret::{ExposeSecret, SecretString, equal},
};

/// The longest password, in bytes.
pub(crate) const MAX_BYTES: usize = 1024;

const OUTPUT: usize = 32;
const IDENT: Ident = Ident::new_unwrap("argon2id");

/// How passwords are hashed, and how many at once.
///
/// The floor is that of OWASP ASVS 5.0, appendix C: 46 MiB with one pass, 19 MiB with two, 12 MiB with three or more.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tower_ward::identity::{IdentityOptions, PasswordHashing};
///
/// // Dearer hashes, two at a time; a cost below the floor is refused when `Identity` opens.
/// let hashing = PasswordHashing::default().with_cost(47_104, 2, 1).with_workers(NonZeroUsize::MIN.saturating_add(1));
/// let options = IdentityOptions::new("https://clinic.example").with_passwords(hashing);
/// ```
#[derive(Debug, Clone)]
pub struct PasswordHashing {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    workers: NonZeroUsize,
    line: usize,
}

impl Default for PasswordHashing {
    /// 19,456 KiB, 2 passes, 1 lane; as many workers as cores; 64 may wait.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { memory_kib: 19_456, passes: 2, lanes: 1, workers, line: 64 }
    }
}

impl PasswordHashing {
    /// Replaces the cost of a hash: memory in KiB, passes over it, lanes.
    #[must_use]
    pub fn with_cost(mut self, memory_kib: u32, passes: u32, lanes: u32) -> Self {
        (self.memory_kib, self.passes, self.lanes) = (memory_kib, passes, lanes);
        self
    }

    /// Replaces how many passwords are hashed at once.
    #[must_use]
    pub fn with_workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// Replaces how many logins may wait for a worker. One more is shed.
    #[must_use]
    pub fn with_line(mut self, line: usize) -> Self {
        self.line = line;
        self
    }

    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let why = "has to be at least 47104 KiB with 1 pass, 19456 with 2, 12288 with 3 or more; \
                   at most 1048576 KiB, 16 passes, 1 to 4 lanes";
        if !strong(self.memory_kib, self.passes, self.lanes) {
            return Err(IdentityError::Setting { name: "passwords.cost", why });
        }
        if self.workers.get() > 1024 || self.line > 65_536 {
            return Err(IdentityError::Setting {
                name: "passwords.workers",
                why: "has to be at most 1024, and `passwords.line` at most 65536",
            });
        }
        Ok(())
    }

    fn params(&self) -> Result<Params, Fault> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(OUTPUT)).map_err(|_| HASHER)
    }
}

/// Whether a cost is at or above the floor, and low enough that a stored hash cannot be used to exhaust the server.
fn strong(memory_kib: u32, passes: u32, lanes: u32) -> bool {
    let floor = match passes {
        1 => 47_104,
        2 => 19_456,
        _ => 12_288,
    };
    (floor..=1 << 20).contains(&memory_kib) && (1..=16).contains(&passes) && (1..=4).contains(&lanes)
}

/// A password for somebody who did not choose one: 26 characters, 130 random bits.
#[must_use]
pub fn generate_password() -> SecretString {
    // 32 characters without those that look alike, so that each takes five bits.
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = Zeroizing::new([0; 26]);
    entropy::fill_key(bytes.as_mut());
    // As large as it gets: a string that grows leaves copies behind.
    let mut text = String::with_capacity(bytes.len());
    text.extend(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])));
    text.into()
}

/// A password that may be hashed: 1 to 1,024 bytes.
#[derive(Clone)]
pub(crate) struct Candidate(Arc<SecretString>);

impl Candidate {
    pub(crate) fn new(password: SecretString) -> Option<Self> {
        (1..=MAX_BYTES).contains(&password.expose_secret().len()).then(|| Self(Arc::new(password)))
    }

    /// Characters, each code point one (NIST SP 800-63B-4 §3.1.1.2).
    pub(crate) fn characters(&self) -> usize {
        self.0.expose_secret().chars().count()
    }
}

/// More work waits than the pool takes, or it broke.
#[derive(Debug)]
pub(crate) enum PoolError {
    Busy,
    Fault(Fault),
}

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) right: bool,
    /// The hash was made at another cost than is set now.
    pub(crate) outdated: bool,
}

/// The bounded pool that hashes.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// One permit for each login that works or waits.
    admitted: Arc<Semaphore>,
    /// One permit for each that works.
    workers: Arc<Semaphore>,
    /// A hash at the cost that is set now, of a password that nobody knows.
    decoy: Arc<str>,
}

struct Shared {
    params: Params,
    memory: Mutex<Vec<Vec<Block>>>,
    /// How often argon2 ran: tests count it rather than measure time.
    runs: AtomicU64,
}

impl Pool {
    pub(crate) async fn open(settings: &PasswordHashing) -> Result<Self, Fault> {
        let workers = settings.workers.get();
        let mut pool = Self {
            shared: Arc::new(Shared { params: settings.params()?, memory: Mutex::default(), runs: AtomicU64::new(0) }),
            admitted: Arc::new(Semaphore::new(workers + settings.line)),
            workers: Arc::new(Semaphore::new(workers)),
            decoy: "".into(),
        };
        let unknown = Candidate(Arc::new(generate_password()));
        pool.decoy = pool.hash(unknown).await.map_err(|_| HASHER)?.into();
        Ok(pool)
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Candidate) -> Result<String, PoolError> {
        self.run(move |shared| shared.hash(&password)).await
    }

    /// Verifies a password against a stored hash; against the decoy, with the same work and always false, where there
    /// is no such user or the password has an impossible length.
    pub(crate) async fn verify(&self, password: Option<Candidate>, hash: Option<&str>) -> Result<Verified, PoolError> {
        let real = password.is_some() && hash.is_some();
        let password = password.unwrap_or_else(|| Candidate(Arc::new("no password is this one".into())));
        let hash = hash.map_or_else(|| Arc::clone(&self.decoy), Arc::from);
        let verified = self.run(move |shared| shared.verify(&password, &hash)).await?;
        Ok(Verified { right: verified.right && real, ..verified })
    }

    pub(crate) fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn decoy(&self) -> &str {
        &self.decoy
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, PoolError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| PoolError::Busy)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| PoolError::Fault(HASHER))?;
        let shared = Arc::clone(&self.shared);
        // The permits go with the work: a client that hangs up does not make room while its hash still runs.
        let task = tokio::task::spawn_blocking(move || {
            let _permits = (admitted, worker);
            work(&shared)
        });
        task.await.map_err(|_| PoolError::Fault(HASHER))?.map_err(PoolError::Fault)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("runs", &self.runs()).finish_non_exhaustive()
    }
}

impl Shared {
    fn hash(&self, password: &Candidate) -> Result<String, Fault> {
        let mut salt = [0; 16];
        entropy::fill_key(&mut salt);
        let mut out = Zeroizing::new([0; OUTPUT]);
        self.argon2(&self.params, password, &salt, &mut out)?;
        let encoded = PasswordHash {
            algorithm: IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&self.params).map_err(|_| HASHER)?,
            salt: Some(Salt::new(&salt).map_err(|_| HASHER)?),
            hash: Some(Output::new(out.as_ref()).map_err(|_| HASHER)?),
        };
        Ok(encoded.to_string())
    }

    fn verify(&self, password: &Candidate, hash: &str) -> Result<Verified, Fault> {
        let (params, salt, expected) = read(hash).ok_or(Fault::Corrupt { what: "password hash" })?;
        let mut out = Zeroizing::new([0; OUTPUT]);
        self.argon2(&params, password, &salt, &mut out)?;
        let cost = |p: &Params| (p.m_cost(), p.t_cost(), p.p_cost());
        Ok(Verified { right: equal(out.as_ref(), expected.as_bytes()), outdated: cost(&params) != cost(&self.params) })
    }

    fn argon2(&self, params: &Params, password: &Candidate, salt: &[u8], out: &mut [u8; OUTPUT]) -> Result<(), Fault> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let count = params.block_count();
        let mut memory = self.locked().pop().unwrap_or_default();
        if memory.len() < count {
            memory.resize(count, Block::new());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let password = password.0.expose_secret().as_bytes();
        let result = argon2.hash_password_into_with_memory(password, salt, out, &mut memory[..count]);
        // A hash from a time of higher cost leaves no larger memory behind.
        if memory.len() <= self.params.block_count() {
            self.locked().push(memory);
        } else {
            memory.zeroize();
        }
        result.map_err(|_| HASHER)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.locked().iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Reads a stored hash; `None` if this crate would not have written it.
fn read(hash: &str) -> Option<(Params, Vec<u8>, Output)> {
    let parsed = PasswordHash::new(hash).ok()?;
    let params = Params::try_from(&parsed).ok()?;
    let (salt, output) = (parsed.salt?, parsed.hash?);
    let canonical = parsed.to_string() == hash
        && ParamsString::try_from(&params).is_ok_and(|ours| ours == parsed.params)
        && parsed.algorithm == IDENT
        && parsed.version == Some(Version::V0x13.into())
        && output.len() == OUTPUT
        && salt.as_ref().len() >= 16
        && params.data().is_empty()
        && params.keyid().is_empty()
        && strong(params.m_cost(), params.t_cost(), params.p_cost());
    canonical.then(|| (params, salt.as_ref().to_vec(), output))
}

const HASHER: Fault = Fault::Worker { what: "password hasher" };
