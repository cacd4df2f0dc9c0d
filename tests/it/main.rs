//! The integration tests of the library: one binary, a module per room.

mod architecture;
#[cfg(feature = "audit")]
mod audit;
mod field;
#[cfg(feature = "headers")]
mod headers;
#[cfg(all(feature = "identity", feature = "sqlite"))]
mod identity;
#[cfg(feature = "sqlite")]
mod keys;
mod problem;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(feature = "sqlite")]
mod store;
mod threats;
mod ui;
