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

/// Overwrites a buffer, its spare room included, and empties it.
///
/// `Zeroize` goes byte by byte, which costs a value of 64 KiB as much as opening it. This writes it at once, and the
/// barrier, which `zeroize` has for this use, keeps the compiler from leaving the writes out.
#[cfg(feature = "access")]
pub(crate) fn wipe(buffer: &mut Vec<u8>) {
    blank(buffer);
    buffer.clear();
}

/// Zeros in all of a buffer's room.
#[cfg(feature = "access")]
fn blank(buffer: &mut Vec<u8>) {
    let capacity = buffer.capacity();
    buffer.clear();
    buffer.resize(capacity, 0);
    barrier(buffer.as_slice());
}

/// Keeps the compiler from leaving out what was written before.
#[cfg(feature = "keys")]
pub(crate) fn barrier<T: ?Sized>(written: &T) {
    zeroize::optimization_barrier(written);
}

#[cfg(all(test, feature = "access"))]
mod tests {
    #[test]
    fn a_wiped_buffer_is_overwritten_where_it_stands_and_in_all_its_room() {
        let mut buffer = Vec::with_capacity(100);
        buffer.extend_from_slice(b"secret");
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        super::blank(&mut buffer);
        assert_eq!(buffer, vec![0; capacity]);
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, capacity), "it was moved, and left a copy behind");
        super::wipe(&mut buffer);
        assert!(buffer.is_empty());
        super::wipe(&mut Vec::new());
    }
}
