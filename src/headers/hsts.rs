use std::time::Duration;

use http::HeaderValue;

use super::HeadersError;

/// `Strict-Transport-Security` (RFC 6797): two years, subdomains included, not preloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    max_age: Duration,
    subdomains: bool,
    preload: bool,
}

impl Hsts {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Two years, subdomains included, not preloaded.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_age: Duration::from_secs(63_072_000), subdomains: true, preload: false }
    }

    /// Sets how long a browser remembers, in whole seconds. Less than a year does not build (ASVS 5.0 V3.4.1).
    #[must_use]
    pub const fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Asks for the host to be built into browsers. Removal takes months: be sure.
    #[must_use]
    pub const fn with_preload(mut self) -> Self {
        self.preload = true;
        self
    }

    /// Leaves subdomains out. Whoever can answer for a subdomain over plain http can then set cookies for the host.
    #[must_use]
    pub const fn danger_without_subdomains(mut self) -> Self {
        self.subdomains = false;
        self
    }

    pub(super) fn value(self) -> Result<HeaderValue, HeadersError> {
        if self.max_age < Self::YEAR {
            return Err(HeadersError::HstsMaxAge);
        }
        if self.preload && !self.subdomains {
            return Err(HeadersError::HstsPreload);
        }
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        let text = format!("max-age={}{subdomains}{preload}", self.max_age.as_secs());
        HeaderValue::try_from(text).map_err(|_| HeadersError::HstsMaxAge)
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self::new()
    }
}
