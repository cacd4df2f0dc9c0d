//! The path of a request, attacked from both ends: what comes in, and what must not go out.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt, service_fn};
use tower_ward::{
    access::{Grant, danger_grant},
    audit::{End, Kind, LedgerOptions, Outcome, Record, verify},
    axum::Path,
    db::Change,
    id::{SubjectId, UserId},
    problem::Problem,
    quota::Quota,
    stack::{ConnInfo, Visit},
};

use crate::support::{
    Bench, CANARY, Reply, Setup, get,
    ledger::records_on_disk,
    model::{ReadNotes, notes_of},
    of_kind, peer, post, request, send,
};

fn quota(burst: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(burst).unwrap())
}

fn small_segments() -> Setup {
    Setup { ledger: LedgerOptions::new().with_segment_size(128 * 1024), ..Setup::default() }
}

/// A body that the test feeds.
struct Pump(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Pump {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[track_caller]
fn the_end(records: &[Record]) -> End {
    let closed = of_kind(records, Kind::Closed);
    assert_eq!(closed.len(), 1, "{records:?}");
    closed[0].end().expect("an end")
}

// ── What comes in ──────────────────────────────────────────────────────────────────────────────────────────────────

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
        assert_eq!(policies, ["\"peer\";q=100000;w=60", "\"principal\";q=2;w=60"]);
    }
    let (reply, records) = bench.records_of(send(&service, from(3))).await;
    reply.is_problem(429);
    assert_eq!(reply.header("retry-after"), Some("30"));
    // Counted and not written one by one: a user must not be able to fill the ledger with what he is refused.
    assert!(records.is_empty());
    assert_eq!(get(&service, &other, "/patients").await.status, 200);
    assert_eq!(get(&service, &neighbour, "/patients").await.status, 200);
}

// ── What must not go out ───────────────────────────────────────────────────────────────────────────────────────────

