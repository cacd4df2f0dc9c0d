//! The integration tests of the library: one binary, a module per room.

mod architecture;
mod threats;
