//! One connection.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error as StdError,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt};

use super::{
    ConnFacts, Limits,
    body::RequestBody,
    places::{self, Manner},
};

pub(super) const H2: &[u8] = b"h2";
pub(super) const H1: &[u8] = b"http/1.1";

/// Larger heads have no use here: tokens and cookies of ours stay far below.
const MAX_HEAD: u32 = 32 << 10;
const MAX_STREAMS: u32 = 100;
/// What is left of an answer has so long to be sent, where somebody else needs the connection's place.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the handshake took too long")]
    Slow,
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    H1,
    H2,
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes the connection ready for requests.
pub(super) async fn open(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    within: Duration,
) -> Result<(Stream, Protocol, ConnFacts), Refused> {
    // Answers are small and written whole: waiting for more only delays them. A socket that refuses still works.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else {
        return Ok((Stream::Plain(tcp), Protocol::H1, ConnFacts { peer, sni: None, tls: false }));
    };
    let stream = tokio::time::timeout(within, tls.accept(tcp)).await.map_err(|_| Refused::Slow)?;
    let stream = stream.map_err(Refused::Handshake)?;
    let (_, session) = stream.get_ref();
    let protocol = if session.alpn_protocol() == Some(H2) { Protocol::H2 } else { Protocol::H1 };
    let facts = ConnFacts { peer, sni: session.server_name().map(str::to_ascii_lowercase), tls: true };
    Ok((Stream::Tls(Box::new(stream)), protocol, facts))
}

/// Serves the connection until either side ends it.
pub(super) async fn run<S, B, X>(
    io: Stream,
    protocol: Protocol,
    service: S,
    extension: X,
    limits: &Limits,
    mut stopping: watch::Receiver<()>,
    place: places::Place,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    X: Clone + Send + Sync + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle / 3)
        .keep_alive_timeout(limits.head)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD);
    // What was agreed is what is spoken: a guess by the first bytes could differ from it.
    let builder = match protocol {
        Protocol::H1 => builder.http1_only(),
        Protocol::H2 => builder.http2_only(),
    };
    let (busy, in_flight) = watch::channel(BTreeMap::new());
    let (busy, place) = (Arc::new(busy), Arc::new(place));
    let leaving = Arc::clone(&place);
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(extension.clone());
        let (service, working) = (service.clone(), Working::new(&busy, &place));
        let request =
            request.map(|body| RequestBody::new(body, protocol == Protocol::H2, Arc::clone(&working.request)));
        let last = is_doubtful(request.headers());
        async move {
            let mut response = service.oneshot(request).await?;
            if last {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // The request is in flight until the last of its body is written or given up.
            Ok::<_, Infallible>(response.map(|body| {
                body.map_err(move |error| {
                    let _: &Working = &working;
                    error
                })
            }))
        }
    });
    let mut conn = pin!(builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)));
    let mut overstayed = pin!(overstayed(in_flight, limits));
    let (mut told, mut leaves) = (false, None);
    loop {
        tokio::select! {
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            why = overstayed.as_mut() => return tracing::debug!(why, "connection closed"),
            _ = stopping.changed(), if !told => {
                told = true;
                conn.as_mut().graceful_shutdown();
            }
            () = leaving.asked_to_leave() => match leaving.manner() {
                // A request that arrived meanwhile is not cut off.
                Manner::Stay => {}
                Manner::AtOnce => return tracing::debug!("connection closed: somebody else needs its place"),
                Manner::Finish => {
                    leaves.get_or_insert(Instant::now() + FAREWELL);
                    conn.as_mut().graceful_shutdown();
                }
            },
            () = tokio::time::sleep_until(leaves.unwrap_or_else(Instant::now)), if leaves.is_some() => {
                if leaving.manner() != Manner::Stay {
                    return tracing::debug!("connection closed: somebody else needs its place");
                }
                // Its last request crossed the farewell: the connection ends after the answer.
                leaves = Some(Instant::now() + FAREWELL);
            }
        }
    }
}

/// Whether somebody who stands before the server may have seen the body end elsewhere: hyper takes any list of codings
/// whose last is `chunked`, and one of them twice. Nothing that comes after such a body on its connection is answered
/// (RFC 9112 §11.2).
fn is_doubtful(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some()
}

/// When each request in flight began, by its number.
type InFlight = BTreeMap<u64, Instant>;

/// Completes when there was no request for too long, or one for too long.
async fn overstayed(mut in_flight: watch::Receiver<InFlight>, limits: &Limits) -> &'static str {
    let mut patience = limits.head;
    loop {
        let oldest = in_flight.borrow_and_update().first_key_value().map(|(_, begun)| *begun);
        let (until, why) = match oldest {
            Some(begun) => (begun + limits.answer, "an answer was not read in time"),
            None => (Instant::now() + patience, "idle"),
        };
        match tokio::time::timeout_at(until, in_flight.changed()).await {
            Err(_) => return why,
            Ok(Ok(())) => patience = limits.idle,
            Ok(Err(_)) => return std::future::pending().await,
        }
    }
}

/// A request, in flight while this exists.
struct Working {
    number: u64,
    busy: Arc<watch::Sender<InFlight>>,
    request: Arc<places::InFlight>,
}

impl Working {
    fn new(busy: &Arc<watch::Sender<InFlight>>, place: &Arc<places::Place>) -> Self {
        let mut number = 0;
        busy.send_modify(|in_flight| {
            number = in_flight.last_key_value().map_or(0, |(last, _)| last + 1);
            in_flight.insert(number, Instant::now());
        });
        Self { number, busy: Arc::clone(busy), request: Arc::new(places::InFlight::new(place)) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.busy.send_modify(|in_flight| {
            in_flight.remove(&self.number);
        });
        self.request.ended();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