// Invariant 2, for what leaves by another way than the response.
#[tokio::test]
async fn an_outbound_call_is_not_made_before_the_record_of_what_it_sends_is_durable() {
    let bench = Bench::with(small_segments()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = bench.serve(|router| {
        router.post("/send/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let counted = Arc::clone(&counted);
            async move {
                let _chart = grant.subject(id).await?;
                grant.trail().settled().await?;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Problem>("sent")
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/send/{patient}");
    let opened_before = opened_of(&bench.records().await, patient);
    let blocked = bench.block_ledger().await;
    let mut sent = 0;
    loop {
        let reply = post(&service, &owner, &path, "").await;
        if reply.status != 200 {
            reply.is_problem(503);
            break;
        }
        sent += 1;
        assert!(sent < 1_000, "the segment never ran full");
    }
    assert_eq!(calls.load(Ordering::SeqCst), sent, "who was refused has sent nothing");
    blocked.unblock(bench.ward.ledger()).await;
    assert!(opened_of(&bench.records().await, patient) - opened_before >= sent, "each call has its record");
}

fn opened_of(records: &[tower_ward::audit::Record], patient: SubjectId) -> usize {
    records.iter().filter(|r| r.kind() == tower_ward::audit::Kind::Opened && r.subjects().contains(&patient)).count()
}

// proves CLA-17, and "no byte leaves before its record is durable"
#[tokio::test]
async fn while_the_ledger_cannot_write_nothing_that_a_handler_opened_is_sent() {
    let bench = Bench::with(small_segments()).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.get("/read/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (db, counted) = (db.clone(), Arc::clone(&counted));
            async move {
                let chart = grant.subject(id).await?;
                let notes = notes_of(&db, &chart).await?;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Problem>(notes.join(""))
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let desk = bench.user(&bench.harbour, "receptionist").await;
    let path = format!("/read/{patient}");
    assert_eq!(get(&service, &owner, &path).await.body, CANARY);
    // The record that finds the segment full is a door's or, as often, the one that closes a request: then the next
    // door refuses already, and it is tried again.
    let (blocked, before, sent) = loop {
        let blocked = bench.block_ledger().await;
        let (mut sent, before) = (0, opened.load(Ordering::SeqCst));
        let withheld = loop {
            let reply = get(&service, &owner, &path).await;
            if reply.status != 200 {
                break reply;
            }
            sent += 1;
            assert!(sent < 1_000, "the segment never ran full");
        };
        withheld.is_problem(503);
        if opened.load(Ordering::SeqCst) - before == sent + 1 {
            break (blocked, before, sent);
        }
        assert_eq!(opened.load(Ordering::SeqCst) - before, sent, "nobody reads more than what is sent and one");
        blocked.unblock(bench.ward.ledger()).await;
    };
    // From now on the door itself refuses, and what opens none waits for no disk.
    get(&service, &owner, &path).await.is_problem(503);
    assert_eq!(opened.load(Ordering::SeqCst) - before, sent + 1);
    post(&service, &owner, &format!("/patients/{patient}/notes"), "\"x\"").await.is_problem(503);
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.body, "ok");
    get(&service, &desk, &path).await.is_problem(403);
    get(&service, &owner, "/nowhere").await.is_problem(404);

    blocked.unblock(bench.ward.ledger()).await;
    assert_eq!(get(&service, &owner, &path).await.body, CANARY);
    let records = bench.records().await;
    let failed: Vec<_> = records.iter().filter(|r| r.end() == Some(End::Failed)).collect();
    assert_eq!(failed.len(), 1, "the withheld answer closed its trail");
    assert_eq!(failed[0].status(), Some(503));
    let folder = bench.close().await;
    verify(&folder.path().join("ledger")).expect("whole");
}

#[tokio::test]
async fn a_full_queue_refuses_doors_and_only_doors() {
    let slots = NonZeroUsize::new(16).unwrap();
    let bench = Bench::with(Setup {
        ledger: LedgerOptions::new().with_segment_size(1 << 20).with_queue(slots),
        ..Setup::default()
    })
    .await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    // Requests that opened a door and do not end keep a place for their end.
    let mut open = Vec::new();
    loop {
        let (trail, closer) = bench.trail();
        let event = tower_ward::audit::Event::new(tower_ward::audit::Action::Configuration);
        if trail.record(event).is_err() {
            break;
        }
        trail.settled().await.expect("durable");
        open.push(closer);
    }
    assert!(open.len() >= 15, "{}", open.len());
    get(&service, &owner, &path).await.is_problem(503);
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.status, 200);
    drop(open);
    let mut tries = 0;
    while get(&service, &owner, &path).await.status != 200 {
        tries += 1;
        assert!(tries < 1_000, "the queue never had room again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_opens_no_door_writes_nothing() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let (_, records) = bench
        .records_of(async {
            for path in ["/healthz", "/nowhere", "/patients"] {
                let _ = send(&service, request(Method::GET, None, path)).await;
            }
        })
        .await;
    assert!(records.is_empty(), "refusals of strangers are counted, not written one by one: {records:?}");
    let folder = bench.close().await;
    let counted = records_on_disk(&folder.path().join("ledger"));
    let counted: Vec<_> = counted.iter().filter(|r| r.count().is_some()).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!((counted[0].reason(), counted[0].count()), (Some("no_credentials"), Some(1)));
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_in_full_dress_with_a_closed_record() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router
            .get("/panic/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
                let _chart = grant.subject(id).await?;
                if true {
                    panic!("{CANARY}");
                }
                Ok::<_, Problem>("never")
            })
            .public_get("/panic", "panics", || async {
                if true {
                    panic!("{CANARY}")
                }
            })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = bench.records_of(get(&service, &owner, &format!("/panic/{patient}"))).await;
    reply.is_problem(500);
    assert_eq!(of_kind(&records, Kind::Opened).len(), 1);
    assert_eq!(the_end(&records), End::Panicked);
    assert_eq!(of_kind(&records, Kind::Closed)[0].status(), Some(500));
    send(&service, request(Method::GET, None, "/panic")).await.is_problem(500);
    // The service is as good as before.
    assert_eq!(get(&service, &owner, &format!("/patients/{patient}/notes")).await.status, 200);
}

#[tokio::test]
async fn a_plain_service_that_panics_before_its_future_is_a_500_too() {
    let bench = Bench::new().await;
    let inner =
        service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> { panic!("{CANARY}") });
    let service = bench.ward.around(inner);
    send(&service, request(Method::GET, None, "/")).await.is_problem(500);
}

#[tokio::test]
async fn a_request_that_is_dropped_half_way_closes_its_record() {
    let bench = Bench::new().await;
    let reached = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&reached);
    let service = bench.serve(|router| {
        router.get("/slow/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let told = Arc::clone(&told);
            async move {
                let _chart = grant.subject(id).await?;
                told.notify_one();
                std::future::pending::<Result<&'static str, Problem>>().await
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let slow = || request(Method::GET, Some(&owner), &format!("/slow/{patient}"));
    let ((), records) = bench
        .records_of(async {
            let running = tokio::spawn(service.clone().oneshot(slow()));
            reached.notified().await;
            running.abort();
            assert!(running.await.is_err_and(|e| e.is_cancelled()));
        })
        .await;
    assert_eq!(of_kind(&records, Kind::Opened).len(), 1);
    assert_eq!(the_end(&records), End::Cancelled);
    // Never polled: nothing was opened, and nothing is written.
    let ((), records) = bench.records_of(async { drop(service.clone().call(slow())) }).await;
    assert!(records.is_empty(), "{records:?}");
}

#[tokio::test]
async fn a_request_beyond_the_deadline_is_503_and_its_transaction_rolls_back() {
    let bench = Bench::with(Setup { deadline: Duration::from_millis(300), ..Setup::default() }).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.get("/slow/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let db = db.clone();
            async move {
                let chart = grant.subject(id).await?;
                let _tx = db.change(&chart, Change::import("notes")).await?;
                std::future::pending::<Result<&'static str, Problem>>().await
            }
        })
    });
    let (reply, records) = bench.records_of(get(&service, &owner, &format!("/slow/{patient}"))).await;
    reply.is_problem(503);
    assert_eq!(the_end(&records), End::Cancelled);
    let outcomes: Vec<_> = of_kind(&records, Kind::Outcome).iter().map(|record| record.outcome()).collect();
    assert_eq!(outcomes, [Some(Outcome::RolledBack)]);
    // The one connection that writes is free again.
    let reply = post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_closes_its_record_with_what_left() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router.get("/two/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let _chart = grant.subject(id).await?;
            let (feed, pump) = mpsc::unbounded_channel();
            feed.send(Bytes::from_static(b"first")).unwrap();
            std::mem::forget(feed);
            Ok::<_, Problem>(Body::new(Pump(pump)))
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let ((), records) = bench
        .records_of(async {
            let response =
                service.clone().oneshot(request(Method::GET, Some(&owner), &format!("/two/{patient}"))).await.unwrap();
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().data_ref().unwrap(), "first");
        })
        .await;
    assert_eq!(the_end(&records), End::Aborted);
    assert_eq!(of_kind(&records, Kind::Closed)[0].bytes(), Some(5));
}

#[tokio::test]
async fn each_frame_of_a_stream_waits_for_the_record_of_what_it_shows() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router.get("/stream", |grant: Grant<ReadNotes>, body: String| async move {
            let people: Vec<SubjectId> = serde_json::from_str(&body).expect("ids");
            let (feed, pump) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                for id in people {
                    let Ok(chart) = grant.subject(id).await else { return };
                    if feed.send(Bytes::from(chart.subject().to_string())).is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
            Body::new(Pump(pump))
        })
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(bench.patient(&bench.harbour, "Ada", CANARY).await);
    }
    let mut request = request(Method::GET, Some(&owner), "/stream");
    *request.body_mut() = Body::from(serde_json::to_string(&people).unwrap());
    let response = service.clone().oneshot(request).await.expect("an answer");
    let mut body = response.into_body();
    for patient in &people {
        let frame = body.frame().await.expect("a frame").expect("whole");
        assert_eq!(frame.data_ref().unwrap(), patient.to_string().as_bytes());
        let records = records_on_disk(&bench.ledger_dir());
        let opened = records
            .iter()
            .any(|r| r.kind() == Kind::Opened && r.user() == Some(owner.id) && r.subjects() == [*patient]);
        assert!(opened, "the frame came before its record");
    }
    assert!(body.frame().await.is_none());
    let closed = bench.records().await.into_iter().rfind(|r| r.kind() == Kind::Closed).expect("closed");
    assert_eq!((closed.end(), closed.bytes()), (Some(End::Completed), Some(8 * 36)));
}

#[tokio::test]
async fn a_stream_is_cut_off_where_the_ledger_fails() {
    let bench = Bench::with(small_segments()).await;
    let service = bench.serve(|router| {
        router.get("/stream/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let (feed, pump) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                for n in 0..10_000 {
                    // Whoever waits for nothing at the door must still be held back behind it.
                    if grant.subject(id).await.is_err() {
                        let _ = feed.send(Bytes::from_static(CANARY.as_bytes()));
                        return;
                    }
                    if feed.send(Bytes::from(format!("{n};"))).is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            });
            Body::new(Pump(pump))
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let blocked = bench.block_ledger().await;
    let reply = get(&service, &owner, &format!("/stream/{patient}")).await;
    assert_eq!((reply.status, reply.whole), (200, false), "{}", reply.body);
    assert!(!reply.body.contains(CANARY), "{}", reply.body);
    let sent = reply.body.matches(';').count();
    blocked.unblock(bench.ward.ledger()).await;
    let records = bench.records().await;
    let opened = records.iter().filter(|r| r.kind() == Kind::Opened && r.user() == Some(owner.id)).count();
    assert!(opened > sent, "{sent} frames left, {opened} doors are recorded: one more was opened and withheld");
    assert_eq!(records.iter().filter(|r| r.end() == Some(End::Failed)).count(), 1);
}

#[tokio::test]
async fn a_head_request_ends_its_trail_without_a_body() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let head = request(Method::HEAD, Some(&owner), &format!("/patients/{patient}/notes"));
    let response = service.clone().oneshot(head).await.unwrap();
    // A server does not poll this body at all.
    let records = bench.records().await;
    let closed = records.iter().rfind(|r| r.kind() == Kind::Closed).expect("closed");
    assert_eq!((closed.end(), closed.status(), closed.bytes().unwrap_or(0)), (Some(End::Completed), Some(200), 0));
    drop(response);
}

#[tokio::test]
async fn a_handler_cannot_undress_its_response() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        let naked = || async {
            [
                ("strict-transport-security", "max-age=0"),
                ("content-security-policy", "default-src *"),
                ("x-request-id", CANARY),
                ("server", CANARY),
                ("cache-control", "public, max-age=600"),
            ]
        };
        router.public_get("/naked", "tries to undress", naked)
    });
    let reply = send(&service, request(Method::GET, None, "/naked")).await;
    assert_eq!(reply.status, 200);
    reply.is_dressed();
    assert!(!format!("{:?}", reply.headers).contains(CANARY), "{:?}", reply.headers);
    assert_eq!(reply.header("cache-control"), Some("no-store, max-age=0"));
    assert!(reply.header("strict-transport-security").is_some_and(|v| v.starts_with("max-age=63072000")));
}

#[tokio::test]
async fn an_upgrade_that_no_trail_would_cover_is_refused() {
    let bench = Bench::new().await;
    let service =
        bench.serve(|router| router.get("/socket", |_: Grant<ReadNotes>| async { StatusCode::SWITCHING_PROTOCOLS }));
    let owner = bench.user(&bench.harbour, "owner").await;
    get(&service, &owner, "/socket").await.is_problem(500);
}

/// What a nested stack would do to a response, and what a cache would: hand it out under another request's trail.
#[tokio::test]
async fn a_response_made_under_another_requests_trail_is_withheld() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let routes = bench.serve(|router| router);
    let inner = service_fn(move |request: Request<Body>| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.oneshot(request).await?.map(Body::new)) }
    });
    let nested = bench.ward.around(inner);
    let (reply, records) = bench
        .records_of(send(&nested, request(Method::GET, Some(&owner), &format!("/patients/{patient}/notes"))))
        .await;
    reply.is_problem(500);
    let refused = of_kind(&records, Kind::Refused);
    assert_eq!((refused.len(), refused[0].reason()), (1, Some("foreign_trail")));
    // A public route's as well: whoever opened something there did it under the inner trail.
    send(&nested, request(Method::GET, None, "/healthz")).await.is_problem(500);
}

