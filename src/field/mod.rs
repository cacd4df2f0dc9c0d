//! Encrypted columns: a sealed value opens only for a grant of its clinic, its person and its data class, and only in the row and
//! column it was sealed into.
//!
//! # The rule
//!
//! [`Encrypted::open`] gives a value when all of these hold, and otherwise one [`OpenError`] that does not say which failed:
//!
//! 1. The permission of the grant opens the column's data class (the compiler decides).
//! 2. The request that the grant belongs to has not ended.
//! 3. The bytes have the form of a [sealed field](mod@format): version, suite, length.
//! 4. The suite is that of the grant's key, and the key epoch is that key's. No other key is tried.
//! 5. The tag verifies over version, suite, epoch, tenant, subject, class, table, column and row.
//! 6. The plaintext is an encoding of the column's type.
//!
//! The key and everything under 5 come from the grant, the column's type and the row that the caller names; nothing comes from
//! the bytes. [`Encrypted::seal`] takes the same, so there is no nonce, no key and no algorithm to choose.
//!
//! ```
//! use tower_ward::{access::SubjectGrant, field::{Encrypted, OpenError, SealError}, id::RowId};
//!
//! tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
//! tower_ward::permissions! { pub WriteNotes = "notes.write" changes Clinical; }
//! tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
//!
//! struct Note { id: RowId, text: Encrypted<NoteText> }
//!
//! fn write(chart: &SubjectGrant<WriteNotes>, id: RowId, text: String) -> Result<Note, SealError> {
//!     Ok(Note { id, text: Encrypted::seal(&text, chart, id)? })
//! }
//!
//! fn read(chart: &SubjectGrant<WriteNotes>, note: &Note) -> Result<String, OpenError> {
//!     Ok(note.text.open(chart, note.id)?.disclose())
//! }
//!
//! let stored = Encrypted::<NoteText>::from_bytes(*b"as the database had it");
//! assert_eq!(format!("{stored:?}"), r#"Encrypted { table: "notes", column: "text", len: 22 }"#);
//! ```
//!
//! The same with a permission that does not open `Clinical` does not compile:
//!
//! ```compile_fail
//! # use tower_ward::{access::SubjectGrant, field::{Encrypted, OpenError}, id::RowId};
//! # tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
//! # tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
//! tower_ward::permissions! { pub ReadSchedule = "schedule.read" opens Schedule; }
//!
//! fn read(chart: &SubjectGrant<ReadSchedule>, id: RowId, note: &Encrypted<NoteText>) -> Result<String, OpenError> {
//!     Ok(note.open(chart, id)?.disclose())
//! }
//! ```
//!
//! # Deployment caveat
//!
//! Renaming a table, a column or a data class changes what its values are sealed to: open under the old name and seal under
//! the new one. The same goes for moving a row to another person.
//!
//! # Security
//!
//! Against somebody who reads the database, its backups or its logs: they learn the length of each value and, of indexed
//! columns, which rows are equal. Against somebody who also writes it: they can delete a value or put back an older one of the same
//! cell, and nothing else. Not against somebody who runs code in the server while keys are loaded; and what was disclosed is
//! the application's to keep.

mod blind_index;
mod column;
mod diff;
mod encrypted;
pub mod format;
mod json;
mod phi;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod reseal;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sqlx;
mod value;

pub use blind_index::{BlindIndex, IndexError};
#[doc(hidden)]
pub use column::assert_no_twins;
pub use column::{Column, ColumnInfo, ColumnTwins, Indexed, check_columns};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use diff::{Cell, ChangedCell, KeyNotYetKnown, seal};
pub use diff::{CommitmentKey, DiffError, Edit, RowDiff, Side, Told};
pub use encrypted::{Encrypted, OpenError, SealError, SealErrorKind};
pub use json::Json;
pub use phi::Phi;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use reseal::{is_current, reseal};
pub use value::{DecodeError, EncodeError, Encoder, FieldValue, IndexKind, Indexable, Plaintext};

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
