//! Responses and bodies that wait for their records.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::audit::{
    AuditFuture, AuditLayer, Event, Failure, Method, TrailBody, UpgradeHasTrail, future::UsedTrail,
    ledger::writer::Writer, trail::Closer, verify,
};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// A ledger whose writer stands still until it is started.
fn still() -> (TempDir, Ledger, Writer) {
    let dir = TempDir::new().unwrap();
    let (ledger, writer) = Ledger::prepare(dir.path(), options(), clock().shared()).unwrap();
    (dir, ledger, writer)
}

fn respond(failure: Failure) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(failure.to_string()));
    *response.status_mut() = failure.status();
    response
}

fn ok(text: &'static str) -> Answer {
    Ok(Response::new(Full::from(text)))
}

async fn text<B: Body<Data = Bytes>>(response: Response<TrailBody<B>>) -> String
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Gives the ledger's writer time to do what it must not do.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn no_response_leaves_before_its_record_is_durable() {
    let (dir, ledger, writer) = still();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        trail.door(door(&[subject(1)])).unwrap();
        ok("secret")
    };
    let mut future = Box::pin(AuditFuture::new(handler, closer, respond));
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut future).await.is_err());
    ledger.start(writer).unwrap();
    let response = future.await.unwrap();
    assert_eq!(ledger.head().size(), 1);
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, "secret"));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed completed 200 6"]);
}

/// An inner service's error reaches the client too, by whatever makes a response of it.
#[tokio::test]
async fn no_error_leaves_before_its_record_is_durable() {
    let (dir, ledger, writer) = still();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        trail.door(door(&[subject(1)])).unwrap();
        Err::<Response<Full<Bytes>>, _>("no such note: secret")
    };
    let mut future = Box::pin(AuditFuture::new(handler, closer, respond));
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut future).await.is_err());
    ledger.start(writer).unwrap();
    assert_eq!(future.await.unwrap_err(), "no such note: secret");
    assert_eq!(ledger.head().size(), 1);
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed failed"]);
}

#[tokio::test]
async fn an_error_whose_record_cannot_be_written_is_dropped_and_answered_for() {
    for before in [true, false] {
        let (_dir, ledger, writer) = still();
        let (trail, closer) = trail(&ledger, "clinic-a");
        let broken = ledger.clone();
        let handler = async move {
            trail.door(door(&[subject(1)])).unwrap();
            if before {
                broken.fail_for_test();
            }
            Err::<Response<Full<Bytes>>, _>("no such note: secret")
        };
        let (answer, ()) = tokio::join!(AuditFuture::new(handler, closer, respond), async {
            a_while().await;
            ledger.fail_for_test();
        });
        let response = answer.expect("the error is dropped");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text(response).await, Failure::Unrecorded.to_string());
        drop(writer);
    }
}

#[tokio::test]
async fn a_response_without_a_door_waits_for_nothing() {
    let (_dir, ledger, writer) = still();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        trail.refuse(crate::audit::Refusal { reason: "not_assigned", ..Default::default() });
        ok("no")
    };
    let response = AuditFuture::new(handler, closer, respond).await.unwrap();
    assert_eq!(text(response).await, "no");
    drop(writer);
}

/// The writer has gone, as it has when the disk fails: the handler's answer is thrown away.
#[tokio::test]
async fn what_cannot_be_recorded_is_not_sent() {
    let (_dir, ledger, writer) = still();
    let (one, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        one.door(door(&[subject(1)])).unwrap();
        ok("secret")
    };
    let waiting = tokio::spawn(AuditFuture::new(handler, closer, respond));
    a_while().await;
    ledger.fail_for_test();
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!text(response).await.contains("secret"));

    let (two, closer) = trail(&ledger, "clinic-a");
    let refused = AuditFuture::new(
        async move {
            Ok::<_, Infallible>(
                two.door(door(&[])).map_or_else(|_| respond(Failure::Unrecorded), |()| ok("secret").unwrap()),
            )
        },
        closer,
        respond,
    );
    assert_eq!(refused.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(writer);
}

