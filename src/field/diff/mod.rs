//! What a change made of one row, sealed for the ledger, and opened again: see "What a change made of a row" in
//! `docs/ledger.md`.
//!
//! Nobody states it: [`Db::change`](crate::db::Db::change) has the database tell which sealed cells a transaction changed,
//! so a handler can neither forget it nor say something else.

mod form;
mod open;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod seal;
#[cfg(test)]
mod tests;

use form::Place;
pub use open::{CommitmentKey, DiffError, Edit, RowDiff, Side, Told};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use seal::{Cell, ChangedCell, KeyNotYetKnown, seal};
