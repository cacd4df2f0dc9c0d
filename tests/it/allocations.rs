//! How often a request asks for memory. The numbers may fall, and rise only where somebody means it.

use axum::{Router, body::Body, routing::get};
use http::{Method, Request};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};
use tower_ward::{access::Grant, axum::Path, id::SubjectId, problem::Problem};

use crate::support::{Bench, model::ReadNotes, request};

/// Allocations of one request, once everything that is made once is made.
fn counted<S, B>(runtime: &tokio::runtime::Runtime, service: &S, request: impl Fn() -> Request<Body>) -> u64
where
    S: Service<Request<Body>, Response = http::Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let ask = || {
        let request = request();
        let before = service.clone();
        let info = allocation_counter::measure(|| {
            runtime.block_on(async {
                let response = before.oneshot(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
            });
        });
        info.count_total
    };
    for _ in 0..10 {
        ask();
    }
    (0..10).map(|_| ask()).min().unwrap()
}

#[test]
fn a_request_allocates_no_more_than_it_did() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, owner, patient) = runtime.block_on(async {
        let bench = Bench::new().await;
        let owner = bench.user(&bench.harbour, "owner").await;
        let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
        (bench, owner, patient)
    });
    let service = bench.serve(|router| {
        router
            .public_get("/public", "for the count", async || "ok")
            .get("/guarded/{id}", async |_: Grant<ReadNotes>, Path(_): Path<SubjectId>| "ok")
            .get("/door/{id}", async |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
                let _chart = grant.subject(id).await?;
                Ok::<_, Problem>("ok")
            })
    });
    let bare = Router::new().route("/guarded/{id}", get(async || "ok"));
    let ask = |user: Option<_>, path: String| move || request(Method::GET, user, &path);
    let bare = counted(&runtime, &bare, ask(Some(&owner), format!("/guarded/{patient}")));
    let public = counted(&runtime, &service, ask(None, "/public".to_owned()));
    let guarded = counted(&runtime, &service, ask(Some(&owner), format!("/guarded/{patient}")));
    let door = counted(&runtime, &service, ask(Some(&owner), format!("/door/{patient}")));
    println!("allocations: bare {bare}, public {public}, guarded {guarded}, door {door}");
    assert!(bare > 0, "nothing is counted");
    // A door waits for the disk or not, which is two or three more or less.
    for (name, found, most) in [("public", public, 24), ("guarded", guarded, 24), ("door", door, 32)] {
        assert!(found - bare <= most, "{name}: {} more than bare axum, and {most} was the most", found - bare);
    }
}