/// Panics when it is polled, and again when what is left of it is dropped.
struct Panics(Trail);

impl Future for Panics {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        self.0.door(door(&[])).unwrap();
        panic!("secret");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("again");
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_and_a_record() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let response = AuditFuture::new(Panics(trail), closer, respond).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text(response).await.contains("secret"));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed panicked 500 0"]);
}

#[tokio::test]
async fn a_dropped_request_closes_its_record() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        trail.door(door(&[])).unwrap();
        std::future::pending::<()>().await;
        ok("never")
    };
    let future = AuditFuture::new(handler, closer, respond);
    assert!(tokio::time::timeout(Duration::from_millis(20), future).await.is_err());
    // Never polled: the handler did not run, so there is nothing to record.
    let (_, closer) = ledger.begin(RequestFacts::new());
    drop(AuditFuture::new(std::future::pending::<Answer>(), closer, respond));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed cancelled"]);
}

#[tokio::test]
async fn a_service_error_closes_as_failed() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let handler = async move {
        trail.door(door(&[])).unwrap();
        Err::<Response<Full<Bytes>>, _>("broken")
    };
    assert_eq!(AuditFuture::new(handler, closer, respond).await.err(), Some("broken"));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed failed"]);
}

/// A replayed extension map once released a response before its record.
#[tokio::test]
async fn a_response_made_under_another_trail_is_withheld() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let (victim, victims_closer) = trail(&ledger, "clinic-a");
    let (mine, closer) = trail(&ledger, "clinic-a");
    let marked = |id| {
        let mut response = ok("secret").unwrap();
        response.extensions_mut().insert(UsedTrail(id));
        async move { Ok::<_, Infallible>(response) }
    };
    let stolen = AuditFuture::new(marked(victim.id()), closer, respond).await.unwrap();
    assert_eq!(stolen.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text(stolen).await.contains("secret"));
    drop(mine);
    let own = AuditFuture::new(marked(victim.id()), victims_closer, respond).await.unwrap();
    assert_eq!(text(own).await, "secret");
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["refused foreign_trail 500"]);
}

#[tokio::test]
async fn an_upgrade_needs_a_trail_of_its_own() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let rows = [
        (http::Method::GET, 101, false, 500),
        (http::Method::GET, 101, true, 101),
        (http::Method::CONNECT, 200, false, 500),
        (http::Method::CONNECT, 200, true, 200),
        (http::Method::CONNECT, 403, false, 403),
        (http::Method::GET, 200, false, 200),
    ];
    for (method, status, own, expected) in rows {
        let (trail, closer) = ledger.begin(RequestFacts::new().with_method(&method));
        trail.set_actor(actor("clinic-a"));
        let mut response = ok("").unwrap();
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if own {
            response.extensions_mut().insert(UpgradeHasTrail);
        }
        let sent = AuditFuture::new(async { Ok::<_, Infallible>(response) }, closer, respond).await.unwrap();
        assert_eq!(sent.status(), expected, "{method} {status} {own}");
    }
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["refused upgrade 500"; 2]);
}

/// A body of frames, each made when it is asked for.
struct Frames<F> {
    left: usize,
    make: F,
    hint: Option<u64>,
}

impl<F: FnMut(usize) -> Result<Bytes, &'static str> + Unpin> Body for Frames<F> {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let left = self.left;
        Poll::Ready(Some((self.make)(left).map(Frame::data)))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.hint.map_or_else(Default::default, http_body::SizeHint::with_exact)
    }
}

fn send<B: Body>(closer: Closer, body: B) -> Response<TrailBody<B>> {
    TrailBody::wrap(Response::new(body), closer)
}

