//! Bodies that are not what their headers say.

use axum::body::Body;
use http::{Method, header};

use crate::support::{Bench, Reply, request, send};

#[tokio::test]
async fn a_body_that_claims_a_coding_or_another_type_is_415_and_one_that_does_not_is_read() {
    let bench = Bench::new().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let patient = bench.patient(&bench.harbour, "Ada", "a note").await;
    let service = bench.serve(|router| router);
    let path = format!("/patients/{patient}/notes");
    let post = async |headers: &[(header::HeaderName, &str)]| -> Reply {
        let mut request = request(Method::POST, Some(&owner), &path);
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        *request.body_mut() = Body::from("\"another note\"");
        send(&service, request).await
    };
    let json = (header::CONTENT_TYPE, "application/json");
    let mut rows = 0;
    for coding in [
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "gzip, identity",
        "identity, identity",
        "",
        " ",
        "*",
    ] {
        let reply = post(&[json.clone(), (header::CONTENT_ENCODING, coding)]).await;
        assert_eq!(reply.status, 415, "content-encoding: {coding}");
        reply.is_problem(415);
        rows += 1;
    }
    let identity = (header::CONTENT_ENCODING, "identity");
    let two = [json.clone(), identity.clone(), (header::CONTENT_ENCODING, "gzip")];
    assert_eq!(post(&two).await.status, 415, "a second coding on a line of its own");
    for kinds in [
        &[][..],
        &["application/json", "application/json"],
        &["application/json", "text/plain"],
        &["application/json, text/plain"],
        &["application/jsonx"],
        &["application/problem+json"],
        &["text/json"],
        &["*/*"],
        &[";application/json"],
        &["\"application/json\""],
    ] {
        let headers: Vec<_> = kinds.iter().map(|kind| (header::CONTENT_TYPE, *kind)).collect();
        assert_eq!(post(&headers).await.status, 415, "content-type: {kinds:?}");
        rows += 1;
    }
    assert_eq!(post(std::slice::from_ref(&json)).await.status, 201, "no coding");
    assert_eq!(post(&[json.clone(), identity]).await.status, 201, "the coding that is none");
    assert_eq!(post(&[json, (header::CONTENT_ENCODING, "Identity")]).await.status, 201, "in another case");
    println!("body: {} rows of headers", rows + 1);
}
