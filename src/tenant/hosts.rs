//! From a host name to a clinic.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use crate::id::TenantId;

/// The most tenants that one process registers.
///
/// ```
/// use tower_ward::{id::TenantId, tenant::{Hosts, HostsError, MAX_TENANTS}};
///
/// let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example")?;
/// for n in 0..MAX_TENANTS {
///     hosts.register(TenantId::new(&format!("c{n}"))?)?;
/// }
/// assert_eq!(hosts.register(TenantId::new("one-more")?), Err(HostsError::Full));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_TENANTS: usize = 100_000;

/// The settings of [`Hosts`] are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// The pattern does not begin with `{tenant}.` and go on with a domain.
    #[error("the host pattern must be `{{tenant}}.` and a domain in lower case, such as `{{tenant}}.clinic.example`")]
    Pattern,
    /// The platform's host is no host name, or could be a clinic's.
    #[error(
        "the platform host must be a domain in lower case whose first label no tenant can have, or outside the pattern's domain"
    )]
    Platform,
    /// The clinic's host would be longer than a host name can be.
    #[error(
        "the clinic's host would be longer than 253 bytes: choose a shorter id, or a pattern with a shorter domain"
    )]
    TooLong,
    /// [`MAX_TENANTS`] are registered.
    #[error("{MAX_TENANTS} tenants are registered: run another process for more")]
    Full,
}

/// A request's host leads nowhere. Answered with 421.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is no host.
    #[error("no host was named")]
    Missing,
    /// The host is not written as a host name with an optional port.
    #[error("the host is malformed")]
    Malformed,
    /// `:authority`, `Host` and SNI name different hosts.
    #[error("authority, host and server name differ")]
    Disagree,
    /// No clinic is registered under this host.
    #[error("no clinic answers under this host")]
    Unknown,
}

/// Where a request arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// A registered clinic's host.
    Clinic(TenantId),
    /// The platform's own: health, status, security.txt, webhooks, the operator.
    Platform,
}

/// The hosts that this process answers for. Clones share the registered clinics.
#[derive(Debug, Clone)]
pub struct Hosts {
    suffix: Arc<str>,
    platform: Arc<str>,
    // No stranger chooses what is in it, so the hash need not be one that withstands an attacker.
    tenants: Arc<RwLock<HashSet<TenantId, foldhash::fast::RandomState>>>,
}

impl Hosts {
    /// Hosts by a pattern, such as `{tenant}.clinic.example`, and the platform's own host.
    ///
    /// # Errors
    ///
    /// If the pattern is not `{tenant}.` and a domain, or the platform's host could be taken for a clinic's.
    pub fn new(pattern: &str, platform: &str) -> Result<Self, HostsError> {
        let suffix = pattern.strip_prefix("{tenant}").ok_or(HostsError::Pattern)?;
        let domain = suffix.strip_prefix('.').ok_or(HostsError::Pattern)?;
        if parse_host(domain) != Ok(domain) {
            return Err(HostsError::Pattern);
        }
        if parse_host(platform) != Ok(platform) {
            return Err(HostsError::Platform);
        }
        let taken = platform.strip_suffix(suffix).is_some_and(|label| TenantId::new(label).is_ok());
        if taken {
            return Err(HostsError::Platform);
        }
        Ok(Self { suffix: suffix.into(), platform: platform.into(), tenants: Arc::default() })
    }

    /// Answers for this clinic from now on.
    ///
    /// # Errors
    ///
    /// [`HostsError::Full`] beyond [`MAX_TENANTS`]; [`HostsError::TooLong`] if there can be no such host.
    pub fn register(&self, tenant: TenantId) -> Result<(), HostsError> {
        if parse_host(&self.host_of(&tenant)).is_err() {
            return Err(HostsError::TooLong);
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= MAX_TENANTS && !tenants.contains(&tenant) {
            return Err(HostsError::Full);
        }
        tenants.insert(tenant);
        Ok(())
    }

    /// Answers for this clinic no longer; says whether it did.
    pub fn remove(&self, tenant: &TenantId) -> bool {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(tenant)
    }

    /// Whether this clinic is answered for.
    #[must_use]
    pub fn is_registered(&self, tenant: &TenantId) -> bool {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).contains(tenant)
    }

