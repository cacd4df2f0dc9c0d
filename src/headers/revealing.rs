use http::HeaderName;

/// Headers that tell what a server is made of, in lower case and in order: the list of names to remove of the OWASP
/// Secure Headers Project, of 19 July 2026.
///
/// ```
/// use tower_ward::headers::{HeadersLayer, RETIRED, REVEALING};
///
/// let mut headers = http::HeaderMap::new();
/// for name in REVEALING.iter().chain(RETIRED) {
///     headers.insert(*name, http::HeaderValue::from_static("1"));
/// }
/// HeadersLayer::new().dress(&mut headers);
/// assert!(!REVEALING.iter().chain(RETIRED).any(|name| headers.contains_key(*name)));
/// ```
pub const REVEALING: &[&str] = &[
    "$wsep",
    "host-header",
    "k-proxy-request",
    "liferay-portal",
    "oraclecommercecloud-version",
    "pega-host",
    "powered-by",
    "product",
    "server",
    "sourcemap",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-atmosphere-error",
    "x-atmosphere-first-request",
    "x-atmosphere-tracking-id",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-backside-transport",
    "x-beserver",
    "x-calculatedbetarget",
    "x-cf-powered-by",
    "x-cms",
    "x-cocoon-version",
    "x-content-encoded-by",
    "x-datadog-origin",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-datadog-trace-id",
    "x-diaginfo",
    "x-dtagentid",
    "x-dthealthcheck",
    "x-dtinjectedservlet",
    "x-envoy-attempt-count",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-dst-host",
    "x-envoy-upstream-service-time",
    "x-feserver",
    "x-framework",
    "x-generated-by",
    "x-generator",
    "x-gitlab-meta",
    "x-jitsi-release",
    "x-joomla-version",
    "x-kong-admin-latency",
    "x-kong-client-latency",
    "x-kong-proxy-latency",
    "x-kong-request-id",
    "x-kong-response-latency",
    "x-kong-third-party-latency",
    "x-kong-total-latency",
    "x-kong-upstream-latency",
    "x-kong-upstream-status",
    "x-kubernetes-pf-flowschema-ui",
    "x-kubernetes-pf-prioritylevel-uid",
    "x-litespeed-cache",
    "x-litespeed-cache-control",
    "x-litespeed-purge",
    "x-litespeed-tag",
    "x-litespeed-vary",
    "x-mod-pagespeed",
    "x-nextjs-cache",
    "x-nextjs-matched-path",
    "x-nextjs-page",
    "x-nextjs-redirect",
    "x-old-content-length",
    "x-oneagent-js-injection",
    "x-owa-version",
    "x-page-speed",
    "x-php-version",
    "x-powered-by",
    "x-powered-by-plesk",
    "x-powered-cms",
    "x-redirect-by",
    "x-ruxit-js-agent",
    "x-server-powered-by",
    "x-sourcefiles",
    "x-sourcemap",
    "x-turbo-charged-by",
    "x-tyk-trace-id",
    "x-umbraco-version",
    "x-varnish-backend",
    "x-varnish-server",
    "x-woodpecker-version",
];

/// Headers that browsers have retired and that the same project's validator wants absent, in lower case and in order.
/// `X-XSS-Protection` is the one that did harm: it let a page be broken from outside.
pub const RETIRED: &[&str] = &["expect-ct", "feature-policy", "public-key-pins", "x-xss-protection"];

/// With which bytes the names on the lists begin. Most names on a response begin with another.
const STARTS: [bool; 256] = {
    let mut starts = [false; 256];
    let mut n = 0;
    while n < REVEALING.len() {
        starts[REVEALING[n].as_bytes()[0] as usize] = true;
        n += 1;
    }
    n = 0;
    while n < RETIRED.len() {
        starts[RETIRED[n].as_bytes()[0] as usize] = true;
        n += 1;
    }
    starts
};

/// A few headers are on a response and many on the lists, so the response's are looked up, not the lists'.
pub(super) fn is_unwanted(name: &HeaderName) -> bool {
    let name = name.as_str();
    let listed = || REVEALING.binary_search(&name).is_ok() || RETIRED.binary_search(&name).is_ok();
    name.as_bytes().first().is_some_and(|first| STARTS[usize::from(*first)]) && listed()
}
