//! Accounts: who can log in to a clinic, kept as `t:<tenant>:account:<username in hex>`.
//!
//! In hex because a store's names have fewer characters than user names; the order of a list is the same. A user name belongs to one clinic; the same name in two clinics is two users. Next to each account stands
//! `t:<tenant>:user:<user id>`, which finds it by the user's id, and, for an account marked as a demo,
//! `p:demo-account:<user id>`, which lets a server refuse to listen to the world while one exists.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::{AccountError, Fault};
use crate::{
    clock::Timestamp,
    codec::hex,
    id::{SubjectId, TenantId, UserId},
    secret::SecretString,
    store::{Durable, ObjectName, Prefix},
};

const VERSION: u8 = 1;
const ACCOUNT: &str = "account";
const USER: &str = "user";
const DEMO: &str = "demo-account";
/// How often a change is tried again when somebody else changed the same account.
const TRIES: usize = 16;

/// An account to be made.
#[derive(Debug)]
#[must_use]
pub struct NewAccount {
    pub(crate) username: String,
    pub(crate) password: SecretString,
    pub(crate) role: String,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) demo: bool,
}

impl NewAccount {
    /// An account of this name and password, in this role.
    pub fn new(username: impl Into<String>, password: SecretString, role: impl Into<String>) -> Self {
        Self { username: username.into(), password, role: role.into(), subject: None, demo: false }
    }

    /// Says which person this user is, for the relation `own`.
    pub fn with_subject(mut self, subject: SubjectId) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Marks the account as one whose password is known to others than its user.
    pub fn marked_as_demo(mut self) -> Self {
        self.demo = true;
        self
    }
}

/// An account, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    user: UserId,
    username: String,
    role: String,
    subject: Option<SubjectId>,
    disabled: bool,
    demo: bool,
}

impl Account {
    /// The user's id.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }

    /// The name that the user logs in with.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The name of the role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The person whom this user is.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectId> {
        self.subject
    }

    /// Whether the user may not log in.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Whether the account is marked as a demo.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        self.demo
    }
}

/// An account as it is stored. No `Debug`: it holds a password's hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    v: u8,
    pub(crate) user: UserId,
    username: String,
    pub(crate) password: String,
    pub(crate) role: String,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) disabled: bool,
    demo: bool,
    /// Tokens and sessions of an earlier epoch are over.
    pub(crate) epoch: u64,
    created: Timestamp,
}

impl Stored {
    pub(crate) fn new(user: UserId, new: NewAccount, password: String, created: Timestamp) -> Self {
        let NewAccount { username, role, subject, demo, password: _ } = new;
        Self { v: VERSION, user, username, password, role, subject, disabled: false, demo, epoch: 1, created }
    }

    pub(crate) fn username(&self) -> &str {
        &self.username
    }

    fn view(self) -> Account {
        let Self { user, username, role, subject, disabled, demo, .. } = self;
        Account { user, username, role, subject, disabled, demo }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    v: u8,
    username: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoMark {
    v: u8,
    tenant: TenantId,
}

/// Whether a user name keeps the rule: 1 to 64 of `a-z 0-9 . _ - @`.
pub(crate) fn is_username(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'@'))
}

/// The accounts in the store.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    store: Arc<dyn Durable>,
}

impl Accounts {
    pub(crate) fn new(store: Arc<dyn Durable>) -> Self {
        Self { store }
    }

    /// The account of this name. The name has to keep the rule.
    pub(crate) async fn by_name(&self, tenant: &TenantId, username: &str) -> Result<Option<(Stored, u64)>, Fault> {
        let name = account_name(tenant, username)?;
        let Some((stored, version)) = load::<Stored>(&*self.store, &name, ACCOUNT).await? else {
            return Ok(None);
        };
        if stored.v != VERSION || stored.username != username {
            return Err(Fault::Corrupt { what: ACCOUNT });
        }
        Ok(Some((stored, version)))
    }

    pub(crate) async fn by_user(&self, tenant: &TenantId, user: UserId) -> Result<Option<(Stored, u64)>, Fault> {
        let name = ObjectName::tenant(tenant, USER, &user.to_string())?;
        let Some((pointer, _)) = load::<Pointer>(&*self.store, &name, USER).await? else {
            return Ok(None);
        };
        if pointer.v != VERSION || !is_username(&pointer.username) {
            return Err(Fault::Corrupt { what: USER });
        }
        // A pointer without its account is what a creation that was cut short leaves behind.
        Ok(self.by_name(tenant, &pointer.username).await?.filter(|(stored, _)| stored.user == user))
    }