    /// The host name of a clinic.
    #[must_use]
    pub fn host_of(&self, tenant: &TenantId) -> String {
        format!("{tenant}{}", self.suffix)
    }

    /// The rule: see the [module](super).
    ///
    /// # Errors
    ///
    /// [`HostError`], each of which is a 421.
    pub fn decide(&self, host: Option<&str>, authority: Option<&str>, sni: Option<&str>) -> Result<Site, HostError> {
        // Most requests name one host in one spelling, and one that is served needs no parsing: it was parsed when it was
        // registered.
        if let Some(name) = host.or(authority)
            && [authority, sni].into_iter().flatten().all(|other| other == name)
            && let Some(site) = self.site(name)
        {
            return Ok(site);
        }
        let named = match (authority.map(parse_host).transpose()?, host.map(parse_host).transpose()?) {
            (Some(a), Some(b)) if a != b => return Err(HostError::Disagree),
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => return Err(HostError::Missing),
        };
        if sni.is_some_and(|sni| sni != named) {
            return Err(HostError::Disagree);
        }
        self.site(named).ok_or(HostError::Unknown)
    }

    /// What is served under this name, to the letter.
    fn site(&self, name: &str) -> Option<Site> {
        if name == &*self.platform {
            return Some(Site::Platform);
        }
        let label = name.strip_suffix(&*self.suffix)?;
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        // The registered value is handed on, so that one tenant's id is one allocation in the whole process.
        tenants.get(label).cloned().map(Site::Clinic)
    }
}