/// A middleware that puts one request's extensions on the next one, in front of the ward's own routes.
#[tokio::test]
async fn a_visit_put_into_a_later_request_is_replaced_by_that_requests_own() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let stolen: Arc<Mutex<Option<Visit>>> = Arc::default();
    let kept = Arc::clone(&stolen);
    let service = bench.serve(|router| {
        let keep = move |visit: Visit| async move { drop(kept.lock().unwrap().replace(visit)) };
        router.public_get("/keep", "keeps the visit", keep)
    });
    assert_eq!(get(&service, &owner, "/keep").await.status, 200);
    let mut theft = request(Method::GET, None, &format!("/patients/{patient}/notes"));
    theft.extensions_mut().insert(stolen.lock().unwrap().take().expect("kept"));
    send(&service, theft).await.is_problem(401);
}

// ── Without axum ───────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn the_path_works_around_any_service_over_http() {
    let bench = Bench::with(small_segments()).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (keyring, clock, db) = (bench.keyring.clone(), bench.shared_clock(), bench.db.clone());
    let inner = service_fn(move |request: Request<Body>| {
        let (keyring, clock, db) = (keyring.clone(), clock.clone(), db.clone());
        async move {
            let visit = request.extensions().get::<Visit>().expect("the ward put it there").clone();
            let Some(principal) = visit.principal().filter(|p| p.role() == "owner") else {
                return Ok::<_, Infallible>(Problem::forbidden().into_response::<Full<Bytes>>());
            };
            let read = async {
                let (user, tenant): (UserId, _) = (principal.user(), principal.tenant().clone());
                let grant: Grant<ReadNotes> =
                    danger_grant(visit.trail(), &keyring, &clock, user, tenant, "our own rules")?;
                let chart = grant
                    .subject(request.uri().path()[1..].parse::<SubjectId>().map_err(|_| Problem::not_found())?)
                    .await?;
                Ok::<_, Problem>(notes_of(&db, &chart).await?.concat())
            };
            Ok(match read.await {
                Ok(notes) => Response::new(Full::from(notes)),
                Err(problem) => problem.into_response(),
            })
        }
    });
    let service = bench.ward.around(inner);
    let path = format!("/{patient}");
    let read = |method| send(&service, request(method, Some(&owner), &path));
    let (reply, records) = bench.records_of(read(Method::GET)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, CANARY));
    reply.is_dressed();
    assert_eq!(of_kind(&records, Kind::Opened)[0].subjects(), [patient]);
    assert_eq!(the_end(&records), End::Completed);
    let (_, records) = bench.records_of(read(Method::HEAD)).await;
    assert_eq!(the_end(&records), End::Completed);
    send(&service, request(Method::GET, None, &path)).await.is_problem(403);
    let mut misdirected = request(Method::GET, Some(&owner), &path);
    misdirected.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example"));
    send(&service, misdirected).await.is_problem(421);

    let blocked = bench.block_ledger().await;
    let withheld: Reply = loop {
        let reply = read(Method::GET).await;
        if reply.status != 200 {
            break reply;
        }
    };
    withheld.is_problem(503);
    blocked.unblock(bench.ward.ledger()).await;
    assert_eq!(read(Method::GET).await.status, 200);
}

