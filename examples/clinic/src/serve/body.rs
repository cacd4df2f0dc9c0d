//! What a client sends and nobody reads.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::places::InFlight;

/// How much of an unread body is taken in after the answer, and for how long.
const MOST: usize = 64 << 10;
const LONGEST: Duration = Duration::from_secs(2);

/// The body of a request.
///
/// Over HTTP/2, what its reader leaves is read and thrown away, to a bound. A server that answers without reading, since
/// it refuses, would otherwise reset the stream while the client still sends; RFC 9113 §8.1 allows that, and clients, such
/// as curl 7.88, report the reset in place of the answer.
#[derive(Debug)]
pub struct RequestBody {
    inner: Option<Incoming>,
    to_its_end: bool,
    request: Arc<InFlight>,
}

impl RequestBody {
    /// Over HTTP/2 to its end, read or not. Over HTTP/1.1 not: the connection ends with an unread body, and reading asks a
    /// waiting client to send.
    pub(super) fn new(inner: Incoming, to_its_end: bool, request: Arc<InFlight>) -> Self {
        if inner.is_end_stream() {
            request.arrived();
        }
        Self { inner: Some(inner), to_its_end, request }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || inner.is_end_stream() {
            self.request.arrived();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.request.arrived();
        let Some(rest) = self.inner.take().filter(|inner| self.to_its_end && !inner.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LONGEST, drain(rest)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut taken = 0;
    while taken <= MOST
        && let Some(Ok(frame)) = body.frame().await
    {
        taken += frame.data_ref().map_or(0, Bytes::len);
    }
}
