//! What can go wrong, by who may know about it.
//!
//! A client learns one of four things from a login: no, not now, too many tries, or try later. Everything else is a
//! [`Fault`]: it is for the operator, and the client sees only that the service is unavailable.

use std::time::Duration;

use crate::{
    audit::TrailError,
    store::{NameError, StoreError},
};

/// Something behind identity failed. The request is refused; the client is told only that the service is unavailable.
///
/// ```
/// use tower_ward::identity::{AccountError, Fault, IdentityError, LoginError, RefreshError};
///
/// /// What an operator is woken up for: what is wrong with the server, and not with what somebody typed.
/// fn of_login(error: &LoginError) -> Option<&Fault> {
///     if let LoginError::Unavailable(fault) = error { Some(fault) } else { None }
/// }
/// fn of_refresh(error: &RefreshError) -> Option<&Fault> {
///     if let RefreshError::Unavailable(fault) = error { Some(fault) } else { None }
/// }
/// fn of_account(error: &AccountError) -> Option<&Fault> {
///     if let AccountError::Fault(fault) = error { Some(fault) } else { None }
/// }
/// fn of_start(error: &IdentityError) -> Option<&Fault> {
///     if let IdentityError::Fault(fault) = error { Some(fault) } else { None }
/// }
/// assert!(of_login(&LoginError::Invalid).is_none() && of_refresh(&RefreshError::Invalid).is_none());
/// assert!(of_account(&AccountError::Taken).is_none() && of_start(&IdentityError::WrongRoot).is_none());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The store of accounts and sessions failed.
    #[error("the store of accounts and sessions failed")]
    Store(#[from] StoreError),
    /// The record of what happened could not be written, so nothing is handed out.
    #[error("the record of this could not be written to the ledger")]
    Ledger(#[from] TrailError),
    /// Something that was read back is not what this crate writes.
    #[error("a stored {what} cannot be read: restore it from a backup, or remove it")]
    Corrupt {
        /// The kind of thing: `account`, `session`, `signing key`.
        what: &'static str,
    },
    /// A part of a name is not allowed in the store.
    #[error("a name is not allowed in the store")]
    Name(#[from] NameError),
    /// A worker ended early, or a token could not be signed.
    #[error("the {what} failed")]
    Worker {
        /// Which one.
        what: &'static str,
    },
    /// Somebody else kept changing the same object.
    #[error("a stored {what} kept changing while it was being changed: try again")]
    Contended {
        /// The kind of thing.
        what: &'static str,
    },
}

/// Identity did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A setting is weaker than its floor, or above its ceiling, or contradicts another.
    #[error("the setting `{name}` {why}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it has to be.
        why: &'static str,
    },
    /// The signing keys in the store do not open under this root key.
    #[error("the signing keys in the store do not open under this root key: start with the key they were made with")]
    WrongRoot,
    /// Something behind identity failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// No tokens for this login.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The user name is unknown, or the password is wrong, or the account is disabled: on purpose one answer. 401.
    #[error("the user name or the password is wrong")]
    Invalid,
    /// More logins wait than the pool takes. 503.
    #[error("too many logins at once: try again in a moment")]
    Busy,
    /// Too many failures for this user name, known or not. 429.
    #[error("too many failed logins: wait before the next")]
    TooMany {
        /// When a try counts again.
        retry_after: Duration,
    },
    /// 503.
    #[error("login is unavailable")]
    Unavailable(#[source] Fault),
}

/// No tokens for this refresh token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// Not a refresh token of this clinic, or used before, or its session is over, or its user may not log in: on
    /// purpose one answer. 401.
    #[error("the refresh token is not valid: log in again")]
    Invalid,
    /// 503.
    #[error("refresh is unavailable")]
    Unavailable(#[source] Fault),
}

/// An account could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// A field breaks its rule. The value is not repeated.
    #[error("the field `{field}` has to be {rule}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// The clinic has an account of this name.
    #[error("the user name is taken in this clinic")]
    Taken,
    /// The clinic has no such account.
    #[error("the clinic has no such account")]
    Unknown,
    /// More passwords are being hashed than the pool takes.
    #[error("too many passwords are being hashed at once: try again in a moment")]
    Busy,
    /// Something behind identity failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

macro_rules! unavailable {
    ($($error:ident),+) => { $(
        impl<E: Into<Fault>> From<E> for $error {
            fn from(fault: E) -> Self {
                Self::Unavailable(fault.into())
            }
        }
    )+ };
}

unavailable!(LoginError, RefreshError);

/// Why an access token is refused. The client gets the same 401 for each; the reason is for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three parts of canonical base64url.
    #[error("the token is not a JWS in compact form")]
    Malformed,
    /// The header has a field that this issuer never writes, or lacks one that it always writes.
    #[error("the token's header is not one that this issuer writes")]
    Header,
    /// The algorithm is not the one configured.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// The `typ` is not `at+jwt`.
    #[error("the token is not an access token")]
    Type,
    /// No key has this `kid`.
    #[error("the token names a key that is not known")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing, doubled, of the wrong form, or unknown.
    #[error("the token's claims are not those that this issuer writes")]
    Claims,
    /// Another issuer's.
    #[error("the token is of another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// Past its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before its `nbf`, or issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Lives longer than the ceiling.
    #[error("the token lives longer than this server allows")]
    TooLongLived,
    /// Its session has ended, or its user's sessions have.
    #[error("the token's session has ended")]
    Revoked,
}
