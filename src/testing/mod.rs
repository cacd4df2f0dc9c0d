//! For the tests of an application that is built on this crate: what its own tests of the clinic example stand on.
//!
//! | for | use |
//! |---|---|
//! | somebody else's is answered as nobody's is, on every route and for every role | [`Sweep`] |
//! | the same with a wall taken away | [`danger_without_scope`], [`DangerRelated`], `PostgresServer::danger_without_row_security` |
//! | what must not be found in files, logs and answers | [`Canaries`] |
//! | who may do what, held against a file in the repository | [`golden`](golden()) |
//! | a request without a network | [`Client`] |
//! | time that stands still | [`ManualClock`](crate::clock::ManualClock) |
//! | a real PostgreSQL server for one test | `PostgresServer`, with the feature `postgres` |
//!
//! # Decision rule
//!
//! The sweep takes every method of every route, and for each role of the policy asks for
//!
//! 1. **one's own**: 403 exactly where the policy grants nothing; a `GET` that is granted is 200; never 400, 413, 415 or 422,
//!    which would say that the rest of the route was not reached; and of each method of each route, somebody is served;
//! 2. **another clinic's** and **nobody's**: one answer, byte for byte, for all of them: status, headers and body, but for the
//!    request's id, the date and what a limit has left. It is 404 where the permission is granted and 403 where it is not. Where
//!    a path names several, the same for one's own with one of another clinic's, or of nobody's;
//! 3. **an unassigned person's** of the same clinic: the same answer as for nobody, unless the policy lets the role reach all;
//! 4. where the path names nobody: a **token of another clinic**, either way round (403, the same bytes), **no token** and a
//!    **forged** one (401).
//!
//! And in no answer at all, headers included, one of the canaries, which are texts of the other clinics. The bodies are made of
//! the JSON Schema that the route's [`Operation`](crate::axum::Operation) states; [`Cast::body`] puts in what a schema cannot say.
//!
//! A wall that another one stands behind is never seen to fail. So run the sweep again with each taken away: without the
//! application's scope (a ward of the same routes, with [`danger_without_scope`] and [`DangerRelated`]), without row-level
//! security, and without keys (create a key in this clinic for each foreign and absent person:
//! [`Keyring::create_subject`](crate::keys::Keyring::create_subject)). And plant a route that leaks, to see it found.
//!
//! # Deployment caveat
//!
//! Name the feature under `[dev-dependencies]` alone. Nothing in here can be switched on from outside a program, but what it
//! has to take walls away has no place in one that serves. Answers are compared, not the time they take.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_ward::testing::{Canaries, CanaryError, example};
//! use serde_json::json;
//!
//! let canaries = Canaries::new(["Quillfeather"])?;
//! // In clear, in base64 and in hex: the spelling that was found.
//! assert_eq!(canaries.found_in(b"Dear Mrs QUILLFEATHER"), Some("quillfeather"));
//! assert!(canaries.found_in(b"RGVhciBNcnMgUXVpbGxmZWF0aGVyLA==").is_some());
//! assert!(canaries.found_in(b"5175696c6c66656174686572").is_some());
//! assert_eq!(canaries.found_in(b"Dear Mrs Feather"), None);
//! // A text that random bytes would hold by chance is refused.
//! assert_eq!(Canaries::new(["Quill"]).unwrap_err(), CanaryError { at: 0, bytes: 5 });
//!
//! let body = example(&json!({ "type": "object", "properties": {
//!     "day": { "type": "string", "format": "date" }, "minutes": { "type": "integer", "minimum": 5 },
//! } }));
//! assert_eq!(body, json!({ "day": "2026-02-03", "minutes": 5 }));
//! # Ok(()) }
//! ```
//!
//! [`Sweep`] shows a whole one. The ward without the application's scope, and a request without a network:
//!
//! ```
//! use http::Method;
//! use tower_ward::{
//!     access::Policy, audit::Ledger, id::TenantId, identity::Identity, keys::Keyring, stack::Ward, tenant::Hosts,
//!     testing::{Client, DangerRelated, Reply, danger_without_scope},
//! };
//!
//! fn without_scope(keyring: Keyring, ledger: Ledger, identity: Identity, hosts: Hosts, policy: &Policy)
//!     -> Result<Ward, Box<dyn std::error::Error>>
//! {
//!     Ok(Ward::builder()
//!         .keys(keyring).audit(ledger).authenticate(identity).tenants(hosts)
//!         .policy(danger_without_scope(policy)).relations(DangerRelated).build()?)
//! }
//!
//! async fn nobody_is_there(client: &Client, clinic: &TenantId, token: &str) {
//!     let absent = "/patients/0190d1a0-0000-7000-8000-000000000000/notes";
//!     let reply: Reply = client.send(clinic, Some(token), &Method::GET, absent, None).await;
//!     assert_eq!(reply.status, 404);
//!     let nobody = client.send(clinic, None, &Method::GET, absent, None).await;
//!     assert_eq!(nobody.status, 401);
//! }
//! ```
//!
//! # Security
//!
//! Promised: a report without findings says that no answer of these requests told foreign from absent. Not promised: what was
//! not asked: what a query names, what a body names unless the cast put it there, and how long an answer takes. So the sweep is
//! an error, and not a report, where a role has nobody, a parameter has no value, or there is nobody of a kind to ask for.

mod canary;
mod client;
mod example;
mod golden;
#[cfg(feature = "postgres")]
mod postgres;
mod report;
mod scope;
mod sweep;

pub use canary::{Canaries, CanaryError};
pub use client::{Client, Reply};
pub use example::example;
pub use golden::{GoldenError, golden};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresServer, ServerError};
pub use report::{Finding, FindingKind, Report};
pub use scope::{DangerRelated, danger_without_scope};
pub use sweep::{Actor, Cast, Parameters, Sweep, SweepError, Whose};
