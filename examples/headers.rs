//! The response headers alone, around any service over `http`: what a handler set is corrected, what it lacks is added,
//! and a setting that cannot hold what it promises does not build.
//!
//! `cargo run --example headers`

use std::{convert::Infallible, error::Error, time::Duration};

use http::{Request, Response, header};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_ward::headers::{Csp, Exception, HeadersLayer, Hsts};

/// A handler that says too much, and asks browsers to keep what it says.
async fn chatty(request: Request<()>) -> Result<Response<&'static str>, Infallible> {
    let mut response = Response::new("a patient's page");
    response.headers_mut().insert(header::SERVER, header::HeaderValue::from_static("acme/1.2"));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public, max-age=3600"));
    if request.uri().path() == "/pages" {
        // A page needs another policy than data. The exception is a value of the program's: no header can stand for it.
        response.extensions_mut().insert(Exception::new().with_csp(Csp::pages()));
    }
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = HeadersLayer::new().layer(service_fn(chatty));

    let data = service.clone().oneshot(Request::builder().uri("/data").body(())?).await?;
    for (name, value) in data.headers() {
        println!("{name}: {}", value.to_str()?);
    }
    assert!(!data.headers().contains_key(header::SERVER), "what tells of the server is removed");
    assert_eq!(data.headers()[header::CACHE_CONTROL], "no-store, max-age=0");
    assert!(data.headers()[header::CONTENT_SECURITY_POLICY].to_str()?.starts_with("default-src 'none'"));

    let page = service.oneshot(Request::builder().uri("/pages").body(())?).await?;
    assert!(page.headers()[header::CONTENT_SECURITY_POLICY].to_str()?.contains("script-src 'self'"));
    assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store, max-age=0", "only what the exception names");

    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let refused = HeadersLayer::builder().with_hsts(Hsts::new().with_max_age(month)).build();
    println!("\nrefused: {}", refused.err().ok_or("a month is no hsts")?);
    let rest = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    let refused = Csp::new(&format!("default-src 'self' 'unsafe-inline'; {rest}"));
    println!("refused: {}", refused.err().ok_or("anybody's script")?);
    Ok(())
}
