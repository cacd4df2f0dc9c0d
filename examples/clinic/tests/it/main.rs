//! Tests of the clinic through its public parts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certs;
mod crash;
mod disk;
mod fixtures;
mod process;
mod serve;
mod tls;
