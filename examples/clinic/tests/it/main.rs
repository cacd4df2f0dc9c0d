//! Tests of the clinic through its public parts.

mod certs;
mod fixtures;
mod serve;
mod tls;