/// A host name in lower case, with an optional port that is dropped. Addresses are refused: a certificate names hosts.
///
/// Upper case is refused rather than folded: browsers and HTTP libraries send lower case, and one host has one spelling.
#[doc(hidden)]
pub fn parse_host(text: &str) -> Result<&str, HostError> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let digits = |p: &str| (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|p| !digits(p) || p.parse::<u16>().is_err()) {
        return Err(HostError::Malformed);
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let numeric_last = name.rsplit('.').next().is_none_or(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > 253 || numeric_last || !name.split('.').all(label) {
        return Err(HostError::Malformed);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").unwrap();
        for tenant in ["harbour", "meadow"] {
            hosts.register(TenantId::new(tenant).unwrap()).unwrap();
        }
        hosts
    }

    #[test]
    fn wrong_settings_are_refused() {
        for pattern in [
            "clinic.example",
            "{tenant}",
            "{tenant}.",
            "{tenant}clinic.example",
            "{tenant}.Clinic",
            "*.x.y",
            "{tenant}.a:8",
        ] {
            assert_eq!(Hosts::new(pattern, "clinic.example").unwrap_err(), HostsError::Pattern, "{pattern}");
        }
        for platform in ["harbour.clinic.example", "", "127.0.0.1", "Clinic.example", "a_b.example"] {
            assert_eq!(
                Hosts::new("{tenant}.clinic.example", platform).unwrap_err(),
                HostsError::Platform,
                "{platform}"
            );
        }
        assert!(Hosts::new("{tenant}.clinic.example", "platform.clinic.example").is_ok());
    }

    // proves CLM-17
    #[test]
    fn the_host_names_the_clinic_and_nothing_else_does() {
        let hosts = hosts();
        let harbour = Site::Clinic(TenantId::new("harbour").unwrap());
        for (name, host, authority, sni, want) in [
            ("http/1", Some("harbour.clinic.example"), None, None, Ok(&harbour)),
            (
                "http/2 with a port",
                None,
                Some("harbour.clinic.example:8443"),
                Some("harbour.clinic.example"),
                Ok(&harbour),
            ),
            ("both agree", Some("harbour.clinic.example"), Some("harbour.clinic.example:8443"), None, Ok(&harbour)),
            ("platform", Some("clinic.example"), None, None, Ok(&Site::Platform)),
            ("none", None, None, None, Err(HostError::Missing)),
            (
                "host and authority differ",
                Some("meadow.clinic.example"),
                Some("harbour.clinic.example"),
                None,
                Err(HostError::Disagree),
            ),
            (
                "fronting: SNI of another clinic",
                Some("harbour.clinic.example"),
                None,
                Some("meadow.clinic.example"),
                Err(HostError::Disagree),
            ),
            ("unregistered", Some("north.clinic.example"), None, None, Err(HostError::Unknown)),
            ("another domain", Some("harbour.evil.example"), None, None, Err(HostError::Unknown)),
            ("a deeper label", Some("x.harbour.clinic.example"), None, None, Err(HostError::Unknown)),
            ("suffix glued on", Some("harbourclinic.example"), None, None, Err(HostError::Unknown)),
            ("address", Some("127.0.0.1"), None, None, Err(HostError::Malformed)),
            ("address v6", Some("[::1]:8443"), None, None, Err(HostError::Malformed)),
            ("trailing dot", Some("harbour.clinic.example."), None, None, Err(HostError::Malformed)),
            ("upper case", Some("Harbour.clinic.example"), None, None, Err(HostError::Malformed)),
            ("user info", Some("a@harbour.clinic.example"), None, None, Err(HostError::Malformed)),
            ("two ports", Some("harbour.clinic.example:1:2"), None, None, Err(HostError::Malformed)),
            ("port too large", Some("harbour.clinic.example:65536"), None, None, Err(HostError::Malformed)),
            ("empty port", Some("harbour.clinic.example:"), None, None, Err(HostError::Malformed)),
            ("list", Some("harbour.clinic.example,meadow.clinic.example"), None, None, Err(HostError::Malformed)),
            ("space", Some(" harbour.clinic.example"), None, None, Err(HostError::Malformed)),
            ("empty", Some(""), None, None, Err(HostError::Malformed)),
        ] {
            assert_eq!(hosts.decide(host, authority, sni).as_ref(), want.as_ref().copied(), "{name}");
        }
    }

    /// What is served needs no parsing, so everything that is served has to pass it.
    #[test]
    fn each_name_that_is_served_is_one_that_parses() {
        let hosts = hosts();
        for label in ["a", "a-1", "z9", &"a".repeat(63)] {
            hosts.register(TenantId::new(label).unwrap()).unwrap();
        }
        let names: Vec<String> = hosts.tenants.read().unwrap().iter().map(|tenant| hosts.host_of(tenant)).collect();
        for name in names.iter().map(String::as_str).chain(["clinic.example"]) {
            assert_eq!(parse_host(name), Ok(name));
            assert!(hosts.site(name).is_some());
            assert_eq!(hosts.decide(Some(name), None, None), hosts.decide(Some(&format!("{name}:443")), None, None));
        }
    }

    #[test]
    fn a_clinic_whose_host_would_be_too_long_is_not_registered() {
        let domain = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join(".");
        let hosts = Hosts::new(&format!("{{tenant}}.{domain}"), "clinic.example").unwrap();
        assert_eq!(domain.len(), 242);
        assert_eq!(hosts.register(TenantId::new(&"x".repeat(10)).unwrap()), Ok(()));
        assert_eq!(hosts.register(TenantId::new(&"x".repeat(11)).unwrap()), Err(HostsError::TooLong));
    }

    #[test]
    fn a_removed_clinic_is_gone_at_once() {
        let hosts = hosts();
        let harbour = TenantId::new("harbour").unwrap();
        assert!(hosts.clone().remove(&harbour));
        assert_eq!(hosts.decide(Some("harbour.clinic.example"), None, None), Err(HostError::Unknown));
        assert!(!hosts.remove(&harbour));
    }
}
