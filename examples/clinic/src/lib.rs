//! A multi-tenant clinic server built on `tower-ward`.

pub mod certs;
pub mod demo_data;
pub mod serve;
