//! All clinics in one PostgreSQL database, under row-level security.

mod changes;
mod clinics;
mod database;
mod doctor;
mod finding;
mod relations;
mod request;
mod script;
mod session;
mod tx;

pub use database::{PostgresDb, PostgresOptions};
pub use finding::{Finding, FindingKind};
pub use relations::PostgresRelations;
pub use tx::{PostgresReadTx, PostgresTx};
