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
    let mut text = Text { bytes: [0; 72], end: 0 };
    text.push(b"\"");
    text.push(name.as_bytes());
    text.push(b"\";r=");
    text.number(decision.remaining().into());
    text.push(b";t=");
    text.number(whole_seconds(wait));
    HeaderValue::from_bytes(&text.bytes[..text.end]).ok()
}

/// Every response has two of these: `write!` would cost more than the limit.
struct Text {
    bytes: [u8; 72],
    end: usize,
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.end..self.end + part.len()].copy_from_slice(part);
        self.end += part.len();
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                return self.push(&digits[start..]);
            }
        }
    }
}

/// Both fields are lists: another limit's item goes into a line of its own (RFC 9651 §4.2).
pub(super) fn append(headers: &mut HeaderMap, policy: &HeaderValue, limit: Option<HeaderValue>) {
    headers.append(POLICY, policy.clone());
    if let Some(limit) = limit {
        headers.append(LIMIT, limit);
    }
}
