//! All clinics in one PostgreSQL database, under row-level security.

mod changes;
mod clinics;
mod database;
mod doctor;
mod relations;
mod request;
mod script;
mod tx;

pub use database::{PostgresDb, PostgresOptions};
pub use doctor::{Finding, FindingKind};
pub use relations::PostgresRelations;
pub use tx::{PostgresReadTx, PostgresTx};
