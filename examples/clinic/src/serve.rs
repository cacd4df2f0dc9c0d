//! The socket side of the server: accepts connections, makes them TLS 1.3, and ends them in good order.
//!
//! What happens to a connection:
//!
//! 1. While [`Limits::connections`] are open, a further one takes the place of one that waits for its client, and has
//!    waited for a quarter of a second: of the one whose first request, or the rest of one, has been awaited for longest,
//!    or else of the longest idle, which sends the rest of its answer first, for two seconds at most. While there is none,
//!    the next waits.
//! 2. The TLS handshake has [`Limits::handshake`] to finish. A client that does not speak TLS 1.3 is refused.
//! 3. HTTP/2 or HTTP/1.1 is spoken as agreed by ALPN; without ALPN, and without TLS, it is HTTP/1.1.
//! 4. The head of an HTTP/1.1 request has [`Limits::head`] to arrive, counted from the end of the answer before it; and so
//!    has the first request of any connection.
//! 5. Each request carries what is known of the connection, in the form that the caller's closure gives to it.
//! 6. An HTTP/2 connection without a request in flight is closed after [`Limits::idle`]. A request is in flight until the
//!    last of its answer is sent, for [`Limits::answer`] at most: a client that does not read holds nothing for longer.
//! 7. On shutdown nothing more is accepted, handshakes are dropped, requests in flight have [`Limits::drain`] to
//!    finish, and what is left then is cut.
//!
//! Errors of `accept`, such as too many open files, are waited out: they end no server.
//!
//! # Deployment caveat
//!
//! Plain HTTP is for a proxy on the same machine: [`Listener::plain`] refuses any address but a loopback one. How long
//! a handler may take and how much a body may hold is decided by layers, not here. One address has
//! [`Limits::per_peer`] connections at most, so a handful of addresses together can still use all of them up, with requests
//! that the server works at; who only connects, or sends slowly, makes room for whoever comes.
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use std::convert::Infallible;
//! use clinic::serve::{self, ConnFacts, Ended, Limits, Listener};
//!
//! let hello = tower::service_fn(async |request: http::Request<serve::RequestBody>| {
//!     let facts = request.extensions().get::<ConnFacts>().expect("each request carries its connection's facts");
//!     Ok::<_, Infallible>(http::Response::new(format!("hello, {}", facts.peer)))
//! });
//!
//! let listener = Listener::plain(tokio::net::TcpListener::bind("127.0.0.1:0").await?)?;
//! let ended = serve::serve(listener, hello, |facts| facts, Limits::default(), async {}).await;
//! assert_eq!(ended, Ended::Drained);
//!
//! // Beyond this machine, nothing is served in the clear.
//! let anywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
//! assert!(Listener::plain(anywhere).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//!
//! A stranger can hold a connection without a request for as long as [`Limits::head`] at most, with one for as long as
//! [`Limits::answer`], and cannot make the server stop, choose a lower version of TLS or send early data that could be replayed.

mod body;
mod conn;
mod peers;
mod places;

use std::{
    convert::Infallible, error::Error as StdError, fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration,
};

use http::{Request, Response};
use hyper::body::Body;
use rustls::{ServerConfig, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::Service;

pub use self::body::RequestBody;
use self::{
    peers::{Counted, Peers},
    places::{Place, Places},
};

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Plain HTTP was asked for on an address that others can reach.
    #[error(
        "plain HTTP is served on a loopback address only, not on `{address}`: use TLS, or listen on 127.0.0.1 or ::1"
    )]
    PlainNotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The listening socket does not know its address.
    #[error("the listening socket does not answer")]
    Socket(#[source] io::Error),
    /// Certificate and key do not make a TLS server.
    #[error("the certificate and its key cannot be used")]
    Tls(#[source] rustls::Error),
    /// The process cannot be told to stop.
    #[error("the signals SIGINT and SIGTERM cannot be listened for")]
    Signal(#[source] io::Error),
}

/// What is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnFacts {
    /// The other end, as the kernel saw it.
    pub peer: SocketAddr,
    /// The name in the TLS handshake, in lower case.
    pub sni: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// How much a connection may ask of the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that are open at a time, handshakes included. Default: 512, which with the
    /// files of the stores stays below the 1024 open files that most systems allow. One more than these is open while it
    /// waits for its place.
    pub connections: usize,
    /// Connections that one address has open at a time; a further one is closed unanswered. Default: 64.
    pub per_peer: usize,
    /// For the TLS handshake. Default: 10 s.
    pub handshake: Duration,
    /// For the head of each request in HTTP/1.1, and for the first request in any. Default: 10 s.
    pub head: Duration,
    /// For an HTTP/2 connection without a request, after its first. Default: 75 s.
    pub idle: Duration,
    /// For one request in flight, from its head to the last byte of its answer; then the connection is closed. Default:
    /// 90 s, which is the ward's deadline and a minute for the sending.
    pub answer: Duration,
    /// For requests in flight at shutdown. Default: 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_peer: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(90),
            drain: Duration::from_secs(10),
        }
    }
}

