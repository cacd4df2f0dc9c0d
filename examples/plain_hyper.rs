//! Without axum: hyper on a loopback socket, and three layers around a plain function, in the order of `docs/order.md`.
//! It answers one client and ends.
//!
//! `cargo run --example plain_hyper --features audit,rate-limit`
//!
//! `Ward::around` puts the whole path of a request around such a service in the same way.

use std::{convert::Infallible, num::NonZeroU32};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, client, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_ward::{
    audit::{Action, AuditLayer, Event, Ledger, LedgerOptions, Trail, verify},
    clock::SystemClock,
    headers::HeadersLayer,
    problem::Problem,
    quota::Quota,
    rate_limit::{Connection, PeerLimitLayer},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the one thing that it has, once that is on record.
async fn status(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let recorded =
        request.extensions().get::<Trail>().map(|trail| trail.record(Event::new(Action::Read).with_entity("status")));
    Ok(match recorded {
        Some(Ok(())) => Response::new(Full::new(Bytes::from_static(b"all is well"))),
        _ => Problem::unavailable().into_response(),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let options = LedgerOptions::new().with_segment_size(128 * 1024);
    let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    let once = Quota::per_minute(NonZeroU32::MIN);
    let limited = PeerLimitLayer::new(once, SystemClock::shared())?.layer(service_fn(status));
    let service = HeadersLayer::new().layer(AuditLayer::new(ledger.clone()).layer(limited));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await?;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            // Whoever accepts connections says where they come from.
            request.extensions_mut().insert(Connection(peer));
            service.clone().oneshot(request)
        });
        // The timer ends a client that sends its request too slowly.
        let mut http = server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await?;
        Ok::<_, BoxError>(())
    });

    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    let connected = tokio::spawn(connection);
    for expected in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let request = Request::builder().header(header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let (status, dressed) = (response.status(), response.headers().contains_key("strict-transport-security"));
        let body = response.into_body().collect().await?.to_bytes();
        println!("{status}, dressed: {dressed}: {}", String::from_utf8_lossy(&body));
        assert_eq!((status, dressed), (expected, true), "a refusal is a response too");
    }
    drop(sender);
    connected.await??;
    serving.await??;

    ledger.shutdown().await;
    println!("records: {}", verify(folder.path())?.records());
    Ok(())
}
