use std::collections::HashSet;

use super::*;

fn body(problem: Problem) -> Bytes {
    problem.into_response::<Bytes>().into_body()
}

#[test]
fn every_kind_is_json_with_the_members_of_rfc_9457() {
    let mut seen = HashSet::new();
    for kind in Kind::ALL {
        let json: serde_json::Value = serde_json::from_slice(&kind.body(None, None)).unwrap();
        assert_eq!(json["type"], kind.type_uri());
        assert_eq!(json["title"], kind.title());
        assert_eq!(json["status"], kind.status().as_u16());
        assert_eq!(json["detail"], kind.detail());
        assert_eq!(json.as_object().map(|members| members.len()), Some(4));
        assert!(seen.insert(kind.type_uri()), "{kind:?} shares its type");
    }
}

#[test]
fn every_kind_is_documented_under_its_type_uri() {
    let page = include_str!("../../docs/problems.md");
    for kind in Kind::ALL {
        let slug = kind.type_uri().rsplit('#').next().unwrap();
        let heading = format!("\n## {slug}\n");
        let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no heading for `{slug}`"));
        let section = rest.split("\n## ").next().unwrap();
        assert!(section.contains(kind.detail()), "`{slug}` does not repeat its sentence");
        assert!(section.contains(kind.status().as_str()), "`{slug}` does not name its status");
    }
}

#[test]
fn a_foreign_record_answers_like_an_absent_one() {
    let foreign = Problem::not_found().with_reason("subject of another tenant");
    let absent = Problem::not_found().with_reason("no such subject");
    let (foreign, absent) = (foreign.into_response::<Bytes>(), absent.into_response::<Bytes>());
    assert_eq!(foreign.status(), absent.status());
    assert_eq!(foreign.headers(), absent.headers());
    assert_eq!(foreign.body(), absent.body());
}

#[test]
fn a_request_id_is_not_in_the_body() {
    let with = Problem::not_found().with_request_id(HeaderValue::from_static("r-1")).into_response::<Bytes>();
    assert_eq!(with.headers().get(REQUEST_ID), Some(&HeaderValue::from_static("r-1")));
    assert_eq!(with.into_body(), body(Problem::not_found()));
}

#[test]
fn a_reason_stays_in_the_extensions() {
    let response = Problem::forbidden().with_reason("canary-reason").into_response::<Bytes>();
    assert_eq!(response.extensions().get::<Reason>(), Some(&Reason("canary-reason")));
    assert!(!String::from_utf8_lossy(response.body()).contains("canary"));
    for value in response.headers().values() {
        assert!(!String::from_utf8_lossy(value.as_bytes()).contains("canary"));
    }
}

#[test]
fn a_field_is_escaped() {
    let odd = Problem::bad_request("a\"b\\c\n\u{7f}é");
    let json: serde_json::Value = serde_json::from_slice(&body(odd)).unwrap();
    assert_eq!(json["field"], "a\"b\\cé");
    assert_eq!(json["status"], 400);
    let plain: serde_json::Value = serde_json::from_slice(&body(Problem::unprocessable("born"))).unwrap();
    assert_eq!(plain["field"], "born");
}

#[test]
fn headers_that_a_status_requires() {
    let get = |problem: Problem, name: HeaderName| {
        problem.into_response::<Bytes>().headers().get(name).map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(get(Problem::unauthenticated(), header::WWW_AUTHENTICATE).as_deref(), Some("Bearer"));
    assert_eq!(
        get(Problem::invalid_token(), header::WWW_AUTHENTICATE).as_deref(),
        Some("Bearer error=\"invalid_token\"")
    );
    let allow = Problem::method_not_allowed(HeaderValue::from_static("GET, HEAD"));
    assert_eq!(get(allow, header::ALLOW).as_deref(), Some("GET, HEAD"));
    for (wait, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (60_000, "60")] {
        let problem = Problem::too_many(Duration::from_millis(wait));
        assert_eq!(get(problem, header::RETRY_AFTER).as_deref(), Some(seconds), "{wait} ms");
    }
    assert_eq!(get(Problem::internal(), header::CONTENT_TYPE).as_deref(), Some("application/problem+json"));
    assert_eq!(get(Problem::not_found(), header::CACHE_CONTROL).as_deref(), Some("no-store, max-age=0"));
}

#[test]
fn a_header_set_twice_is_sent_once() {
    let problem =
        Problem::unavailable().with_retry_after(Duration::from_secs(5)).with_retry_after(Duration::from_secs(9));
    let response = problem.into_response::<Bytes>();
    let sent: Vec<_> = response.headers().get_all(header::RETRY_AFTER).iter().collect();
    assert_eq!(sent, ["9"]);
}
