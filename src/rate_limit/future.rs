use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::PeerLimitLayer;
use crate::{problem::Problem, quota::Decision};

pin_project! {
    /// The inner response, with what is left of the limit; or the refusal.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower::Service;
    /// use tower_ward::rate_limit::{PeerLimit, ResponseFuture};
    ///
    /// /// What a limited service answers with, without a box around it.
    /// fn ask<S, B>(limited: &mut PeerLimit<S>, request: Request<()>) -> ResponseFuture<S::Future, B>
    /// where
    ///     S: Service<Request<()>, Response = Response<B>>,
    ///     B: From<Bytes>,
    /// {
    ///     limited.call(request)
    /// }
    /// ```
    #[derive(Debug)]
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F, B> {
        Allowed {
            #[pin]
            inner: F,
            settings: PeerLimitLayer,
            decision: Decision,
        },
        Refused {
            response: Option<Response<B>>,
        },
    }
}

impl<F, B: From<Bytes>> ResponseFuture<F, B> {
    pub(super) fn allowed(inner: F, settings: PeerLimitLayer, decision: Decision) -> Self {
        Self { state: State::Allowed { inner, settings, decision } }
    }

    pub(super) fn refused(problem: Problem) -> Self {
        Self::ready(problem.into_response())
    }

    pub(super) fn ready(response: Response<B>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Allowed { inner, settings, decision } => {
                let mut response = ready!(inner.poll(cx))?;
                settings.limit().tell(decision, response.headers_mut());
                Poll::Ready(Ok(response))
            }
            StateProj::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}
