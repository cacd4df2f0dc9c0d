//! The integration tests of the library: one binary, a module per room.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(all(feature = "axum", feature = "sqlite"))]
mod accounts;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod allocations;
mod alone;
mod architecture;
#[cfg(all(feature = "access", feature = "rate-limit"))]
mod attacks;
#[cfg(feature = "audit")]
mod audit;
#[cfg(all(feature = "aws-kms", feature = "axum", feature = "sqlite"))]
mod aws_kms;
#[cfg(all(feature = "axum", feature = "sqlite", feature = "testing", feature = "tracing"))]
mod canary;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod db;
mod docs;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod doors;
#[cfg(all(feature = "axum", feature = "checkpoint", feature = "cli", feature = "sqlite"))]
mod evidence;
#[cfg(feature = "access")]
mod field;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod guard;
#[cfg(feature = "headers")]
mod headers;
#[cfg(all(feature = "identity", feature = "sqlite"))]
mod identity;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod jobs;
#[cfg(feature = "sqlite")]
mod keys;
#[cfg(all(feature = "axum", feature = "pkcs11", feature = "sqlite", feature = "transit"))]
mod own_keys;
#[cfg(all(feature = "axum", feature = "pkcs11", feature = "sqlite"))]
mod pkcs11;
#[cfg(all(feature = "axum", feature = "postgres", feature = "sqlite", feature = "testing"))]
mod postgres;
#[cfg(feature = "checkpoint")]
mod power;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod privacy;
mod problem;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod reading;
mod readme;
#[cfg(all(feature = "axum", feature = "postgres", feature = "sqlite", feature = "testing"))]
mod rls;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod rotation;
#[cfg(all(feature = "axum", feature = "postgres", feature = "sqlite", feature = "testing"))]
mod sinks;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod stack;
#[cfg(feature = "sqlite")]
mod store;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod support;
#[cfg(all(feature = "axum", feature = "postgres", feature = "sqlite", feature = "testing"))]
mod testing;
mod threats;
#[cfg(all(feature = "axum", feature = "sqlite", feature = "transit"))]
mod transit;
#[cfg(feature = "access")]
mod ui;
