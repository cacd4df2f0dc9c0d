//! The set of headers against the OWASP Secure Headers Project: its values, its list to remove, its validator's cases.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{convert::Infallible, fs, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_ward::headers::{HeadersLayer, Hsts, REVEALING, clear_site_data};

/// What the project recommends, as of 19 July 2026. `Content-Security-Policy` is for pages; ours is for data.
const RECOMMENDED: &[(&str, &str)] = &[
    ("Cache-Control", "no-store, max-age=0"),
    ("Clear-Site-Data", "\"cache\",\"cookies\",\"storage\""),
    (
        "Content-Security-Policy",
        "default-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'; upgrade-insecure-requests",
    ),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), sync-xhr=(self), usb=(), web-share=(), xr-spatial-tracking=(), clipboard-read=(), clipboard-write=(), gamepad=(), hid=(), idle-detection=(), interest-cohort=(), serial=(), unload=()",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-DNS-Prefetch-Control", "off"),
    ("X-Frame-Options", "deny"),
    ("X-Permitted-Cross-Domain-Policies", "none"),
];

const OUR_CSP: &str =
    "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The project's files, where they are at hand. What they hold stands here too, so no test depends on them.
fn vectors(file: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found =
        root.ancestors().map(|dir| dir.join("shared/vectors/secure-headers").join(file)).find(|p| p.exists())?;
    Some(fs::read_to_string(found).expect("a vector file can be read"))
}

async fn respond(layer: HeadersLayer, status: StatusCode, worn: HeaderMap) -> HeaderMap {
    let handler = service_fn(move |_: Request<()>| {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = worn.clone();
        async { Ok::<_, Infallible>(response) }
    });
    layer.layer(handler).oneshot(Request::new(())).await.unwrap().into_parts().0.headers
}

/// A logout's response, which is dressed like any other.
async fn logout() -> HeaderMap {
    let mut worn = HeaderMap::new();
    clear_site_data(&mut worn);
    respond(HeadersLayer::new(), StatusCode::OK, worn).await
}

#[tokio::test]
async fn every_recommended_header_is_there_and_once() {
    let headers = logout().await;
    assert_eq!(headers.len(), RECOMMENDED.len(), "and nothing else");
    for (name, value) in RECOMMENDED {
        let expected = if *name == "Content-Security-Policy" { OUR_CSP } else { value };
        let sent: Vec<_> = headers.get_all(*name).iter().collect();
        assert_eq!(sent, [expected], "{name}");
    }
    if let Some(file) = vectors("headers_add.json") {
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        let pairs = file["headers"].as_array().unwrap().iter();
        let pairs: Vec<_> =
            pairs.map(|pair| (pair["name"].as_str().unwrap(), pair["value"].as_str().unwrap())).collect();
        assert_eq!(pairs, RECOMMENDED, "the copy in this test is not the file");
    }
}

