//! The layer for somebody who wants only the ledger.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use http::{Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::TrailBody,
    future::{AuditFuture, Failure},
    ledger::Ledger,
    trail::RequestFacts,
};

/// Gives every request a [`Trail`](super::Trail) in its extensions, and holds its response until what was recorded on
/// it is durable.
///
/// What is known of the request, its peer, id and route, is taken from the [`RequestFacts`] that an outer layer put into
/// the extensions, if one did; the method and the user agent are the
/// request's own.
///
/// # Security
///
/// A handler that records nothing is waited for by nothing. A [`Trail`](super::Trail) taken from another request's
/// extensions holds that request's response, not this one's.
#[derive(Debug, Clone)]
pub struct AuditLayer {
    ledger: Ledger,
}

impl AuditLayer {
    /// Over this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Audit<S> {
        Audit { inner, ledger: self.ledger.clone() }
    }
}

/// The service of [`AuditLayer`].
///
/// ```
/// use tower::Layer;
/// use tower_ward::audit::{Audit, AuditLayer, Ledger};
///
/// fn recorded<S>(inner: S, ledger: &Ledger) -> Audit<S> { AuditLayer::new(ledger.clone()).layer(inner) }
/// ```
#[derive(Debug, Clone)]
pub struct Audit<S> {
    inner: S,
    ledger: Ledger,
}

/// The answer to a failure: its status and no body.
fn plain<B: Default>(failure: Failure) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = failure.status();
    response
}

impl<S, A, B> Service<Request<A>> for Audit<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body + Default,
{
    type Response = Response<TrailBody<B>>;
    type Error = S::Error;
    type Future = AuditFuture<S::Future, B, fn(Failure) -> Response<B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let mut facts = request.extensions().get::<RequestFacts>().cloned().unwrap_or_default();
        if let Some(agent) = request.headers().get(header::USER_AGENT) {
            facts = facts.with_agent(agent);
        }
        let (trail, closer) = self.ledger.begin(facts.with_method(request.method()));
        request.extensions_mut().insert(trail);
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => AuditFuture::new(future, closer, plain::<B>),
            Err(_) => AuditFuture::panicked(closer, plain::<B>),
        }
    }
}
