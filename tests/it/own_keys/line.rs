//! A line to a server that can go dead: who connects is taken, and never answered. It counts who comes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
pub(super) struct Line {
    port: u16,
    dead: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Line {
    /// To the server at this address, which a certificate for 127.0.0.1 covers on every port.
    pub(super) async fn to(address: &str) -> Self {
        let server = address.strip_prefix("https://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Self { port, dead: Arc::default(), calls: Arc::default() };
        let (dead, calls) = (Arc::clone(&line.dead), Arc::clone(&line.calls));
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut here, _)) = listener.accept().await {
                calls.fetch_add(1, Ordering::SeqCst);
                if dead.load(Ordering::SeqCst) {
                    kept.push(here);
                    continue;
                }
                let server = server.clone();
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(server).await.unwrap();
                    // Either side may end it as it likes.
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        line
    }

    pub(super) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(super) fn goes_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// How many connections there were. A transit provider makes one for each call.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
