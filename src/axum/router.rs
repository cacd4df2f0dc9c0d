//! The router that carries the policy.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{
    extract::{DefaultBodyLimit, Request, State},
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use http::{HeaderValue, Method, header};
use http_body::Body as _;

use super::{Access, Guarded, Operation, Route, matrix, openapi};
use crate::{
    access::{Grant, Permission, PermissionIndex, PermissionInfo, PolicyError},
    audit::{Declared, Refusal, UsedTrail},
    problem::Problem,
    stack::{Visit, Ward, WardService},
};

/// The largest request body that is read unless [`Router::with_body_limit`] says otherwise.
const BODY_LIMIT: usize = 256 * 1024;

/// A router on which every route states its permission, by the type of its handler's grant, or why it needs none.
#[derive(Debug)]
#[must_use]
pub struct Router<S = ()> {
    ward: Ward,
    inner: axum::Router<S>,
    routes: Vec<Route>,
    /// Shared with the routes that are mounted already.
    body_limit: Arc<AtomicUsize>,
    /// Of the route that was mounted last, if it has a permission: whether it asks for a reason.
    last: Option<Arc<AtomicBool>>,
    document: Option<(&'static str, &'static str, Arc<OnceLock<bytes::Bytes>>)>,
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without routes: everything is 404.
    pub fn new(ward: &Ward) -> Self {
        let inner = axum::Router::new();
        Self {
            ward: ward.clone(),
            inner,
            routes: Vec::new(),
            body_limit: Arc::new(BODY_LIMIT.into()),
            last: None,
            document: None,
        }
    }

