//! The fused service.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::{
    ConnInfo, ResponseFuture, Visit, Ward,
    future::{Dress, Limits},
};
use crate::{
    access::{Facts, Who},
    audit::{Actor, Closer, Refusal, RequestFacts, Trail, TrailBody},
    entropy,
    identity::Principal,
    problem::Problem,
    rate_limit::PeerDecision,
    tenant::{Site, Tenant},
};

/// The path of a request around an inner service. Made by [`axum::Router::into_service`](crate::axum::Router), or by
/// [`Ward::around`] for any other service over `http`.
#[derive(Debug, Clone)]
pub struct WardService<S> {
    ward: Ward,
    inner: S,
}

impl Ward {
    /// The path of a request around `inner`, which finds a [`Visit`] in the extensions of every request it gets.
    ///
    /// # Security
    ///
    /// `inner` is behind every step but the guard: it decides for itself, from the [`Visit`], what it lets through.
    /// Prefer the router, which cannot forget to.
    #[must_use]
    pub fn around<S>(&self, inner: S) -> WardService<S> {
        WardService { ward: self.clone(), inner }
    }
}

/// What the steps before the inner service found.
struct Admitted {
    site: Site,
    peer: IpAddr,
    identified: Option<(Principal, Tenant)>,
}

/// A refusal before the inner service, with what is recorded of it.
struct Refused {
    problem: Problem,
    reason: &'static str,
}

impl Refused {
    fn new(problem: Problem, reason: &'static str) -> Self {
        Self { problem: problem.with_reason(reason), reason }
    }
}

impl Ward {
    /// Steps 1 to 6 of the [module's](super) rule, in their order.
    fn decide<B>(&self, request: &Request<B>, trail: &Trail, limits: &mut Limits) -> Result<Admitted, Refused> {
        let ward = self.inner();
        let Some(PeerDecision { peer, decision }) = limits.peer else {
            return Err(Refused::new(Problem::internal(), "no_connection_facts"));
        };
        if !decision.is_allowed() {
            return Err(Refused::new(ward.peer_limit.limit().refusal(&decision), "peer_quota"));
        }
        let headers = request.headers();
        let host = single(headers, &header::HOST)
            .and_then(|host| host.map(str::from_utf8).transpose().map_err(|_| ()))
            .map_err(|()| Refused::new(Problem::misdirected(), "host"))?;
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let server_name = request.extensions().get::<ConnInfo>().and_then(ConnInfo::server_name);
        let site = ward
            .hosts
            .decide(host, authority, server_name)
            .map_err(|_| Refused::new(Problem::misdirected(), "host"))?;
        let token = bearer(headers).map_err(|()| Refused::new(Problem::unauthenticated(), "malformed_credentials"))?;
        let Some(token) = token else {
            return Ok(Admitted { site, peer: peer.ip(), identified: None });
        };
        let principal =
            ward.identity.verify_bytes(token).map_err(|_| Refused::new(Problem::invalid_token(), "token_refused"))?;
        // Before anything is recorded under the principal's name, so that the ledger is filled no faster than this.
        let key = (principal.tenant().as_str(), principal.user());
        let decision = *limits.principal.insert(ward.principal_limit.decide(&key, limits.now));
        if !decision.is_allowed() {
            return Err(Refused::new(ward.principal_limit.refusal(&decision), "principal_quota"));
        }
        trail.set_actor(Actor {
            user: Some(principal.user()),
            role: Some(principal.shared_role()),
            session: Some(principal.session()),
            tenant: Some(principal.tenant().clone()),
        });
        let tenant =
            Tenant::agree(&site, &principal).map_err(|_| Refused::new(Problem::forbidden(), "foreign_token"))?;
        Ok(Admitted { site, peer: peer.ip(), identified: Some((principal, tenant)) })
    }

    /// Takes the peer's quota and begins the trail.
    fn begin<B>(&self, request: &Request<B>, request_id: [u8; 16]) -> (Trail, Closer, Limits) {
        let ward = self.inner();
        let now = ward.clock.monotonic();
        let peer = request
            .extensions()
            .get::<ConnInfo>()
            .map(|conn| ward.peer_limit.decide(conn.peer().ip(), request.headers(), now));
        let mut facts = RequestFacts::new().with_own_request_id(request_id).with_method(request.method());
        if let Some(PeerDecision { peer, .. }) = peer {
            facts = facts.with_peer(peer.ip());
        }
        if let Some(agent) = request.headers().get(header::USER_AGENT) {
            facts = facts.with_agent(agent);
        }
        // Monotonic times of two clocks are not to be compared.
        let (trail, closer) = if ward.one_clock { ward.ledger.begin_at(facts, now) } else { ward.ledger.begin(facts) };
        (trail, closer, Limits { now, peer, principal: None })
    }
}

impl<S, B, RB> Service<Request<B>> for WardService<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body<Data = Bytes> + From<Bytes>,
    RB::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<TrailBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, RB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A request id of our own: a client's is not taken, since nobody vouches for it.
        let request_id = entropy::array();
        let (trail, closer, mut limits) = self.ward.begin(&request, request_id);
        let admitted = self.ward.decide(&request, &trail, &mut limits);
        let dress = Dress::new(self.ward.clone(), request_id, limits);
        match admitted {
            Ok(Admitted { site, peer, identified }) => {
                let facts = identified.map(|(principal, tenant)| {
                    Arc::new(Facts {
                        trail: trail.clone(),
                        tenant: tenant.into_id(),
                        who: Who::Principal(principal),
                        doors: Arc::clone(self.ward.doors()),
                    })
                });
                request.extensions_mut().insert(Visit::new(trail, site, peer, facts));
                match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
                    Ok(future) => ResponseFuture::running(future, closer, dress),
                    Err(_) => ResponseFuture::panicked(closer, dress),
                }
            }
            Err(Refused { problem, reason }) => {
                let status = Some(problem.kind().status().as_u16());
                trail.refuse(Refusal { reason, status, ..Refusal::default() });
                ResponseFuture::refused(problem, closer, dress)
            }
        }
    }
}

/// The value of a header that may stand once. More than one is malformed.
fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a [u8]>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(()),
    }
}

/// The bearer token (RFC 6750 §2.1). Another scheme, or a second header, is malformed rather than ignored: a client that
/// sends credentials means to be somebody.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ()> {
    const SCHEME: &[u8] = b"bearer ";
    let Some(value) = single(headers, &header::AUTHORIZATION)? else { return Ok(None) };
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(())?;
    // Whether it is one token, of nothing but its letters, is found when it is verified: looking here costs as much again.
    if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() { Ok(Some(token)) } else { Err(()) }
}
