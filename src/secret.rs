//! Secrets that do not print, do not serialise, and are wiped when dropped.
//!
//! [`Secret`] is `secrecy`'s box under the crate's own name; [`SecretString`] is the same over text. The one word that
//! reads either is [`expose_secret`](ExposeSecret::expose_secret): grep for it.
//!
//! ```
//! use tower_ward::secret::{ExposeSecret, Secret, SecretString, equal};
//!
//! let password = SecretString::from("correct horse");
//! assert!(!format!("{password:?}").contains("horse"));
//! assert_eq!(password.expose_secret(), "correct horse");
//!
//! let key = Secret::new(Box::new([7; 32]));
//! assert!(equal(key.expose_secret(), &[7; 32]));
//! assert!(!equal(key.expose_secret(), &[8; 32]));
//! ```
//!
//! # Security
//!
//! Against a `Debug`, a log or a serialiser that prints what it is handed, and against a comparison whose time tells how
//! far a guess was right. Not against who reads the memory of the running process.

pub use secrecy::{ExposeSecret, SecretBox as Secret, SecretString};
use subtle::ConstantTimeEq;

/// Whether two byte strings are equal, in time that depends only on their lengths.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
