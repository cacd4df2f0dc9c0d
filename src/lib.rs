//! Security middleware for clinics.
//!
//! Patient data cannot be opened, changed or released without a verified tenant, a granted permission and a durable
//! record of it, and forgetting one of the three does not compile.
#![cfg_attr(docsrs, feature(doc_cfg))]
// A build of everything still warns of what nobody calls.
#![cfg_attr(
    not(all(feature = "axum", feature = "cli", feature = "sqlite", feature = "tracing")),
    allow(dead_code, unused_imports, unused_macros, reason = "what one feature leaves unused, another one calls")
)]

// Floor 0: imports nothing of ours.
#[cfg(feature = "_ground")]
pub mod clock;
#[cfg(feature = "_ground")]
mod codec;
#[cfg(feature = "_ground")]
pub mod entropy;
#[cfg(feature = "_ground")]
pub mod id;
#[cfg(feature = "_ground")]
pub mod secret;
mod trace;

// Floor 1: the domain; knows no HTTP server. Ordered: store → keys, audit, quota → identity → tenant → access → field → db.
#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "audit")]
pub mod audit;
#[cfg(feature = "sqlite")]
pub mod db;
#[cfg(feature = "access")]
pub mod field;
#[cfg(feature = "identity")]
pub mod identity;
#[cfg(feature = "keys")]
pub mod keys;
#[cfg(feature = "rate-limit")]
pub mod quota;
#[cfg(feature = "keys")]
pub mod store;
#[cfg(feature = "access")]
pub mod tenant;

// Floor 2: layers.
#[cfg(feature = "headers")]
pub mod headers;
pub mod problem;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;

// Floor 3: assembly.
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "stack")]
pub mod stack;
