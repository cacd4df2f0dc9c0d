use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::{Csp, PermissionsPolicy, layer::PERMISSIONS_POLICY};

/// Other values for one response: put it into the response's extensions.
///
/// A header that a handler sets is replaced; this is a value of the program's, so a string from an upstream cannot
/// stand for it. It cannot take a header away. Cheap to clone: make it once.
///
/// ```
/// use tower_ward::headers::{Csp, Exception, Feature, HeadersLayer, PermissionsPolicy};
///
/// let video_visit = Exception::new()
///     .with_csp(Csp::pages())
///     .danger_permissions(&PermissionsPolicy::new().danger_open(Feature::Camera));
///
/// let mut response = http::Response::new(());
/// response.extensions_mut().insert(video_visit);
/// HeadersLayer::new().dress_response(&mut response);
/// let policy = response.headers()["permissions-policy"].to_str()?;
/// assert!(policy.contains("camera=(self)"));
/// // Only what was named.
/// assert!(policy.contains("microphone=()"));
/// # Ok::<(), http::header::ToStrError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Exception {
    set: Arc<Vec<(HeaderName, HeaderValue)>>,
}

impl Exception {
    /// No exception yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another `Content-Security-Policy`. Every [`Csp`] passes the same rules, so this weakens nothing that they guard.
    #[must_use]
    pub fn with_csp(self, csp: Csp) -> Self {
        self.with(header::CONTENT_SECURITY_POLICY, csp.into_value())
    }

    /// Another `Permissions-Policy`.
    #[must_use]
    pub fn danger_permissions(self, policy: &PermissionsPolicy) -> Self {
        self.with(PERMISSIONS_POLICY, policy.value())
    }

    /// Another `Cache-Control`: for a style sheet or a script, which is the same for everybody. A patient's data does
    /// not belong into any cache.
    #[must_use]
    pub fn danger_cache_control(self, value: HeaderValue) -> Self {
        self.with(header::CACHE_CONTROL, value)
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        let set = Arc::make_mut(&mut self.set);
        set.retain(|(present, _)| *present != name);
        set.push((name, value));
        self
    }

    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }
}
