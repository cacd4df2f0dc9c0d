//! A transit engine that behaves, until it is told what to do instead. It keeps what it was sent.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::restrict;
use crate::support::bao::Authority;

/// What is done with the next questions.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// These bytes, and the connection ends.
    Send(Vec<u8>),
    /// A head that promises a body, and of that a byte every 20 ms.
    Drip,
    /// The body goes on, chunk after chunk, until nobody reads it.
    Endless,
    /// Nothing, while the connection stays open.
    Hang,
}

impl Script {
    /// A whole answer.
    pub(crate) fn answer(status: u16, content_type: &str, body: &str) -> Self {
        Self::Send(head(status, &format!("content-type: {content_type}\r\n"), body.len(), body))
    }

    /// A whole answer in JSON.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::answer(status, "application/json", body)
    }
}

/// An answer whose head says that `length` bytes follow, and `body`.
pub(crate) fn head(status: u16, headers: &str, length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

#[derive(Debug, Default)]
struct State {
    script: Option<Script>,
    /// It looks at the associated data no more than an old server does.
    forgetful: bool,
    seen: Vec<String>,
    wrapped: HashMap<String, (String, String)>,
}

#[derive(Debug)]
pub(crate) struct Fake {
    /// For tokens; it goes with this value.
    folder: TempDir,
    scheme: &'static str,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Over plain HTTP.
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// Over one version of TLS.
    pub(crate) async fn start_tls(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(authority.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::listen(Some(Arc::new(config).into())).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let scheme = if tls.is_some() { "https" } else { "http" };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                        None => serve(stream, state).await,
                    }
                });
            }
        });
        Self { folder: tempfile::tempdir().unwrap(), scheme, port, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Puts a token into a file that only its owner may read.
    pub(crate) fn keep(&self, token: &str) -> PathBuf {
        let file = self.folder.path().join("token");
        std::fs::write(&file, token).unwrap();
        restrict(&file, 0o600);
        file
    }

    /// What it does from now on; as a transit engine does, if nothing.
    pub(crate) fn play(&self, script: Option<Script>) {
        self.state.lock().unwrap().script = script;
    }

    pub(crate) fn forget_contexts(&self) {
        self.state.lock().unwrap().forgetful = true;
    }

    /// The questions since the last call, as they came.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let Some(question) = question(&mut stream).await else { return };
    let script = {
        let mut state = state.lock().unwrap();
        state.seen.push(question.clone());
        state.script.clone().unwrap_or_else(|| behave(&mut state, &question))
    };
    match script {
        Script::Send(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Script::Hang => {
            // Until the other side is gone.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Script::Drip => {
            let _ = stream.write_all(&head(200, "content-type: application/json\r\n", 1000, "")).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Script::Endless => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head).await;
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
    }
}

async fn question(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text.into_owned());
        }
    }
}

fn behave(state: &mut State, question: &str) -> Script {
    let (head, body) = question.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    if head.starts_with("GET /v1/transit/keys/kek ") {
        return Script::json(200, &key_state().to_string());
    }
    if head.starts_with("POST /v1/transit/encrypt/kek ") {
        let number = u8::try_from(state.wrapped.len()).unwrap();
        let text = format!("vault:v1:{}", data_encoding::BASE64.encode(&[number; 60]));
        state.wrapped.insert(text.clone(), (field("plaintext"), field("associated_data")));
        return Script::json(200, &json!({ "data": { "ciphertext": text } }).to_string());
    }
    match state.wrapped.get(&field("ciphertext")) {
        Some((plaintext, data)) if state.forgetful || *data == field("associated_data") => {
            Script::json(200, &json!({ "data": { "plaintext": plaintext } }).to_string())
        }
        _ => Script::json(400, r#"{"errors":["cipher: message authentication failed"]}"#),
    }
}

pub(crate) fn key_state() -> Value {
    json!({ "data": {
        "type": "aes256-gcm96", "exportable": false, "allow_plaintext_backup": false, "deletion_allowed": false,
        "latest_version": 1, "keys": { "1": 1_795_989_348 }, "supports_encryption": true, "supports_decryption": true,
    } })
}
