//! The policy-carrying router and extractors for axum 0.8.
//!
//! # Decision rule
//!
//! 1. A route is mounted with a handler that takes a [`Grant<P>`](crate::access::Grant) by value as its first argument,
//!    and only so; its permission is read from that type. Or it is [public](Router::public_get), with a written reason.
//! 2. The guard decides before any extractor runs: no principal is 401; a principal to whom the policy does not grant `P`
//!    under any relation is 403.
//! 3. What is mounted nowhere is 404, and another method is 405.
//!
//! # Deployment caveat
//!
//! `GET` routes answer `HEAD` too, and open the same doors; the [matrix](Router::matrix) prints both.
//!
//! # Example
//!
//! ```
//! use tower_ward::{access::{DoorError, Grant}, axum::{Json, Path, Router}, id::SubjectId, problem::Problem};
//!
//! tower_ward::classes! { pub Clinical = "clinical"; }
//! tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
//!
//! async fn read_notes(grant: Grant<ReadNotes>, Path(patient): Path<SubjectId>) -> Result<Json<u32>, Problem> {
//!     let _chart = grant.subject(patient).await?; // relation, key, record; or the same 404 as "absent"
//!     Ok(Json(0))
//! }
//!
//! fn routes(ward: &tower_ward::stack::Ward) -> Router {
//!     Router::new(ward)
//!         .get("/patients/{id}/notes", read_notes)
//!         .public_get("/healthz", "liveness, holds no data", || async { "ok" })
//! }
//! ```
//!
//! A handler without its grant does not mount:
//!
//! ```compile_fail,E0277
//! # use tower_ward::axum::{Path, Router};
//! async fn forgot(Path(_): Path<tower_ward::id::SubjectId>) -> &'static str { "oh" }
//! # fn routes(ward: &tower_ward::stack::Ward) -> Router {
//! Router::new(ward).get("/patients/{id}", forgot)
//! # }
//! ```
//!
//! # Security
//!
//! A grant is no extractor, so it cannot be had past the guard. The response carries the mark of the trail that the guard
//! used, and the ledger's future refuses a response with another's.

mod extract;
mod guarded;
mod matrix;
mod openapi;
mod router;

pub use extract::{Json, Path, Query};
pub use guarded::Guarded;
pub use matrix::{Access, Route};
pub use openapi::Operation;
pub use router::Router;
