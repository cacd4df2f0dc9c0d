use std::{hash::Hash, num::NonZeroU32, time::Duration};

use http::{HeaderMap, HeaderValue};

use super::fields;
use crate::{
    problem::Problem,
    quota::{Decision, Limiter, Quota, QuotaError},
};

/// A limit with a name, for keys that the caller knows: a tenant and a principal, say.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use http::HeaderMap;
/// use tower_ward::{quota::Quota, rate_limit::KeyedLimit};
///
/// let limit = KeyedLimit::new("principal", Quota::per_minute(NonZeroU32::MIN), NonZeroU32::new(1_000).unwrap())?;
/// let now = Duration::ZERO; // from a `Clock`'s `monotonic`
/// // A tuple: its parts cannot run into each other.
/// assert!(limit.decide(&("clinic-a", [1; 16]), now).is_allowed());
/// assert!(limit.decide(&("clinic-b", [1; 16]), now).is_allowed());
///
/// let refused = limit.decide(&("clinic-a", [1; 16]), now);
/// assert!(!refused.is_allowed());
/// let mut headers = HeaderMap::new();
/// limit.tell(&refused, &mut headers);
/// assert_eq!(headers["ratelimit"], r#""principal";r=0;t=60"#);
/// # Ok::<(), tower_ward::rate_limit::LimitError>(())
/// ```
#[derive(Debug)]
pub struct KeyedLimit {
    name: &'static str,
    policy: HeaderValue,
    limiter: Limiter,
}

/// A limit cannot be built from these settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The name cannot stand in a header.
    #[error("the name of a limit must be 1 to 32 of `a-z`, `0-9` and `-`: it stands in a header of each response")]
    Name,
    /// The quota, or the number of keys.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

impl KeyedLimit {
    /// A limit of `quota` for each of at most `keys` keys.
    ///
    /// # Errors
    ///
    /// If `name` is not 1 to 32 of `a-z`, `0-9` and `-`, or there are too many `keys`.
    pub fn new(name: &'static str, quota: Quota, keys: NonZeroU32) -> Result<Self, LimitError> {
        let shape = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !shape || name.is_empty() || name.len() > 32 {
            return Err(LimitError::Name);
        }
        let policy = fields::policy(name, quota).ok_or(LimitError::Name)?;
        Ok(Self { name, policy, limiter: Limiter::new(quota, keys)? })
    }

    /// Decides about one request of `key` at the monotonic time `now`.
    pub fn decide<K: Hash + ?Sized>(&self, key: &K, now: Duration) -> Decision {
        self.limiter.check(key, now)
    }

    /// Adds `RateLimit-Policy` and `RateLimit` to a response's headers.
    pub fn tell(&self, decision: &Decision, headers: &mut HeaderMap) {
        fields::append(headers, &self.policy, fields::limit(self.name, decision));
    }

    /// The refusal that fits `decision`, with `Retry-After`. Call [`tell`](Self::tell) on its response.
    pub fn refusal(&self, decision: &Decision) -> Problem {
        let reason = if decision.is_crowded() { "rate limit: no room for a new key" } else { "rate limit reached" };
        Problem::too_many(decision.retry_after()).with_reason(reason)
    }

    #[cfg(feature = "stack")]
    pub(crate) fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it counts with.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}
