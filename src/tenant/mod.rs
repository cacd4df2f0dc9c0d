//! Which clinic a request belongs to: its host and its token's claim must agree.
//!
//! # Decision rule
//!
//! 1. The host is taken from `:authority` (HTTP/2) or `Host` (HTTP/1.1). If both are there they must be equal; if TLS
//!    named a server (SNI), it must be equal too. Otherwise 421, before any other work.
//! 2. The host must be the platform's, or match the pattern with a tenant that is registered. Otherwise 421.
//! 3. If a token was verified, its tenant must be the host's. Otherwise 403: own tokens share one issuer, so the
//!    principal is known, and is refused.
//! 4. No client header names a tenant, and there is no default one.
//!
//! # Deployment caveat
//!
//! A proxy in front must pass the client's `Host` on unchanged. One that terminates TLS hides SNI, which is then not
//! compared.
//!
//! # Example
//!
//! ```
//! use tower_ward::{id::TenantId, tenant::{HostError, Hosts, HostsError, Site}};
//!
//! let hosts = Hosts::new("{tenant}.clinic.example", "platform.clinic.example")?;
//! hosts.register(TenantId::new("harbour")?)?;
//!
//! assert_eq!(hosts.decide(Some("harbour.clinic.example:8443"), None, None)?, Site::Clinic(TenantId::new("harbour")?));
//! // A clinic that nobody registered, a bare address, a host that TLS did not ask for.
//! assert_eq!(hosts.decide(Some("meadow.clinic.example"), None, None), Err(HostError::Unknown));
//! assert_eq!(hosts.decide(Some("127.0.0.1:8443"), None, None), Err(HostError::Malformed));
//! let other = Some("meadow.clinic.example");
//! assert_eq!(hosts.decide(Some("harbour.clinic.example"), None, other), Err(HostError::Disagree));
//! // A pattern that could not tell clinics apart, and a platform that could be a clinic.
//! assert_eq!(Hosts::new("clinic.example", "example").err(), Some(HostsError::Pattern));
//! assert_eq!(Hosts::new("{tenant}.clinic.example", "www.clinic.example").err(), Some(HostsError::Platform));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//!
//! The attacker holds a valid token of clinic A and sends it to clinic B's host, or names B in any header he likes. The
//! promise: every proof of a [`Tenant`] was made from both, and they agreed. Not promised: that the two clinics do not
//! share an operator.

mod hosts;

#[doc(hidden)]
pub use hosts::parse_host;
pub use hosts::{HostError, Hosts, HostsError, MAX_TENANTS, Site};

use crate::{id::TenantId, identity::Principal};

/// Proof that a request belongs to this clinic: its host and its principal's claim agreed.
///
/// Only this crate makes one. It does not compile to take a name for a proof:
///
/// ```compile_fail,E0423
/// use tower_ward::{id::TenantId, tenant::Tenant};
///
/// let forged = Tenant(TenantId::new("harbour").unwrap());
/// ```
#[derive(Debug, Clone)]
pub struct Tenant(TenantId);

/// The claim is not the host's. Answered with 403.
///
/// ```
/// // For logs: it names neither of the two.
/// let why = tower_ward::tenant::Disagreement;
/// assert_eq!(why.to_string(), "the token belongs to another clinic than the host");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token belongs to another clinic than the host")]
pub struct Disagreement;

impl Tenant {
    /// The rule: claim and host must name the same clinic.
    pub(crate) fn agree(site: &Site, principal: &Principal) -> Result<Self, Disagreement> {
        match site {
            Site::Clinic(host) if host == principal.tenant() => Ok(Self(host.clone())),
            Site::Clinic(_) | Site::Platform => Err(Disagreement),
        }
    }

    #[cfg(feature = "stack")]
    pub(crate) fn into_id(self) -> TenantId {
        self.0
    }

    /// The clinic's id.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.0
    }
}