    /// Mounts a handler on `GET`, and so on `HEAD`.
    pub fn get<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        self.mount(MethodFilter::GET, vec![Method::GET, Method::HEAD], path, handler, false)
    }

    /// As [`get`](Self::get), for a route that is to answer while the ledger cannot write: its permission opens no class
    /// of data, which is checked when the program is compiled.
    ///
    /// The record of a [`ClinicGrant`](crate::access::ClinicGrant) that it opens is written if there is room, and the
    /// response does not wait for it; what found no room is counted in a record of the kind `gap`. A person's door, a list,
    /// a reading of the ledger and every change are refused or waited for as on any other route.
    ///
    /// ```
    /// use tower_ward::{access::Grant, axum::Router, problem::Problem, stack::Ward};
    ///
    /// tower_ward::permissions! { pub ReadStatus = "status.read"; }
    ///
    /// fn routes(ward: &Ward) -> Router {
    ///     // The sign at the door is readable while the disk is full.
    ///     Router::new(ward).get_best_effort("/status", async |grant: Grant<ReadStatus>| {
    ///         grant.clinic().await?;
    ///         Ok::<_, Problem>("open")
    ///     })
    /// }
    /// ```
    ///
    /// # Security
    ///
    /// Who can fill the queue or the disk can use such a route without a record of each use. It shows no data of a person.
    pub fn get_best_effort<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        const { assert!(P::OPENS.is_empty(), "a route of best effort opens no data: mount it with `get`") };
        self.mount(MethodFilter::GET, vec![Method::GET, Method::HEAD], path, handler, true)
    }

    /// Mounts a handler on `POST`.
    pub fn post<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        self.mount(MethodFilter::POST, vec![Method::POST], path, handler, false)
    }

    /// Mounts a handler on `PUT`.
    pub fn put<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        self.mount(MethodFilter::PUT, vec![Method::PUT], path, handler, false)
    }

    /// Mounts a handler on `PATCH`.
    pub fn patch<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        self.mount(MethodFilter::PATCH, vec![Method::PATCH], path, handler, false)
    }

    /// Mounts a handler on `DELETE`.
    pub fn delete<P: Permission, T: 'static, H: Guarded<P, T, S>>(self, path: &str, handler: H) -> Self {
        self.mount(MethodFilter::DELETE, vec![Method::DELETE], path, handler, false)
    }

    /// Mounts a handler on `GET`, and so on `HEAD`, that needs no permission, for a reason that the matrix and the OpenAPI document print. A public
    /// handler opens no door: it has no grant.
    ///
    /// # Panics
    ///
    /// If the reason is empty.
    pub fn public_get<H, T>(self, path: &str, reason: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.public(MethodFilter::GET, vec![Method::GET, Method::HEAD], path, reason, handler)
    }

    /// [`public_get`](Self::public_get), on `POST`.
    ///
    /// # Panics
    ///
    /// If the reason is empty.
    pub fn public_post<H, T>(self, path: &str, reason: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.public(MethodFilter::POST, vec![Method::POST], path, reason, handler)
    }

    fn public<H, T>(
        mut self,
        filter: MethodFilter,
        methods: Vec<Method>,
        path: &str,
        reason: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        assert!(!reason.trim().is_empty(), "a public route needs a reason: say why `{path}` needs no permission");
        let public = Public { route: path.into(), body_limit: Arc::clone(&self.body_limit) };
        let handler = on(filter, handler).layer(axum::middleware::from_fn_with_state(public, around_public));
        self.inner = self.inner.route(path, handler);
        self.last = None;
        self.add(methods, path, Access::Public(reason))
    }

    /// Says more of the route that was mounted last, for the OpenAPI document.
    pub fn about(mut self, operation: Operation) -> Self {
        if let Some(route) = self.routes.last_mut() {
            route.operation = operation;
        }
        self
    }

    /// Asks of the route that was mounted last that each request says what it is for, in the headers
    /// [`X-Purpose`](crate::audit::PURPOSE) and [`X-Reason`](crate::audit::REASON). Without one of them it is 400, and refused on
    /// record; who may not use the route at all is told that first. Other routes record what was declared and do not ask for
    /// it.
    ///
    /// # Panics
    ///
    /// If no route was mounted, or the last one is public: it records nothing that could have a reason.
    pub fn reason_required(mut self) -> Self {
        let last = self.routes.last_mut().zip(self.last.as_ref());
        let (route, guard) = last.expect("mount a route with a permission, and then say this of it");
        route.reason_required = true;
        guard.store(true, Ordering::Release);
        self
    }

    /// The largest request body that is read, in bytes. Default: 256 KiB. A larger one is 413.
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.body_limit.store(bytes, Ordering::Relaxed);
        self
    }

    /// Serves the [OpenAPI document](Self::openapi) at this path.
    pub fn openapi_at(self, path: &str, title: &'static str, version: &'static str) -> Self {
        let text: Arc<OnceLock<bytes::Bytes>> = Arc::default();
        let shared = Arc::clone(&text);
        let serve = move || {
            let text = shared.get().cloned();
            async move {
                match text {
                    Some(text) => {
                        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
                    }
                    None => Problem::unavailable().into_response(),
                }
            }
        };
        let mut router = self.public_get(path, "describes the interface, holds no data", serve);
        router = router.about(Operation::new("This document."));
        router.document = Some((title, version, text));
        router
    }

    /// Gives the handlers their state.
    pub fn with_state(self, state: S) -> Router<()> {
        let Self { ward, inner, routes, body_limit, last, document } = self;
        Router { ward, inner: inner.with_state(state), routes, body_limit, last, document }
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Routes and roles as text; see [`Route`].
    #[must_use]
    pub fn matrix(&self) -> String {
        matrix::print(&self.routes, self.ward.policy())
    }

    /// The OpenAPI 3.1 document of these routes.
    #[must_use]
    pub fn openapi(&self, title: &str, version: &str) -> serde_json::Value {
        openapi::document(title, version, &self.routes, self.ward.policy())
    }

    fn add(mut self, methods: Vec<Method>, path: &str, access: Access) -> Self {
        let (path, operation) = (path.to_owned(), Operation::default());
        self.routes.push(Route { methods, path, access, operation, reason_required: false });
        self
    }

    fn mount<P: Permission, T: 'static, H: Guarded<P, T, S>>(
        mut self,
        filter: MethodFilter,
        methods: Vec<Method>,
        path: &str,
        handler: H,
        best_effort: bool,
    ) -> Self {
        let reason_required = Arc::new(AtomicBool::new(false));
        self.last = Some(Arc::clone(&reason_required));
        // The closure is cloned for each request.
        let guard = Arc::new(Guard {
            ward: self.ward.clone(),
            index: self.ward.policy().index(P::ID),
            best_effort,
            reason_required,
            route: path.into(),
            body_limit: Arc::clone(&self.body_limit),
        });
        let guarded = move |State(state): State<S>, mut request: Request| {
            limit(&guard.body_limit, &mut request);
            let decision = guard.decide::<P>(&request);
            let handler = handler.clone();
            async move {
                match decision {
                    Ok((grant, used)) => mark(used, handler.call(grant, request, state).await),
                    Err((problem, Some(used))) => mark(used, problem.into_response()),
                    Err((problem, None)) => problem.into_response(),
                }
            }
        };
        self.inner = self.inner.route(path, on(filter, guarded));
        self.add(methods, path, Access::Permission(PermissionInfo::of::<P>()))
    }
}

