use std::{mem, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{self, Entry},
};
use tower_layer::Layer;

use super::{Csp, Exception, Headers, Hsts, PermissionsPolicy, revealing::is_unwanted};

pub(super) const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// A setting cannot do what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadersError {
    /// `Strict-Transport-Security` for less than a year.
    #[error("`max_age` of hsts must be at least 365 days: set it longer, or leave the default of two years")]
    HstsMaxAge,
    /// `preload` is only for hosts whose subdomains are included.
    #[error("`preload` of hsts needs its subdomains: leave `danger_without_subdomains` out, or `with_preload`")]
    HstsPreload,
}

/// Dresses every response. The settings, and their one rule, [`dress`](Self::dress). Cheap to clone.
#[derive(Debug, Clone)]
pub struct HeadersLayer {
    /// Put together once; each response gets a copy.
    set: Arc<HeaderMap>,
    secure: bool,
}

impl HeadersLayer {
    /// The set of the module's table, for https.
    #[must_use]
    pub fn new() -> Self {
        let hsts = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        Self::assemble(Some(hsts), Csp::api(), &PermissionsPolicy::new())
    }

    /// Other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn assemble(hsts: Option<HeaderValue>, csp: Csp, permissions: &PermissionsPolicy) -> Self {
        let secure = hsts.is_some();
        let fixed = [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "deny"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
            (header::CACHE_CONTROL, "no-store, max-age=0"),
            (header::X_DNS_PREFETCH_CONTROL, "off"),
            (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
        ];
        // Room for the dozen headers of a usual response, so that its copy is not re-hashed.
        let mut set = HeaderMap::with_capacity(24);
        set.extend(fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))));
        set.insert(header::CONTENT_SECURITY_POLICY, csp.into_value());
        set.insert(PERMISSIONS_POLICY, permissions.value());
        if let Some(hsts) = hsts {
            set.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        Self { set: Arc::new(set), secure }
    }

    /// Rules 1, 3 and 4 of the module, in one pass.
    pub fn dress(&self, headers: &mut HeaderMap) {
        let worn = mem::replace(headers, HeaderMap::clone(&self.set));
        let mut keep = None;
        // A name comes with its first value; its further values come without.
        for (name, value) in worn {
            match (name, &keep) {
                (Some(name), _) => {
                    keep = None;
                    if self.passes(&name)
                        && let Entry::Vacant(place) = headers.entry(&name)
                    {
                        // What is taken already is of the set: a name comes once.
                        place.insert(value);
                        keep = Some(name);
                    }
                }
                (None, Some(name)) => {
                    headers.append(name, value);
                }
                (None, None) => {}
            }
        }
    }

    /// Rules 1 to 4 of the module.
    pub fn dress_response<B>(&self, response: &mut Response<B>) {
        self.dress(response.headers_mut());
        let Some(exception) = response.extensions().get::<Exception>().cloned() else { return };
        for (name, value) in exception.headers() {
            response.headers_mut().insert(name, value.clone());
        }
    }

    fn passes(&self, name: &HeaderName) -> bool {
        let hsts_over_http = !self.secure && name == header::STRICT_TRANSPORT_SECURITY;
        !(is_unwanted(name) || hsts_over_http)
    }
}

impl Default for HeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for HeadersLayer {
    type Service = Headers<S>;

    fn layer(&self, inner: S) -> Headers<S> {
        Headers::new(inner, self.clone())
    }
}

/// Settings for a [`HeadersLayer`]. What is not set is as in the module's table.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    hsts: Hsts,
    csp: Option<Csp>,
    permissions: PermissionsPolicy,
    plain_http: bool,
}

impl Builder {
    /// Sets `Strict-Transport-Security`.
    pub fn with_hsts(mut self, hsts: Hsts) -> Self {
        self.hsts = hsts;
        self
    }

    /// Sets `Content-Security-Policy`.
    pub fn with_csp(mut self, csp: Csp) -> Self {
        self.csp = Some(csp);
        self
    }

    /// Sets `Permissions-Policy`, on every response. To open a feature on one route alone, use an [`Exception`].
    pub fn with_permissions(mut self, permissions: PermissionsPolicy) -> Self {
        self.permissions = permissions;
        self
    }

    /// Leaves `Strict-Transport-Security` out, and takes it off where a handler set it: RFC 6797 §7.2 forbids it over
    /// plain http. For a demonstration on loopback.
    pub fn danger_over_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// If [`Hsts`] is for less than a year, or is to be preloaded without its subdomains.
    pub fn build(self) -> Result<HeadersLayer, HeadersError> {
        // A setting that is wrong is told even where it would not be sent.
        let hsts = self.hsts.value()?;
        let csp = self.csp.unwrap_or_else(Csp::api);
        Ok(HeadersLayer::assemble((!self.plain_http).then_some(hsts), csp, &self.permissions))
    }
}
