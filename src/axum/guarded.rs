//! What may be mounted: a handler whose first argument is a grant.

use std::future::Future;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};

use crate::access::{Grant, Permission};

/// A handler that takes a [`Grant<P>`](Grant) by value as its first argument, then up to five extractors.
///
/// `T` only tells the implementations apart; the router infers it.
///
/// ```
/// use tower_ward::{access::Permission, axum::{Guarded, Router}};
///
/// /// The same handler under the old path and the new one.
/// fn moved<P: Permission, T: 'static, H: Guarded<P, T, ()>>(router: Router, handler: H) -> Router {
///     router.get("/v1/notes", handler.clone()).get("/v2/notes", handler)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be mounted: it is not a handler whose first and only grant is `Grant<P>`",
    label = "not a guarded handler",
    note = "write `async fn name(grant: Grant<SomePermission>, …extractors…) -> impl IntoResponse`: one grant, and it comes first",
    note = "a route that needs no permission is mounted with `.public_get(path, reason, handler)`",
    note = "if it does take one grant, one of the other arguments is no extractor, or the router's state type differs"
)]
pub trait Guarded<P, T, S>: Clone + Send + Sync + 'static {
    /// Runs the extractors and the handler.
    fn call(self, grant: Grant<P>, request: Request, state: S) -> impl Future<Output = Response> + Send;
}

impl<F, Fut, R, P, S> Guarded<P, ((),), S> for F
where
    F: FnOnce(Grant<P>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = R> + Send,
    R: IntoResponse,
    P: Permission,
    S: Send + Sync + 'static,
{
    async fn call(self, grant: Grant<P>, _: Request, _: S) -> Response {
        self(grant).await.into_response()
    }
}

macro_rules! guarded {
    ([$($part:ident),*], $last:ident) => {
        #[expect(non_snake_case, reason = "the type parameters name the arguments")]
        impl<F, Fut, R, P, S, M, $($part,)* $last> Guarded<P, (M, $($part,)* $last,), S> for F
        where
            F: FnOnce(Grant<P>, $($part,)* $last) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send,
            R: IntoResponse,
            P: Permission,
            S: Send + Sync + 'static,
            $($part: FromRequestParts<S> + Send,)*
            $last: FromRequest<S, M> + Send,
        {
            async fn call(self, grant: Grant<P>, request: Request, state: S) -> Response {
                let (parts, body) = request.into_parts();
                #[allow(unused_mut, reason = "a handler of one extractor changes no parts")]
                let mut parts = parts;
                $(
                    let $part = match $part::from_request_parts(&mut parts, &state).await {
                        Ok(value) => value,
                        Err(rejection) => return rejection.into_response(),
                    };
                )*
                let $last = match $last::from_request(Request::from_parts(parts, body), &state).await {
                    Ok(value) => value,
                    Err(rejection) => return rejection.into_response(),
                };
                self(grant, $($part,)* $last).await.into_response()
            }
        }
    };
}

guarded!([], A);
guarded!([A], B);
guarded!([A, B], C);
guarded!([A, B, C], D);
guarded!([A, B, C, D], E);
