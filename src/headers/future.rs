use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::HeadersLayer;

pin_project! {
    /// The response, once it is there, dressed.
    ///
    /// ```
    /// use std::task::{Context, Poll};
    /// use http::{Request, Response};
    /// use tower::Service;
    /// use tower_ward::headers::{Headers, ResponseFuture};
    ///
    /// /// A service of one's own around a dressed one names its future, and needs no box.
    /// struct Counted<S> { inner: Headers<S>, asked: u64 }
    ///
    /// impl<S, A, B> Service<Request<A>> for Counted<S>
    /// where
    ///     S: Service<Request<A>, Response = Response<B>>,
    /// {
    ///     type Response = Response<B>;
    ///     type Error = S::Error;
    ///     type Future = ResponseFuture<S::Future>;
    ///
    ///     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> { self.inner.poll_ready(cx) }
    ///
    ///     fn call(&mut self, request: Request<A>) -> Self::Future {
    ///         self.asked += 1;
    ///         self.inner.call(request)
    ///     }
    /// }
    /// ```
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        settings: HeadersLayer,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, settings: HeadersLayer) -> Self {
        Self { inner, settings }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.settings.dress_response(&mut response);
        Poll::Ready(Ok(response))
    }
}
