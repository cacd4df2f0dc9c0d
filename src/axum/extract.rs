//! Extractors that refuse with a [`Problem`]: axum's own send the parser's error, and with it a part of the input, back.

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::problem::Problem;

/// A JSON body, both ways. In: one `content-type: application/json` and no coding (415 otherwise), well formed and of the right shape
/// (400 otherwise, with the field that is missing or the line and column of what is wrong), no larger than the router's limit (413 otherwise). Give the type `deny_unknown_fields`.
///
/// # Security
///
/// serde takes an array for a struct, its items in the order of the fields. Whatever stands before the server and looks
/// at fields by name sees none then; the handler sees the same struct, so check values there.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) || is_coded(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let body = match Bytes::from_request(request, state).await {
            Ok(body) => body,
            Err(e) if e.status() == http::StatusCode::PAYLOAD_TOO_LARGE => return Err(Problem::payload_too_large()),
            Err(_) => return Err(Problem::bad_request("body")),
        };
        serde_json::from_slice(&body).map(Self).map_err(|error| Problem::bad_json(&error))
    }
}

/// Whether there is one content type, and it is JSON: parameters such as `charset` aside, which JSON does not have.
fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return false };
    let essence = only.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Whether the body claims to be packed. None is unpacked here, and what says that it is packed and is not has been read
/// as something else by whoever stands before the server (RFC 9110 §8.4, §15.5.16).
fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
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
