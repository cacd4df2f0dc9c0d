//! Tests of the clinic through its public parts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attachments;
mod attacks;
mod billing;
mod canary;
mod certs;
mod changes;
mod chart;
mod circle;
mod contract;
mod crash;
mod database;
mod disk;
mod erasure;
mod faults;
mod files;
mod fixtures;
mod harness;
mod headers;
mod hosts;
mod hr;
mod incidents;
mod injection;
mod isolation;
mod ledger;
mod matrix;
mod messages;
mod on_postgres;
mod openapi;
mod patients;
#[path = "../../../../tests/it/postgres/server.rs"]
#[expect(dead_code, reason = "what the library's own tests do with it besides")]
mod postgres;
mod process;
#[path = "../../../../tests/it/support/program.rs"]
mod program;
mod roles;
mod serve;
mod session;
mod start;
mod sweep;
mod tls;
