//! Accounts made, changed and removed: recorded first, then done to its end.
//!
//! No permission stands behind any of it: that is for the floor above, whose door calls these.

use std::sync::Arc;

use super::{
    account::{Account, NewAccount, Stored, is_username},
    error::{AccountError, Fault},
    facade::Identity,
    flow::to_its_end,
    record,
};
use crate::{
    audit::{Refusal, Trail},
    id::{NAME_RULE, TenantId, UserId, is_name},
    secret::SecretString,
};

impl Identity {
    /// Ends all sessions of a user: their access tokens and refresh tokens are refused from now on.
    ///
    /// # Errors
    ///
    /// If the request has no actor or is another clinic's, it cannot be recorded, there is no such account, or the store
    /// fails: then try again, for after a restart the access tokens might be taken until they expire.
    ///
    /// # Security
    ///
    /// No permission stands behind it: whoever acts on `trail` is taken to be allowed. It is for a program that uses
    /// identity without access; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_end_sessions(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
    ) -> Result<(), AccountError> {
        self.change(trail, tenant, user, "sessions_ended", |_| {}).await
    }

    /// Makes an account.
    ///
    /// # Errors
    ///
    /// If a field breaks its rule (name: 1 to 64 of `a-z 0-9 . _ - @`; password: 15 characters to 1,024 bytes; role: 1
    /// to 64 of `a-z 0-9 _`, one word or up to three joined by dots), the request has no actor or is another clinic's, it
    /// cannot be recorded, the name is taken, or the store fails.
    ///
    /// # Security
    ///
    /// As with every change of an account, the record of the attempt is durable before anything happens, and what has
    /// begun is finished even if the caller goes away. A platform's first account is made in a job: nobody can act in a
    /// request yet. No permission stands behind it: it is for a program that uses identity without access; a handler or
    /// a job goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_create_account(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        new: NewAccount,
    ) -> Result<UserId, AccountError> {
        trail.acts_in(tenant).map_err(Fault::from)?;
        let inner = &*self.0;
        if !is_username(&new.username) {
            return Err(AccountError::Field { field: "username", rule: "1 to 64 of a-z, 0-9, `.`, `_`, `-` and `@`" });
        }
        check_role(&new.role)?;
        let hash = inner.hash(new.password.clone()).await?;
        let user = UserId::generate(&*inner.clock);
        let stored = Stored::new(user, new, hash, inner.clock.now());
        let (accounts, clinic) = (inner.accounts.clone(), tenant.clone());
        let insert = async move { accounts.insert(&clinic, &stored).await };
        self.recorded(trail, tenant, user, "account_created", insert).await?;
        Ok(user)
    }

    /// The accounts of a clinic in the order of their names, after this name, at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// If the store fails.
    ///
    /// # Security
    ///
    /// No permission stands behind it, and no record: it is for a program that uses identity without access, and keeps
    /// to the clinic and the record by itself; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_accounts(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, Fault> {
        self.0.accounts.list(tenant, after, limit.min(1000)).await
    }

    /// Disables an account, which ends its sessions, or enables it.
    ///
    /// # Errors
    ///
    /// If the request has no actor or is another clinic's, it cannot be recorded, there is no such account, or the store
    /// fails.
    ///
    /// # Security
    ///
    /// No permission stands behind it: whoever acts on `trail` is taken to be allowed. It is for a program that uses
    /// identity without access; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_set_disabled(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
        disabled: bool,
    ) -> Result<(), AccountError> {
        let reason = if disabled { "account_disabled" } else { "account_enabled" };
        self.change(trail, tenant, user, reason, move |account| account.disabled = disabled).await
    }

    /// Gives an account another role, which ends its sessions: no token keeps the old one.
    ///
    /// # Errors
    ///
    /// If the role's name breaks its rule, the request has no actor or is another clinic's, it cannot be recorded, there
    /// is no such account, or the store fails.
    ///
    /// # Security
    ///
    /// No permission stands behind it: whoever acts on `trail` is taken to be allowed. It is for a program that uses
    /// identity without access; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_set_role(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
        role: &str,
    ) -> Result<(), AccountError> {
        check_role(role)?;
        let role = role.to_owned();
        self.change(trail, tenant, user, "role_changed", move |account| account.role.clone_from(&role)).await
    }

    /// Gives an account another password, which ends its sessions.
    ///
    /// # Errors
    ///
    /// If the password breaks its rule, the request has no actor or is another clinic's, it cannot be recorded, there is
    /// no such account, or the store fails.
    ///
    /// # Security
    ///
    /// No permission stands behind it: whoever acts on `trail` is taken to be allowed. It is for a program that uses
    /// identity without access; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_set_password(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
        password: SecretString,
    ) -> Result<(), AccountError> {
        trail.acts_in(tenant).map_err(Fault::from)?;
        let hash = self.0.hash(password).await?;
        self.change(trail, tenant, user, "password_changed", move |account| account.password.clone_from(&hash)).await
    }

    /// Removes an account and ends its sessions.
    ///
    /// # Errors
    ///
    /// If the request has no actor or is another clinic's, it cannot be recorded, there is no such account, or the store
    /// fails.
    ///
    /// # Security
    ///
    /// No permission stands behind it: whoever acts on `trail` is taken to be allowed. It is for a program that uses
    /// identity without access; a handler goes through the door, `ClinicGrant::accounts`.
    pub async fn danger_remove_account(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
    ) -> Result<(), AccountError> {
        let (inner, clinic) = (Arc::clone(&self.0), tenant.clone());
        let remove = async move { inner.remove(&clinic, user).await };
        self.recorded(trail, tenant, user, "account_removed", remove).await
    }

    async fn change(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        user: UserId,
        reason: &'static str,
        change: impl FnMut(&mut Stored) + Send + 'static,
    ) -> Result<(), AccountError> {
        let (inner, clinic) = (Arc::clone(&self.0), tenant.clone());
        self.recorded(trail, tenant, user, reason, async move { inner.change(&clinic, user, change).await }).await
    }

    /// Records that this is about to be done to an account, then does it, to its end.
    async fn recorded(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        about: UserId,
        reason: &'static str,
        act: impl Future<Output = Result<(), AccountError>> + Send + 'static,
    ) -> Result<(), AccountError> {
        trail.acts_in(tenant).map_err(Fault::from)?;
        trail.record(record::account(tenant, about, reason)).map_err(Fault::from)?;
        trail.settled().await.map_err(Fault::from)?;
        let result = to_its_end(act).await;
        if matches!(result, Err(AccountError::Taken | AccountError::Unknown)) {
            // The record above says that it was tried; this one, that nothing came of it.
            let (reason, about, tenant) = ("account_unchanged", Some(about), Some(tenant));
            trail.refuse(Refusal { reason, about, tenant, ..Refusal::default() });
        }
        result
    }

    /// Whether any clinic has an account that is marked as a demo. A server that listens to more than the loopback
    /// refuses to start while one exists.
    ///
    /// # Errors
    ///
    /// If the store fails. Take that for a yes.
    pub async fn has_demo_accounts(&self) -> Result<bool, Fault> {
        self.0.accounts.any_demo().await
    }
}

fn check_role(role: &str) -> Result<(), AccountError> {
    if is_name(role) { Ok(()) } else { Err(AccountError::Field { field: "role", rule: NAME_RULE }) }
}
