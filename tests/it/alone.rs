//! Each layer by itself, around a function over `http::Request<B>` that knows neither axum nor the other layers.
//!
//! The body is a type of the test's own in both directions: no layer may ask for more of it than it needs.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_ward::{
    audit::{Action, AuditLayer, Event, Kind, Ledger, LedgerOptions, Record, Trail, TrailError, verify},
    clock::{ManualClock, SystemClock},
    headers::HeadersLayer,
    id::TenantId,
    quota::Quota,
    rate_limit::{Connection, PeerLimitLayer},
};

use crate::support::ledger::records_on_disk;

/// What a request brings: no body in the sense of `http_body`, and neither `Clone` nor `Default`.
#[derive(Debug)]
struct Question(u8);

/// What is answered: one frame, and then trailers.
#[derive(Debug, Default)]
struct Answer(Option<Bytes>, Option<HeaderMap>);

impl Answer {
    fn new(text: &'static str) -> Self {
        Self(Some(text.into()), Some(HeaderMap::new()))
    }
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes), None)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.0.take().map(Frame::data).or_else(|| self.1.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none() && self.1.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

async fn answer(request: Request<Question>) -> Result<Response<Answer>, Infallible> {
    let mut response = Response::new(Answer::new("an answer"));
    response.headers_mut().insert("x-question", u16::from(request.body().0).into());
    response.headers_mut().insert("server", "acme/1.2".parse().unwrap());
    Ok(response)
}

fn clinic() -> TenantId {
    TenantId::new("harbour").unwrap()
}

fn ledger(folder: &tempfile::TempDir) -> Ledger {
    let options = LedgerOptions::new().with_segment_size(128 * 1024);
    Ledger::open(folder.path(), options, SystemClock::shared()).unwrap()
}

#[tokio::test]
async fn headers_alone_dress_any_response() {
    let service = HeadersLayer::new().layer(service_fn(answer));
    let response = service.oneshot(Request::new(Question(7))).await.unwrap();
    assert_eq!(response.headers()["x-question"], "7");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(!response.headers().contains_key("server"));
    assert_eq!(response.into_body().0.as_deref(), Some(&b"an answer"[..]), "the body is the handler's own");
}

#[tokio::test]
async fn headers_alone_hand_an_error_on() {
    let service =
        HeadersLayer::new().layer(service_fn(async |_: Request<Question>| Err::<Response<()>, _>("no answer")));
    assert_eq!(service.oneshot(Request::new(Question(0))).await.unwrap_err(), "no answer");
}

#[tokio::test]
async fn the_limit_alone_refuses_and_forgives() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let layer = PeerLimitLayer::new(Quota::per_minute(NonZeroU32::MIN), clock.shared()).unwrap();
    let service = layer.layer(service_fn(answer));
    let ask = async |peer: Option<[u8; 4]>| {
        let mut request = Request::new(Question(1));
        if let Some(peer) = peer {
            request.extensions_mut().insert(Connection(SocketAddr::from((peer, 4711))));
        }
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(Some([192, 0, 2, 1])).await, StatusCode::OK);
    assert_eq!(ask(Some([192, 0, 2, 1])).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(Some([192, 0, 2, 2])).await, StatusCode::OK);
    assert_eq!(ask(None).await, StatusCode::INTERNAL_SERVER_ERROR, "whoever accepts connections must say who is there");
    clock.advance(Duration::from_secs(60));
    assert_eq!(ask(Some([192, 0, 2, 1])).await, StatusCode::OK);
}

#[tokio::test]
async fn the_ledger_alone_holds_the_response_until_its_record_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let service = AuditLayer::new(ledger.clone()).layer(service_fn(async |request: Request<Question>| {
        let trail = request.extensions().get::<Trail>().expect("the layer put it there");
        trail.record(Event::new(Action::Export).with_tenant(clinic()).with_entity("report"))?;
        Ok::<_, TrailError>(Response::new(Answer::new("a report")))
    }));

    let response = service.clone().oneshot(Request::new(Question(0))).await.unwrap();
    let at_release = records_on_disk(folder.path());
    assert_eq!(at_release.iter().map(Record::kind).collect::<Vec<_>>(), [Kind::Event], "durable before it left");
    let body = response.into_body().collect().await.unwrap();
    assert!(body.trailers().is_some(), "trailers pass");
    assert_eq!(body.to_bytes(), "a report");

    ledger.shutdown().await;
    assert_eq!(verify(folder.path()).unwrap().records(), 2, "the event, and the end of its request");
    let refused = service.oneshot(Request::new(Question(0))).await;
    assert!(matches!(refused, Err(TrailError::Unavailable)), "no record, no report");
}

#[tokio::test]
async fn the_ledger_alone_turns_a_panic_into_a_500() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let service = AuditLayer::new(ledger.clone()).layer(service_fn(async |request: Request<Question>| {
        assert_ne!(request.body().0, 13, "a handler that panics");
        Ok::<_, Infallible>(Response::new(Answer::new("well")))
    }));
    assert_eq!(service.clone().oneshot(Request::new(Question(13))).await.unwrap().status(), 500);
    assert_eq!(service.oneshot(Request::new(Question(1))).await.unwrap().status(), 200);
    ledger.shutdown().await;
}

/// A service that has room for nobody yet.
#[derive(Debug, Clone, Copy)]
struct Busy;

impl Service<Request<Question>> for Busy {
    type Response = Response<Answer>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<Answer>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("the inner service is gone"))
    }

    fn call(&mut self, _: Request<Question>) -> Self::Future {
        unreachable!("it was never ready")
    }
}

#[tokio::test]
async fn every_layer_asks_its_inner_service_whether_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let limit = PeerLimitLayer::new(Quota::per_minute(NonZeroU32::MIN), SystemClock::shared()).unwrap();
    let (mut headers, mut limited) = (HeadersLayer::new().layer(Busy), limit.layer(Busy));
    let mut audited = AuditLayer::new(ledger.clone()).layer(Busy);
    assert_eq!(headers.ready().await.unwrap_err(), "the inner service is gone");
    assert_eq!(limited.ready().await.unwrap_err(), "the inner service is gone");
    assert_eq!(audited.ready().await.unwrap_err(), "the inner service is gone");
    ledger.shutdown().await;
}
