//! A multi-tenant clinic server built on `tower-ward`.

pub mod api;
pub mod app;
pub mod args;
pub mod certs;
pub mod data;
mod database;
pub mod demo_data;
pub mod folder;
mod ledger;
pub mod model;
pub mod seed;
pub mod serve;
mod stores;
mod urls;
