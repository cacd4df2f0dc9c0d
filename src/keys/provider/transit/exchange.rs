//! One question to the server and its answer, over a connection of its own.

use std::{future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::token::BearerToken;

/// The longest answer that is read, in bytes. One that wraps a key is less than 500.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// By whose word the server is believed, and under which name.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(config: ClientConfig, name: ServerName<'static>) -> Self {
        Self { connector: Arc::new(config).into(), name }
    }
}

/// Where the server is.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: Option<Tls>,
    namespace: Option<String>,
    pub(super) timeout: Duration,
}

/// An answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body, if it says that it is JSON and is no longer than [`MAX_ANSWER`]. It may hold a key.
    pub(super) json: Option<Zeroizing<Vec<u8>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("the certificate is not accepted")]
    Certificate(#[source] io::Error),
    #[error("no TLS")]
    Tls(#[source] io::Error),
    #[error("no whole answer in HTTP")]
    Http(#[from] hyper::Error),
    #[error("no answer in time")]
    TimedOut,
}

impl Endpoint {
    pub(super) fn new(host: String, port: u16, tls: Option<Tls>, namespace: Option<String>, timeout: Duration) -> Self {
        Self { host, port, tls, namespace, timeout }
    }

    /// Asks once. Follows no redirect, and knows no proxy: the token goes to the address of the settings only.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &BearerToken,
        body: Bytes,
    ) -> Result<Answer, Fault> {
        let request = self.request(method, path, token, body);
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(Fault::Connect)?;
        // A question is one packet, which is not to wait for another.
        tcp.set_nodelay(true).map_err(Fault::Connect)?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), tcp).await.map_err(tls_fault)?;
                talk(stream, request).await
            }
            None => talk(tcp, request).await,
        }
    }

    fn request(&self, method: Method, path: &str, token: &BearerToken, body: Bytes) -> Request<Full<Bytes>> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{host}:{}", self.port))
            .header(header::CONNECTION, "close")
            .header(header::ACCEPT, "application/json")
            // An agent between may ask for it: who forges a request from afar cannot set it.
            .header("x-vault-request", "true")
            .header("x-vault-token", token.header());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body)).expect("the settings were checked, and are a host, a path and a header each")
    }
}

fn tls_fault(error: io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Fault::Certificate(error),
        _ => Fault::Tls(error),
    }
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_ANSWER);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut exchange = pin!(async { take(sender.send_request(request).await?).await });
    let mut connected = true;
    // Both in this task and not in one of its own: a call that is dropped, or takes too long, leaves nothing behind.
    poll_fn(|cx| {
        if connected && connection.as_mut().poll(cx).is_ready() {
            // Its error, if there is one, reaches the exchange too.
            connected = false;
        }
        match exchange.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn take(response: Response<Incoming>) -> Result<Answer, Fault> {
    let (head, mut body) = response.into_parts();
    let status = head.status.as_u16();
    let unread = Answer { status, json: None };
    let size = body.size_hint();
    if !is_json(&head.headers) || size.lower() > MAX_ANSWER as u64 {
        return Ok(unread);
    }
    // With all its room from the start: growing would leave copies behind.
    let room =
        size.upper().and_then(|upper| usize::try_from(upper).ok()).map_or(MAX_ANSWER, |upper| upper.min(MAX_ANSWER));
    let mut json = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > room - json.len() {
            return Ok(unread);
        }
        json.extend_from_slice(&data);
    }
    Ok(Answer { status, json: Some(json) })
}

fn is_json(headers: &HeaderMap<HeaderValue>) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let kind = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}
