//! [`Identity`]: the parts together.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    account::Accounts,
    error::{Fault, IdentityError, LoginError, RefreshError, TokenError},
    flow::Inner,
    lockout::{Lockout, Refused},
    options::IdentityOptions,
    password::Pool,
    principal::Principal,
    record,
    revocation::Revocations,
    session::Sessions,
    signing_key,
    token::{Issuer, MAX_BYTES},
    warm::Warm,
};
use crate::{
    audit::{Event, Trail},
    clock::SharedClock,
    id::TenantId,
    keys::Keyring,
    secret::SecretString,
    store::Durable,
    trace,
};

/// Accounts, logins, tokens and sessions of all clinics. Cheap to clone.
///
/// See the [module](super) for what it decides and in which order.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<Inner>);

/// What a login or a refresh gives.
#[derive(Debug)]
#[must_use]
pub struct Tokens {
    access: SecretString,
    refresh: SecretString,
    expires_in: Duration,
    principal: Principal,
}

impl Tokens {
    pub(super) fn new(access: SecretString, refresh: SecretString, expires_in: Duration, principal: Principal) -> Self {
        Self { access, refresh, expires_in, principal }
    }

    /// The access token, for the `Authorization: Bearer` header.
    #[must_use]
    pub fn access_token(&self) -> &SecretString {
        &self.access
    }

    /// The refresh token. It works once.
    #[must_use]
    pub fn refresh_token(&self) -> &SecretString {
        &self.refresh
    }

    /// How long the access token lives, in whole seconds.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Whose tokens they are.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl Identity {
    /// Opens the accounts, sessions and signing keys in `store`; makes a signing key if there is none.
    ///
    /// # Errors
    ///
    /// If a setting is out of its bounds, the store fails, or the signing keys do not open under this keyring.
    pub async fn open(
        store: Arc<dyn Durable>,
        keyring: &Keyring,
        clock: SharedClock,
        options: IdentityOptions,
    ) -> Result<Self, IdentityError> {
        options.check()?;
        let keys = signing_key::open(&*store, keyring, &*clock).await?;
        Ok(Self(Arc::new(Inner {
            issuer: Issuer::new(&options, &keys)?,
            pool: Pool::open(&options.passwords).await?,
            revocations: Arc::new(
                Revocations::open(Arc::clone(&store), Arc::clone(&clock), options.revocations).await?,
            ),
            sessions: Sessions::new(Arc::clone(&store), keyring, &options)?,
            accounts: Accounts::new(store),
            lockout: Lockout::new(Arc::clone(&clock), options.lockouts),
            warm: Warm::new(options.warm_tokens),
            min_password: options.min_password,
            clock,
        })))
    }

    pub(super) fn accounts_of(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Verifies an access token. Reads no store.
    ///
    /// # Errors
    ///
    /// For each reason in [`TokenError`]; the client gets the same 401 for all of them.
    ///
    /// # Security
    ///
    /// The principal's clinic is the one that the token was issued in. Whether the request came to that clinic's host is
    /// for the tenant's proof to say.
    pub fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        self.verify_bytes(token.as_bytes())
    }

    /// The same for what stands in a header. A token that is warm is looked at once, when it is compared.
    pub(crate) fn verify_bytes(&self, token: &[u8]) -> Result<Principal, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let inner = &*self.0;
        if let Some(warm) = inner.warm.find(token) {
            return match inner.check(&warm) {
                Ok(()) => Ok(warm.principal),
                Err(error) => {
                    inner.warm.forget(token);
                    Err(error)
                }
            };
        }
        let verified = inner.issuer.verify(str::from_utf8(token).map_err(|_| TokenError::Malformed)?)?;
        inner.check(&verified)?;
        inner.warm.keep(token, &verified);
        Ok(verified.principal)
    }

    /// Logs a user in to a clinic.
    ///
    /// # Errors
    ///
    /// [`LoginError::Invalid`] whether the user is unknown, disabled, or the password wrong; the others say when to
    /// try again.
    ///
    /// # Security
    ///
    /// An unknown user costs the same hash as a known one. The record of a login is durable before its session exists;
    /// neither the password nor the name that was typed is in it.
    pub async fn login(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        username: &str,
        password: SecretString,
    ) -> Result<Tokens, LoginError> {
        let inner = &*self.0;
        let attempt = match inner.lockout.begin(tenant, username) {
            Ok(attempt) => attempt,
            Err(Refused::Until(retry_after)) => {
                record::refused(trail, tenant, None, "login_locked_out", 429);
                return Err(LoginError::TooMany { retry_after });
            }
            Err(Refused::Crowded) => {
                record::refused(trail, tenant, None, "login_crowded", 503);
                return Err(LoginError::Busy);
            }
        };
        let mut known = None;
        let result = inner.login(trail, tenant, username, password, &mut known).await;
        match &result {
            Ok(_) => attempt.succeeded(),
            Err(LoginError::Invalid) => {
                attempt.failed();
                record::refused(trail, tenant, known, "login_invalid", 401);
            }
            Err(error) => {
                attempt.not_made();
                trace::event!(warn, error = %error, "a login could not be decided");
                // Lockout does not bound these, so they are counted, and not written down for each account.
                record::refused(trail, tenant, None, "login_unavailable", 503);
            }
        }
        result
    }

    /// Exchanges a refresh token for new tokens. The old one is spent.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Invalid`] whatever is wrong with it.
    ///
    /// # Security
    ///
    /// A token that has been used before ends its session at once: one of the two who used it has stolen it. A client
    /// that sends two refreshes at the same time does that to itself.
    pub async fn refresh(&self, trail: &Trail, tenant: &TenantId, refresh_token: &str) -> Result<Tokens, RefreshError> {
        let mut known = None;
        let result = self.0.refresh(trail, tenant, refresh_token, &mut known).await;
        match &result {
            Ok(_) => {}
            Err(RefreshError::Invalid) => record::refused(trail, tenant, known, "refresh_invalid", 401),
            Err(error) => {
                trace::event!(warn, error = %error, "a refresh could not be decided");
                record::refused(trail, tenant, None, "refresh_unavailable", 503);
            }
        }
        result
    }

    /// Ends the principal's session. Its access tokens are refused from now on.
    ///
    /// # Errors
    ///
    /// If it could not be recorded or stored: this process refuses the tokens all the same, but another, or this one
    /// after a restart, may not. Log out again.
    pub async fn logout(&self, trail: &Trail, principal: &Principal) -> Result<(), Fault> {
        let actor = record::actor(principal.tenant(), principal.user(), principal.role(), principal.session());
        let event = record::session(trail, Event::logout, actor, principal.user()).with_reason("logout");
        self.0.end(trail, principal.tenant(), principal.session(), event).await
    }

    #[cfg(test)]
    pub(crate) fn argon2_runs(&self) -> u64 {
        self.0.pool.runs()
    }

    #[cfg(test)]
    pub(crate) fn decoy(&self) -> &str {
        self.0.pool.decoy()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("pool", &self.0.pool)
            .field("revocations", &self.0.revocations)
            .field("lockout", &self.0.lockout)
            .field("warm", &self.0.warm)
            .finish_non_exhaustive()
    }
}
