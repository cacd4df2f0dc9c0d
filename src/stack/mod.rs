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
