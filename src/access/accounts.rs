//! The door to a clinic's accounts: made, listed, changed and removed by who was granted it.

use std::fmt;

use super::{Authority, ClinicGrant, Facts, Permission, Relations};
use crate::{
    audit::{Action, Door},
    id::{SubjectId, UserId},
    identity::{Account, AccountError, Fault, Identity, NewAccount},
    secret::SecretString,
};

/// Says that a permission administers accounts. The application implements it, one line for each such permission:
///
/// ```
/// tower_ward::permissions! { pub ManageAccounts = "accounts.manage"; }
/// impl tower_ward::access::ManagesAccounts for ManageAccounts {}
/// ```
///
/// # Security
///
/// Who has the permission can make an account of any role, and so can do whatever any role of the clinic may. Grant it
/// to as few roles as the clinic can do with, and do not mark a permission that routes ask for to read.
#[diagnostic::on_unimplemented(
    message = "the permission `{Self}` does not administer accounts",
    label = "this grant is for `{Self}`",
    note = "guard the route with a permission of its own for it; or, if `{Self}` really should administer accounts, say so: `impl tower_ward::access::ManagesAccounts for {Self} {{}}`"
)]
pub trait ManagesAccounts: Permission {}

/// The accounts of one clinic, while the request lasts.
///
/// # Decision rule
///
/// 1. The permission administers accounts ([`ManagesAccounts`]), and the policy grants it for the whole clinic: both are
///    proved by the [`ClinicGrant`] behind this.
/// 2. The request has not ended, and it is the one that the grant was made for.
/// 3. A change is recorded, and the record durable, before it begins; what has begun is finished even if the caller goes
///    away. A list is recorded with the people whose accounts it holds before it is given out.
/// 4. Clinic and trail are those of the grant: no other can be named.
#[must_use]
pub struct Accounts<'a, P> {
    door: &'a ClinicGrant<P>,
    identity: &'a Identity,
}

impl<P: Permission> fmt::Debug for Accounts<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("permission", &P::ID).finish_non_exhaustive()
    }
}

impl<P: Permission> ClinicGrant<P> {
    /// The clinic's accounts, for a permission that administers them.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_ward::{
    ///     access::{Accounts, ClinicGrant, Grant, ManagesAccounts}, id::UserId, identity::{Account, Identity},
    ///     problem::Problem,
    /// };
    ///
    /// tower_ward::permissions! { pub ManageAccounts = "accounts.manage"; }
    /// impl ManagesAccounts for ManageAccounts {}
    ///
    /// async fn leaves(grant: Grant<ManageAccounts>, identity: Identity, user: UserId) -> Result<usize, Problem> {
    ///     let clinic: ClinicGrant<ManageAccounts> = grant.clinic().await?;
    ///     let accounts: Accounts<'_, ManageAccounts> = clinic.accounts(&identity);
    ///     accounts.set_disabled(user, true).await?;
    ///     let left: Vec<Account> = accounts.list(None, 1_000).await?;
    ///     Ok(left.iter().filter(|account| !account.is_disabled()).count())
    /// }
    /// ```
    ///
    /// Another permission has no accounts, and the program does not compile:
    ///
    /// ```compile_fail,E0277
    /// # use tower_ward::{access::Grant, id::UserId, identity::Identity, problem::Problem};
    /// tower_ward::permissions! { pub ReadStatus = "status.read"; }
    ///
    /// async fn rise(grant: Grant<ReadStatus>, identity: Identity, me: UserId) -> Result<(), Problem> {
    ///     let clinic = grant.clinic().await?;
    ///     Ok(clinic.accounts(&identity).set_role(me, "owner").await?)
    /// }
    /// ```
    pub const fn accounts<'a>(&'a self, identity: &'a Identity) -> Accounts<'a, P>
    where
        P: ManagesAccounts,
    {
        Accounts { door: self, identity }
    }
}

impl<P: Permission> Accounts<'_, P> {
    /// Makes an account.
    ///
    /// # Errors
    ///
    /// If a field breaks its rule (name: 1 to 64 of `a-z 0-9 . _ - @`; password: 15 characters to 1,024 bytes; role: 1
    /// to 64 of `a-z 0-9 _`, one word or up to three joined by dots), the name is taken, the request has ended, it
    /// cannot be recorded, or the store fails.
    pub async fn create(&self, new: NewAccount) -> Result<UserId, AccountError> {
        let facts = self.open()?;
        self.identity.danger_create_account(&facts.trail, &facts.tenant, new).await
    }

    /// The accounts in the order of their names, after this name, at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// If the request has ended, it cannot be recorded, or the store fails.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, AccountError> {
        let facts = self.open()?;
        let accounts = self.identity.danger_accounts(&facts.tenant, after, limit).await?;
        let mut subjects: Vec<SubjectId> = accounts.iter().filter_map(Account::subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let why = Relations::CLINIC.why();
        let (action, permission, entity) = (Action::Search, P::ID, "accounts");
        let door = Door { action, permission, entity, subjects: &subjects, row: None, why };
        facts.trail.door(door).map_err(Fault::from)?;
        Ok(accounts)
    }

    /// Disables an account, which ends its sessions, or enables it.
    ///
    /// # Errors
    ///
    /// If there is no such account in this clinic, the request has ended, it cannot be recorded, or the store fails.
    pub async fn set_disabled(&self, user: UserId, disabled: bool) -> Result<(), AccountError> {
        let facts = self.open()?;
        self.identity.danger_set_disabled(&facts.trail, &facts.tenant, user, disabled).await
    }

    /// Gives an account another role, which ends its sessions: no token keeps the old one.
    ///
    /// # Errors
    ///
    /// If the role's name breaks its rule, there is no such account in this clinic, the request has ended, it cannot be
    /// recorded, or the store fails.
    pub async fn set_role(&self, user: UserId, role: &str) -> Result<(), AccountError> {
        let facts = self.open()?;
        self.identity.danger_set_role(&facts.trail, &facts.tenant, user, role).await
    }

    /// Gives an account another password, which ends its sessions.
    ///
    /// # Errors
    ///
    /// If the password breaks its rule, there is no such account in this clinic, the request has ended, it cannot be
    /// recorded, or the store fails.
    pub async fn set_password(&self, user: UserId, password: SecretString) -> Result<(), AccountError> {
        let facts = self.open()?;
        self.identity.danger_set_password(&facts.trail, &facts.tenant, user, password).await
    }

    /// Ends all sessions of a user: their access tokens and refresh tokens are refused from now on.
    ///
    /// # Errors
    ///
    /// If there is no such account in this clinic, the request has ended, it cannot be recorded, or the store fails:
    /// then try again, for after a restart the access tokens might be taken until they expire.
    pub async fn end_sessions(&self, user: UserId) -> Result<(), AccountError> {
        let facts = self.open()?;
        self.identity.danger_end_sessions(&facts.trail, &facts.tenant, user).await
    }

    /// Removes an account and ends its sessions.
    ///
    /// # Errors
    ///
    /// If there is no such account in this clinic, the request has ended, it cannot be recorded, or the store fails.
    pub async fn remove(&self, user: UserId) -> Result<(), AccountError> {
        let facts = self.open()?;
        self.identity.danger_remove_account(&facts.trail, &facts.tenant, user).await
    }

    fn open(&self) -> Result<&Facts, AccountError> {
        let facts = self.door.facts();
        facts.trail.may_open().map_err(Fault::from)?;
        Ok(facts)
    }
}
