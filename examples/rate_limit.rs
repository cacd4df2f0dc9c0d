//! A limit for each peer, without the rest: three requests a minute, whoever claims to be somebody else.
//!
//! `cargo run --example rate_limit --features rate-limit`

use std::{convert::Infallible, error::Error, net::SocketAddr, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_ward::{
    clock::ManualClock,
    quota::Quota,
    rate_limit::{Connection, Network, PeerLimitLayer, TrustedProxies},
};

const PROXY: &str = "10.0.0.7:443";

/// A request over a connection from `from`, with what it says of whom it is forwarded for.
fn request(from: &str, forwarded: Option<&str>) -> Result<Request<()>, Box<dyn Error>> {
    // Whoever accepts connections says where they come from.
    let mut request = Request::builder().extension(Connection(from.parse::<SocketAddr>()?));
    if let Some(chain) = forwarded {
        request = request.header("x-forwarded-for", chain);
    }
    Ok(request.body(())?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A server takes `SystemClock::shared()`; this one stands still until it is told to move.
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse()?);
    let quota = Quota::per_minute(NonZeroU32::new(3).ok_or("zero")?);
    let proxies = TrustedProxies::new().add_network("10.0.0.0/8".parse()?);
    let service = PeerLimitLayer::new(quota, clock.shared())?
        .with_proxies(proxies)
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::from_static(b"hello")))));
    let ask = async |from: &str, forwarded: Option<&str>| -> Result<StatusCode, Box<dyn Error>> {
        let response = service.clone().oneshot(request(from, forwarded)?).await?;
        let after = response.headers().get("retry-after").map_or("-", |value| value.to_str().unwrap_or("?"));
        println!("from {from:16} for {:22} {} retry-after {after}", forwarded.unwrap_or("-"), response.status());
        Ok(response.status())
    };

    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1:4711", None).await?, StatusCode::OK);
    }
    assert_eq!(ask("192.0.2.1:4712", None).await?, StatusCode::TOO_MANY_REQUESTS, "another port is no other peer");
    // A stranger's claim is not read; the proxy's is, and only the address that the proxy itself added.
    assert_eq!(ask("192.0.2.1:4713", Some("198.51.100.9")).await?, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(PROXY, Some("198.51.100.9, 192.0.2.1")).await?, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(PROXY, Some("192.0.2.1, 198.51.100.9")).await?, StatusCode::OK);

    clock.advance(Duration::from_secs(20));
    assert_eq!(ask("192.0.2.1:4714", None).await?, StatusCode::OK, "one comes back every twenty seconds");

    println!("refused: {}", "0.0.0.0/0".parse::<Network>().err().ok_or("everybody is trusted")?);
    Ok(())
}
