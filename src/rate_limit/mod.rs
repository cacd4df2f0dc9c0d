//! Limits by peer, before any cryptography, and by whatever else the caller knows: a tenant and a principal.
//!
//! A request is decided by these rules:
//!
//! 1. The peer is the address of the connection. A request without one (the server did not say) is refused with 500.
//! 2. If that address is one of the [trusted proxies](TrustedProxies), the peer is the *last* address of
//!    `X-Forwarded-For`: the one that this proxy added. If that, too, is a trusted proxy, the peer is the one before it,
//!    and so on, for at most as many steps as there are [hops](TrustedProxies::with_hops). Several such headers are one
//!    list, in their order. Anything further left is what the client claims, and is never read.
//! 3. Where the list ends, or an entry is no address (a name, a port, a zone, more than 45 bytes), the peer is the last
//!    one that was good: the proxy that wrote it. Such requests share that proxy's limit.
//! 4. Peers share a limit by what one customer is given: one IPv4 address, a /64 of IPv6. An IPv4 address mapped into
//!    IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
//! 5. A peer within its [`Quota`](crate::quota::Quota) goes on. One beyond it, or a new one while the table is full (see
//!    [`quota`](crate::quota)), is answered with 429, which costs the server nothing more.
//! 6. Every response carries `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), and a 429
//!    carries `Retry-After`, which is never earlier than the `t` of `RateLimit`.
//!
//! In `RateLimit`, `r` is how many requests would be allowed now, and `t` in what time, in seconds: when `r` is zero,
//! that of the next one; else, that after which the whole burst is there again.
//!
//! ```
//! use std::{convert::Infallible, net::SocketAddr, num::NonZeroU32, time::Duration};
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_ward::{clock::SystemClock, quota::Quota, rate_limit::{Connection, PeerLimitLayer}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let once_a_minute = Quota::per_minute(NonZeroU32::MIN);
//! let layer = PeerLimitLayer::new(once_a_minute, SystemClock::shared())?;
//! let service = layer.layer(service_fn(async |_: Request<()>| {
//!     Ok::<_, Infallible>(Response::new(Bytes::from_static(b"hello")))
//! }));
//!
//! let request = || {
//!     let mut request = Request::new(());
//!     // Whoever accepts connections says where they come from.
//!     request.extensions_mut().insert(Connection(SocketAddr::from(([192, 0, 2, 1], 4711))));
//!     request
//! };
//! let first = service.clone().oneshot(request()).await?;
//! assert_eq!(first.status(), StatusCode::OK);
//! assert_eq!(first.headers()["ratelimit-policy"], r#""peer";q=1;w=60"#);
//! assert_eq!(first.headers()["ratelimit"], r#""peer";r=0;t=60"#);
//!
//! let second = service.clone().oneshot(request()).await?;
//! assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(second.headers()["retry-after"], "60");
//! # Ok(())
//! # }
//! ```
//!
//! # Deployment caveat
//!
//! Without a trusted proxy, every client behind a balancer is the balancer, and shares one limit: name it. With too
//! many hops, or too wide a network, a client's own claim is believed: name no address that a client can have. A proxy
//! must *append* to `X-Forwarded-For`, as nginx's `$proxy_add_x_forwarded_for` and the clouds' balancers do, an address
//! without a port. Behind NAT64, many clients are one /64. Each process counts for itself.
//!
//! # Security
//!
//! Who attacks: somebody who floods, who makes up addresses to get a new limit for each request, or who makes up
//! somebody else's, to have them limited. Promised: a header is believed only as far as trusted proxies wrote it; a /64
//! gives one limit, however many addresses it has; memory does not grow. Not promised: anything against a flood that
//! fills the line, or against many honest-looking networks at once.

mod fields;
mod forwarded;
mod future;
mod keyed;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    forwarded::{Network, NetworkError, Peer, TrustedProxies},
    future::ResponseFuture,
    keyed::{KeyedLimit, LimitError},
    layer::{Connection, PeerDecision, PeerLimitLayer},
    service::PeerLimit,
};

#[cfg(feature = "stack")]
pub(crate) use self::fields::{append, policies, state};

#[doc(hidden)]
pub use self::forwarded::fuzz_forwarded;
