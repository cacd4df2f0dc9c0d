//! The future that holds a response until the records of its doors are durable.

use std::{
    future::Future,
    marker::PhantomData,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use super::{
    body::TrailBody,
    ledger::Wait,
    record::{End, Refusal},
    trail::{Closer, Trail},
};
use crate::id::TrailId;

/// Why the handler's response was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The records of its doors could not be made durable.
    #[error("the record of this access could not be written")]
    Unrecorded,
    /// The handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// It was made by the grant of another request.
    #[error("the response was made under another request's trail")]
    ForeignTrail,
    /// It was an upgrade, whose bytes no trail would cover.
    #[error("an upgrade needs a trail of its own")]
    Upgrade,
}

impl Failure {
    /// 503 for what will pass, 500 for a defect of the application.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unrecorded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked | Self::ForeignTrail | Self::Upgrade => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Unrecorded => "unrecorded",
            Self::Panicked => "panicked",
            Self::ForeignTrail => "foreign_trail",
            Self::Upgrade => "upgrade",
        }
    }
}

/// The guard's mark on a response: the trail under which it was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsedTrail(pub(crate) TrailId);

/// Put into the extensions of a `101 Switching Protocols`, or of a 2xx to CONNECT, by a handler that records what the
/// upgraded connection does on a trail of its own.
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_ward::audit::UpgradeHasTrail;
///
/// fn switch() -> Response<()> {
///     let mut response = Response::new(());
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     // The task that speaks the other protocol begins a trail and opens its doors within `Trail::cover`.
///     response.extensions_mut().insert(UpgradeHasTrail);
///     response
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct UpgradeHasTrail;

pin_project! {
    /// Polls a response future and gives its response away once the records of the doors it opened are durable.
    ///
    /// 1. A panic becomes [`Failure::Panicked`].
    /// 2. A response that another request's trail was used for becomes [`Failure::ForeignTrail`], an upgrade without a
    ///    trail of its own [`Failure::Upgrade`].
    /// 3. If the records cannot be made durable, the handler's response is dropped: [`Failure::Unrecorded`].
    /// 4. Otherwise the response goes out with its body inside a [`TrailBody`].
    /// 5. The inner service's error may carry what was opened, so it waits and is dropped as a response is: it goes out
    ///    once the records are durable, and [`Failure::Unrecorded`] answers in its stead if they cannot be.
    ///
    /// `respond` makes the response to a failure. A dropped future ends the trail as cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct AuditFuture<F: Future, B, R> {
        #[pin]
        state: State<F>,
        closer: Option<Closer>,
        respond: R,
        body: PhantomData<fn() -> B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F: Future> {
        Running { #[pin] inner: F },
        Settling { fired: oneshot::Receiver<()>, answer: Option<F::Output> },
        Panicked,
        Done,
    }
}

impl<F: Future, B, R> std::fmt::Debug for AuditFuture<F, B, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditFuture").field("closer", &self.closer).finish_non_exhaustive()
    }
}

impl<F, B, R> AuditFuture<F, B, R>
where
    F: Future,
    R: Fn(Failure) -> Response<B>,
{
    /// Around the response future of one request, whose trail `closer` ends.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytes::Bytes;
    /// use http::Response;
    /// use http_body_util::Full;
    /// use tower_ward::{
    ///     audit::{AuditFuture, Failure, Ledger, LedgerOptions, RequestFacts, TrailBody}, clock::SystemClock,
    /// };
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
    /// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    /// let respond = |failure: Failure| {
    ///     let mut response = Response::new(Full::new(Bytes::from(failure.to_string())));
    ///     *response.status_mut() = failure.status();
    ///     response
    /// };
    /// let (_, closer) = ledger.begin(RequestFacts::new());
    /// let well = async { Ok::<_, std::io::Error>(Response::new(Full::default())) };
    /// let response: Response<TrailBody<Full<Bytes>>> = AuditFuture::new(well, closer, respond).await?;
    /// assert_eq!(response.status(), 200);
    ///
    /// let (_, closer) = ledger.begin(RequestFacts::new());
    /// let ill = async { if true { panic!("a handler with a bug") } else { Ok::<_, std::io::Error>(Response::default()) } };
    /// assert_eq!(AuditFuture::new(ill, closer, respond).await?.status(), Failure::Panicked.status());
    /// # ledger.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn new(inner: F, closer: Closer, respond: R) -> Self {
        Self { state: State::Running { inner }, closer: Some(closer), respond, body: PhantomData }
    }

    /// In place of a response future whose making panicked.
    pub fn panicked(closer: Closer, respond: R) -> Self {
        Self { state: State::Panicked, closer: Some(closer), respond, body: PhantomData }
    }
}

