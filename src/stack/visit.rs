//! What the path learnt about one request.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    access::{Facts, Who},
    audit::Trail,
    id::TenantId,
    identity::Principal,
    tenant::Site,
};

/// What the server that accepts connections knows of one. It MUST stand in every request's extensions.
///
/// ```
/// use http::Request;
/// use tower_ward::stack::ConnInfo;
///
/// /// What whoever accepts connections does to each request of one.
/// fn arrived<B>(mut request: Request<B>, peer: std::net::SocketAddr, sni: Option<&str>) -> Request<B> {
///     request.extensions_mut().insert(ConnInfo::new(peer, sni.map(Into::into)));
///     request
/// }
/// # let request = arrived(Request::new(()), ([192, 0, 2, 1], 4711).into(), Some("harbour.clinic.example"));
/// # let conn = request.extensions().get::<ConnInfo>();
/// # assert_eq!(conn.and_then(ConnInfo::server_name), Some("harbour.clinic.example"));
/// ```
#[derive(Debug, Clone)]
pub struct ConnInfo {
    peer: SocketAddr,
    server_name: Option<Arc<str>>,
}

impl ConnInfo {
    /// A connection from `peer`, for which TLS asked for `server_name` (SNI).
    #[must_use]
    pub fn new(peer: SocketAddr, server_name: Option<Arc<str>>) -> Self {
        Self { peer, server_name }
    }

    /// The other end of the connection: a client, or a proxy.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The server name that TLS asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

/// One request on its way: where it arrived, and who sent it.
///
/// It proves nothing by itself. A handler that may open data takes a [`Grant`](crate::access::Grant); a public one, such
/// as the login, takes this.
///
/// ```
/// # #[cfg(feature = "axum")] mod example {
/// use axum::extract::State;
/// use tower_ward::{
///     axum::Json, identity::{Identity, Tokens}, problem::Problem, secret::ExposeSecret, stack::Visit,
/// };
///
/// /// A public handler: whose host was asked says which clinic's accounts.
/// async fn login(visit: Visit, State(identity): State<Identity>, Json((name, password)): Json<(String, String)>)
///     -> Result<Json<String>, Problem>
/// {
///     let clinic = visit.clinic().ok_or_else(Problem::not_found)?; // the platform has no accounts
///     let tokens: Tokens = identity.login(visit.trail(), clinic, &name, password.into()).await?;
///     Ok(Json(tokens.access_token().expose_secret().to_owned()))
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Visit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trail: Trail,
    site: Site,
    peer: IpAddr,
    /// Of an identified request, for the guard. A principal whose clinic is not the host's never gets this far.
    facts: Option<Arc<Facts>>,
}

impl Visit {
    pub(super) fn new(trail: Trail, site: Site, peer: IpAddr, facts: Option<Arc<Facts>>) -> Self {
        Self(Arc::new(Inner { trail, site, peer, facts }))
    }

    /// The trail of this request in the ledger.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.0.trail
    }

    /// The clinic whose host was asked; `None` at the platform's.
    #[must_use]
    pub fn clinic(&self) -> Option<&TenantId> {
        match &self.0.site {
            Site::Clinic(tenant) => Some(tenant),
            Site::Platform => None,
        }
    }

    /// Who sent the request, if a token said so.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        match &self.0.facts.as_ref()?.who {
            Who::Principal(principal) => Some(principal),
            Who::Job { .. } | Who::Application { .. } => None,
        }
    }

    /// The address that the request came from, trusted hops taken off.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// The proofs of an identified request, for the guard.
    #[cfg(feature = "axum")]
    pub(crate) fn facts(&self) -> Option<&Arc<Facts>> {
        self.0.facts.as_ref()
    }
}
