//! What came out of a sealed field.

use std::fmt;

use super::value::FieldValue;

/// Protected health information (or any other opened value): it prints as `[REDACTED]`, does not serialise, is not cloned,
/// and is wiped when dropped.
///
/// [`disclose`](Phi::disclose) is the one word that reads it, and begins the name of
/// [`disclose_with`](super::Encrypted::disclose_with): grep for it, and each place where data leaves stands there.
///
/// ```compile_fail
/// fn leak(note: &tower_ward::field::Phi<String>) -> String {
///     note.to_string() // there is no `Display`
/// }
/// ```
///
/// # Security
///
/// It stops a value from slipping into a log, an error or a response by accident. It does not stop a handler that
/// discloses and then prints; nor does it wipe the copies that a disclosed value becomes.
#[must_use]
pub struct Phi<T: FieldValue>(Option<T>);

impl<T: FieldValue> Phi<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Without it leaving.
    pub(super) fn value(&self) -> &T {
        self.0.as_ref().expect("a Phi holds its value until it is disclosed or dropped")
    }

    /// The value. From here on it is the caller's to keep.
    ///
    /// # Panics
    ///
    /// Never: a `Phi` holds its value until it is disclosed or dropped, and both consume it.
    #[must_use]
    pub fn disclose(mut self) -> T {
        self.0.take().expect("a Phi holds its value until it is disclosed or dropped")
    }
}

impl<T: FieldValue> Drop for Phi<T> {
    fn drop(&mut self) {
        if let Some(value) = &mut self.0 {
            value.wipe();
        }
    }
}

impl<T: FieldValue> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