impl<F, B, E, R> Future for AuditFuture<F, B, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    R: Fn(Failure) -> Response<B>,
{
    type Output = Result<Response<TrailBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let answer = match this.state.as_mut().project() {
                StateProj::Running { inner } => {
                    let trail = this.closer.as_ref().expect(ONCE).trail();
                    match catch_unwind(AssertUnwindSafe(|| trail.within(|| inner.poll(context)))) {
                        Ok(Poll::Pending) => return Poll::Pending,
                        Ok(Poll::Ready(answer)) => match answer.as_ref().map_or(Ok(()), |r| check(trail, r)) {
                            Err(failure) => Err(failure),
                            Ok(()) => match trail.wait() {
                                Wait::Durable => Ok(answer),
                                Wait::Unavailable => Err(Failure::Unrecorded),
                                Wait::Later(fired) => {
                                    // Also drops what is left of the handler.
                                    this.state.set(State::Settling { fired, answer: Some(answer) });
                                    continue;
                                }
                            },
                        },
                        Err(_) => Err(Failure::Panicked),
                    }
                }
                StateProj::Settling { fired, answer } => match ready!(Pin::new(fired).poll(context)) {
                    Ok(()) => Ok(answer.take().expect(ONCE)),
                    Err(_) => Err(Failure::Unrecorded),
                },
                StateProj::Panicked => Err(Failure::Panicked),
                StateProj::Done => panic!("{ONCE}"),
            };
            // What is left of a handler that panicked may panic again when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| this.state.set(State::Done)));
            let mut closer = this.closer.take().expect(ONCE);
            return Poll::Ready(match answer {
                Ok(Ok(response)) => Ok(TrailBody::wrap(response, closer)),
                Ok(Err(error)) => {
                    closer.finish(End::Failed);
                    Err(error)
                }
                Err(failure) => Ok(withhold(failure, closer, &*this.respond)),
            });
        }
    }
}

const ONCE: &str = "a future is not polled after it is ready";

/// What must not go out whatever is durable.
fn check<B>(trail: &Trail, response: &Response<B>) -> Result<(), Failure> {
    let extensions = response.extensions();
    if extensions.get::<UsedTrail>().is_some_and(|used| used.0 != trail.id()) {
        return Err(Failure::ForeignTrail);
    }
    let upgrade =
        response.status() == StatusCode::SWITCHING_PROTOCOLS || (trail.is_connect() && response.status().is_success());
    if upgrade && extensions.get::<UpgradeHasTrail>().is_none() {
        return Err(Failure::Upgrade);
    }
    Ok(())
}

/// Drops the handler's response, records why, and answers in its stead.
fn withhold<B: Body>(
    failure: Failure,
    mut closer: Closer,
    respond: &impl Fn(Failure) -> Response<B>,
) -> Response<TrailBody<B>> {
    let status = failure.status();
    if matches!(failure, Failure::ForeignTrail | Failure::Upgrade) {
        closer.trail().refuse(Refusal {
            reason: failure.reason(),
            status: Some(status.as_u16()),
            ..Refusal::default()
        });
    }
    closer.answered(status);
    closer.finish(if failure == Failure::Panicked { End::Panicked } else { End::Failed });
    let response = respond(failure);
    mem::drop(closer);
    response.map(TrailBody::bare)
}
