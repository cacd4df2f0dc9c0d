use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    problem::whole_seconds,
    quota::{Decision, Quota},
};

pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// `"name";q=burst;w=seconds`, which never changes.
pub(super) fn policy(name: &str, quota: Quota) -> Option<HeaderValue> {
    let text = format!("\"{name}\";q={};w={}", quota.burst(), whole_seconds(quota.per()));
    HeaderValue::try_from(text).ok()
}

/// `"name";r=left;t=seconds`.
pub(super) fn limit(name: &str, decision: &Decision) -> Option<HeaderValue> {
    let wait = if decision.is_allowed() { decision.reset_after() } else { decision.retry_after() };
    // 34 of name with its quotes, 3 + 10 of r, 3 + 20 of t.
    let mut text = [0; 72];
    let mut rest = &mut text[..];
    write!(rest, "\"{name}\";r={};t={}", decision.remaining(), whole_seconds(wait)).ok()?;
    let left = rest.len();
    HeaderValue::from_bytes(&text[..text.len() - left]).ok()
}

/// Both fields are lists: another limit's item goes into a line of its own (RFC 9651 §4.2).
pub(super) fn append(headers: &mut HeaderMap, policy: &HeaderValue, limit: Option<HeaderValue>) {
    headers.append(POLICY, policy.clone());
    if let Some(limit) = limit {
        headers.append(LIMIT, limit);
    }
}
