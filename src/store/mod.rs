//! Where small things that must be found again are kept: get, insert, compare and swap, remove, list; always under a name
//! that says whose they are.
//!
//! Two traits, because losing means different things. A [`Durable`] store has written what it acknowledged to stable
//! storage: keys, sessions, support grants. A [`Volatile`] one may forget at any time: limits, lockout counters.
//!
//! What a store decides, in this order:
//!
//! 1. A name exists only as an [`ObjectName`]: `t:<tenant>:<kind>:<key>`, or `p:<kind>:<key>` for what belongs to no
//!    tenant. Its one constructor checks every part, so no part can reach over its colon.
//! 2. A value longer than [`MAX_VALUE`] and a page longer than [`MAX_PAGE`] are refused.
//! 3. An entry is there while the time is *before* its `expires`. At that very moment it is gone: `get` gives `None`, a
//!    swap fails, and `insert_new` may take the name again. Expiries are kept in whole microseconds, rounded down.
//! 4. Every write gives the entry a version that this store never gave before, so a swap never mistakes a new entry for
//!    an old one of the same name.
//! 5. A store that is full of live entries refuses: it never drops one to make room.
//!
//! # Deployment caveat
//!
//! [`MemoryStore`] is a [`Volatile`] store; a process that ends takes it along. Keys belong into `SqliteStore` (feature
//! `sqlite`), in a file of its own on a local disk: not in the file of the data, or every backup of the data would
//! hold the keys too, and not on a network file system, whose locks SQLite cannot trust.
//!
//! Where several machines share keys, accounts or sessions, they belong into `PostgresStore` (feature `postgres`), whose page
//! says what a value that was removed leaves behind there: a server that archives its log is refused.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::num::NonZeroUsize;
//! use tower_ward::{id::TenantId, store::{MAX_PAGE, MAX_VALUE, MemoryStore, NameError, ObjectName, Prefix, StoreError, Volatile}};
//!
//! let store = MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?);
//! let clinic = TenantId::new("northgate")?;
//! let name = ObjectName::tenant(&clinic, "lockout", "dr.adeyemi")?;
//! assert_eq!(name.as_str(), "t:northgate:lockout:dr.adeyemi");
//!
//! assert!(store.insert_new(&name, b"1", None).await?);
//! assert!(!store.insert_new(&name, b"2", None).await?, "it is there already");
//! let entry = store.get(&name).await?.ok_or("gone")?;
//! assert!(store.compare_and_swap(&name, entry.version, b"2", None).await?);
//! assert!(!store.compare_and_swap(&name, entry.version, b"3", None).await?, "somebody was faster");
//!
//! // A name that would reach into another clinic is no name.
//! let attack: Result<ObjectName, NameError> = ObjectName::tenant(&clinic, "lockout", "../t:southgate:lockout:x");
//! assert!(attack.is_err());
//! // What is beyond its bound is refused before anything is kept.
//! let large = store.insert_new(&ObjectName::tenant(&clinic, "lockout", "x")?, &[0; MAX_VALUE + 1], None).await;
//! assert!(matches!(large, Err(StoreError::ValueTooLarge)));
//! let long = store.list(&Prefix::tenant(&clinic, "lockout")?, None, MAX_PAGE + 1).await;
//! assert!(matches!(long, Err(StoreError::PageTooLarge)));
//! # Ok(()) }
//! ```
//!
//! # Security
//!
//! The attacker chooses keys (a user name, an identifier from a path) and wants another tenant's entry. Promised: no
//! text that passes [`ObjectName`] names an entry outside its tenant and kind, and no `after` moves a list outside its
//! [`Prefix`]. Not promised: secrecy. A store sees the bytes it is given; who needs them secret seals them first, under
//! a key that binds the name.

mod memory;
mod name;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod scrubs;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use std::{fmt, pin::Pin};

pub use memory::{DangerForgetful, MemoryStore};
pub use name::{NameError, ObjectName, Prefix};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{PostgresPlace, PostgresStore};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteStore;

use crate::clock::Timestamp;

/// The longest value that a store takes, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// The most entries that one call of `list` gives.
pub const MAX_PAGE: usize = 1_000;

/// A boxed future. Stores are chosen at run time, and none is asked on the path of a request whose keys are cached.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What stands under a name.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes, at most [`MAX_VALUE`].
    pub value: Vec<u8>,
    /// Names this very write; never used again by the same store.
    pub version: u64,
    /// From this moment on the entry is gone. Whole microseconds.
    pub expires: Option<Timestamp>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("value", &format_args!("[{} bytes]", self.value.len()))
            .field("version", &self.version)
            .field("expires", &self.expires)
            .finish()
    }
}

