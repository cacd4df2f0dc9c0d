//! What comes in.

use super::*;

#[tokio::test]
async fn a_request_of_which_the_server_does_not_know_the_peer_is_refused() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let mut stray = request(Method::GET, None, "/healthz");
    stray.extensions_mut().remove::<ConnInfo>();
    let reply = send(&service, stray).await;
    reply.is_problem(500);
    assert_eq!(reply.reason, Some("no_connection_facts"));
}

// proves CLM-17, and the host's rule through the whole path
#[tokio::test]
async fn a_host_that_is_not_served_is_421_before_anything_else_is_looked_at() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    let with = |change: &dyn Fn(&mut Request<Body>)| {
        let mut request = request(Method::GET, Some(&owner), "/patients");
        change(&mut request);
        request
    };
    let host = |name: &'static str| {
        move |r: &mut Request<Body>| drop(r.headers_mut().insert(header::HOST, HeaderValue::from_static(name)))
    };
    let sni = |name: &'static str| {
        move |r: &mut Request<Body>| {
            drop(r.extensions_mut().insert(ConnInfo::new(SocketAddr::from(([192, 0, 2, 1], 1)), Some(name.into()))))
        }
    };
    for (name, request) in [
        ("unknown clinic", with(&host("northgate.clinic.example"))),
        ("another domain", with(&host("harbour.evil.example"))),
        ("an address", with(&host("192.0.2.7"))),
        ("upper case", with(&host("HARBOUR.clinic.example"))),
        ("no host", with(&|r| drop(r.headers_mut().remove(header::HOST)))),
        (
            "two hosts",
            with(&|r| {
                assert!(r.headers_mut().append(header::HOST, HeaderValue::from_static("harbour.clinic.example")))
            }),
        ),
        (
            "a host that is no text",
            with(&|r| drop(r.headers_mut().insert(header::HOST, HeaderValue::from_bytes(b"h\xff").unwrap()))),
        ),
        ("another authority", with(&|r| *r.uri_mut() = "https://meadow.clinic.example/patients".parse().unwrap())),
        ("another server name", with(&sni("meadow.clinic.example"))),
        (
            "a bad token too",
            with(&|r| {
                host("evil.example")(r);
                r.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer nonsense"));
            }),
        ),
    ] {
        let reply = send(&service, request).await;
        reply.is_problem(421);
        assert_eq!(reply.reason, Some("host"), "{name}");
    }
    for (name, request) in [
        ("a port", with(&host("harbour.clinic.example:8443"))),
        ("the same authority", with(&|r| *r.uri_mut() = "https://harbour.clinic.example/patients".parse().unwrap())),
        ("the same server name", with(&sni("harbour.clinic.example"))),
    ] {
        assert_eq!(send(&service, request).await.status, 200, "{name}");
    }
}

// proves GLM-12, CLA-14: a token is worth nothing at another clinic's host, and no header changes whose host it is.
#[tokio::test]
async fn a_token_of_clinic_a_at_the_host_of_b_is_403_and_recorded_in_as_chain() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    let _ = bench.patient(&bench.meadow, CANARY, CANARY).await;
    for host in ["meadow.clinic.example", "clinic.example"] {
        for path in ["/patients", "/healthz", "/nowhere"] {
            let mut request = request(Method::GET, Some(&owner), path);
            request.headers_mut().insert(header::HOST, HeaderValue::from_static(host));
            let (reply, records) = bench.records_of(send(&service, request)).await;
            reply.is_problem(403);
            let [refused] = &records[..] else { panic!("{records:?}") };
            assert_eq!(
                (refused.kind(), refused.reason(), refused.user()),
                (Kind::Refused, Some("foreign_token"), Some(owner.id))
            );
            assert_eq!(refused.tenant(), Some(&bench.harbour));
        }
    }
    let mut wishes = request(Method::GET, Some(&owner), "/patients?tenant=meadow&clinic_id=meadow");
    for name in ["x-tenant", "x-tenant-id", "x-clinic-id", "x-forwarded-host", "x-original-host"] {
        wishes.headers_mut().insert(name, HeaderValue::from_static("meadow"));
    }
    wishes.headers_mut().insert("forwarded", HeaderValue::from_static("host=meadow.clinic.example"));
    let reply = send(&service, wishes).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "the harbour has no patient");
}

#[tokio::test]
async fn credentials_that_are_not_exactly_one_bearer_token_are_401() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    let eve = bench.user(&bench.harbour, "intern").await;
    let good = format!("Bearer {}", owner.token);
    let cut = format!("Bearer {}", &owner.token[..owner.token.len() - 1]);
    let spaced = format!("Bearer  {}", owner.token);
    let unsigned = format!("Bearer {}.", owner.token.rsplit_once('.').unwrap().0);
    let other = format!("Bearer {}", eve.token);
    for (name, values) in [
        ("two, the same", vec![&*good, &*good]),
        ("two, the first one good", vec![&*good, &*other]),
        ("two, the last one good", vec!["Basic eDp5", &*good]),
        ("two in one header", vec![&*format!("{good}, {good}").leak()]),
        ("another scheme", vec!["Basic eDp5"]),
        ("no scheme", vec![&*owner.token]),
        ("no token", vec!["Bearer "]),
        ("empty", vec![""]),
        ("two spaces", vec![&*spaced]),
        ("cut short", vec![&*cut]),
        ("without its signature", vec![&*unsigned]),
        ("nonsense", vec!["Bearer nonsense"]),
    ] {
        // The public route is no way round: credentials that are sent are checked.
        for path in ["/patients", "/healthz"] {
            let mut request = request(Method::GET, None, path);
            for value in &values {
                request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let reply = send(&service, request).await;
            reply.is_problem(401);
            assert!(reply.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")), "{name}");
        }
    }
    // What a header may hold and a token may not, also behind a good token.
    for bytes in [
        format!("{good} x").into_bytes(),
        format!("{good}\t").into_bytes(),
        format!("{good}é").into_bytes(),
        [good.as_bytes(), b"\xff"].concat(),
    ] {
        let mut request = request(Method::GET, None, "/patients");
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_bytes(&bytes).unwrap());
        send(&service, request).await.is_problem(401);
    }
    let mut shouting = request(Method::GET, None, "/patients");
    shouting
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(&good.replace("Bearer", "BEARER")).unwrap());
    assert_eq!(send(&service, shouting).await.status, 200, "a scheme has no case (RFC 9110 §11.1)");
}

