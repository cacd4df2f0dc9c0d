//! A server that plays one answer to whoever asks, and keeps what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A response with this status, these lines of headers and this body.
    Whole(u16, String, String),
    /// The same, but its body ends a byte early.
    Cut(u16, String, String),
    /// Nothing, and the connection is closed.
    Close,
    /// Nothing, and the connection stays.
    Hang,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self::Whole(status, String::new(), body.into())
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: Value,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|h| h.1)
    }
}

pub(super) struct Player {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Player {
    pub(super) async fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let asked = asked.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream, asked.clone(), answer.clone()));
                }
            }
        });
        Self { address, asked, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The one request. Panics if there was none, or a second.
    pub(super) fn only(&self) -> Asked {
        let asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "asked once: {asked:?}");
        asked[0].clone()
    }

    pub(super) fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Asked>>>, answer: Answer) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0_usize) {
            break (head.to_owned(), serde_json::from_str(body).unwrap_or_default());
        }
    };
    asked.lock().unwrap().push(Asked { head, body });
    let (status, headers, body, cut) = match answer {
        Answer::Whole(status, headers, body) => (status, headers, body, 0),
        Answer::Cut(status, headers, body) => (status, headers, body, 1),
        Answer::Close => return,
        Answer::Hang => return std::future::pending().await,
    };
    let head = format!(
        "HTTP/1.1 {status} Recorded\r\nx-amzn-RequestId: 6b7f3c1e-0000-4000-8000-5ad1c0ffee00\r\ncontent-type: application/x-amz-json-1.1\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), &body.as_bytes()[..body.len() - cut]].concat()).await;
    let _ = stream.shutdown().await;
}
