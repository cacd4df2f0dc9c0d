//! The limit by peer, attacked over its whole layer.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_ward::{
    clock::ManualClock,
    problem::Reason,
    quota::Quota,
    rate_limit::{Connection, KeyedLimit, Peer, PeerLimitLayer, TrustedProxies},
};

const PROXY: &str = "10.0.0.7";
const STRANGER: &str = "203.0.113.9";

/// A server behind the layer: it says who its peer was, and counts what reached it.
struct Server {
    layer: PeerLimitLayer,
    clock: ManualClock,
    reached: Arc<AtomicUsize>,
}

impl Server {
    fn new(burst: u32) -> Self {
        Self::with_room(burst, PeerLimitLayer::PEERS.get())
    }

    fn with_room(burst: u32, peers: u32) -> Self {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let quota = Quota::per_minute(NonZeroU32::new(burst).unwrap());
        let layer = PeerLimitLayer::with_room(quota, NonZeroU32::new(peers).unwrap(), clock.shared()).unwrap();
        let layer = layer.with_proxies(TrustedProxies::new().add_network("10.0.0.0/8".parse().unwrap()));
        Self { layer, clock, reached: Arc::default() }
    }

    async fn send(&self, request: Request<()>) -> Response<Bytes> {
        let reached = Arc::clone(&self.reached);
        let handler = service_fn(move |request: Request<()>| {
            reached.fetch_add(1, Ordering::Relaxed);
            let peer = request.extensions().get::<Peer>().unwrap().ip().to_string();
            async { Ok::<_, Infallible>(Response::new(Bytes::from(peer))) }
        });
        self.layer.layer(handler).oneshot(request).await.unwrap()
    }

    async fn get(&self, from: &str, forwarded: &[&str]) -> Response<Bytes> {
        let mut request = Request::new(());
        for line in forwarded {
            request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
        }
        request.extensions_mut().insert(Connection(SocketAddr::new(from.parse().unwrap(), 4711)));
        self.send(request).await
    }

    async fn status(&self, from: &str, forwarded: &[&str]) -> StatusCode {
        self.get(from, forwarded).await.status()
    }
}

fn text<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

// proves GLM-29
#[tokio::test]
async fn the_request_after_the_burst_is_refused_until_the_edge() {
    let server = Server::new(3);
    for left in ["2", "1", "0"] {
        let response = server.get(STRANGER, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), STRANGER);
        assert!(text(&response, "ratelimit").starts_with(&format!("\"peer\";r={left};t=")));
    }
    let refused = server.get(STRANGER, &[]).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(text(&refused, "retry-after"), "20");
    assert_eq!(text(&refused, "ratelimit"), "\"peer\";r=0;t=20");
    assert_eq!(text(&refused, "ratelimit-policy"), "\"peer\";q=3;w=60");
    assert_eq!(text(&refused, "content-type"), "application/problem+json");
    assert_eq!(refused.extensions().get(), Some(&Reason("rate limit reached")));
    assert_eq!(server.reached.load(Ordering::Relaxed), 3, "a refusal went on");

    server.clock.advance(Duration::from_secs(20) - Duration::from_nanos(1));
    assert_eq!(server.status(STRANGER, &[]).await, StatusCode::TOO_MANY_REQUESTS);
    server.clock.advance(Duration::from_nanos(1));
    assert_eq!(server.status(STRANGER, &[]).await, StatusCode::OK);
}

// proves GLM-29
#[tokio::test]
async fn a_spoofed_address_from_an_untrusted_peer_is_ignored() {
    let server = Server::new(5);
    let mut passed = 0;
    for spoof in 0..50 {
        let claim = format!("192.0.2.{spoof}");
        passed += usize::from(server.status(STRANGER, &[&claim]).await == StatusCode::OK);
    }
    assert_eq!(passed, 5);
    // And nobody was limited in the name of the addresses that were made up.
    assert_eq!(server.status("192.0.2.1", &[]).await, StatusCode::OK);
}

