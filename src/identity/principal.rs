//! The proof of who is asking.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{SessionId, SubjectId, TenantId, UserId},
};

/// How somebody proved who they are: a value of the claim `amr` (RFC 8176 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Factor {
    /// `pwd`: a password.
    #[serde(rename = "pwd")]
    Password,
}

impl Factor {
    /// The value of the claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "pwd",
        }
    }

    /// At least one, and each once: a doubled factor is no second one.
    pub(crate) fn are_good(factors: &[Self]) -> bool {
        !factors.is_empty() && factors.iter().enumerate().all(|(n, factor)| !factors[..n].contains(factor))
    }
}

/// Proof that a request carries a valid access token, and whose.
///
/// Only this crate makes one. Cheap to clone.
///
/// ```
/// use tower_ward::identity::{Factor, Identity, Principal, TokenError};
///
/// /// Who sent this token, and by what they proved it.
/// fn who(identity: &Identity, token: &str) -> Result<(String, bool), TokenError> {
///     let principal: Principal = identity.verify(token)?;
///     Ok((principal.user().to_string(), principal.factors() == [Factor::Password]))
/// }
/// ```
///
/// # Security
///
/// It says who is asking and in which clinic the token was issued; it does not say that the request came to that
/// clinic's host. That is the tenant's proof.
#[derive(Clone)]
pub struct Principal(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) user: UserId,
    pub(crate) role: Arc<str>,
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) epoch: u64,
    pub(crate) factors: Box<[Factor]>,
    pub(crate) authenticated_at: Timestamp,
}

impl Principal {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Somebody in this role, for the tests of the rooms above.
    #[cfg(test)]
    pub(crate) fn for_test(tenant: &TenantId, role: &str, subject: Option<SubjectId>) -> Self {
        let clock = crate::clock::SystemClock::new();
        Self::new(Parts {
            user: UserId::generate(&clock),
            role: role.into(),
            tenant: tenant.clone(),
            session: SessionId::generate(&clock),
            subject,
            epoch: 1,
            factors: [Factor::Password].into(),
            authenticated_at: crate::clock::Clock::now(&clock),
        })
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.0.user
    }

    /// The name of the user's role, for a record.
    pub(crate) fn shared_role(&self) -> Arc<str> {
        Arc::clone(&self.0.role)
    }

    /// The name of the user's role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// The clinic that the token was issued in.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// The session that the token belongs to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// The person whom this user is, if the clinic keeps data about them: for the relation `own`.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectId> {
        self.0.subject
    }

    /// By which factors the user proved who they are, at least one. A refresh does not change them.
    #[must_use]
    pub fn factors(&self) -> &[Factor] {
        &self.0.factors
    }

    /// The epoch of the user's account that the token was issued in: what ends all of a user's sessions raises it.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// When the user last proved who they are. A refresh does not change it.
    #[must_use]
    pub fn authenticated_at(&self) -> Timestamp {
        self.0.authenticated_at
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("user", &self.0.user)
            .field("role", &self.0.role)
            .field("tenant", &self.0.tenant)
            .field("session", &self.0.session)
            .finish_non_exhaustive()
    }
}
