//! What the doctor finds, and what to do about it.

use std::fmt;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// The role that logged in is a superuser.
    Superuser,
    /// The role has `BYPASSRLS`.
    BypassRls,
    /// The role owns a table, a schema or the database, or may take the part of one who does.
    Owner,
    /// The role may make other roles, replicate, or take the part of a role with rights of its own.
    RoleRights,
    /// Settings are tied to the role or the database, which would be in force in each of its sessions; or the role may change
    /// one that is a superuser's.
    RoleSetting,
    /// What somebody makes later is the role's by itself.
    DefaultRights,
    /// The role may read or change a table in another schema, where nothing keeps clinics apart.
    Elsewhere,
    /// The role may make tables, functions or temporary tables, behind which the clinics' would hide.
    MayCreate,
    /// A table is in the schema and is declared nowhere.
    Undeclared,
    /// A table is declared and not in the schema.
    Missing,
    /// A table has no column `tenant text not null default ward.tenant()`.
    TenantColumn,
    /// A table's row-level security is off.
    RlsOff,
    /// A table's row-level security does not hold for its owner.
    NotForced,
    /// A policy is missing.
    NoPolicy,
    /// A policy is not the one that was installed.
    OtherPolicy,
    /// A policy was added that lets more through.
    ExtraPolicy,
    /// A table's primary key does not begin with the clinic, so that one clinic's key would be refused to another.
    PrimaryKey,
    /// A table has no index that begins with the clinic.
    NoIndex,
    /// A foreign key could lead into another clinic, or change another person's rows by what it does on its own.
    ForeignKey,
    /// A unique index that does not begin with the clinic tells one clinic of another's values.
    UniqueIndex,
    /// The role may do more with a table than the installation gave it: truncate it, refer to it, put a trigger on it, or
    /// change a row's clinic, person or key.
    TableRights,
    /// The role may read what the functions alone may.
    SecretReadable,
    /// A function runs with its owner's rights, may be called by the role, and is not the library's.
    DefinerFunction,
    /// One of the library's functions is not the one that was installed.
    OtherFunction,
    /// A view shows rows by its owner's rights, or is a materialised one.
    OwnerView,
    /// A rule rewrites statements on a table.
    Rule,
    /// A trigger by which the library learns of changes is missing, disabled or another one.
    Trigger,
    /// A column for sealed values takes others.
    NotBytes,
    /// Two clinics that are none see each other, or something else.
    Leak,
    /// The server may lose what it acknowledged.
    Durability,
}

impl FindingKind {
    /// What is wrong, and what to do.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Superuser => "the role is a superuser, whom no policy holds: log in as a role that is none",
            Self::BypassRls => "the role has `bypassrls`: `alter role … nobypassrls`",
            Self::Owner => "the role owns it, or is a member of who does: let another role own it",
            Self::RoleRights => {
                "the role has rights of its own: `alter role … nocreaterole noreplication`, and revoke its memberships"
            }
            Self::RoleSetting => {
                "a setting is tied to the role or the database, or is the role's to change: `alter role … reset all`, `alter database … reset all`, `revoke set on parameter …`"
            }
            Self::DefaultRights => {
                "default privileges give away what is made later: `alter default privileges … revoke …`"
            }
            Self::Elsewhere => {
                "the role has rights on it, and nothing keeps clinics apart there: revoke them; the ledger and the stores have roles of their own"
            }
            Self::MayCreate => {
                "the role may create objects here: revoke `create` and `temporary` from it and from `public`"
            }
            Self::Undeclared => "the table is declared nowhere: name it in the `Schema`, or put it into another schema",
            Self::Missing => "the table is declared and not there: run the installation",
            Self::TenantColumn => "the table needs `tenant text not null default ward.tenant()`: write a migration",
            Self::RlsOff => "row-level security is off: run the installation",
            Self::NotForced => "row-level security does not hold for the owner: run the installation",
            Self::NoPolicy => "a policy is missing: run the installation",
            Self::OtherPolicy => "a policy is not the one that was installed: run the installation",
            Self::ExtraPolicy => "a policy lets more through than the installed ones: drop it",
            Self::PrimaryKey => {
                "the primary key must be `(tenant, …)`, and `(tenant, id)` with a `uuid` where columns are sealed: write a migration"
            }
            Self::NoIndex => "no index begins with `tenant`: run the installation",
            Self::ForeignKey => {
                "a foreign key does not pair `tenant` with `tenant`, or cascades without pairing the columns that say whose the rows are: write a migration"
            }
            Self::UniqueIndex => "a unique index does not begin with `tenant`: make it `(tenant, …)`",
            Self::TableRights => "the role may do more than the installation gave it: run the installation",
            Self::SecretReadable => "the role may read what belongs to the library's functions: run the installation",
            Self::DefinerFunction => {
                "a `security definer` function that is not the library's may be called by the role: revoke it, or make it `security invoker`"
            }
            Self::OtherFunction => "the function is not the one that was installed: run the installation",
            Self::OwnerView => {
                "the view shows rows by its owner's rights, and a materialised one has none to ask: create it `with (security_invoker = true)`, or revoke it"
            }
            Self::Rule => "a rule rewrites statements: drop it",
            Self::Trigger => "a trigger of the library is missing, disabled or another one: run the installation",
            Self::NotBytes => "the column holds sealed values and must be `bytea`: write a migration",
            Self::Leak => "a clinic that has nothing sees rows: do not serve from this database",
            Self::Durability => "an acknowledged commit could be lost: turn `fsync` and `full_page_writes` on",
        }
    }
}

/// Something that would let one clinic see another, or lose what is on record.
///
/// ```
/// use tower_ward::db::{DbError, Finding, FindingKind};
///
/// /// What an operator is told, kind by kind.
/// fn refused(error: &DbError) -> Vec<FindingKind> {
///     let DbError::Unguarded(findings) = error else { return Vec::new() };
///     findings.iter().map(Finding::kind).collect()
/// }
/// assert!(refused(&DbError::OtherKey).is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub(super) kind: FindingKind,
    pub(super) object: String,
}

impl Finding {
    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> FindingKind {
        self.kind
    }

    /// The table, function, role or setting at fault.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.object, self.kind.sentence())
    }
}