// proves GLM-29
#[tokio::test]
async fn a_spoofed_leftmost_address_is_ignored() {
    for lines in [true, false] {
        let server = Server::new(5);
        let mut passed = 0;
        for spoof in 0..50 {
            let claim = format!("192.0.2.{spoof}");
            let joined = format!("{claim}, 198.51.100.1");
            // The claim in a line of its own, or in the proxy's line.
            let forwarded = if lines { vec![&*claim, "198.51.100.1"] } else { vec![&*joined] };
            passed += usize::from(server.status(PROXY, &forwarded).await == StatusCode::OK);
        }
        assert_eq!(passed, 5, "lines: {lines}");
        assert_eq!(server.status(PROXY, &["198.51.100.2"]).await, StatusCode::OK, "another client of the proxy");
        assert_eq!(server.status(PROXY, &["198.51.100.1"]).await, StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_gives_no_new_limit() {
    let server = Server::new(5);
    let mut passed = 0;
    for spoof in 0..50 {
        let claim = format!("192.0.2.{spoof}:80");
        passed += usize::from(server.status(PROXY, &[&claim]).await == StatusCode::OK);
    }
    assert_eq!(passed, 5);
}

// proves GLM-29
#[tokio::test]
async fn rotation_inside_a_64_shares_one_limit() {
    let server = Server::new(5);
    let mut passed = 0;
    for host in 0..200_u128 {
        let ip = Ipv6Addr::from_bits(
            (0x2001_0db8_0000_0001 << 64) | ((host * 0x9e37_79b9_7f4a_7c15) & u128::from(u64::MAX)),
        );
        passed += usize::from(server.status(&ip.to_string(), &[]).await == StatusCode::OK);
    }
    assert_eq!(passed, 5);
    assert_eq!(server.status("2001:db8:0:2::1", &[]).await, StatusCode::OK, "the neighbour's /64");
}

#[tokio::test]
async fn a_mapped_address_is_no_second_one() {
    let server = Server::new(1);
    assert_eq!(server.status("192.0.2.1", &[]).await, StatusCode::OK);
    assert_eq!(server.status("::ffff:192.0.2.1", &[]).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_flood_of_addresses_takes_no_memory_and_frees_nobody() {
    let server = Server::with_room(2, 4_096);
    let limiter = server.layer.limit().limiter();
    let (memory, capacity) = (limiter.memory(), limiter.capacity());
    for _ in 0..2 {
        assert_eq!(server.status(STRANGER, &[]).await, StatusCode::OK);
    }
    let now = Duration::ZERO;
    let mut admitted = 0;
    for n in 0..100_000_u32 {
        let ip = IpAddr::from((0x6400_0000 + n).to_be_bytes());
        let asked = server.layer.decide(ip, &HeaderMap::new(), now);
        admitted += usize::from(asked.decision.is_allowed());
        assert!(asked.decision.is_allowed() || asked.decision.is_crowded());
    }
    assert_eq!(admitted + 1, capacity, "no more than there is room for");
    assert_eq!((limiter.memory(), limiter.capacity()), (memory, capacity));
    let refused = server.get(STRANGER, &[]).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.extensions().get(), Some(&Reason("rate limit reached")), "the flood made the table forget");
    let newcomer = server.get("192.0.2.200", &[]).await;
    assert_eq!(newcomer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(newcomer.extensions().get(), Some(&Reason("rate limit: no room for a new key")));
    // The flood's places are free as soon as its bursts are whole again.
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(server.status("192.0.2.200", &[]).await, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_without_an_address_goes_no_further() {
    let server = Server::new(5);
    let response = server.send(Request::new(())).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.reached.load(Ordering::Relaxed), 0);
}

/// Two limits on one response: each has an item in both lists, and `Retry-After` is not earlier than its `t`.
#[tokio::test]
async fn the_fields_are_structured_lists_of_strings() {
    let server = Server::new(1);
    let limit = KeyedLimit::new("principal", Quota::per_minute(NonZeroU32::new(7).unwrap()), NonZeroU32::MIN).unwrap();
    let mut now = Duration::ZERO;
    for step in 0..40 {
        let mut response = server.get(STRANGER, &[]).await;
        limit.tell(&limit.decide("k", now), response.headers_mut());
        let policies = items(response.headers(), "ratelimit-policy");
        assert_eq!(policies, [("peer".into(), [('q', 1), ('w', 60)]), ("principal".into(), [('q', 7), ('w', 60)])]);
        let limits = items(response.headers(), "ratelimit");
        assert_eq!(limits.len(), 2);
        for ((name, [(r, left), (t, _)]), quota) in limits.iter().zip([1, 7]) {
            assert!((*r, *t) == ('r', 't') && *left < quota, "{name} at step {step}");
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let retry: u64 = text(&response, "retry-after").parse().unwrap();
            assert!(retry >= limits[0].1[1].1, "step {step}");
        }
        let pause = Duration::from_millis(1_700);
        server.clock.advance(pause);
        now += pause;
    }
}

/// Reads `"name";x=1;y=2, …` as RFC 9651 §4.2 joins and parses it, and takes nothing that it does not allow.
fn items(headers: &HeaderMap, name: &str) -> Vec<(String, [(char, u64); 2])> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
    let item = |text: &str| {
        let (name, parameters) = text.strip_prefix('"').unwrap().split_once('"').unwrap();
        let parameters: Vec<_> = parameters
            .strip_prefix(';')
            .unwrap()
            .split(';')
            .map(|parameter| {
                let (key, value) = parameter.split_once('=').unwrap();
                assert!(
                    key.len() == 1 && value.len() <= 15 && value.bytes().all(|b| b.is_ascii_digit()),
                    "{parameter}"
                );
                (key.chars().next().unwrap(), value.parse().unwrap())
            })
            .collect();
        (name.to_owned(), parameters.try_into().unwrap())
    };
    lines.join(", ").split(", ").map(item).collect()
}
