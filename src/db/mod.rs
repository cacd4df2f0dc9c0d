//! The clinics' data, behind transactions that need an opened door: on SQLite with one file per clinic, or on PostgreSQL with all
//! of them in one database, whose row-level security keeps them apart (`PostgresDb`, feature `postgres`).
//!
//! # Decision rule
//!
//! On both:
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
//! 5. A person's door changes that person's rows, in the tables that [`Schema::with_people`] names; a clinic's door the
//!    rows of all other tables. A statement that reaches another row fails, and the transaction rolls back: nobody's data
//!    changes without a record in that person's timeline.
//! 6. Nothing else commits: a statement that ends the transaction by itself rolls it back, and one that attached another
//!    file, changed a table, put something temporary before the clinic's tables, took a trigger down (also if it put it up
//!    again), or changed a setting of the connection, makes [`TenantTx::commit`] roll back; the connection is closed.
//! 7. After a crash, [`Db::settle`] looks each open attempt up in its clinic's file: found is committed, not found is
//!    rolled back. Nothing is guessed.
//! 8. Who may be related to whom is a change like any other, and its record names both: [`Change::assign`]. The row has
//!    a MAC under the clinic's key, so one that was written past the library relates nobody.
//! 9. A file knows its clinic. One that was copied or renamed to another clinic's name does not open.
//!
//! What is said of files is said of SQLite. What holds in its place on PostgreSQL stands at `PostgresDb`.
//!
//! # Deployment caveat
//!
//! The folder must be on a local file system: SQLite's write-ahead log needs shared memory. `synchronous` is `FULL`,
//! since `NORMAL` loses committed rows in a power cut.
//!
//! # Example
//!
//! ```
//! use tower_ward::{access::{Grant, SubjectGrant}, db::{Change, Db, DbError, Schema, TxError}, field::Encrypted, id::RowId};
//!
//! tower_ward::classes! { pub Clinical = "clinical"; }
//! tower_ward::permissions! { pub WriteNotes = "notes.write" changes Clinical; }
//! tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
//!
//! static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("tests/it/support/migrations");
//! const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("notes", "patient")]);
//!
//! async fn write(db: &Db, chart: &SubjectGrant<WriteNotes>, row: RowId, text: &String) -> Result<(), TxError> {
//!     let mut tx = db.change(chart, Change::create("notes", row)).await?; // the attempt is on its way to the ledger
//!     let sealed = Encrypted::<NoteText>::seal(text, chart, row).expect("the request goes on");
//!     sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
//!         .bind(row).bind(chart.subject()).bind(sealed).execute(tx.conn()).await?;
//!     tx.commit().await                                                   // durable first, then committed
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let db = Db::open(folder.path().join("clinics"), SCHEMA)?;
//! // Two declarations of one column would be two types for one value: they do not open.
//! let twins = Db::open(folder.path(), Schema::new(&MIGRATIONS, &[COLUMNS, COLUMNS]));
//! assert!(matches!(twins, Err(DbError::Twins(_))));
//! # Ok(()) }
//! ```
//!
//! What begins no transaction is a grant for which no door was opened:
//!
//! ```compile_fail,E0277
//! # use tower_ward::{access::Grant, db::Db};
//! # tower_ward::permissions! { pub ReadNotes = "notes.read"; }
//! async fn read(db: &Db, grant: &Grant<ReadNotes>) {
//!     let _ = db.read(grant).await; // open a door first: `grant.subject(patient).await?`
//! }
//! ```
//!
//! # Security
//!
//! A handler of clinic A holds no connection to clinic B's file. SQL that an attacker injects into a handler runs in the
//! handler's own file, could attach another by its path, and would find sealed values there under keys that A's grants
//! do not reach. What keeps it to the door's rows are triggers of the connection, which ask the library; they stop every
//! single statement, and what forgot its `where`. A text that runs many statements and was written against this library
//! could take the triggers down and put them up again: bind values, and never build SQL from them.

mod change;
mod clinics;
#[cfg(feature = "postgres")]
mod postgres;
mod relation;
mod rotation;
mod schema;
mod seal;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use change::{Change, MAX_CHANGED_ROWS, TxError};
pub use clinics::Clinics;
#[cfg(feature = "postgres")]
pub use postgres::{Finding, FindingKind, PostgresDb, PostgresOptions, PostgresReadTx, PostgresRelations, PostgresTx};
pub use relation::{Condition, filter};
pub use rotation::{
    Rotation, RotationError, RotationLog, RotationMode, RotationOptions, RotationProgress, RotationStage, RotationStep,
};
pub use schema::{DbError, Schema};
#[cfg(feature = "sqlite")]
pub use sqlite::{Db, MAX_OPEN_FILES, ReadTx, SqliteRelations, TenantTx};