#[tokio::test]
async fn no_byte_of_a_stream_leaves_before_the_record_of_its_door() {
    let (dir, ledger, writer) = still();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let make = move |left| {
        trail.door(door(&[subject(left as u8)])).unwrap();
        Ok(Bytes::from_static(b"secret"))
    };
    let mut body = send(closer, Frames { left: 3, make, hint: None }).into_body();
    assert!(tokio::time::timeout(Duration::from_millis(30), body.frame()).await.is_err());
    assert!(!body.is_end_stream());
    ledger.start(writer).unwrap();
    for doors in 1..=3 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 6);
        assert!(ledger.head().size() >= doors);
    }
    assert!(body.frame().await.is_none());
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "opened", "opened", "closed completed 200 18"]);
}

#[tokio::test]
async fn a_stream_is_cut_when_its_record_cannot_be_written() {
    let (_dir, ledger, writer) = still();
    let (trail, closer) = trail(&ledger, "clinic-a");
    let doors = trail.clone();
    let make = move |left| {
        if left < 2 {
            doors.door(door(&[])).unwrap();
        }
        Ok(Bytes::from_static(b"secret"))
    };
    let mut body = send(closer, Frames { left: 3, make, hint: None }).into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let (cut, ()) = tokio::join!(body.frame(), async {
        a_while().await;
        ledger.fail_for_test();
    });
    assert_eq!(cut.unwrap().unwrap_err().to_string(), "the record of this access could not be written");
    assert!(trail.is_closed());
    drop(writer);
}

#[tokio::test]
async fn a_body_that_is_still_being_sent_at_its_trails_deadline_fails() {
    let dir = TempDir::new().unwrap();
    let clock = clock();
    let options = options().with_trail_deadline(Duration::from_secs(5));
    let ledger = Ledger::open(dir.path(), options, clock.shared()).unwrap();
    let (trail, closer) = trail(&ledger, "clinic-a");
    trail.door(door(&[])).unwrap();
    let frames = Frames { left: 9, make: |_| Ok(Bytes::from_static(b"abc")), hint: None };
    let mut body = send(closer, frames).into_body();
    clock.advance(Duration::from_nanos(4_999_999_999));
    assert!(body.frame().await.unwrap().is_ok());
    clock.advance(Duration::from_nanos(1));
    let cut = body.frame().await.unwrap().unwrap_err();
    assert!(cut.is::<crate::audit::Overdue>(), "{cut}");
    assert!(body.frame().await.is_none(), "it sends nothing more");
    assert_eq!(ledger.seated(), 0);
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["opened", "closed failed 200 3"]);
}

