use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::{HeadersLayer, ResponseFuture};

/// Dresses the responses of a service. See the [module](super).
///
/// ```
/// use tower_ward::headers::{Headers, HeadersLayer};
///
/// // Where a type must be named. `HeadersLayer::layer` gives the same.
/// struct Server<S> { inner: Headers<S> }
/// fn server<S>(inner: S) -> Server<S> { Server { inner: Headers::new(inner, HeadersLayer::new()) } }
/// ```
#[derive(Debug, Clone)]
pub struct Headers<S> {
    inner: S,
    settings: HeadersLayer,
}

impl<S> Headers<S> {
    /// Dresses the responses of `inner`.
    pub fn new(inner: S, settings: HeadersLayer) -> Self {
        Self { inner, settings }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Headers<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture::new(self.inner.call(request), self.settings.clone())
    }
}
