//! What follows from an error of KMS, or of the way to it.

use std::{error::Error as _, io, sync::Arc};

use aws_sdk_kms::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId as _,
};

use super::{Kind, ProviderError, arn};

/// The cause of a [`ProviderError`]: what was answered, in words that cannot hold a key. Never the SDK's own error, whose
/// `Debug` prints bodies and headers, and never KMS's message, which is written for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

/// The error of a call.
pub(super) fn error<E: ProvideErrorMetadata>(key: &Arc<str>, error: &SdkError<E, HttpResponse>) -> ProviderError {
    let (kind, what, cause) = match error {
        SdkError::ServiceError(answer) => {
            let (status, code) = (answer.raw().status().as_u16(), error.code().and_then(code));
            let (kind, what) = verdict(status, code.unwrap_or_default());
            let code = code.map_or_else(|| "no code".to_owned(), |code| format!("`{code}`"));
            let request = error.request_id().filter(|id| arn::is_uuid(id));
            let request = request.map(|id| format!(", request `{id}`")).unwrap_or_default();
            (kind, what, format!("status {status}, {code}{request}"))
        }
        SdkError::ResponseError(_) => {
            (Kind::Unavailable, "the answer of KMS broke off: ask again", "no whole answer".to_owned())
        }
        SdkError::DispatchFailure(failure) => {
            let what = "KMS was not reached: look at the network, the endpoint and the client's credentials";
            let way = failure.as_connector_error().and_then(|error| io_kind(error.source()));
            let way = way.map_or_else(|| "no connection".to_owned(), |kind| format!("no connection: {kind}"));
            (Kind::Unavailable, what, way)
        }
        SdkError::TimeoutError(_) => (
            Kind::Unavailable,
            "KMS did not answer in time: look at the network on the way to it",
            "the client's own time-out".to_owned(),
        ),
        _ => (
            Kind::Unavailable,
            "KMS was not asked: look at the client's settings and credentials",
            "no request".to_owned(),
        ),
    };
    ProviderError::new(kind, key.clone(), what).with_source(Cause(cause))
}

/// The table: what an answer that is no success says. A code counts with a status 4xx alone: a server that has failed
/// decides nothing, and neither does a page without a code that something on the way has answered.
fn verdict(status: u16, code: &str) -> (Kind, &'static str) {
    match (status, code) {
        // The SDK could not read it.
        (200..=299, _) => (Kind::Garbled, "the answer is not one of KMS: look at what the endpoint is"),
        (400..=499, "AccessDeniedException" | "InvalidGrantTokenException" | "NotAuthorized" | "OptInRequired") => (
            Kind::Denied,
            "KMS does not permit it to us: look at the key policy and the grants, with this encryption context",
        ),
        (
            400..=499,
            "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "UnrecognizedClientException",
        ) => (Kind::Denied, "KMS does not accept our credentials: look at the client's, and at this machine's clock"),
        (400..=499, "DisabledException") => (Kind::Denied, "the key is disabled: ask its owner"),
        (400..=499, "KMSInvalidStateException") => {
            (Kind::Denied, "the key is to be deleted, or its key store is not connected: ask its owner")
        }
        (400..=499, "NotFoundException") => (Kind::Denied, "there is no such key: look at the ARN"),
        (400..=499, "InvalidKeyUsageException") => {
            (Kind::Denied, "this key is not for symmetric encryption: make one that is")
        }
        (400..=499, "IncorrectKeyException" | "InvalidCiphertextException") => {
            (Kind::Mismatch, "these bytes were not wrapped by this key in this context")
        }
        (_, "LimitExceededException" | "ThrottlingException") => {
            (Kind::Unavailable, "KMS asks for fewer calls: ask again later, or raise the account's quota")
        }
        _ => (Kind::Unavailable, "KMS does not answer the question: ask again"),
    }
}

/// A code, if it is no more than that: a key has digits, in whatever spelling.
fn code(text: &str) -> Option<&str> {
    ((1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())).then_some(text)
}

/// The name of a key's material as KMS gives it: 64 digits of hex.
pub(super) fn material(text: &str) -> Option<String> {
    arn::is_hex(text, 64).then(|| text.to_owned())
}

/// What the system says of a connection. Its kind alone: texts of errors hold what somebody put into them.
fn io_kind(mut error: Option<&(dyn std::error::Error + 'static)>) -> Option<io::ErrorKind> {
    while let Some(inner) = error {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return Some(inner.kind());
        }
        error = inner.source();
    }
    None
}
