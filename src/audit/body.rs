//! The body that ends a trail.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use super::{ledger::Wait, record::End, trail::Closer};

/// The body was cut off, since the record of a door that it opened could not be made durable.
///
/// ```
/// use tower_ward::audit::{Overdue, Unrecorded};
///
/// /// Why the body of a response broke off, for the one who reads it here.
/// fn why(error: &(dyn std::error::Error + 'static)) -> &'static str {
///     if error.is::<Unrecorded>() {
///         "the ledger"
///     } else if error.is::<Overdue>() {
///         "the deadline"
///     } else {
///         "the handler's own body"
///     }
/// }
/// assert_eq!((why(&Unrecorded), why(&std::fmt::Error)), ("the ledger", "the handler's own body"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record of this access could not be written")]
pub struct Unrecorded;

/// The body was cut off, since it was still being sent at its trail's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was still being sent at the trail's deadline: ask for less at a time, or raise `trail_deadline`")]
pub struct Overdue;

pin_project! {
    /// A body that holds back each frame while a door opened since is not durable, and ends the trail at its own end,
    /// its error, or its drop. Past the trail's deadline it fails: [`Overdue`].
    pub struct TrailBody<B: Body> {
        #[pin]
        inner: B,
        closer: Option<Closer>,
        // A frame, until this fires.
        held: Option<(oneshot::Receiver<()>, Frame<B::Data>)>,
        // Bytes that complete the body, if that is known.
        expected: Option<u64>,
        sent: u64,
        // What failed sends nothing more, however often it is asked.
        failed: bool,
    }
}

impl<B: Body + std::fmt::Debug> std::fmt::Debug for TrailBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrailBody").field("sent", &self.sent).field("closer", &self.closer).finish_non_exhaustive()
    }
}

impl<B: Body> TrailBody<B> {
    /// A body outside every trail: the answer to a failure.
    pub(crate) fn bare(inner: B) -> Self {
        Self { inner, closer: None, held: None, expected: None, sent: 0, failed: false }
    }

    /// The body of `response`, whose trail `closer` ends. Ends it at once if no byte of it will be sent.
    pub(crate) fn wrap(response: Response<B>, mut closer: Closer) -> Response<Self> {
        let (parts, inner) = response.into_parts();
        closer.answered(parts.status);
        let bodiless = closer.trail().is_head()
            || parts.status.is_informational()
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // A server stops polling at the declared length, and asks nothing more.
        let declared = || parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let expected = inner.size_hint().exact().or_else(declared);
        let mut body = Self { inner, closer: Some(closer), held: None, expected, sent: 0, failed: false };
        if bodiless || expected == Some(0) || body.inner.is_end_stream() {
            body.end(End::Completed);
        }
        Response::from_parts(parts, body)
    }

    fn end(&mut self, end: End) {
        if let Some(mut closer) = self.closer.take() {
            closer.finish(end);
        }
    }
}

impl<B> Body for TrailBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if *this.failed {
            return Poll::Ready(None);
        }
        if this.closer.as_ref().is_some_and(|closer| closer.trail().is_overdue()) {
            *this.failed = true;
            *this.held = None;
            finish(this.closer, End::Failed);
            return Poll::Ready(Some(Err(Overdue.into())));
        }
        let frame = if let Some((fired, _)) = this.held {
            let durable = ready!(Pin::new(fired).poll(context)).is_ok();
            let frame = this.held.take().map(|(_, frame)| frame);
            if !durable {
                *this.failed = true;
                finish(this.closer, End::Failed);
                return Poll::Ready(Some(Err(Unrecorded.into())));
            }
            frame
        } else {
            let inner = this.inner.as_mut();
            let polled = match this.closer {
                Some(closer) => closer.trail().within(|| inner.poll_frame(context)),
                None => inner.poll_frame(context),
            };
            match ready!(polled) {
                None => None,
                Some(Err(error)) => {
                    *this.failed = true;
                    finish(this.closer, End::Failed);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Some(Ok(frame)) => match this.closer.as_ref().map_or(Wait::Durable, |closer| closer.trail().wait()) {
                    Wait::Durable => Some(frame),
                    Wait::Unavailable => {
                        *this.failed = true;
                        finish(this.closer, End::Failed);
                        return Poll::Ready(Some(Err(Unrecorded.into())));
                    }
                    Wait::Later(mut fired) => match Pin::new(&mut fired).poll(context) {
                        Poll::Ready(Ok(())) => Some(frame),
                        Poll::Ready(Err(_)) => {
                            *this.failed = true;
                            finish(this.closer, End::Failed);
                            return Poll::Ready(Some(Err(Unrecorded.into())));
                        }
                        Poll::Pending => {
                            *this.held = Some((fired, frame));
                            return Poll::Pending;
                        }
                    },
                },
            }
        };
        let Some(frame) = frame else {
            finish(this.closer, End::Completed);
            return Poll::Ready(None);
        };
        let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        *this.sent = this.sent.saturating_add(length);
        if let Some(closer) = this.closer {
            closer.sent(length);
        }
        // A server need not poll to the end.
        if this.inner.is_end_stream() || this.expected.is_some_and(|expected| *this.sent >= expected) {
            finish(this.closer, End::Completed);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let held = self.held.as_ref().and_then(|(_, frame)| frame.data_ref()).map_or(0, |data| data.remaining() as u64);
        if held > 0 {
            let (lower, upper) = (hint.lower().saturating_add(held), hint.upper().map(|u| u.saturating_add(held)));
            hint = SizeHint::new();
            hint.set_lower(lower);
            if let Some(upper) = upper {
                hint.set_upper(upper);
            }
        }
        hint
    }
}

fn finish(closer: &mut Option<Closer>, end: End) {
    if let Some(mut closer) = closer.take() {
        closer.finish(end);
    }
}
