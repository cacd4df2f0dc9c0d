//! Security middleware for clinics, as tower layers and types.
//!
//! Patient data cannot be opened, changed or released without a verified clinic, a granted permission and a durable
//! record of it, and forgetting one of the three does not compile.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "sqlite"))] mod example {
//! # use std::sync::Arc;
//! # use axum::extract::State;
//! # use sqlx::SqliteConnection;
//! # use tower_ward::{access::{Grant, Policy, RelationSource}, audit::Ledger, axum::{Json, Path, Router}, db::Db, field::Encrypted,
//! #     id::{RowId, SubjectId}, identity::Identity, keys::Keyring, problem::Problem, stack::{Ward, WardService}, tenant::Hosts};
//! # async fn notes_of(_: &mut SqliteConnection, _: SubjectId) -> Result<Vec<(RowId, Encrypted<NoteText>)>, Problem> { Ok(vec![]) }
//! tower_ward::classes! { pub Clinical = "clinical"; }
//! tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
//! tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
//!
//! async fn read_notes(grant: Grant<ReadNotes>, Path(patient): Path<SubjectId>, State(db): State<Db>)
//!     -> Result<Json<Vec<String>>, Problem>
//! {
//!     let chart = grant.subject(patient).await?;      // relation, key, record; or the same 404 as "absent"
//!     let mut tx = db.read(&chart).await?;            // this clinic's file, read-only
//!     let rows = notes_of(tx.conn(), patient).await?; // the application's own query
//!     rows.iter().map(|(id, text)| Ok(text.open(&chart, *id)?.disclose())).collect::<Result<_, Problem>>().map(Json)
//! }
//!
//! # type Error = Box<dyn std::error::Error>;
//! fn app(keyring: Keyring, ledger: Ledger, identity: Identity, relations: impl RelationSource, db: Db, policy: &str)
//!     -> Result<WardService<axum::Router>, Error>
//! {
//!     let ward = Ward::builder()
//!         .keys(keyring).audit(ledger).authenticate(identity)  // each step is required, and in this order
//!         .tenants(Hosts::new("{tenant}.clinic.example", "clinic.example")?)
//!         .policy(Policy::from_toml(policy)?).relations(relations).build()?;
//!     Ok(Router::new(&ward).get("/patients/{id}/notes", read_notes).with_state(db).into_service()?)
//! }
//! # }
//! ```
//!
//! A handler that forgets its grant does not mount; a receptionist's permission that does not open `Clinical` does not
//! open the column; a builder that forgets the ledger has no next step.
//!
//! # Which door
//!
//! | door | gives | for |
//! |---|---|---|
//! | `grant.subject(id).await` | `SubjectGrant<P>` | one person's data |
//! | `grant.admit().await` | `SubjectGrant<P>` | a new person: the key is durable before the first seal |
//! | `grant.cohort(query).await` | `Cohort<P, Row>` | lists, schedules, searches: one record names everybody returned |
//! | `grant.clinic().await` | `ClinicGrant<P>` | rows that belong to no person |
//! | `jobs.run(envelope, work)` | `JobGrant<Task>` | background work, from a signed envelope that expires |
//! | `danger_grant(…)` | `Grant<P>` | an application that decides by its own means |
//!
//! # Features
//!
//! | feature | what you get | what it brings in |
//! |---|---|---|
//! | `headers` (default) | the security headers as a layer | `http`, `tower` |
//! | `rate-limit` | limits by peer and by key, bounded in memory | `governor` |
//! | `keys` | root keys from safe places, the keyring, the stores | `aes-gcm`, `hkdf`, `tokio` |
//! | `aws-lc` | sealed columns by aws-lc: the same bytes, large values faster | `aws-lc-rs`, a C compiler |
//! | `aws-kms` | a key-encryption key in AWS KMS | `aws-sdk-kms`, some hundred crates |
//! | `transit` | keys wrapped by a Vault or OpenBao server | `hyper`, `rustls` |
//! | `pkcs11` | a key-encryption key on an HSM | `cryptoki` |
//! | `audit` | the ledger, and a layer that holds responses for it | `sha2`, `tokio` |
//! | `checkpoint` | signed checkpoints of the ledger, proofs, a file of hashes | `aws-lc-rs`, a C compiler |
//! | `identity` | passwords, tokens, sessions | `argon2`, `jsonwebtoken`, `aws-lc-rs` |
//! | `access` | tenants, permissions, grants, sealed columns | `toml` |
//! | `stack` | the whole path as one service | the above |
//! | `axum` | the router that carries the policy | `axum` |
//! | `sqlite` | one file per clinic; a durable store | `sqlx` |
//! | `postgres` | all clinics in one PostgreSQL database; the ledger there, for many servers; a durable store | `sqlx`, `rustls` |
//! | `testing` | for the tests of an application: an isolation sweep, canaries, servers | `tempfile` |
//! | `cli` | the `ward` command | `clap` |
//! | `tracing` | events for operators | `tracing` |
//!
//! # Modules
//!
//! What a request meets, in order: [`headers`], [`audit`], [`rate_limit`], [`tenant`], [`identity`], [`access`], and in
//! the handler [`db`] and [`field`]. [`stack`] puts them together and [`axum`] routes. Underneath: [`keys`],
//! [`store`], [`quota`], [`clock`], [`entropy`], [`id`], [`secret`].
#![cfg_attr(docsrs, feature(doc_cfg))]
// A build of everything still warns of what nobody calls.
#![cfg_attr(
    not(all(feature = "axum", feature = "cli", feature = "pkcs11", feature = "sqlite", feature = "tracing")),
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

// Floor 1: the domain; knows no HTTP server. Ordered: store → keys, audit, quota → identity → tenant → access → field → db → privacy.
#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "audit")]
pub mod audit;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod db;
#[cfg(feature = "access")]
pub mod field;
#[cfg(feature = "identity")]
pub mod identity;
#[cfg(feature = "keys")]
pub mod keys;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod privacy;
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

// Floor 4: for the tests of an application.
#[cfg(feature = "testing")]
pub mod testing;

// The unit tests share files with those of `tests/`, which name the crate.
#[cfg(test)]
extern crate self as tower_ward;
