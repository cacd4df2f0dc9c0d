//! Which clinic a request is for, from its host alone; everything that is not exactly a clinic's name is 421.
//!
//! `cargo run --example tenant_from_host --features access`

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tower::{ServiceExt as _, service_fn};
use tower_ward::{
    id::TenantId,
    problem::Problem,
    tenant::{Hosts, Site},
};

/// Answers with the clinic's name, or refuses.
fn answer(hosts: &Hosts, request: &Request<()>) -> Response<Bytes> {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    // Over TLS, the third is the name that the handshake asked for.
    match hosts.decide(host, authority, None) {
        Ok(Site::Clinic(tenant)) => Response::new(Bytes::from(format!("the clinic {tenant}"))),
        Ok(Site::Platform) => Response::new(Bytes::from_static(b"the platform")),
        Err(_) => Problem::misdirected().into_response(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example")?;
    hosts.register(TenantId::new("harbour")?)?;
    let service = service_fn(async |request: Request<()>| Ok::<_, Infallible>(answer(&hosts, &request)));

    for (host, path, status) in [
        ("harbour.clinic.example", "/", StatusCode::OK),
        ("harbour.clinic.example:8443", "/", StatusCode::OK),
        ("clinic.example", "/", StatusCode::OK),
        // A clinic that nobody registered; a name below a clinic's; another domain that ends alike.
        ("meadow.clinic.example", "/", StatusCode::MISDIRECTED_REQUEST),
        ("x.harbour.clinic.example", "/", StatusCode::MISDIRECTED_REQUEST),
        ("harbour.evilclinic.example", "/", StatusCode::MISDIRECTED_REQUEST),
        // Other spellings of one name; an address; two names in one request.
        ("Harbour.clinic.example", "/", StatusCode::MISDIRECTED_REQUEST),
        ("harbour.clinic.example.", "/", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1", "/", StatusCode::MISDIRECTED_REQUEST),
        ("harbour.clinic.example", "https://clinic.example/", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::builder().uri(path).header(header::HOST, host).body(())?;
        let response = service.oneshot(request).await?;
        println!("{host:28} {path:24} {}", response.status());
        assert_eq!(response.status(), status, "{host}");
    }

    // A clinic that leaves is gone at the next request.
    hosts.remove(&TenantId::new("harbour")?);
    assert!(hosts.decide(Some("harbour.clinic.example"), None, None).is_err());
    println!("refused: {}", Hosts::new("*.clinic.example", "clinic.example").err().ok_or("a wildcard")?);
    Ok(())
}
