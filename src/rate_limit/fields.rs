use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "stack")]
use super::{KeyedLimit, LimitError};
use crate::{
    problem::whole_seconds,
    quota::{Decision, Quota},
};

pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// `RateLimit-Policy` of several limits, as one list.
#[cfg(feature = "stack")]
pub(crate) fn policies<'a>(limits: impl IntoIterator<Item = &'a KeyedLimit>) -> Result<HeaderValue, LimitError> {
    let items: Vec<&[u8]> = limits.into_iter().map(|limit| limit.policy().as_bytes()).collect();
    HeaderValue::try_from(items.join(&b", "[..])).map_err(|_| LimitError::Name)
}

/// `RateLimit` of several limits, as one list.
#[cfg(feature = "stack")]
pub(crate) fn state<const N: usize>(decided: [(&KeyedLimit, &Decision); N]) -> Option<HeaderValue> {
    const { assert!(N <= ITEMS, "a text has no room for more") };
    let mut text = Text::default();
    for (limit, decision) in decided {
        if text.end > 0 {
            text.push(b", ");
        }
        text.item(limit.name(), decision);
    }
    text.value()
}

/// `"name";q=burst;w=seconds`, which never changes.
pub(super) fn policy(name: &str, quota: Quota) -> Option<HeaderValue> {
    let text = format!("\"{name}\";q={};w={}", quota.burst(), whole_seconds(quota.per()));
    HeaderValue::try_from(text).ok()
}

/// `"name";r=left;t=seconds`.
pub(super) fn limit(name: &str, decision: &Decision) -> Option<HeaderValue> {
    let mut text = Text::default();
    text.item(name, decision);
    text.value()
}

/// The longest item: 34 of name with its quotes, 3 + 10 of r, 3 + 20 of t.
const ITEM: usize = 70;
/// The whole path asks two limits.
const ITEMS: usize = 2;

/// Every response has one of these: `write!` would cost more than the limit.
struct Text {
    bytes: [u8; ITEMS * (ITEM + 2)],
    end: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; _], end: 0 }
    }
}

impl Text {
    fn item(&mut self, name: &str, decision: &Decision) {
        let wait = if decision.is_allowed() { decision.reset_after() } else { decision.retry_after() };
        self.push(b"\"");
        self.push(name.as_bytes());
        self.push(b"\";r=");
        self.number(decision.remaining().into());
        self.push(b";t=");
        self.number(whole_seconds(wait));
    }

    fn value(&self) -> Option<HeaderValue> {
        if self.end == 0 { None } else { HeaderValue::from_bytes(&self.bytes[..self.end]).ok() }
    }

    fn push(&mut self, part: &[u8]) {
        self.bytes[self.end..self.end + part.len()].copy_from_slice(part);
        self.end += part.len();
    }

    fn number(&mut self, mut number: u64) {
        let end = self.end + number.checked_ilog10().map_or(1, |tens| tens as usize + 1);
        for digit in self.bytes[self.end..end].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
        self.end = end;
    }
}

/// Both fields are lists: another limit's item goes into a line of its own (RFC 9651 §4.2).
pub(crate) fn append(headers: &mut HeaderMap, policy: &HeaderValue, limit: Option<HeaderValue>) {
    headers.append(POLICY, policy.clone());
    if let Some(limit) = limit {
        headers.append(LIMIT, limit);
    }
}