#[tokio::test]
async fn an_inner_service_that_fails_ends_its_trail_as_failed() {
    let bench = Bench::new().await;
    let (keyring, clock, harbour) = (bench.keyring.clone(), bench.shared_clock(), bench.harbour.clone());
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let inner = service_fn(move |request: Request<Body>| {
        let (keyring, clock, harbour) = (keyring.clone(), clock.clone(), harbour.clone());
        async move {
            let visit = request.extensions().get::<Visit>().expect("a visit");
            let grant: Grant<ReadNotes> =
                danger_grant(visit.trail(), &keyring, &clock, UserId::from_bytes([1; 16]), harbour, "our own rules")
                    .unwrap();
            let _ = grant.subject(patient).await.unwrap();
            Err::<Response<Body>, _>(std::io::Error::other("no answer"))
        }
    });
    let service = bench.ward.around(inner);
    let (answer, records) = bench.records_of(service.oneshot(request(Method::GET, None, "/"))).await;
    assert!(answer.is_err());
    assert_eq!(the_end(&records), End::Failed);
}

#[test]
fn conn_info_says_what_it_was_given() {
    assert_eq!(peer().peer(), SocketAddr::from(([192, 0, 2, 1], 40_000)));
    assert_eq!(ConnInfo::new(peer().peer(), Some("x.example".into())).server_name(), Some("x.example"));
}
