#![doc = include_str!("../../docs/problems.md")]

mod kind;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};

pub use kind::Kind;

/// The header that carries the request's identifier. It is never in the body: bodies of one kind are all alike.
///
/// ```
/// use http::HeaderValue;
/// use tower_ward::problem::{Problem, REQUEST_ID};
///
/// let problem = Problem::not_found().with_request_id(HeaderValue::from_static("7f3a"));
/// assert_eq!(problem.into_response::<Vec<u8>>().headers()[REQUEST_ID], "7f3a");
/// ```
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a request was refused, for the layers outside. It stays in the response's extensions and is never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub &'static str);

/// A refusal, as RFC 9457 writes it.
///
/// It holds no text that came with a request: sentences, field names and reasons are the program's own.
///
/// # Security
///
/// Two problems of one kind (and, where there is one, one field) have the same status and the same body, byte for
/// byte, so [`not_found`](Self::not_found) for somebody else's record cannot be told from one for a record that never
/// was. Time is not covered: who decides must take the same path for both.
#[derive(Debug)]
#[must_use = "a problem refuses nothing until it is returned"]
pub struct Problem {
    kind: Kind,
    field: Option<Cow<'static, str>>,
    /// Line and column of the body.
    place: Option<(usize, usize)>,
    reason: Option<&'static str>,
    extra: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(kind: Kind) -> Self {
        Self { kind, field: None, place: None, reason: None, extra: Vec::new() }
    }

    /// 400: `field` of the request is missing or malformed. The name is the program's own, never the client's.
    pub fn bad_request(field: &'static str) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::BadRequest) }
    }

    /// 400: the JSON body does not parse, or has not the shape that is asked for, and where it is told from the parser's
    /// numbers. A field that is missing is named.
    #[cfg(feature = "axum")]
    pub(crate) fn bad_json(error: &serde_json::Error) -> Self {
        // serde's own sentence, about a name that stands in the program; what a client sent is in others.
        let text = error.to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
        let plain = |name: &&str| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match missing.filter(plain) {
            Some(name) => Self { field: Some(name.to_owned().into()), ..Self::new(Kind::BadRequest) },
            None => Self { place: Some((error.line(), error.column())), ..Self::bad_request("body") },
        }
    }

    /// 400: the request does not say what it is for; `field` is the header that is missing.
    pub fn reason_required(field: &'static str) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::ReasonRequired) }
    }

    /// 401, with `WWW-Authenticate: Bearer` (RFC 6750 §3): no credentials came.
    pub fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401, with `WWW-Authenticate: Bearer error="invalid_token"` (RFC 6750 §3.1): the credentials do not hold. The
    /// body is that of [`unauthenticated`](Self::unauthenticated), whatever was wrong with them.
    pub fn invalid_token() -> Self {
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        Self::new(Kind::Unauthenticated).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: known, and not allowed.
    pub fn forbidden() -> Self {
        Self::new(Kind::Forbidden)
    }

    /// 404: absent, or another's. The two are one.
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound)
    }

    /// 405, with the methods that are allowed (RFC 9110 §15.5.6 requires `Allow`).
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self::new(Kind::MethodNotAllowed).with_header(header::ALLOW, allow)
    }

    /// 406: none of the media types asked for.
    pub fn not_acceptable() -> Self {
        Self::new(Kind::NotAcceptable)
    }

    /// 409: somebody else changed it, or the same request still runs.
    pub fn conflict() -> Self {
        Self::new(Kind::Conflict)
    }

    /// 413: the body is larger than the limit.
    pub fn payload_too_large() -> Self {
        Self::new(Kind::PayloadTooLarge)
    }

    /// 415: the body's media type is not one that is read here.
    pub fn unsupported_media_type() -> Self {
        Self::new(Kind::UnsupportedMediaType)
    }

    /// 421: the host is not one that is served here.
    pub fn misdirected() -> Self {
        Self::new(Kind::Misdirected)
    }

    /// 422: `field` is well formed, and its value cannot be.
    pub fn unprocessable(field: &'static str) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Unprocessable) }
    }

    /// 429, with `Retry-After`.
    pub fn too_many(retry_after: Duration) -> Self {
        Self::new(Kind::TooMany).with_retry_after(retry_after)
    }

    /// 500: a fault of the server.
    pub fn internal() -> Self {
        Self::new(Kind::Internal)
    }

    /// 503: what the answer needs is not there now: a store, the ledger, room in a pool.
    pub fn unavailable() -> Self {
        Self::new(Kind::Unavailable)
    }

    /// Notes why, for the layers outside (see [`Reason`]). Replaces an earlier reason.
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Sets `Retry-After`, in whole seconds, rounded up, at least one.
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)))
    }

    /// Sets a header of the response, and replaces any of the same name. For values that the program chose: nothing
    /// here checks them for what a client sent.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.extra.retain(|(present, _)| *present != name);
        self.extra.push((name, value));
        self
    }

    /// Sets the request's identifier, in the header [`REQUEST_ID`].
    pub fn with_request_id(self, id: HeaderValue) -> Self {
        self.with_header(REQUEST_ID, id)
    }

    /// Which problem it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The field that is wrong, where the kind has one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Why, where somebody noted it.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The response: `application/problem+json`, not to be cached, the reason in its extensions.
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.kind.body(self.field.as_deref(), self.place)));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // A 404, 405 or 501 may be cached by anyone unless told otherwise (RFC 9110 §15.1).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, max-age=0"));
        for (name, value) in self.extra {
            headers.insert(name, value);
        }
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(Reason(reason));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.title())
    }
}

impl std::error::Error for Problem {}

#[cfg(feature = "axum")]
impl ::axum::response::IntoResponse for Problem {
    fn into_response(self) -> ::axum::response::Response {
        Problem::into_response(self)
    }
}

/// Whole seconds, rounded up, at least one: never earlier than `wait`.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
