//! The integration tests of the library: one binary, a module per room.

#[cfg(feature = "audit")]
mod audit;
