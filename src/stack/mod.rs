//! The whole path of a request as one service.
//!
//! # Decision rule
//!
//! 1. A request without [`ConnInfo`] is refused (500): the server that accepts connections did not say who is there.
//! 2. The peer is known, trusted hops counted from the right; its quota is taken, or 429.
//! 3. The host names a registered clinic or the platform, or 421.
//! 4. A bearer token, if one is sent, is verified, or 401. None is fine so far: a route decides whether it needs one.
//! 5. The quota of clinic and principal is taken, or 429.
//! 6. The token's clinic is the host's, or 403.
//! 7. The inner service runs, body and all, within the deadline, or 503. Its response is held until the records of the
//!    doors that it opened are durable, or 503.
//! 8. Whatever answers, panics and refusals included, leaves with the security headers and a request id.
//!
//! Steps 2 to 6 await nothing, allocate little, and do no cryptography before 4.
//!
//! # Deployment caveat
//!
//! Behind a proxy, name it in the peer limit's trusted hops, or every client shares the proxy's quota.
//!
//! # Example
//!
//! Around a service that decides for itself; the [router](crate::axum::Router) decides by the type of each handler.
//!
//! ```
//! use std::convert::Infallible;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::service_fn;
//! use tower_ward::{
//!     access::{NoRelations, Policy}, audit::Ledger, identity::{Identity, Principal}, keys::Keyring, problem::Problem,
//!     stack::{Visit, Ward}, tenant::Hosts,
//! };
//!
//! fn ward(keyring: Keyring, ledger: Ledger, identity: Identity) -> Result<Ward, Box<dyn std::error::Error>> {
//!     Ok(Ward::builder()
//!         .keys(keyring).audit(ledger).authenticate(identity)
//!         .tenants(Hosts::new("{tenant}.clinic.example", "clinic.example")?)
//!         .policy(Policy::from_toml("[roles.owner]")?).relations(NoRelations).build()?)
//! }
//!
//! async fn inner(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let visit = request.extensions().get::<Visit>();
//!     Ok(match visit.and_then(Visit::principal).map(Principal::role) {
//!         Some("owner") => Response::new(Full::new(Bytes::from_static(b"welcome"))),
//!         _ => Problem::forbidden().into_response(),
//!     })
//! }
//!
//! fn service(ward: &Ward) -> impl tower::Service<Request<()>> + use<> {
//!     ward.around(service_fn(inner))
//! }
//! ```
//!
//! The builder asks for each step in the only order that compiles:
//!
//! ```compile_fail,E0599
//! // No ledger: "no method named `authenticate` found for struct `Builder<NeedsAudit>`".
//! # fn f(keyring: tower_ward::keys::Keyring, identity: tower_ward::identity::Identity) {
//! tower_ward::stack::Ward::builder().keys(keyring).authenticate(identity);
//! # }
//! ```
//!
//! # Security
//!
//! The steps are one `decide` that no route can reorder or leave out. Nothing in a request, and no environment variable,
//! turns one off.

mod builder;
mod future;
mod refusal;
mod service;
mod visit;

pub use builder::{Builder, Ward, step};
pub use future::ResponseFuture;
pub use service::WardService;
pub use visit::{ConnInfo, Visit};