/// Why a store did not do as asked. Nothing was changed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Every slot holds a live entry.
    #[error("the store holds as many entries as it may: raise its capacity, or wait until some expire")]
    Full,
    /// The value is longer than [`MAX_VALUE`].
    #[error("the value is longer than {MAX_VALUE} bytes: keep large things in an object store")]
    ValueTooLarge,
    /// The page is longer than [`MAX_PAGE`].
    #[error("a page holds at most {MAX_PAGE} entries: ask again from the last key")]
    PageTooLarge,
    /// Another reader or writer kept the store locked for too long, or all its connections were taken.
    #[error("the store stayed locked: look for another process or a backup that holds it, and try again")]
    Busy,
    /// The file belongs to something else.
    #[error("the file is an SQLite database of something else: give the store a file of its own")]
    Foreign,
    /// The store was made by a newer release.
    #[error("the store was made by a newer release: use that release, or a place of its own")]
    Newer,
    /// A setting on which durability or erasure rests did not take effect.
    #[error("SQLite refused `{0}`: put the file on a local disk and use the bundled SQLite")]
    Setting(&'static str),
    /// A setting of a place is none.
    #[error("`{setting}` of the store's place is wrong: expected {expected}")]
    Place {
        /// Which one.
        setting: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// What is written in the database could be lost, hidden or kept by others.
    #[error("the store's database is not fit to hold it: {what}")]
    Unguarded {
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// An entry that cannot have been written by this crate.
    #[error("the store holds an entry that this crate cannot have written: restore it from a copy")]
    Corrupt,
    /// The backend failed. For a write, it is unknown whether it took place.
    #[error("the store failed: see its cause, and check the disk and the file's owner")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A store whose acknowledged writes survive a power cut.
pub trait Durable: fmt::Debug + Send + Sync {
    /// What stands under `name`, unless it has expired.
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Writes a new entry. `false` if there is a live one already, which stays as it is.
    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Replaces the live entry that has this `version`. `false` if it is gone or has another version.
    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes an entry. `false` if there was no live one.
    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// The live entries under `prefix` whose key comes after `after`, in the order of their keys' bytes, each with its
    /// key (the name without the prefix). Fewer than `limit` means that there are no more.
    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>>;

    /// The entries that were written after the write of this `version` and stand, in the order of those writes: for a copy
    /// of the store to follow it. Removals leave nothing to find. At most [`MAX_PAGE`]; fewer than `limit` means that there
    /// are no more.
    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>>;

    /// The version of the newest write that this store ever made, whether it stands or not.
    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Puts each of `entries` where it belongs, whatever stands there, and `mark` with them: all in one, and only while the
    /// mark has this `version`, or is not there if there is none. `false`, and nothing is changed, otherwise. The entries do
    /// not expire.
    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Leaves nothing of removed and replaced values in the store's own files. Copies made by others (backups, the
    /// disk's spare blocks) are theirs to destroy.
    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// [`remove`](Durable::remove), then [`scrub`](Durable::scrub). An error may come after the removal: ask again.
    fn shred<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let removed = self.remove(name).await?;
            self.scrub().await?;
            Ok(removed)
        })
    }
}

/// A store that may forget. The verbs are those of [`Durable`].
pub trait Volatile: fmt::Debug + Send + Sync {
    /// As [`Durable::get`].
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// As [`Durable::insert_new`].
    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// As [`Durable::compare_and_swap`].
    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// As [`Durable::remove`].
    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// As [`Durable::list`].
    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>>;
}

/// Expiries and times are compared as whole microseconds, so that all backends agree on the edge.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn from_micros(micros: i64) -> Result<Timestamp, StoreError> {
    // Not `from_microsecond`, which refuses the last second that there is: it would be written and never read.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).map_err(|_| StoreError::Corrupt)?;
    Timestamp::new(micros.div_euclid(1_000_000), nanos).map_err(|_| StoreError::Corrupt)
}

fn check_value(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE { Err(StoreError::ValueTooLarge) } else { Ok(()) }
}

fn check_page(limit: usize) -> Result<(), StoreError> {
    if limit > MAX_PAGE { Err(StoreError::PageTooLarge) } else { Ok(()) }
}
