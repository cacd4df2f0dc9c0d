//! What a change made of one row: which fields, what they were and became, sealed.

use std::fmt;

/// The most classes of data that one record states changes of.
pub const MAX_CLASSES: usize = 16;
/// The most fields that one record states changes of.
pub const MAX_FIELDS: usize = 48;
/// The longest sealed list of values in all sections of one record together, in bytes.
pub const MAX_SEALED_VALUES: usize = 20 * 1024;
/// The longest name of a field or class.
pub(super) const MAX_FIELD_NAME: usize = 63;

/// What a record says of a field before a change, or after it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stated {
    /// There was no value.
    Nothing,
    /// A value, by its commitment: HMAC-SHA-256 under a key that is derived from the person's.
    Commitment([u8; 32]),
    /// Something that did not open as a value of this field.
    Illegible,
}

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Commitment(_) => "Commitment(..)",
            Self::Illegible => "Illegible",
        })
    }
}

/// One field that a change changed.
///
/// ```
/// use tower_ward::audit::{ClassDiff, FieldDiff, MAX_CLASSES, MAX_FIELDS, MAX_SEALED_VALUES, Record, Stated};
///
/// // As a ledger has it: a phone number that was there, and is gone.
/// let line = format!(
///     r#"{{"v":1,"index":0,"stream":"harbour","seq":0,"prev":"{}","at":"2026-11-30T10:00:00.000000000Z","mono":5,"#,
///     "0".repeat(64),
/// ) + r#""kind":"changed","action":"update","entity":"patients","changes":[{"class":"identity","sealed":"AQE","#
///     + r#""fields":[{"name":"phone","before":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}]}]}"#;
/// let record = Record::from_bytes(line.as_bytes())?;
/// let class: &ClassDiff = &record.changes()[0];
/// let field: &FieldDiff = &class.fields()[0];
/// assert_eq!((class.class(), class.sealed().len(), field.name()), ("identity", 2, "phone"));
/// assert!(matches!((field.before(), field.after()), (Stated::Commitment(_), Stated::Nothing)));
/// // Without its key, a commitment is not to be compared with anything.
/// assert_eq!(format!("{:?}", field.before()), "Commitment(..)");
///
/// // A record has its bounds, and one spelling.
/// assert!(record.changes().len() <= MAX_CLASSES && class.fields().len() <= MAX_FIELDS);
/// assert!(class.sealed().len() <= MAX_SEALED_VALUES);
/// assert!(Record::from_bytes(line.replace("AQE", "AQF").as_bytes()).is_err());
/// # Ok::<(), tower_ward::audit::RecordError>(())
/// ```
///
/// # Security
///
/// It names the field and holds no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDiff {
    pub(crate) name: Box<str>,
    pub(crate) before: Stated,
    pub(crate) after: Stated,
}

impl FieldDiff {
    /// The field's name: that of its column.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was.
    #[must_use]
    pub fn before(&self) -> Stated {
        self.before
    }

    /// What it became.
    #[must_use]
    pub fn after(&self) -> Stated {
        self.after
    }
}

/// The changed fields of one class of data, and their values, sealed for who may open that class.
#[derive(Clone, PartialEq, Eq)]
pub struct ClassDiff {
    pub(crate) class: Box<str>,
    pub(crate) sealed: Box<[u8]>,
    pub(crate) fields: Vec<FieldDiff>,
}

impl ClassDiff {
    /// The data class.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The sealed values.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The fields, by rising names.
    #[must_use]
    pub fn fields(&self) -> &[FieldDiff] {
        &self.fields
    }
}

impl fmt::Debug for ClassDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassDiff")
            .field("class", &self.class)
            .field("sealed", &self.sealed.len())
            .field("fields", &self.fields)
            .finish()
    }
}
