//! What a request says that it is made for.

use http::{HeaderMap, HeaderName};

use crate::audit::record::Purpose;

/// The header by which a request declares its purpose: `treatment`, `billing`, `audit`. One word, as [`Purpose`] takes it.
pub const PURPOSE: HeaderName = HeaderName::from_static("x-purpose");

/// The header by which a request declares its reason: `second-opinion`, or a file's number, `f-4711`. One word, as [`Purpose`]
/// takes it, since it stands in the ledger in clear: a sentence would be about a person.
///
/// ```
/// use tower_ward::{access::Grant, audit::{PURPOSE, REASON}, axum::Router, problem::Problem, stack::Ward};
///
/// tower_ward::permissions! { pub ReadReport = "report.read"; }
///
/// fn routes(ward: &Ward) -> Router {
///     // 400 without both headers, 403 for who may not anyway.
///     Router::new(ward)
///         .get("/report", async |grant: Grant<ReadReport>| {
///             grant.clinic().await?; // its record says what was declared
///             Ok::<_, Problem>("all well")
///         })
///         .reason_required()
/// }
///
/// let asked = http::Request::get("/report").header(PURPOSE, "audit").header(REASON, "f-4711");
/// # assert!(asked.body(()).is_ok());
/// ```
pub const REASON: HeaderName = HeaderName::from_static("x-reason");

/// What a request declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(super) purpose: Option<Purpose>,
    /// Spelled as a purpose is.
    pub(super) reason: Option<Purpose>,
}

impl Declared {
    /// The header that is malformed, or stands twice, is the error.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, &'static str> {
        let word = |name: &HeaderName, spelled: &'static str| {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            let word = value.to_str().ok().and_then(|text| Purpose::new(text).ok());
            if values.next().is_some() { Err(spelled) } else { word.map(Some).ok_or(spelled) }
        };
        Ok(Self { purpose: word(&PURPOSE, "x-purpose")?, reason: word(&REASON, "x-reason")? })
    }

    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The first of both that is missing.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        match (&self.purpose, &self.reason) {
            (None, _) => Some("x-purpose"),
            (_, None) => Some("x-reason"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_declares_one_word_each_or_is_told_which_is_none() {
        let headers = |lines: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), http::HeaderValue::from_bytes(value.as_bytes()).unwrap())
            };
            lines.iter().map(pair).collect()
        };
        assert!(Declared::of(&headers(&[])).unwrap().is_nothing());
        let both = Declared::of(&headers(&[("x-purpose", "treatment"), ("x-reason", "f-4711")])).unwrap();
        assert_eq!(both.missing(), None);
        assert_eq!(Declared::of(&headers(&[("x-purpose", "audit")])).unwrap().missing(), Some("x-reason"));
        assert_eq!(Declared::of(&headers(&[("x-reason", "f-4711")])).unwrap().missing(), Some("x-purpose"));
        for bad in ["", "Treatment", "because of Ada's knee", "4711", "\u{e9}", "x".repeat(65).leak()] {
            assert_eq!(Declared::of(&headers(&[("x-purpose", bad)])), Err("x-purpose"), "{bad}");
            assert_eq!(Declared::of(&headers(&[("x-reason", bad)])), Err("x-reason"), "{bad}");
        }
        let twice = [("x-reason", "one"), ("x-reason", "two")];
        assert_eq!(
            Declared::of(&twice.iter().fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(*name, value.parse().unwrap());
                all
            })),
            Err("x-reason")
        );
    }
}
