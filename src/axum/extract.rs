//! Extractors that refuse with a [`Problem`]: axum's own send the parser's error, and with it a part of the input, back.

use axum::extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection};
use http::request::Parts;
use serde::{Serialize, de::DeserializeOwned};

use crate::problem::Problem;

/// A JSON body, both ways. In: `content-type: application/json` (415 otherwise), well formed and of the right shape (400
/// otherwise), no larger than the router's limit (413 otherwise). Give the type `deny_unknown_fields`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::unsupported_media_type()),
            Err(JsonRejection::BytesRejection(e)) if e.status() == http::StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::payload_too_large())
            }
            Err(_) => Err(Problem::bad_request("body")),
        }
    }
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

/// A part of the path. What does not parse is the same 404 as what is not there.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::not_found().with_reason("the path does not parse")),
        }
    }
}

/// The query string. Give the type `deny_unknown_fields`, so that a misspelt filter is a 400 and not everything.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::bad_request("query")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for crate::stack::Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal().with_reason("outside of the ward"))
    }
}
