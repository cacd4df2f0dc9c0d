//! Clients over HTTP/2 and, byte by byte, over HTTP/1.1.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use uuid::Uuid;

use super::{PATIENCE, find};

/// A connection, made when it is needed and again when it was lost.
struct Line {
    address: SocketAddr,
    server_name: String,
    roots: Arc<RootCertStore>,
    sender: Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

impl Line {
    async fn sender(&self) -> http2::SendRequest<Full<Bytes>> {
        if let Some(sender) = self.sender.lock().unwrap().clone().filter(|s| !s.is_closed()) {
            return sender;
        }
        let io = connect(self.address, &self.server_name, &self.roots, b"h2").await.unwrap();
        let (sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        tokio::spawn(conn);
        *self.sender.lock().unwrap() = Some(sender.clone());
        sender
    }
}

/// A connection to wherever the server listens, whatever the name: no resolver is asked.
pub(super) async fn connect(
    address: SocketAddr,
    server_name: &str,
    roots: &Arc<RootCertStore>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(server_name.to_owned()).unwrap(), tcp).await
}

/// Somebody at a host, with a token or without. Clones share a connection.
#[derive(Clone)]
pub(crate) struct Client {
    line: Arc<Line>,
    authority: String,
    pub(crate) token: Option<String>,
    pub(crate) refresh: Option<String>,
}

impl Client {
    /// Somebody without a token.
    pub(super) fn new(address: SocketAddr, host: &str, roots: &Arc<RootCertStore>) -> Self {
        let (server_name, roots) = (host.to_owned(), Arc::clone(roots));
        let line = Line { address, server_name, roots, sender: Mutex::default() };
        let authority = format!("{host}:{}", address.port());
        Self { line: Arc::new(line), authority, token: None, refresh: None }
    }

    /// The same line, with this token.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same line, which asks for this authority.
    pub(crate) fn with_authority(&self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self.clone() }
    }

    pub(crate) fn use_tokens(&mut self, reply: &Reply) {
        let tokens = reply.json();
        self.token = Some(tokens["access_token"].as_str().unwrap().to_owned());
        self.refresh = Some(tokens["refresh_token"].as_str().unwrap().to_owned());
    }

    pub(crate) async fn try_login(&self, username: &str, password: &str) -> Reply {
        self.post("/api/login", &serde_json::json!({ "username": username, "password": password })).await
    }

    pub(crate) async fn try_refresh(&self, refresh_token: &str) -> Reply {
        self.post("/api/refresh", &serde_json::json!({ "refresh_token": refresh_token })).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = self.request(method, path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.exchange(request, body.map(|b| b.to_string().into_bytes()).unwrap_or_default()).await
    }

    /// A request to be changed and given to [`exchange`](Self::exchange).
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        let request = request.header("x-purpose", "administration").header("x-reason", "f-4711");
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub(crate) async fn exchange(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        let request = request.body(Full::new(body.into())).unwrap();
        let answered = async {
            let (parts, body) = self.line.sender().await.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply { status: parts.status, headers: parts.headers, body }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("no answer")
    }

    /// Who the token says one is.
    pub(crate) async fn user_id(&self) -> Uuid {
        let me = self.get("/api/me").await;
        me.expect(200);
        me.json()["user"].as_str().unwrap().parse().unwrap()
    }

    /// The ids in the whole list of patients, page by page.
    pub(crate) async fn list(&self, limit: usize, q: &str) -> Vec<Uuid> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/api/patients?limit={limit}{q}{cursor}")).await;
            page.expect(200);
            let page = page.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|i| i["id"].as_str().unwrap().parse::<Uuid>().unwrap()));
            match page.get("next") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                None => return found,
            }
        }
    }
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// A response of HTTP/1.1, as it came.
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.trim().parse().unwrap());
        }
        Self { status, headers, body: Bytes::copy_from_slice(&bytes[end + 4..]) }
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Demands a refusal as RFC 9457 writes it, with nothing in it that `sent` holds.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, sent: &[&str]) -> &Self {
        self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for key in ["type", "title"] {
            assert!(problem[key].is_string(), "{key}: {problem}");
        }
        for text in sent {
            assert!(!self.holds(text), "`{text}` came back");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is not JSON")
    }

    /// The one value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "`{name}` is there {} times on a {}", values.len(), self.status);
        values[0].to_str().unwrap()
    }

    /// Whether a text stands anywhere in headers or body.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let in_headers = self.headers.iter().any(|(_, value)| find(value.as_bytes(), text.as_bytes()));
        in_headers || find(&self.body, text.as_bytes())
    }

    /// All that a client can tell two answers apart by, but for time, the request's id and what the limit has left.
    pub(crate) fn fingerprint(&self) -> String {
        let mut headers: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !["x-request-id", "ratelimit", "date", "retry-after"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        format!("{}\n{}\n\n{:?}", self.status, headers.join("\n"), self.body)
    }
}

/// Sends bytes as they stand, and reads until the server closes.
pub(super) async fn talk(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Reply {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An end without a close_notify is an end too.
    let _ = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("no answer");
    Reply::parse(&answer)
}

/// Sends a head as it stands, and of the body a space every half second until the server ends it.
pub(super) async fn trickle(io: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> Reply {
    let (mut read, mut write) = tokio::io::split(io);
    write.write_all(head.as_bytes()).await.unwrap();
    let slowly = async {
        while write.write_all(b" ").await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = slowly => {}
        // A server that closes on a body it did not read may reset the connection.
        ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)) => {
            let _ = ended.expect("it is never ended");
        }
    }
    Reply::parse(&answer)
}
