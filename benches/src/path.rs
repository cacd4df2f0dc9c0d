//! The path of a request, against a bare router that does the same work.

use std::{convert::Infallible, fmt::Debug, net::SocketAddr, num::NonZeroU32, sync::Arc};

use axum::{Json, body::Body, extract::Path, middleware::Next, response::IntoResponse, routing::get};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_ward::{
    access::{BoxFuture, Grant, Policy, RelationError, RelationSource, Relations},
    audit::Trail,
    axum::{Path as WardPath, Router},
    headers::HeadersLayer,
    id::{SubjectId, TenantId, UserId},
    identity::{Identity, IdentityOptions, NewAccount},
    problem::Problem,
    quota::Quota,
    secret::ExposeSecret,
    stack::{ConnInfo, Ward},
    tenant::Hosts,
};

use crate::{
    bench::{Bench, ReadNotes},
    ratio::{Effort, Row, Target, row},
    token::{self, Claims},
};

pub(crate) const PASSWORD: &str = "correct horse battery staple";
const HOST: &str = "harbour.clinic.example";

pub(crate) async fn create_account(
    identity: &Identity,
    bench: &Bench,
    trail: &Trail,
    name: &str,
    role: &str,
) -> UserId {
    // Somebody has to act.
    let _ = bench.grant::<ReadNotes>(trail);
    let new = NewAccount::new(name, PASSWORD.into(), role);
    identity.danger_create_account(trail, &bench.tenant, new).await.expect("an account")
}

/// Nobody is related to anybody: the role of the rows reaches the whole clinic.
#[derive(Debug)]
struct Nobody;

impl RelationSource for Nobody {
    fn relations<'a>(
        &'a self,
        _: &'a TenantId,
        _: UserId,
        subjects: &'a [SubjectId],
        _: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        Box::pin(async { Ok(vec![Relations::NONE; subjects.len()]) })
    }
}

/// 200 bytes of JSON.
fn answer(id: impl std::fmt::Display) -> Json<Value> {
    Json(json!({ "id": id.to_string(), "name": "Ada Quillfeather", "notes": "x".repeat(110) }))
}

fn bare() -> axum::Router {
    axum::Router::new().route("/patients/{id}", get(async |Path(id): Path<String>| answer(id)))
}

/// The same ten headers as ours, as a user would set them today.
fn ten_layers() -> axum::Router {
    let set = |name, value| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    bare()
        .layer(set("strict-transport-security", "max-age=63072000; includeSubDomains"))
        .layer(set("content-security-policy", "default-src 'self'"))
        .layer(set("x-content-type-options", "nosniff"))
        .layer(set("x-frame-options", "DENY"))
        .layer(set("referrer-policy", "no-referrer"))
        .layer(set("cross-origin-resource-policy", "same-origin"))
        .layer(set("cross-origin-opener-policy", "same-origin"))
        .layer(set("cross-origin-embedder-policy", "require-corp"))
        .layer(set("permissions-policy", "camera=()"))
        .layer(set("cache-control", "no-store"))
}

