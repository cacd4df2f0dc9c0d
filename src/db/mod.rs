//! The clinics' data on SQLite: one file per clinic, behind transactions that need an opened door.
//!
//! # Decision rule
//!
//! 1. A transaction begins with a door that was opened ([`SubjectGrant`](crate::access::SubjectGrant),
//!    [`ClinicGrant`](crate::access::ClinicGrant)) or the [`Scope`](crate::access::Scope) of a cohort's query. The clinic
//!    comes from it, and so does the file; no caller names either.
//! 2. [`Db::read`] hands out a connection that was opened read-only: a handler that forgets to say that it changes
//!    something fails at its first statement.
//! 3. [`Db::change`] takes a door that was opened, never a scope. It enqueues the record of the attempt first and writes
//!    the attempt's id in the transaction itself.
//! 4. [`TenantTx::commit`] waits until the records are durable, and then commits in a task of its own, so that a client
//!    who hangs up cannot cut it in half. What became of it is recorded as the outcome.
//! 5. Nothing else commits: a statement that ends the transaction by itself rolls it back, and one that attached another
//!    file, or put something temporary before the clinic's tables, makes [`TenantTx::commit`] roll back.
//! 6. After a crash, [`Db::settle`] looks each open attempt up in its clinic's file: found is committed, not found is
//!    rolled back. Nothing is guessed.
//! 7. A file knows its clinic. One that was copied or renamed to another clinic's name does not open.
//!
//! # Deployment caveat
//!
//! The folder must be on a local file system: SQLite's write-ahead log needs shared memory. `synchronous` is `FULL`,
//! since `NORMAL` loses committed rows in a power cut.
//!
//! # Security
//!
//! A handler of clinic A holds no connection to clinic B's file. SQL that an attacker injects into a handler runs in the
//! handler's own file, could attach another by its path, and would find sealed values there under keys that A's grants
//! do not reach.

mod files;
mod latch;
mod relations;
mod tx;

pub use files::{Db, DbError, MAX_OPEN_FILES, Schema};
pub use relations::{SqliteRelations, filter};
pub use tx::{Change, ReadTx, TenantTx, TxError};
