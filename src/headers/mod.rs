//! The response headers that a clinic's API and pages should carry, on every response, each exactly once.
//!
//! A response is dressed by these rules:
//!
//! 1. Every header of the set is there exactly once, with this layer's value. What a handler set under such a name is
//!    replaced, duplicates too.
//! 2. A response that carries an [`Exception`] in its extensions keeps the set, with the values that the exception
//!    names. It is a typed value that the program wrote: no header of a handler or an upstream can stand for it.
//! 3. Headers that tell what the server is made of ([`REVEALING`], the list of the OWASP Secure Headers Project) and
//!    those that browsers have retired ([`RETIRED`]) are removed.
//! 4. All other headers pass unchanged, and in their order.
//!
//! | header | value |
//! |---|---|
//! | `Strict-Transport-Security` | `max-age=63072000; includeSubDomains` ([`Hsts`]) |
//! | `Content-Security-Policy` | `default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'` ([`Csp`]) |
//! | `X-Content-Type-Options` | `nosniff` |
//! | `X-Frame-Options` | `deny` |
//! | `Referrer-Policy` | `no-referrer` |
//! | `Cross-Origin-Resource-Policy` | `same-origin` |
//! | `Cross-Origin-Opener-Policy` | `same-origin` |
//! | `Cross-Origin-Embedder-Policy` | `require-corp` |
//! | `Permissions-Policy` | 29 features, all denied but synchronous requests to oneself ([`PermissionsPolicy`]) |
//! | `Cache-Control` | `no-store, max-age=0` |
//! | `X-DNS-Prefetch-Control` | `off` |
//! | `X-Permitted-Cross-Domain-Policies` | `none` |
//!
//! ```
//! use http::{Request, Response, header};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_ward::headers::{HeadersError, HeadersLayer, Hsts};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let handler = service_fn(async |_: Request<()>| {
//!     Ok::<_, std::convert::Infallible>(Response::builder().header("server", "acme/1.2").body(()).unwrap())
//! });
//! let response = HeadersLayer::new().layer(handler).oneshot(Request::new(())).await?;
//!
//! // What belongs there passes; what reveals the server does not.
//! assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
//! assert!(!response.headers().contains_key(header::SERVER));
//!
//! // A setting that cannot do what it says is refused when it is built, not at the first request.
//! let month = std::time::Duration::from_secs(30 * 24 * 60 * 60);
//! let refused = HeadersLayer::builder().with_hsts(Hsts::new().with_max_age(month).with_preload()).build();
//! assert_eq!(refused.err(), Some(HeadersError::HstsMaxAge));
//! # Ok(())
//! # }
//! ```
//!
//! # Deployment caveat
//!
//! Put it outside of everything else, or a refusal of an outer layer goes out undressed. A proxy in front may add
//! headers after it; `Server` often comes from there. `Strict-Transport-Security` binds every subdomain of the host to
//! https for two years in each browser that saw it: be sure of that before the first release. Over plain http, which is
//! for a demonstration on loopback, [`danger_over_plain_http`](Builder::danger_over_plain_http) leaves it out, as
//! RFC 6797 §7.2 demands.
//!
//! # Security
//!
//! Who attacks: a page of another origin that frames, embeds, reads or times this one's answers; a network that
//! strips TLS; whoever reads a shared browser's cache. Promised: what a browser enforces for the values above, on each
//! response that passes here, whatever the handler set. Not promised: anything for a client that is no browser,
//! nor for a page whose [`Csp`] an [`Exception`] widened.

mod csp;
mod exception;
mod future;
mod hsts;
mod layer;
mod permissions;
mod revealing;
mod service;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue};

pub use self::{
    csp::{Csp, CspError},
    exception::Exception,
    future::ResponseFuture,
    hsts::Hsts,
    layer::{Builder, HeadersError, HeadersLayer},
    permissions::{Feature, PermissionsPolicy},
    revealing::{RETIRED, REVEALING},
    service::Headers,
};

/// Tells the browser to forget what it keeps of this origin: for the response to a logout (ASVS 5.0 V14.3.1).
///
/// ```
/// let mut response = http::Response::new(());
/// tower_ward::headers::clear_site_data(response.headers_mut());
/// assert_eq!(response.headers()["clear-site-data"], r#""cache","cookies","storage""#);
/// ```
pub fn clear_site_data(headers: &mut HeaderMap) {
    headers.insert("clear-site-data", HeaderValue::from_static(r#""cache","cookies","storage""#));
}
