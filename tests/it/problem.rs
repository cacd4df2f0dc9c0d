//! Refusals as a client sees them.

use bytes::Bytes;
use http::{HeaderValue, Response};
use tower_ward::problem::{Kind, Problem, REQUEST_ID};

/// One of each kind. A new kind does not pass `every_kind_is_here` until it is added.
fn all() -> Vec<Problem> {
    vec![
        Problem::bad_request("born"),
        Problem::reason_required("x-reason"),
        Problem::unauthenticated(),
        Problem::forbidden(),
        Problem::not_found(),
        Problem::method_not_allowed(HeaderValue::from_static("GET, HEAD")),
        Problem::not_acceptable(),
        Problem::conflict(),
        Problem::payload_too_large(),
        Problem::unsupported_media_type(),
        Problem::misdirected(),
        Problem::unprocessable("born"),
        Problem::too_many(std::time::Duration::from_secs(3)),
        Problem::internal(),
        Problem::unavailable(),
    ]
}

#[test]
fn every_kind_is_here() {
    assert_eq!(all().iter().map(Problem::kind).collect::<Vec<_>>(), Kind::ALL);
}

#[test]
fn every_refusal_is_problem_json_that_no_cache_keeps() {
    for problem in all() {
        let kind = problem.kind();
        let response: Response<Bytes> = problem.into_response();
        assert_eq!(response.status(), kind.status());
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store, max-age=0");
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json["status"], response.status().as_u16());
        assert_eq!(json["type"], kind.type_uri());
    }
}

/// The oracle of the isolation sweep: another clinic's record and one that never was.
#[test]
fn enumeration_of_anothers_records_learns_nothing() {
    let answers = ["of another tenant", "no relation", "no such row", "erased"].map(|reason| {
        let id = HeaderValue::from_static("018f4e3a-7b1c-7def-8abc-0123456789ab");
        Problem::not_found().with_reason(reason).with_request_id(id).into_response::<Bytes>()
    });
    for answer in &answers[1..] {
        assert_eq!(answer.status(), answers[0].status());
        assert_eq!(answer.headers(), answers[0].headers());
        assert_eq!(answer.body(), answers[0].body());
    }
}

#[test]
fn a_bad_token_is_not_told_from_an_expired_one_or_none_by_the_body() {
    let [none, bad] = [Problem::unauthenticated(), Problem::invalid_token()].map(Problem::into_response::<Bytes>);
    assert_eq!((none.status(), none.body()), (bad.status(), bad.body()));
}

#[test]
fn nothing_but_the_request_id_differs_between_two_requests() {
    let of = |id: &'static str| {
        let mut response = Problem::forbidden().with_request_id(HeaderValue::from_static(id)).into_response::<Bytes>();
        assert_eq!(response.headers_mut().remove(REQUEST_ID), Some(HeaderValue::from_static(id)));
        (response.headers().clone(), response.into_body())
    };
    assert_eq!(of("a"), of("b"));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_handler_of_axum_returns_one() {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    let handler: Result<(), Problem> = Err(Problem::conflict().with_reason("version"));
    let response = handler.into_response();
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.extensions().get(), Some(&tower_ward::problem::Reason("version")));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, Problem::conflict().into_response::<Bytes>().into_body());
}