#[tokio::test]
async fn the_end_of_a_body_ends_its_trail() {
    let (dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let opened = || {
        let (trail, closer) = trail(&ledger, "clinic-a");
        trail.door(door(&[])).unwrap();
        (trail, closer)
    };
    let frames = |hint| Frames { left: 2, make: |_| Ok(Bytes::from_static(b"abc")), hint };

    // Polled to the end.
    let (trail, closer) = opened();
    text(send(closer, frames(None))).await;
    assert!(trail.is_closed());
    // A server that stops at the length, and asks nothing more.
    let (trail, closer) = opened();
    let mut body = send(closer, frames(Some(6))).into_body();
    body.frame().await;
    assert!(!trail.is_closed());
    body.frame().await;
    assert!(trail.is_closed());
    drop(body);
    let (trail, closer) = opened();
    let response = Response::builder().header("content-length", "3").body(frames(None)).unwrap();
    let mut body = TrailBody::wrap(response, closer).into_body();
    body.frame().await;
    assert!(trail.is_closed());
    drop(body);
    // `is_end_stream` after the only frame.
    let (trail, closer) = opened();
    let mut body = send(closer, Full::new(Bytes::from_static(b"abcd"))).into_body();
    body.frame().await;
    assert!(trail.is_closed());
    drop(body);
    // Dropped in the middle.
    let (trail, closer) = opened();
    let mut body = send(closer, frames(None)).into_body();
    body.frame().await;
    drop(body);
    assert!(trail.is_closed());
    // Broken in the middle.
    let (trail, closer) = opened();
    let make = |left| if left == 0 { Err("broken") } else { Ok(Bytes::from_static(b"ab")) };
    let mut body = send(closer, Frames { left: 2, make, hint: None }).into_body();
    body.frame().await;
    assert!(body.frame().await.unwrap().is_err());
    assert!(trail.is_closed());
    // Nothing to send.
    let (trail, closer) = opened();
    let _kept = send(closer, Empty::<Bytes>::new());
    assert!(trail.is_closed());
    drop(body);
    ledger.shutdown().await;
    let ends: Vec<_> = words(dir.path()).into_iter().filter(|w| w.starts_with("closed")).collect();
    assert_eq!(
        ends,
        [
            "closed completed 200 6",
            "closed completed 200 6",
            "closed completed 200 3",
            "closed completed 200 4",
            "closed aborted 200 3",
            "closed failed 200 2",
            "closed completed 200 0",
        ],
    );
}

#[tokio::test]
async fn what_has_no_body_ends_at_once() {
    let (_dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    for (method, status, ends) in [
        (http::Method::HEAD, 200, true),
        (http::Method::GET, 204, true),
        (http::Method::GET, 304, true),
        (http::Method::GET, 200, false),
    ] {
        let (trail, closer) = ledger.begin(RequestFacts::new().with_method(&method));
        let mut response = Response::new(Full::new(Bytes::from_static(b"abc")));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let sent = TrailBody::wrap(response, closer);
        assert_eq!(trail.is_closed(), ends, "{method} {status}");
        drop(sent);
    }
}

#[tokio::test]
async fn trailers_pass() {
    let (_dir, ledger, writer) = still();
    ledger.start(writer).unwrap();
    let (_, closer) = ledger.begin(RequestFacts::new());
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x", "y".parse().unwrap());
    let sent = trailers.clone();
    let with_trailers = Full::new(Bytes::from_static(b"a")).with_trailers(async move { Some(Ok(sent)) });
    let collected = send(closer, with_trailers).into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
}

#[tokio::test]
async fn the_layer_alone_is_enough_for_the_ledger() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let mut service = AuditLayer::new(ledger.clone()).layer(service_fn(move |request: Request<()>| {
        let trail = request.extensions().get::<Trail>().unwrap().clone();
        *keep.lock().unwrap() = Some(trail.clone());
        if request.uri().path() == "/panic" {
            panic!("before there is a future");
        }
        async move {
            trail.record(Event::new(Action::Export).with_tenant(tenant("clinic-a")).add_subject(subject(1))).unwrap();
            ok("exported")
        }
    }));
    let facts = RequestFacts::new().with_peer([192, 0, 2, 1].into()).with_route("/export");
    let request = |path: &str| Request::post(path).extension(facts.clone()).body(()).unwrap();
    let response = service.ready().await.unwrap().call(request("/export")).await.unwrap();
    assert_eq!(ledger.head().size(), 1);
    assert_eq!(text(response).await, "exported");
    let kept = seen.lock().unwrap().take().unwrap();
    assert!(kept.record(Event::new(Action::Export)).is_err());
    let panicked = service.ready().await.unwrap().call(request("/panic")).await.unwrap();
    assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
    drop((panicked, seen, service));
    ledger.shutdown().await;
    assert_eq!(words(dir.path()), ["event", "closed completed 200 8"]);
    for record in records(dir.path()) {
        assert_eq!(
            (record.route(), record.method(), record.tenant()),
            (Some("/export"), Some(Method::Post), Some(&tenant("clinic-a")))
        );
        assert_eq!(record.peer(), Some([192, 0, 2, 1].into()));
    }
    assert_eq!(verify(dir.path()).unwrap().tenants(), 1);
}
