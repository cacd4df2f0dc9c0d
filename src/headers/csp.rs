use http::HeaderValue;

/// A `Content-Security-Policy` (CSP Level 3) that passed these rules:
///
/// 1. It is printable ASCII, at most 4096 bytes, directives parted by `;`.
/// 2. Each directive is known, in lower case, and there once. A browser ignores a second one, and one that it does not
///    know, without a word.
/// 3. `default-src`, `object-src`, `base-uri`, `form-action` and `frame-ancestors` are there: the last three do not fall
///    back to the first. `object-src` and `base-uri` are `'none'` (ASVS 5.0 V3.4.3).
/// 4. Keywords, nonces and hashes are quoted: without quotes they are names of hosts.
/// 5. `'none'` stands alone.
/// 6. Nothing says `unsafe`, and no script comes from a wildcard or from a whole scheme.
///
/// ```
/// use tower_ward::headers::{Csp, CspError};
///
/// let rest = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// assert!(Csp::new(&format!("default-src 'self'; {rest}")).is_ok());
/// // A host named `self`: the mistake that looks right.
/// assert_eq!(Csp::new(&format!("default-src self; {rest}")), Err(CspError::Quotes("default-src")));
/// assert_eq!(Csp::new(&format!("default-src 'self' 'unsafe-inline'; {rest}")), Err(CspError::Unsafe("default-src")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csp {
    value: HeaderValue,
}

/// A policy does not pass the rules of [`Csp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CspError {
    /// Too long, or not printable ASCII.
    #[error("a csp must be printable ASCII of at most 4096 bytes")]
    Text,
    /// A part between two `;` is empty, or its name is none that browsers know.
    #[error("directive number {0} of the csp is not known: check its spelling, in lower case, and stray `;`")]
    Unknown(usize),
    /// A directive is there twice.
    #[error("the csp has `{0}` twice: browsers obey the first alone, so join them")]
    Twice(&'static str),
    /// A directive is not there.
    #[error("the csp has no `{0}`: name it, `'none'` if nothing else")]
    Missing(&'static str),
    /// A directive must be `'none'`.
    #[error("`{0}` of the csp must be `'none'`")]
    NotNone(&'static str),
    /// A keyword, nonce or hash without quotes, or quotes around something that is neither.
    #[error("`{0}` of the csp has a keyword without quotes, or quotes around what is no keyword")]
    Quotes(&'static str),
    /// `'none'` with something else.
    #[error("`{0}` of the csp has `'none'` and something else: keep one")]
    NoneAmongOthers(&'static str),
    /// A source from which anybody can send a script.
    #[error("`{0}` of the csp lets anybody's script in: name hosts, nonces or hashes")]
    Unsafe(&'static str),
}

const DIRECTIVES: &[&str] = &[
    "base-uri",
    "child-src",
    "connect-src",
    "default-src",
    "font-src",
    "form-action",
    "frame-ancestors",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "report-to",
    "require-trusted-types-for",
    "sandbox",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "trusted-types",
    "upgrade-insecure-requests",
    "worker-src",
];

/// What is spelt with quotes where a source is asked for.
const KEYWORDS: &[&str] = &["self", "none", "strict-dynamic", "report-sample"];
const SECRETS: &[&str] = &["nonce-", "sha256-", "sha384-", "sha512-"];

impl Csp {
    /// For answers that are data: nothing loads, nothing frames, nothing is sent.
    #[must_use]
    pub fn api() -> Self {
        Self {
            value: HeaderValue::from_static(
                "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        }
    }

    /// For pages whose scripts, styles, images, fonts and calls are all the origin's own.
    #[must_use]
    pub fn pages() -> Self {
        Self {
            value: HeaderValue::from_static(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                 connect-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
                 frame-ancestors 'none'",
            ),
        }
    }

    /// Checks a policy of your own.
    ///
    /// # Errors
    ///
    /// If `policy` breaks one of the rules above; the error names the directive.
    pub fn new(policy: &str) -> Result<Self, CspError> {
        if policy.len() > 4096 || !policy.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(CspError::Text);
        }
        let mut seen: Vec<(&'static str, Vec<&str>)> = Vec::new();
        for (index, directive) in policy.split(';').enumerate() {
            let mut words = directive.split_ascii_whitespace();
            let name = words.next().and_then(|word| DIRECTIVES.iter().find(|known| **known == word));
            let name = *name.ok_or(CspError::Unknown(index + 1))?;
            if seen.iter().any(|(present, _)| *present == name) {
                return Err(CspError::Twice(name));
            }
            let sources: Vec<&str> = words.collect();
            check_sources(name, &sources)?;
            seen.push((name, sources));
        }
        let find = |name| seen.iter().find(|(present, _)| *present == name).ok_or(CspError::Missing(name));
        for name in ["default-src", "form-action", "frame-ancestors"] {
            find(name)?;
        }
        for name in ["object-src", "base-uri"] {
            if find(name)?.1 != ["'none'"] {
                return Err(CspError::NotNone(name));
            }
        }
        HeaderValue::from_str(policy).map(|value| Self { value }).map_err(|_| CspError::Text)
    }

    pub(super) fn into_value(self) -> HeaderValue {
        self.value
    }
}

fn check_sources(name: &'static str, sources: &[&str]) -> Result<(), CspError> {
    let is_list = name.ends_with("-src")
        || name.contains("-src-")
        || matches!(name, "base-uri" | "form-action" | "frame-ancestors");
    if !is_list {
        return Ok(());
    }
    // An empty list means `'none'`; it is asked for in words, so that it cannot happen.
    if sources.is_empty() {
        return Err(CspError::NotNone(name));
    }
    if sources.len() > 1 && sources.contains(&"'none'") {
        return Err(CspError::NoneAmongOthers(name));
    }
    let scripts = name == "default-src" || name.starts_with("script-src") || name == "worker-src";
    for source in sources {
        let bare = source.trim_matches('\'');
        let lower = bare.to_ascii_lowercase();
        if lower.contains("unsafe-") || (scripts && is_anybody(source)) {
            return Err(CspError::Unsafe(name));
        }
        let special = KEYWORDS.contains(&&*lower) || SECRETS.iter().any(|prefix| lower.starts_with(prefix));
        let quoted = source.len() >= 2 && *source == format!("'{bare}'");
        if special != quoted || source.contains('\'') != quoted {
            return Err(CspError::Quotes(name));
        }
    }
    Ok(())
}

/// A wildcard, or a scheme without a host.
fn is_anybody(source: &str) -> bool {
    source.contains('*') || source.ends_with(':')
}