    /// Inserts an account. What points at it goes first: whatever is cut short, no account exists without its mark.
    pub(crate) async fn insert(&self, tenant: &TenantId, stored: &Stored) -> Result<(), AccountError> {
        let (pointer_name, demo_name) = side_names(tenant, stored.user)?;
        let pointer = encode(&Pointer { v: VERSION, username: stored.username.clone() }, USER)?;
        if stored.demo {
            let mark = encode(&DemoMark { v: VERSION, tenant: tenant.clone() }, DEMO)?;
            self.store.insert_new(&demo_name, &mark, None).await.map_err(Fault::from)?;
        }
        self.store.insert_new(&pointer_name, &pointer, None).await.map_err(Fault::from)?;
        let name = account_name(tenant, &stored.username)?;
        let value = encode(stored, ACCOUNT)?;
        if self.store.insert_new(&name, &value, None).await.map_err(Fault::from)? {
            return Ok(());
        }
        self.remove_sides(&pointer_name, &demo_name, stored.demo).await?;
        Err(AccountError::Taken)
    }

    /// Changes an account, and returns it as it is then.
    pub(crate) async fn change(
        &self,
        tenant: &TenantId,
        user: UserId,
        mut change: impl FnMut(&mut Stored) + Send,
    ) -> Result<Stored, AccountError> {
        for _ in 0..TRIES {
            let (mut stored, version) = self.by_user(tenant, user).await?.ok_or(AccountError::Unknown)?;
            change(&mut stored);
            let name = account_name(tenant, &stored.username)?;
            let value = encode(&stored, ACCOUNT)?;
            if self.store.compare_and_swap(&name, version, &value, None).await.map_err(Fault::from)? {
                return Ok(stored);
            }
        }
        Err(Fault::Contended { what: ACCOUNT }.into())
    }

    /// Writes a new hash of the same password, unless the account has changed since it was read.
    pub(crate) async fn rehash(
        &self,
        tenant: &TenantId,
        mut stored: Stored,
        version: u64,
        password: String,
    ) -> Result<(), Fault> {
        stored.password = password;
        let name = account_name(tenant, &stored.username)?;
        self.store.compare_and_swap(&name, version, &encode(&stored, ACCOUNT)?, None).await?;
        Ok(())
    }

    /// Removes an account: itself first, then what points at it.
    pub(crate) async fn remove(&self, tenant: &TenantId, user: UserId) -> Result<(), AccountError> {
        let (stored, _) = self.by_user(tenant, user).await?.ok_or(AccountError::Unknown)?;
        let name = account_name(tenant, &stored.username)?;
        self.store.remove(&name).await.map_err(Fault::from)?;
        let (pointer_name, demo_name) = side_names(tenant, user)?;
        Ok(self.remove_sides(&pointer_name, &demo_name, stored.demo).await?)
    }

    pub(crate) async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, Fault> {
        let prefix = Prefix::tenant(tenant, ACCOUNT)?;
        let after = after.map(|name| hex(name.as_bytes()));
        let found = self.store.list(&prefix, after.as_deref(), limit).await?;
        let mut accounts = Vec::with_capacity(found.len());
        for (key, entry) in found {
            let stored: Stored = decode(&entry.value, ACCOUNT)?;
            if stored.v != VERSION || hex(stored.username.as_bytes()) != key {
                return Err(Fault::Corrupt { what: ACCOUNT });
            }
            accounts.push(stored.view());
        }
        Ok(accounts)
    }

    pub(crate) async fn any_demo(&self) -> Result<bool, Fault> {
        let prefix = Prefix::platform(DEMO)?;
        Ok(!self.store.list(&prefix, None, 1).await?.is_empty())
    }

    async fn remove_sides(&self, pointer: &ObjectName, demo: &ObjectName, marked: bool) -> Result<(), Fault> {
        self.store.remove(pointer).await?;
        if marked {
            self.store.remove(demo).await?;
        }
        Ok(())
    }
}

fn account_name(tenant: &TenantId, username: &str) -> Result<ObjectName, Fault> {
    Ok(ObjectName::tenant(tenant, ACCOUNT, &hex(username.as_bytes()))?)
}

fn side_names(tenant: &TenantId, user: UserId) -> Result<(ObjectName, ObjectName), Fault> {
    let user = user.to_string();
    Ok((ObjectName::tenant(tenant, USER, &user)?, ObjectName::platform(DEMO, &user)?))
}

/// Reads an object and what version it has.
pub(crate) async fn load<T: DeserializeOwned>(
    store: &dyn Durable,
    name: &ObjectName,
    what: &'static str,
) -> Result<Option<(T, u64)>, Fault> {
    match store.get(name).await? {
        Some(entry) => Ok(Some((decode(&entry.value, what)?, entry.version))),
        None => Ok(None),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|_| Fault::Corrupt { what })
}

pub(crate) fn encode<T: Serialize>(value: &T, what: &'static str) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|_| Fault::Corrupt { what })
}
