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
    note = "declare it: `tower_ward::permissions! {{ pub {Self} = \"things.verb\" opens SomeClass; }}`, with `changes` in place of `opens` if it changes data"
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

/// Says that a permission changes data: [`Db::change`](crate::db::Db::change) takes the doors of such permissions alone.
///
/// Declared in [`permissions!`](crate::permissions), with `changes` in place of `opens`.
///
/// ```
/// use tower_ward::{access::{Changes, SubjectGrant}, db::{Change, Db, TxError}, id::RowId};
///
/// /// For the doors of every permission that changes data.
/// async fn remove<P: Changes>(db: &Db, by: &SubjectGrant<P>, row: RowId) -> Result<(), TxError> {
///     let mut tx = db.change(by, Change::delete("notes", row)).await?;
///     sqlx::query("delete from notes where id = ?").bind(row).execute(tx.conn()).await?;
///     tx.commit().await
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use tower_ward::{access::{Changes, SubjectGrant}, db::{Change, Db}, id::RowId};
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
///
/// // "the permission `ReadNotes` changes nothing"
/// async fn remove(db: &Db, by: &SubjectGrant<ReadNotes>, row: RowId) { let _ = db.change(by, Change::delete("notes", row)); }
/// ```
#[diagnostic::on_unimplemented(
    message = "the permission `{Self}` changes nothing",
    label = "this door was opened to read",
    note = "guard the route with a permission that changes data; or, if `{Self}` really should, say `changes` in place of `opens` in `permissions!`, and look at which roles have it"
)]
pub trait Changes: Permission {}

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

/// Declares permissions, each with the data classes that it `opens`, to read them, or `changes`, to read and to change them.
///
/// ```
/// tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
/// tower_ward::permissions! {
///     /// See what was written about a patient.
///     pub ReadNotes = "notes.read" opens Clinical, Schedule;
///     /// Write about a patient.
///     pub WriteNotes = "notes.write" changes Clinical;
///     /// Opens no data class, and changes nothing.
///     pub SeeStatus = "status.read";
/// }
/// ```
#[macro_export]
macro_rules! permissions {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $id:literal $($verb:ident $($class:ty),*)?;)+) => { $(
        $(#[$meta])*
        #[doc = ::core::concat!("The permission `", $id, "`.")]
        #[derive(Debug)]
        $vis enum $name {}
        impl $crate::access::Permission for $name {
            const ID: &'static str = $id;
            const OPENS: &'static [&'static str] = &[$($(<$class as $crate::access::DataClass>::ID),*)?];
        }
        $($(impl $crate::access::Opens<$class> for $name {})*)?
        $($crate::__permission_verb! { $verb $name })?
    )+ };
}

/// What stands between a permission's name and its classes.
#[doc(hidden)]
#[macro_export]
macro_rules! __permission_verb {
    (opens $name:ident) => {};
    (changes $name:ident) => {
        impl $crate::access::Changes for $name {}
    };
    ($other:ident $name:ident) => {
        ::core::compile_error!("a permission `opens` classes of data, or `changes` them");
    };
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
