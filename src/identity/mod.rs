#![doc = include_str!("../../docs/identity.md")]

mod account;
mod error;
mod facade;
mod flow;
mod lockout;
mod manage;
mod options;
mod password;
mod principal;
mod record;
mod revocation;
mod session;
mod signing_key;
mod standing;
mod token;
mod warm;

#[cfg(test)]
mod tests;

pub use account::{Account, NewAccount};
pub use error::{AccountError, Fault, IdentityError, LoginError, RefreshError, TokenError};
pub use facade::{Identity, Tokens};
pub use options::IdentityOptions;
pub use password::{PasswordHashing, generate_password};
pub use principal::{Factor, Principal};

/// For the fuzz target: whether this token, or this header and these claims once signed, are accepted.
#[cfg(fuzzing)]
#[doc(hidden)]
#[must_use]
pub fn fuzz_token(text: &str) -> bool {
    token::fuzz(text)
}