#[tokio::test]
async fn a_token_expires_while_the_path_watches_the_clock() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    // Ten minutes of life, five seconds of leeway.
    bench.clock.advance(Duration::from_secs(604));
    assert_eq!(get(&service, &owner, "/patients").await.status, 200);
    bench.clock.advance(Duration::from_secs(1));
    get(&service, &owner, "/patients").await.is_problem(401);
}

#[tokio::test]
async fn a_client_names_neither_its_request_id_nor_its_address() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    let mut spoofed = request(Method::GET, Some(&owner), "/patients");
    spoofed.headers_mut().insert("x-request-id", HeaderValue::from_static(CANARY));
    spoofed.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
    let (reply, records) = bench.records_of(send(&service, spoofed)).await;
    let id = reply.header("x-request-id").expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(records[0].request_id(), Some(id));
    assert_eq!(records[0].peer(), Some([192, 0, 2, 1].into()));
}

// proves GLM-27 for the whole path
#[tokio::test]
async fn a_peer_beyond_its_quota_is_429_whatever_else_is_wrong_with_its_request() {
    let bench = Bench::with(Setup { peer_quota: quota(3), ..Setup::default() }).await;
    let service = bench.serve(|router| router);
    for left in ["2", "1", "0"] {
        let reply = send(&service, request(Method::GET, None, "/healthz")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"peer\";q=3;w=60"));
        assert!(
            reply.header("ratelimit").unwrap().starts_with(&format!("\"peer\";r={left};t=")),
            "{:?}",
            reply.headers
        );
    }
    let mut wrong = request(Method::GET, None, "/healthz");
    wrong.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example"));
    wrong.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer nonsense"));
    let refused = send(&service, wrong).await;
    refused.is_problem(429);
    assert_eq!(refused.header("retry-after"), Some("20"));
    assert_eq!(refused.header("ratelimit"), Some("\"peer\";r=0;t=20"));
    let mut neighbour = request(Method::GET, None, "/healthz");
    neighbour.extensions_mut().insert(ConnInfo::new(SocketAddr::from(([192, 0, 2, 2], 1)), None));
    assert_eq!(send(&service, neighbour).await.status, 200);
    // Both sides of the edge.
    bench.clock.advance(Duration::from_secs(20) - Duration::from_nanos(1));
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.status, 429);
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_principal_beyond_its_quota_is_429_from_every_address_and_nobody_else_is() {
    let bench = Bench::with(Setup { principal_quota: quota(2), ..Setup::default() }).await;
    let service = bench.serve(|router| router);
    let greedy = bench.user(&bench.harbour, "owner").await;
    let other = bench.user(&bench.harbour, "owner").await;
    let neighbour = bench.user(&bench.meadow, "owner").await;
    let from = |n: u8| {
        let mut request = request(Method::GET, Some(&greedy), "/patients");
        request.extensions_mut().insert(ConnInfo::new(SocketAddr::from(([192, 0, 2, n], 1)), None));
        request
    };
    for n in 1..=2 {
        let reply = send(&service, from(n)).await;
        assert_eq!(reply.status, 200);
        let policies: Vec<_> = reply.headers.get_all("ratelimit-policy").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(policies, ["\"peer\";q=100000;w=60, \"principal\";q=2;w=60"]);
    }
    let (reply, records) = bench.records_of(send(&service, from(3))).await;
    reply.is_problem(429);
    assert_eq!(reply.header("retry-after"), Some("30"));
    // Counted and not written one by one: a user must not be able to fill the ledger with what he is refused.
    assert!(records.is_empty());
    assert_eq!(get(&service, &other, "/patients").await.status, 200);
    assert_eq!(get(&service, &neighbour, "/patients").await.status, 200);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_on_every_route_whether_or_not_it_says_how_long_it_is() {
    const MOST: usize = 1024;
    let bench = Bench::new().await;
    // The limit holds for what was mounted before it was set and for what comes after.
    let service = bench.serve(|router| {
        let echo = async |text: Json<String>| text;
        router
            .public_post("/before", "for the test", echo)
            .post("/guarded", async |_: Grant<ReadNotes>, text: Json<String>| text)
            .with_body_limit(MOST)
            .public_post("/after", "for the test", echo)
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    for path in ["/before", "/guarded", "/after"] {
        for (length, status) in [(MOST, 200), (MOST + 1, 413), (100 * MOST, 413)] {
            let text = format!("\"{}\"", "x".repeat(length - 2));
            assert_eq!(post(&service, &owner, path, &text).await.status, status, "{path}: {length} bytes");
            // In pieces, without a length.
            let (feed, pump) = mpsc::unbounded_channel();
            text.as_bytes().chunks(100).for_each(|piece| feed.send(Bytes::copy_from_slice(piece)).expect("taken"));
            drop(feed);
            let mut streamed = request(Method::POST, Some(&owner), path);
            streamed.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
            *streamed.body_mut() = Body::new(Pump(pump));
            assert_eq!(send(&service, streamed).await.status, status, "{path}: {length} bytes in pieces");
        }
    }
}
