//! The response on its way out.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::Ward;
use crate::{
    audit::{AuditFuture, Closer, Failure, TrailBody},
    codec,
    problem::Problem,
    quota::Decision,
    rate_limit::{self, PeerDecision},
};

const ANSWERED: &str = "a future is not polled after it has answered";
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the limits said of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) now: Duration,
    pub(super) peer: Option<PeerDecision>,
    pub(super) principal: Option<Decision>,
}

/// What is put on every response.
pub(super) struct Dress {
    ward: Ward,
    request_id: [u8; 16],
    limits: Limits,
}

impl Dress {
    pub(super) fn new(ward: Ward, request_id: [u8; 16], limits: Limits) -> Self {
        Self { ward, request_id, limits }
    }

    fn on<B>(&self, response: &mut Response<B>) {
        let ward = self.ward.inner();
        ward.headers.dress_response(response);
        let headers = response.headers_mut();
        if let Some(PeerDecision { decision: peer, .. }) = &self.limits.peer {
            let limit = ward.peer_limit.limit();
            // One line of each, with an item for each limit that was asked.
            let (policy, state) = match &self.limits.principal {
                Some(principal) => {
                    (&ward.policies, rate_limit::state([(limit, peer), (&ward.principal_limit, principal)]))
                }
                None => (limit.policy(), rate_limit::state([(limit, peer)])),
            };
            rate_limit::append(headers, policy, state);
        }
        let id = HeaderValue::from_bytes(&codec::hex16(&self.request_id));
        headers.insert(REQUEST_ID.clone(), id.unwrap_or(HeaderValue::from_static("unknown")));
    }
}

pin_project! {
    /// The response of a [`WardService`](super::WardService).
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use tower::Service;
    /// use tower_ward::stack::{ResponseFuture, WardService};
    ///
    /// /// What the whole path answers with, without a box around it.
    /// fn ask<S>(path: &mut WardService<S>, request: Request<()>) -> ResponseFuture<S::Future, Full<Bytes>>
    /// where
    ///     S: Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible>,
    /// {
    ///     path.call(request)
    /// }
    /// ```
    pub struct ResponseFuture<F: Future, RB: Body> {
        #[pin]
        state: State<F, RB>,
        dress: Dress,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F: Future, RB: Body> {
        // Most handlers are ready at once: the time is first asked for when one is not.
        Running { #[pin] inner: AuditFuture<F, RB, Respond<RB>>, #[pin] deadline: Option<Sleep> },
        Late,
        Refused { response: Option<Response<TrailBody<RB>>> },
    }
}

impl<F: Future, RB: Body<Data = Bytes> + From<Bytes>> ResponseFuture<F, RB> {
    pub(super) fn running(inner: F, closer: Closer, dress: Dress) -> Self {
        Self::around(AuditFuture::new(inner, closer, answer as Respond<RB>), dress)
    }

    /// In place of the response future of a service that panicked before it made one.
    pub(super) fn panicked(closer: Closer, dress: Dress) -> Self {
        Self::around(AuditFuture::panicked(closer, answer as Respond<RB>), dress)
    }

    fn around(inner: AuditFuture<F, RB, Respond<RB>>, dress: Dress) -> Self {
        Self { state: State::Running { inner, deadline: None }, dress }
    }

    pub(super) fn refused(problem: Problem, closer: Closer, dress: Dress) -> Self {
        let response = TrailBody::wrap(problem.into_response(), closer);
        Self { state: State::Refused { response: Some(response) }, dress }
    }
}

/// The answer in place of a handler's when it panicked or its record could not be made.
fn answer<RB: From<Bytes>>(failure: Failure) -> Response<RB> {
    match failure {
        Failure::Unrecorded => Problem::unavailable().with_reason("no record can be made").into_response(),
        Failure::Panicked => Problem::internal().with_reason("the handler panicked").into_response(),
        Failure::ForeignTrail => Problem::internal().with_reason("another request's grant").into_response(),
        _ => Problem::internal().with_reason("the response was withheld").into_response(),
    }
}

type Respond<RB> = fn(Failure) -> Response<RB>;

impl<F, E, RB> Future for ResponseFuture<F, RB>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Body<Data = Bytes> + From<Bytes>,
{
    type Output = Result<Response<TrailBody<RB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut me = self.project();
        let mut response = match me.state.as_mut().project() {
            Projected::Running { inner, mut deadline } => match inner.poll(cx) {
                Poll::Ready(answer) => answer?,
                Poll::Pending => {
                    if deadline.is_none() {
                        let (ward, began) = (me.dress.ward.inner(), me.dress.limits.now);
                        let spent = ward.clock.monotonic().saturating_sub(began);
                        deadline.set(Some(tokio::time::sleep(ward.deadline.saturating_sub(spent))));
                    }
                    ready!(deadline.as_pin_mut().expect("it was set above").poll(cx));
                    // Drops the handler: its trail ends as cancelled, and its transactions roll back. It may panic while it is
                    // dropped; the client gets its answer all the same.
                    let _ = catch_unwind(AssertUnwindSafe(|| me.state.set(State::Late)));
                    let late = Problem::unavailable().with_reason("the request took longer than the deadline");
                    late.into_response().map(TrailBody::bare)
                }
            },
            Projected::Late => panic!("{ANSWERED}"),
            Projected::Refused { response } => response.take().expect(ANSWERED),
        };
        me.dress.on(&mut response);
        Poll::Ready(Ok(response))
    }
}

impl<F: Future, RB: Body> std::fmt::Debug for ResponseFuture<F, RB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
