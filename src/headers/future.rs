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
