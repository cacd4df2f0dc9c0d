use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{PeerLimitLayer, ResponseFuture};
use crate::problem::Problem;

/// Limits the requests of each peer. See the [module](super). Puts the [`Peer`](super::Peer) into the extensions of the
/// requests that go on.
///
/// ```
/// use tower_ward::rate_limit::{PeerLimit, PeerLimitLayer};
///
/// // Two services that share one count: clones of the settings do.
/// fn pair<A, B>(a: A, b: B, settings: &PeerLimitLayer) -> (PeerLimit<A>, PeerLimit<B>) {
///     (PeerLimit::new(a, settings.clone()), PeerLimit::new(b, settings.clone()))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct PeerLimit<S> {
    inner: S,
    settings: PeerLimitLayer,
}

impl<S> PeerLimit<S> {
    /// Limits the requests to `inner`.
    pub fn new(inner: S, settings: PeerLimitLayer) -> Self {
        Self { inner, settings }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PeerLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<Bytes>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Some(connection) = self.settings.connection(request.extensions()) else {
            // Without an address there is no limit to keep, so nothing goes on.
            return ResponseFuture::refused(Problem::internal().with_reason("the connection's address is not known"));
        };
        let asked = self.settings.decide(connection, request.headers(), self.settings.now());
        if !asked.decision.is_allowed() {
            let mut response = self.settings.limit().refusal(&asked.decision).into_response();
            self.settings.limit().tell(&asked.decision, response.headers_mut());
            return ResponseFuture::ready(response);
        }
        request.extensions_mut().insert(asked.peer);
        ResponseFuture::allowed(self.inner.call(request), self.settings.clone(), asked.decision)
    }
}
