//! How a user stands now, for what was promised to him earlier.

use super::{Fault, Identity};
use crate::id::{TenantId, UserId};

impl Identity {
    /// The user's role today; `None` if there is no such account any more, or it is disabled. Reads the store.
    pub(crate) async fn role_now(&self, tenant: &TenantId, user: UserId) -> Result<Option<String>, Fault> {
        let found = self.accounts_of().by_user(tenant, user).await?;
        Ok(found.and_then(|(account, _)| (!account.disabled).then_some(account.role)))
    }
}
