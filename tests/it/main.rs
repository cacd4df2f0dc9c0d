//! The integration tests of the library: one binary, a module per room.

#[cfg(all(feature = "identity", feature = "sqlite"))]
mod identity;
