//! Requests without a network.

use std::net::SocketAddr;

use ::axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower_service::Service as _;

use crate::{
    id::TenantId,
    stack::{ConnInfo, Ward, WardService},
    tenant::Hosts,
};

/// Asks a service in this process, as somebody at `127.0.0.1` does who sends each clinic's host name.
///
/// Every request says a purpose and a reason, `testing` and `sweep`, so that routes which demand them answer.
#[derive(Debug, Clone)]
pub struct Client {
    service: WardService<::axum::Router>,
    hosts: Hosts,
}

/// The loopback address that requests come from.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

impl Client {
    /// Of this service of this ward. Give the ward quotas that the tests do not reach.
    #[must_use]
    pub fn new(ward: &Ward, service: WardService<::axum::Router>) -> Self {
        Self { service, hosts: ward.hosts().clone() }
    }

    /// Sends a request to a clinic's host, its body as JSON.
    pub async fn send(
        &self,
        clinic: &TenantId,
        token: Option<&str>,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Reply {
        let mut request = Request::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        *request.method_mut() = method.clone();
        let asked = path.parse().map(|uri| *request.uri_mut() = uri);
        let headers = request.headers_mut();
        headers.insert("x-purpose", HeaderValue::from_static("testing"));
        headers.insert("x-reason", HeaderValue::from_static("sweep"));
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let host = HeaderValue::from_str(&self.hosts.host_of(clinic)).map(|host| headers.insert(header::HOST, host));
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose();
        let token = token.map(|token| token.and_then(|token| headers.insert(header::AUTHORIZATION, token)));
        if asked.is_err() || host.is_err() || token.is_err() {
            // As a server does with what is no request.
            return Reply { status: StatusCode::BAD_REQUEST, headers: HeaderMap::new(), body: Bytes::new() };
        }
        request.extensions_mut().insert(ConnInfo::new(PEER, None));
        let mut service = self.service.clone();
        // It is always ready, and answers every failure itself.
        let Ok(response) = service.call(request).await;
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => Reply { status: parts.status, headers: parts.headers, body: body.to_bytes() },
            Err(_) => Reply { status: StatusCode::BAD_GATEWAY, headers: parts.headers, body: Bytes::new() },
        }
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status; 502 if the body broke off, and 400 without headers if what was to be sent is no request.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Headers that differ between any two answers.
const OF_THE_MOMENT: [&str; 4] = ["x-request-id", "ratelimit", "date", "retry-after"];

impl Reply {
    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// All by which two answers can be told apart, but for the time, the request's id and what a limit has left.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let named = self.headers.iter().filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str()));
        let mut headers: Vec<String> = named.map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.sort();
        format!("{}\n{}\n\n{:?}", self.status, headers.join("\n"), self.body)
    }
}