/// What a user assembles today: the ten headers, a limit by address, and a token that is verified for each request.
fn assembled(key: DecodingKey, validation: Validation) -> axum::Router {
    let many = governor::Quota::per_second(NonZeroU32::MAX);
    let limit = Arc::new(governor::DefaultKeyedRateLimiter::<std::net::IpAddr>::keyed(many));
    let check = Arc::new((key, validation));
    let guard = move |request: Request<Body>, next: Next| {
        let (limit, check) = (Arc::clone(&limit), Arc::clone(&check));
        async move {
            let peer = request.extensions().get::<ConnInfo>().expect("a peer").peer().ip();
            if limit.check_key(&peer).is_err() {
                return StatusCode::TOO_MANY_REQUESTS.into_response();
            }
            let token = request.headers().get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
            let valid = token.is_some_and(|token| jsonwebtoken::decode::<Claims>(token, &check.0, &check.1).is_ok());
            if valid { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    };
    ten_layers().layer(axum::middleware::from_fn(guard))
}

/// The services that are compared, and the request that each is asked.
pub(crate) struct Paths {
    runtime: tokio::runtime::Runtime,
    token: String,
    patient: SubjectId,
    routes: tower_ward::stack::WardService<axum::Router>,
    _bench: Bench,
}

impl Paths {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (bench, token, routes, patient) = runtime.block_on(async {
            let bench = Bench::new().await;
            let identity = Identity::open(
                bench.store.clone(),
                &bench.keyring,
                bench.clock.clone(),
                IdentityOptions::new("https://clinic.example"),
            )
            .await
            .expect("an identity");
            let (trail, closer) = bench.trail();
            create_account(&identity, &bench, &trail, "owner", "owner").await;
            let session = identity.login(&trail, &bench.tenant, "owner", PASSWORD.into()).await.expect("logged in");
            let token = session.access_token().expose_secret().to_owned();
            let (patient, _kept) = bench.chart::<ReadNotes>().await;
            drop(closer);
            let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").expect("hosts");
            hosts.register(bench.tenant.clone()).expect("room");
            let many = Quota::per_minute(NonZeroU32::MAX);
            let policy = "[roles.owner]\nceiling = [\"clinical\"]\ngrants.\"notes.read\" = \"clinic\"\n";
            let ward = Ward::builder()
                .with_clock(bench.clock.clone())
                .with_peer_quota(many)
                .with_principal_quota(many)
                .keys(bench.keyring.clone())
                .audit(bench.ledger.clone())
                .authenticate(identity)
                .tenants(hosts)
                .policy(Policy::from_toml(policy).expect("a policy"))
                .relations(Nobody)
                .build()
                .expect("a ward");
            let routes = Router::new(&ward)
                .get("/patients/{id}", async |_: Grant<ReadNotes>, WardPath(id): WardPath<String>| answer(id))
                .get("/charts/{id}", async |grant: Grant<ReadNotes>, WardPath(id): WardPath<SubjectId>| {
                    let chart = grant.subject(id).await?;
                    Ok::<_, Problem>(answer(chart.subject()))
                })
                .into_service()
                .expect("routes");
            let patient = patient.subject();
            (bench, token, routes, patient)
        });
        Self { runtime, token, patient, routes, _bench: bench }
    }

    fn request(&self, path: &str) -> Request<Body> {
        self.request_with(path, &self.token)
    }

    fn request_with(&self, path: &str, token: &str) -> Request<Body> {
        let mut request = Request::builder()
            .uri(path)
            .header("host", HOST)
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .expect("a request");
        request.extensions_mut().insert(ConnInfo::new(SocketAddr::from(([192, 0, 2, 1], 40_000)), None));
        request
    }

    fn ask<S, B>(&self, service: &S, path: &str) -> usize
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Debug,
        B: axum::body::HttpBody,
        B::Error: Debug,
    {
        self.ask_with(service, self.request(path))
    }

    fn ask_with<S, B>(&self, service: &S, request: Request<Body>) -> usize
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Debug,
        B: axum::body::HttpBody,
        B::Error: Debug,
    {
        self.runtime.block_on(async {
            let response = service.clone().oneshot(request).await.expect("a response");
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.expect("a body").to_bytes().len()
        })
    }

    /// Sends so many requests to one of the stacks, for whoever counts instructions.
    pub(crate) fn run(&self, stack: &str, times: usize) {
        let (patients, charts) = (format!("/patients/{}", self.patient), format!("/charts/{}", self.patient));
        let (bare, ten, headers) = (bare(), ten_layers(), self.headers());
        let theirs = token::hmac();
        let assembled = assembled(theirs.key, theirs.validation);
        for _ in 0..times {
            match stack {
                "bare" => self.ask(&bare, &patients),
                "ten" => self.ask(&ten, &patients),
                "headers" => self.ask(&headers, &patients),
                "assembled" => self.ask_with(&assembled, self.request_with(&patients, &theirs.token)),
                "path" => self.ask(&self.routes, &patients),
                "door" => self.ask(&self.routes, &charts),
                other => panic!("`{other}` is no stack: bare, ten, headers, assembled, path, door"),
            };
        }
    }

    fn headers(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + use<> {
        let layer = HeadersLayer::builder().build().expect("headers");
        ServiceBuilder::new().layer(layer).map_response(|r: Response<_>| r.map(Body::new)).service(bare())
    }

    pub(crate) fn rows(&self, effort: Effort) -> Vec<Row> {
        let (patients, charts) = (format!("/patients/{}", self.patient), format!("/charts/{}", self.patient));
        let (bare, ten, headers) = (bare(), ten_layers(), self.headers());
        let ask_bare = || self.ask(&bare, &patients);
        let ask_path = || self.ask(&self.routes, &patients);
        let (hs256, eddsa) = (token::hmac(), token::ed25519());
        let with_hs256 = assembled(hs256.key, hs256.validation);
        let with_eddsa = assembled(eddsa.key, eddsa.validation);
        vec![
            row(effort, "ten layers of tower-http / bare axum", Target::None, ask_bare, || self.ask(&ten, &patients)),
            row(effort, "headers alone / bare axum", Target::AtMost(1.35), ask_bare, || self.ask(&headers, &patients)),
            row(effort, "the whole path, no door / bare axum", Target::AtMost(1.7), ask_bare, ask_path),
            row(
                effort,
                "the whole path and a door, its record durable / bare axum",
                Target::AtMost(2.0),
                ask_bare,
                || self.ask(&self.routes, &charts),
            ),
            row(
                effort,
                "the whole path / headers, limit and HS256 as assembled today",
                Target::AtMost(1.0 / 3.3),
                || self.ask_with(&with_hs256, self.request_with(&patients, &hs256.token)),
                ask_path,
            ),
            row(
                effort,
                "the whole path / headers, limit and EdDSA as assembled today",
                Target::AtMost(1.0 / 15.0),
                || self.ask_with(&with_eddsa, self.request_with(&patients, &eddsa.token)),
                ask_path,
            ),
        ]
    }
}
