//! The integration tests of the library: one binary, a module per room.

#[cfg(feature = "sqlite")]
mod keys;
#[cfg(feature = "sqlite")]
mod store;
