use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;

macro_rules! base {
    () => {
        "https://docs.rs/tower-ward/latest/tower_ward/problem/#"
    };
}

/// One line per kind: the bodies are put together by the compiler, and no request pays for it.
macro_rules! kinds {
    ($($name:ident $status:ident $code:literal $slug:literal $title:literal $detail:literal;)+) => {
        /// Which problem it is. The module's page has a heading for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = concat!($code, ": ", $detail)] $name,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The `type`: an absolute URI that ends in the kind's heading on this module's page.
            #[must_use]
            pub const fn type_uri(self) -> &'static str {
                match self { $(Self::$name => concat!(base!(), $slug),)+ }
            }

            /// The `title`.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// The `detail`: one sentence, always the same.
            #[must_use]
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)+ }
            }

            const fn json(self) -> &'static str {
                match self {
                    $(Self::$name => concat!(
                        r#"{"type":""#, base!(), $slug, r#"","title":""#, $title, r#"","status":"#, $code,
                        r#","detail":""#, $detail, r#""}"#,
                    ),)+
                }
            }
        }
    };
}

kinds! {
    BadRequest BAD_REQUEST 400 "bad-request" "Bad request"
        "The request does not have the form that is accepted here.";
    ReasonRequired BAD_REQUEST 400 "reason-required" "Reason required"
        "The request must say what it is for, in the headers X-Purpose and X-Reason, one word each.";
    Unauthenticated UNAUTHORIZED 401 "unauthenticated" "Not authenticated"
        "The request needs credentials that are valid now.";
    Forbidden FORBIDDEN 403 "forbidden" "Forbidden"
        "These credentials do not allow this request.";
    NotFound NOT_FOUND 404 "not-found" "Not found"
        "There is nothing here for these credentials.";
    MethodNotAllowed METHOD_NOT_ALLOWED 405 "method-not-allowed" "Method not allowed"
        "This method is not one of those listed in Allow.";
    NotAcceptable NOT_ACCEPTABLE 406 "not-acceptable" "Not acceptable"
        "None of the media types asked for can be produced.";
    Conflict CONFLICT 409 "conflict" "Conflict"
        "The request conflicts with the present state; read it again and retry.";
    PayloadTooLarge PAYLOAD_TOO_LARGE 413 "payload-too-large" "Content too large"
        "The request's content is larger than the limit.";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE 415 "unsupported-media-type" "Unsupported media type"
        "The request's content is of a media type that is not read here.";
    Misdirected MISDIRECTED_REQUEST 421 "misdirected" "Misdirected request"
        "This host is not served here.";
    Unprocessable UNPROCESSABLE_ENTITY 422 "unprocessable" "Unprocessable content"
        "The request is well formed, but a value in it cannot be accepted.";
    TooMany TOO_MANY_REQUESTS 429 "too-many" "Too many requests"
        "A limit was reached; retry after the time in Retry-After.";
    Internal INTERNAL_SERVER_ERROR 500 "internal" "Internal error"
        "The server failed to answer.";
    Unavailable SERVICE_UNAVAILABLE 503 "unavailable" "Unavailable"
        "Something that the answer needs is not available now; retry later.";
}

impl Kind {
    /// The body. Without a field it is static; with one it costs an allocation.
    pub(super) fn body(self, field: Option<&str>, place: Option<(usize, usize)>) -> Bytes {
        let json = self.json();
        let Some(field) = field else { return Bytes::from_static(json.as_bytes()) };
        let mut out = String::with_capacity(json.len() + field.len() + 64);
        // The closing brace is one byte of ASCII.
        out.push_str(&json[..json.len() - 1]);
        out.push_str(r#","field":""#);
        for c in field.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                // A name in the program's source has no use for control characters.
                c if c.is_control() => {}
                c => out.push(c),
            }
        }
        out.push('"');
        if let Some((line, column)) = place {
            let _ = write!(out, r#","line":{line},"column":{column}"#);
        }
        out.push('}');
        Bytes::from(out)
    }
}