/// A bound socket, and what is spoken on it.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).field("tls", &self.tls.is_some()).finish()
    }
}

impl Listener {
    /// TLS 1.3, and nothing below it.
    ///
    /// # Errors
    ///
    /// If the key does not belong to the first certificate of the chain.
    pub fn tls(
        socket: TcpListener,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ServeError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(ServeError::Tls)?;
        config.alpn_protocols = vec![conn::H2.to_vec(), conn::H1.to_vec()];
        Ok(Self { socket, tls: Some(TlsAcceptor::from(Arc::new(config))) })
    }

    /// HTTP/1.1 in the clear, for this machine only.
    ///
    /// # Errors
    ///
    /// If the socket is bound to anything but a loopback address.
    pub fn plain(socket: TcpListener) -> Result<Self, ServeError> {
        let address = socket.local_addr().map_err(ServeError::Socket)?;
        if address.ip().to_canonical().is_loopback() {
            Ok(Self { socket, tls: None })
        } else {
            Err(ServeError::PlainNotLoopback { address })
        }
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    ///
    /// If the socket does not answer.
    pub fn local_addr(&self) -> Result<SocketAddr, ServeError> {
        self.socket.local_addr().map_err(ServeError::Socket)
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// Every connection finished what it had begun.
    Drained,
    /// After [`Limits::drain`], this many connections were cut.
    Cut(usize),
}

/// Serves `service` until `shutdown` completes and what was in flight has finished. `extension` makes, once for each
/// connection, the value that its requests carry in their extensions.
pub async fn serve<S, B, F, X>(
    listener: Listener,
    service: S,
    extension: F,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Ended
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    F: Fn(ConnFacts) -> X,
    F: Clone + Send + 'static,
    X: Clone + Send + Sync + 'static,
{
    let Listener { socket, tls } = listener;
    let places = Places::new(limits.connections);
    let peers = Peers::new(limits.per_peer);
    let (stop, stopping) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        let (tcp, peer, counted, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&socket, &places, &peers) => accepted,
        };
        let (tls, service, extension, limits) = (tls.clone(), service.clone(), extension.clone(), limits.clone());
        let mut stopping = stopping.clone();
        tasks.spawn(async move {
            let opened = tokio::select! {
                // A handshake has promised nothing yet.
                _ = stopping.changed() => return,
                () = place.asked_to_leave() => return,
                opened = conn::open(tcp, peer, tls, limits.handshake) => opened,
            };
            match opened {
                Ok((io, protocol, facts)) => {
                    conn::run(io, protocol, service, extension(facts), &limits, stopping, place).await;
                }
                Err(refused) => tracing::debug!(%peer, %refused, "connection refused"),
            }
            drop(counted);
        });
    }
    // No backlog of strangers while the last answers are written.
    drop(socket);
    // To nobody, if there is no connection.
    let _ = stop.send(());
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_ok() {
        return Ended::Drained;
    }
    let mut cut = 0;
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        cut += usize::from(ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled));
        report(ended);
    }
    Ended::Cut(cut)
}

/// The next connection, and its place. Does not end on errors.
async fn accept(socket: &TcpListener, places: &Places, peers: &Peers) -> (TcpStream, SocketAddr, Counted, Place) {
    let mut pause = FIRST_PAUSE;
    loop {
        match socket.accept().await {
            // Counted first, so that an address with as many as it may have takes nobody's place.
            Ok((tcp, peer)) => match peers.admit(peer.ip()) {
                Some(counted) => return (tcp, peer, counted, places.take().await),
                None => tracing::debug!(%peer, "the address has as many connections as it may"),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Too many open files, or no memory: accepting again at once would only burn the processor.
                tracing::error!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The peer went away before it was accepted; the next one is unaffected.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The panic's own message may hold what a request held.
        tracing::error!("a connection's task panicked");
    }
}

/// Completes when the process is asked to end, by SIGINT or SIGTERM. Listening begins with the call.
///
/// # Errors
///
/// If the signals cannot be listened for.
pub fn signalled() -> Result<impl Future<Output = ()> + Send, ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