// proves MED-15, CCA-05
#[tokio::test]
async fn every_status_is_dressed() {
    let codes = [200, 201, 204, 206, 301, 304, 400, 401, 403, 404, 405, 413, 421, 422, 429, 500, 502, 503, 504, 599];
    for code in codes {
        let mut worn = HeaderMap::new();
        for name in ["strict-transport-security", "x-frame-options", "x-content-type-options", "referrer-policy"] {
            worn.append(HeaderName::from_static(name), HeaderValue::from_static("unsafe-url"));
            worn.append(HeaderName::from_static(name), HeaderValue::from_static("unsafe-url"));
        }
        let headers = respond(HeadersLayer::new(), StatusCode::from_u16(code).unwrap(), worn).await;
        for (name, value) in [
            ("strict-transport-security", "max-age=63072000; includeSubDomains"),
            ("x-frame-options", "deny"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            let sent: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(sent, [value], "{code} {name}");
        }
    }
}

// proves CLA-09, MED-02
#[tokio::test]
async fn preload_is_on_every_status_over_https_and_on_none_over_http() {
    let builder = || HeadersLayer::builder().with_hsts(Hsts::new().with_preload());
    let (secure, plain) = (builder().build().unwrap(), builder().danger_over_plain_http().build().unwrap());
    for code in [200, 301, 308, 401, 404, 500, 503] {
        let status = StatusCode::from_u16(code).unwrap();
        let headers = respond(secure.clone(), status, HeaderMap::new()).await;
        assert_eq!(headers["strict-transport-security"], "max-age=63072000; includeSubDomains; preload", "{code}");
        let mut worn = HeaderMap::new();
        worn.insert("strict-transport-security", HeaderValue::from_static("max-age=63072000"));
        let headers = respond(plain.clone(), status, worn).await;
        assert!(!headers.contains_key("strict-transport-security"), "{code}");
    }
}

#[tokio::test]
async fn nothing_on_the_list_to_remove_passes() {
    assert_eq!(REVEALING.len(), 87);
    let mut worn = HeaderMap::new();
    for name in REVEALING {
        worn.append(HeaderName::from_static(name), HeaderValue::from_static("acme/1.2"));
        worn.append(HeaderName::from_static(name), HeaderValue::from_static("acme/1.3"));
    }
    let headers = respond(HeadersLayer::new(), StatusCode::OK, worn).await;
    for name in headers.keys() {
        assert!(RECOMMENDED.iter().any(|(known, _)| known.eq_ignore_ascii_case(name.as_str())), "{name} passed");
    }
    if let Some(file) = vectors("headers_remove.json") {
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        let names = file["headers"].as_array().unwrap().iter();
        let mut names: Vec<_> = names.map(|name| name.as_str().unwrap().to_ascii_lowercase()).collect();
        names.sort();
        assert_eq!(names, REVEALING, "the crate's list is not the file");
    }
}

/// The 17 cases of the project's validator: 13 headers that must be there with a value, 4 that must not be there.
#[tokio::test]
async fn the_validators_cases_pass() {
    let headers = logout().await;
    for absent in ["Feature-Policy", "Public-Key-Pins", "Expect-CT", "X-XSS-Protection"] {
        let mut worn = HeaderMap::new();
        worn.insert(HeaderName::from_bytes(absent.as_bytes()).unwrap(), HeaderValue::from_static("1"));
        let headers = respond(HeadersLayer::new(), StatusCode::OK, worn).await;
        assert!(!headers.contains_key(absent), "{absent}");
    }
    assert!(!headers["content-security-policy"].to_str().unwrap().contains("unsafe"));

    if let Some(suite) = vectors("oshp_validator_tests_suite.yml") {
        assert_eq!(run_suite(&suite, &headers), (17, vec![]));
        // The reader of the suite itself must be able to find a fault.
        let (_, failed) = run_suite(&suite, &HeaderMap::new());
        assert_eq!(failed.len(), 13, "{failed:?}");
    }
}

/// Runs the assertions about headers, one a line; the lines under an `or:` are one assertion.
fn run_suite(suite: &str, headers: &HeaderMap) -> (usize, Vec<String>) {
    let (mut cases, mut case, mut failed) = (0, String::new(), Vec::new());
    let mut either: Vec<bool> = Vec::new();
    for line in suite.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim().trim_start_matches("- ");
        let text = unquote(text, '\'');
        if indent <= 10 && !either.is_empty() {
            if !either.iter().any(|held| *held) {
                failed.push(format!("{case}: none of {}", either.len()));
            }
            either.clear();
        }
        if let Some(name) = text.strip_prefix("name: ").filter(|_| line.starts_with("  - ")) {
            (cases, case) = (cases + 1, name.to_owned());
        } else if let Some(assertion) = text.strip_prefix("result.headers.") {
            let held = holds(assertion, headers);
            if indent > 10 {
                either.push(held);
            } else if !held {
                failed.push(format!("{case}: {assertion}"));
            }
        }
    }
    failed.dedup_by_key(|failure| failure.split(':').next().map(str::to_owned));
    (cases, failed)
}

fn holds(assertion: &str, headers: &HeaderMap) -> bool {
    let mut parts = assertion.splitn(3, ' ');
    let (name, verb, argument) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or(""));
    let value = headers.get(name).map(|value| value.to_str().unwrap());
    let argument = if argument.starts_with('\'') { unquote(argument, '\'') } else { unquote(argument, '"') };
    match (verb, value) {
        ("ShouldBeNil", value) => value.is_none(),
        ("ShouldNotBeNil", value) => value.is_some(),
        (_, None) => false,
        ("ShouldEqual", Some(value)) => value == argument,
        ("ShouldBeIn", Some(value)) => argument.split("\" \"").any(|one| one == value),
        ("ShouldContainSubstring", Some(value)) => value.contains(argument),
        ("ShouldNotContainSubstring", Some(value)) => !value.contains(argument),
        (verb, _) => panic!("the suite has a new verb: {verb}"),
    }
}

/// `text` without the quotes around it, if there is one at each end.
fn unquote(text: &str, quote: char) -> &str {
    text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)).unwrap_or(text)
}