impl Router<()> {
    /// The service, ready to be served.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] if the policy does not fit the routes: a role above its ceiling, a misspelt permission, two
    /// permissions with one id.
    pub fn into_service(self) -> Result<WardService<axum::Router>, PolicyError> {
        let asked: Vec<PermissionInfo> = self
            .routes
            .iter()
            .filter_map(|route| match &route.access {
                Access::Permission(permission) => Some(*permission),
                Access::Public(_) => None,
            })
            .collect();
        self.ward.policy().check(&asked, self.ward.tasks())?;
        if let Some((title, version, text)) = &self.document {
            let _ = text.set(self.openapi(title, version).to_string().into());
        }
        let inner = self
            .inner
            .fallback(|| async { Problem::not_found().with_reason("no such route") })
            .method_not_allowed_fallback(not_allowed)
            // With its state a handler becomes a service once; without, it does so for each request.
            .with_state(());
        Ok(self.ward.around(inner))
    }
}

/// The guard of one route.
#[derive(Debug)]
struct Guard {
    ward: Ward,
    index: Option<PermissionIndex>,
    best_effort: bool,
    reason_required: Arc<AtomicBool>,
    route: Arc<str>,
    body_limit: Arc<AtomicUsize>,
}

/// A route without one.
#[derive(Debug, Clone)]
struct Public {
    route: Arc<str>,
    body_limit: Arc<AtomicUsize>,
}

type Decision<P> = Result<(Grant<P>, UsedTrail), (Problem, Option<UsedTrail>)>;

impl Guard {
    /// The rule: see the [module](super).
    fn decide<P: Permission>(&self, request: &Request) -> Decision<P> {
        let Some(visit) = request.extensions().get::<Visit>() else {
            return Err((Problem::internal().with_reason("outside of the ward"), None));
        };
        let trail = visit.trail();
        let used = UsedTrail(trail.id());
        trail.set_route(&self.route);
        let refuse = |problem: Problem, reason: &'static str| {
            let status = Some(problem.kind().status().as_u16());
            trail.refuse(Refusal { reason, status, permission: Some(P::ID), ..Refusal::default() });
            (problem.with_reason(reason), Some(used))
        };
        let (Some(principal), Some(facts)) = (visit.principal(), visit.facts()) else {
            return Err(refuse(Problem::unauthenticated(), "no_credentials"));
        };
        let allowed = match self.index {
            Some(index) => self.ward.policy().decide(principal.role(), index),
            None => crate::access::Relations::NONE,
        };
        if allowed.is_empty() {
            return Err(refuse(Problem::forbidden(), "not_granted"));
        }
        let declared = Declared::of(request.headers())
            .map_err(|header| refuse(Problem::bad_request(header), "malformed_reason"))?;
        if self.reason_required.load(Ordering::Acquire)
            && let Some(header) = declared.missing()
        {
            return Err(refuse(Problem::reason_required(header), "reason_required"));
        }
        if !declared.is_nothing() {
            trail.declare(declared);
        }
        if self.best_effort {
            trail.set_best_effort();
        }
        Ok((Grant::new(Arc::clone(facts), allowed), used))
    }
}

/// Marks a public route's response with the trail of its request.
async fn around_public(State(public): State<Public>, mut request: Request, next: axum::middleware::Next) -> Response {
    limit(&public.body_limit, &mut request);
    let used = request.extensions().get::<Visit>().map(|visit| {
        visit.trail().set_route(&public.route);
        UsedTrail(visit.trail().id())
    });
    let response = next.run(request).await;
    match used {
        Some(used) => mark(used, response),
        None => response,
    }
}

/// 405. Which methods there are is known to the router alone, and it says so only where nobody has.
async fn not_allowed() -> Response {
    let mut response = Problem::method_not_allowed(HeaderValue::from_static("")).into_response();
    response.headers_mut().remove(header::ALLOW);
    response
}

/// Bounds what an extractor reads of the body. Not by a layer around all routes: that costs each request two boxes.
fn limit(most: &AtomicUsize, request: &mut Request) {
    if !request.body().is_end_stream() {
        DefaultBodyLimit::max(most.load(Ordering::Relaxed)).apply(request);
    }
}

/// Says on a response whose trail it was made under; the ledger's future refuses another request's.
fn mark(used: UsedTrail, mut response: Response) -> Response {
    response.extensions_mut().insert(used);
    response
}

#[cfg(test)]
mod tests;
