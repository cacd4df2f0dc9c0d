//! The integration tests of the library: one binary, a module per room.

#[cfg(feature = "headers")]
mod headers;
mod problem;
#[cfg(feature = "rate-limit")]
mod rate_limit;
