//! Permissions and data classes as types.

/// A kind of data, by how closely it is to be kept: `clinical`, `schedule`, `payroll`.
///
/// Declared with [`classes!`](crate::classes). The class of a column takes part in its key.
pub trait DataClass: Send + Sync + 'static {
    /// The name that policies, keys and records use.
    const ID: &'static str;
}

/// Something that a principal may be allowed to do. Declared with [`permissions!`](crate::permissions).
///
/// ```
/// use tower_ward::access::{DataClass, Opens, Permission, PermissionInfo, Policy, PolicyError};
///
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
///
/// fn opens<P: Opens<C>, C: DataClass>() -> (&'static str, &'static str) { (P::ID, C::ID) }
/// assert_eq!(opens::<ReadNotes, Clinical>(), ("notes.read", "clinical"));
///
/// // What the router does before it serves: does the policy fit what is asked for?
/// let asked = [PermissionInfo::of::<ReadNotes>()];
/// let policy = Policy::from_toml("[roles.desk]\ngrants.\"notes.read\" = \"clinic\"")?;
/// assert!(matches!(policy.check(&asked, &[]), Err(PolicyError::Ceiling { .. })));
/// # Ok::<(), PolicyError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a permission",
    note = "declare it: `tower_ward::permissions! {{ pub {Self} = \"things.verb\" opens SomeClass; }}`"
)]
pub trait Permission: Send + Sync + 'static {
    /// The name that policies and records use: `notes.read`.
    const ID: &'static str;
    /// The data classes that this permission opens, by [`DataClass::ID`].
    const OPENS: &'static [&'static str];
}

/// Says that a permission opens data of a class.
///
/// Implemented by [`permissions!`](crate::permissions) alone: opening a column also checks, at compile time, that the
/// class stands in [`Permission::OPENS`], so an `impl` written by hand gains nothing.
#[diagnostic::on_unimplemented(
    message = "the permission `{Self}` does not open `{C}` data",
    label = "this grant is for `{Self}`, and the column is classed `{C}`",
    note = "guard the route with a permission that opens `{C}`; or, if `{Self}` really should open it, add `{C}` to its `opens` list in `permissions!`"
)]
pub trait Opens<C: DataClass>: Permission {}

/// Declares data classes.
///
/// ```
/// tower_ward::classes! {
///     /// What a doctor writes.
///     pub Clinical = "clinical";
///     pub Schedule = "schedule";
/// }
/// ```
#[macro_export]
macro_rules! classes {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $id:literal;)+) => { $(
        $(#[$meta])*
        #[doc = ::core::concat!("The data class `", $id, "`.")]
        #[derive(Debug)]
        $vis enum $name {}
        impl $crate::access::DataClass for $name {
            const ID: &'static str = $id;
        }
    )+ };
}

/// Declares permissions, each with the data classes that it opens.
///
/// ```
/// tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
/// tower_ward::permissions! {
///     /// See what was written about a patient.
///     pub ReadNotes = "notes.read" opens Clinical, Schedule;
///     /// Opens no data class.
///     pub SeeStatus = "status.read";
/// }
/// ```
#[macro_export]
macro_rules! permissions {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $id:literal $(opens $($class:ty),+)?;)+) => { $(
        $(#[$meta])*
        #[doc = ::core::concat!("The permission `", $id, "`.")]
        #[derive(Debug)]
        $vis enum $name {}
        impl $crate::access::Permission for $name {
            const ID: &'static str = $id;
            const OPENS: &'static [&'static str] = &[$($(<$class as $crate::access::DataClass>::ID),+)?];
        }
        $($(impl $crate::access::Opens<$class> for $name {})+)?
    )+ };
}

/// Whether `list` holds `item`; usable at compile time.
#[doc(hidden)]
#[must_use]
pub const fn contains(list: &[&str], item: &str) -> bool {
    let mut i = 0;
    while i < list.len() {
        if equal(list[i], item) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether two strings are equal; usable at compile time.
#[doc(hidden)]
#[must_use]
pub const fn equal(a: &str, b: &str) -> bool {
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
