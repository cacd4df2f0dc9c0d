//! A column as a type: table, name, value and data class.

use std::collections::HashSet;

use super::{
    format::MAX_NAME,
    value::{FieldValue, Indexable},
};
use crate::access::DataClass;

/// A sealed column of the application's own tables. Declared with [`columns!`](crate::columns).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a column",
    note = "declare it: `tower_ward::columns! {{ pub {Self}: String = \"table\".\"column\" as SomeClass; }}`"
)]
pub trait Column: 'static {
    /// What it holds.
    type Value: FieldValue;
    /// How closely it is to be kept.
    type Class: DataClass;
    /// The table: 1 to 63 of `a-z 0-9 _`.
    const TABLE: &'static str;
    /// The column in it: 1 to 63 of `a-z 0-9 _`.
    const NAME: &'static str;
}

/// A column with a [`BlindIndex`](super::BlindIndex): declared `, indexed` in [`columns!`](crate::columns).
#[diagnostic::on_unimplemented(
    message = "the column `{Self}` is not indexed",
    note = "declare it `\"table\".\"column\" as SomeClass, indexed` in `columns!`, and read there what an index gives away"
)]
pub trait Indexed: Column<Value: Indexable> {}

/// What is known of a column without its type: for checking a schema when the server starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnInfo {
    table: &'static str,
    name: &'static str,
    class: &'static str,
    indexed: bool,
}

impl ColumnInfo {
    #[doc(hidden)]
    #[must_use]
    pub const fn of<C: Column>(indexed: bool) -> Self {
        const { assert_well_named::<C>() };
        Self { table: C::TABLE, name: C::NAME, class: C::Class::ID, indexed }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }

    /// The column's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The identifier of its data class.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        self.class
    }

    /// Whether it has a blind index.
    #[must_use]
    pub const fn is_indexed(&self) -> bool {
        self.indexed
    }
}

/// Two declared columns name the same table and column, so the same cell would have two types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{table}.{name}` is declared as a column twice: remove one of the two declarations")]
pub struct ColumnTwins {
    table: &'static str,
    name: &'static str,
}

/// Finds twins among the columns of several [`columns!`](crate::columns): call it when the server starts, with the `COLUMNS`
/// of each. Within one `columns!` the compiler has looked already.
///
/// ```
/// mod patients {
///     tower_ward::classes! { pub Clinical = "clinical"; }
///     tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
/// }
/// mod staff {
///     tower_ward::classes! { pub Payroll = "payroll"; }
///     tower_ward::columns! { pub Iban: String = "employees"."iban" as Payroll; }
/// }
/// use tower_ward::field::{ColumnInfo, ColumnTwins, check_columns};
///
/// let all: [&[ColumnInfo]; 2] = [patients::COLUMNS, staff::COLUMNS];
/// assert!(check_columns(&all).is_ok());
///
/// let error: ColumnTwins = check_columns(&[patients::COLUMNS, staff::COLUMNS, patients::COLUMNS]).unwrap_err();
/// assert_eq!(error.to_string(), "`notes.text` is declared as a column twice: remove one of the two declarations");
/// ```
///
/// # Errors
///
/// If a table and column are named twice; the first such pair.
pub fn check_columns(groups: &[&[ColumnInfo]]) -> Result<(), ColumnTwins> {
    let mut seen = HashSet::new();
    for &ColumnInfo { table, name, .. } in groups.iter().copied().flatten() {
        if !seen.insert((table, name)) {
            return Err(ColumnTwins { table, name });
        }
    }
    Ok(())
}

/// Declares sealed columns, each as a type of its own.
///
/// `pub Type: Value = "table"."column" as Class;`, and `, indexed` before the semicolon for a
/// [`BlindIndex`](crate::field::BlindIndex). Emits the types, and `pub const COLUMNS: &[ColumnInfo]` over all of them; so a
/// module holds one `columns!`.
///
/// ```
/// tower_ward::classes! { pub Clinical = "clinical"; pub Payroll = "payroll"; }
/// tower_ward::columns! {
///     /// What a doctor wrote.
///     pub NoteText: String = "notes"."text" as Clinical;
///     pub NiNumber: String = "employees"."ni" as Payroll, indexed;
/// }
///
/// assert_eq!(COLUMNS[1].table(), "employees");
/// assert!(COLUMNS[1].is_indexed());
/// ```
///
/// Names are 1 to 63 of `a-z 0-9 _`, and no two columns have the same; both are checked by the compiler:
///
/// ```compile_fail
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::columns! { pub NoteText: String = "Notes"."text" as Clinical; }
/// ```
#[macro_export]
macro_rules! columns {
    ($(
        $(#[$meta:meta])*
        $vis:vis $name:ident : $value:ty = $table:literal . $column:literal as $class:ty $(, $flag:ident)*;
    )+) => {
        $(
            $(#[$meta])*
            #[doc = ::core::concat!("The sealed column `", $table, ".", $column, "`.")]
            #[derive(Debug)]
            $vis enum $name {}
            impl $crate::field::Column for $name {
                type Value = $value;
                type Class = $class;
                const TABLE: &'static str = $table;
                const NAME: &'static str = $column;
            }
            $($crate::columns!(@flag $flag $name);)*
        )+
        /// The columns that are declared here.
        #[allow(dead_code, unreachable_pub, reason = "a schema that is not checked at boot is allowed")]
        pub const COLUMNS: &[$crate::field::ColumnInfo] =
            &[$($crate::field::ColumnInfo::of::<$name>($crate::columns!(@indexed $($flag)*))),+];
        const _: () = $crate::field::assert_no_twins(COLUMNS);
    };
    (@flag indexed $name:ident) => { impl $crate::field::Indexed for $name {} };
    (@flag $other:ident $name:ident) => {
        ::core::compile_error!(::core::concat!(
            "unknown column flag `", ::core::stringify!($other), "` on `", ::core::stringify!($name),
            "`: the only flag is `indexed`"
        ));
    };
    (@indexed) => { false };
    (@indexed $($flag:ident)+) => { true };
}

/// Stops the compiler at a column whose names the format has no room for.
pub(super) const fn assert_well_named<C: Column>() {
    assert!(is_name(C::TABLE), "a table's name is 1 to 63 of a-z, 0-9 and `_`");
    assert!(is_name(C::NAME), "a column's name is 1 to 63 of a-z, 0-9 and `_`");
    let class = C::Class::ID.as_bytes();
    assert!(!class.is_empty() && class.len() <= MAX_NAME, "a data class's name is 1 to 63 bytes long");
}

/// Stops the compiler at two columns of one place.
#[doc(hidden)]
pub const fn assert_no_twins(columns: &[ColumnInfo]) {
    let mut i = 0;
    while i < columns.len() {
        let mut j = i + 1;
        while j < columns.len() {
            let twins = equal(columns[i].table, columns[j].table) && equal(columns[i].name, columns[j].name);
            assert!(!twins, "two columns of this `columns!` name the same table and column: remove one of them");
            j += 1;
        }
        i += 1;
    }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if !matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty() && bytes.len() <= MAX_NAME
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
