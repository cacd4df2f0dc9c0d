//! What the clinics' data look like: migrations, sealed columns, and whose the rows of a table are.

use sqlx::migrate::Migrator;

use crate::{field::ColumnInfo, id::TenantId};

/// The clinics' data could not be opened or brought up to date. Names the clinic, table or column at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The folder cannot be used.
    #[error("the folder of the clinics' files cannot be used: check that it exists and is writable")]
    Folder(#[source] std::io::Error),
    /// There is no file for this clinic.
    #[error("clinic `{0}` has no file: create it first")]
    Missing(TenantId),
    /// The file belongs to another clinic.
    #[error("the file of clinic `{0}` was made for another clinic: it was copied or renamed, put the right one back")]
    Foreign(TenantId),
    /// A declared column is not in the migrated schema.
    #[error(
        "column `{table}.{column}` is declared in `columns!` or `with_people` but not in the schema: write its migration"
    )]
    Column {
        /// The table that was declared.
        table: &'static str,
        /// The column that was declared.
        column: &'static str,
    },
    /// A declared column is not a blob, so the database would take something unsealed.
    #[error("column `{table}.{column}` holds sealed values and must be declared `blob` in the schema")]
    NotBlob {
        /// The table that was declared.
        table: &'static str,
        /// The column that was declared.
        column: &'static str,
    },
    /// A table with sealed columns has no primary key of one `blob not null` column, which is the row's identifier: what a
    /// change made of such a row could not be said.
    #[error(
        "table `{0}` has sealed columns but no primary key of one `blob not null` column, which would be the row's \
         identifier: change the migration"
    )]
    RowId(String),
    /// A table that every door may change is not in the migrated schema.
    #[error("table `{0}` is declared in `with_shared` but not in the schema: write its migration")]
    Table(&'static str),
    /// A table that every door may change has sealed columns, whose values are of one person or of the clinic.
    #[error("table `{0}` has sealed columns and is declared in `with_shared`: take it out of there")]
    SealedShared(&'static str),
    /// A table is declared twice, or is the library's own.
    #[error("table `{0}` is declared twice, or is the library's own: name it once in `with_people` or `with_shared`")]
    Declared(&'static str),
    /// A column is `indexed`, and where its blind index stands was not declared.
    #[error(
        "column `{table}.{column}` is indexed: declare in `with_indexes` where its blind indexes stand, so that an erasure \
         finds them"
    )]
    NoIndex {
        /// The table of the sealed column.
        table: &'static str,
        /// The sealed column.
        column: &'static str,
    },
    /// A blind index stands where an erasure cannot remove it.
    #[error(
        "blind index `{table}.{column}` must stand in a table of `with_people`, and be nullable, or in a table without \
         sealed columns: change the migration"
    )]
    Index {
        /// The table that was declared.
        table: &'static str,
        /// The column that was declared.
        column: &'static str,
    },
    /// Two `columns!` entries name one column.
    #[error(transparent)]
    Twins(#[from] crate::field::ColumnTwins),
    /// [`MAX_OPEN_FILES`](super::MAX_OPEN_FILES) are open.
    #[error("4096 clinics' files are open: run another process for more clinics")]
    TooMany,
    /// The migrations failed.
    #[error("the migrations of clinic `{0}` failed")]
    Migrate(TenantId, #[source] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("the clinic's database could not be read or written")]
    Database(#[source] sqlx::Error),
    /// The text is no URL of a PostgreSQL database. It may hold a password, so nothing of it is said.
    #[error("the URL of the database is not of the form postgres://USER@HOST/DATABASE")]
    Url,
    /// The name of a role would need quotes.
    #[error("the role's name must be 1 to 48 of `a-z 0-9 _`, a letter first, and no word of SQL")]
    Role,
    /// A table or column that is declared for PostgreSQL has a name that would need quotes.
    #[error("the name `{0}` must be 1 to 48 of `a-z 0-9 _`, a letter first: rename it in the migration")]
    Name(&'static str),
    /// PostgreSQL would not keep the clinics apart.
    #[error("the database does not keep the clinics apart, so nothing is served from it:{}", listed(.0))]
    #[cfg(feature = "postgres")]
    Unguarded(Vec<super::Finding>),
    /// The key with which the servers say which clinic they are in is not the one that the database knows.
    #[error(
        "the database was installed with another keyring: name the database of these keys, or the keys of this one; to give it up \
         for these, its owner empties `ward.keys` first"
    )]
    OtherKey,
    /// Each session that was tried holds something that a statement left in it.
    #[error(
        "statements were prepared, or temporary tables made, in the database's sessions by something else than the library: \
         look for injected SQL"
    )]
    Session,
    /// The migrations of the shared database failed.
    #[error("the database's migrations failed")]
    #[cfg(feature = "postgres")]
    Migrations(#[source] sqlx::migrate::MigrateError),
    /// The ledger could not be told what became of an attempt.
    #[error("the ledger could not be told what became of an attempt")]
    Ledger,
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

#[cfg(feature = "postgres")]
fn listed(findings: &[super::Finding]) -> String {
    findings.iter().map(|finding| format!("\n  - {finding}")).collect()
}

/// What a clinic's file holds: its migrations, and the sealed columns that must be in it.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    pub(super) migrations: &'static Migrator,
    pub(super) columns: &'static [&'static [ColumnInfo]],
    pub(super) people: &'static [(&'static str, &'static str)],
    pub(super) shared: &'static [&'static str],
    pub(super) indexes: &'static [(&'static str, &'static str)],
    pub(super) clinics: &'static [&'static str],
    pub(super) global: &'static [&'static str],
}

impl Schema {
    /// A schema by its migrations (`sqlx::migrate!`) and the `COLUMNS` of every [`columns!`](crate::columns).
    #[must_use]
    pub const fn new(migrations: &'static Migrator, columns: &'static [&'static [ColumnInfo]]) -> Self {
        Self { migrations, columns, people: &[], shared: &[], indexes: &[], clinics: &[], global: &[] }
    }

    /// The tables whose rows belong to people, each with the column that says to whom, as a [`SubjectId`]'s bytes. A
    /// person's door changes that person's rows in these tables, and a clinic's door the rows of all other tables.
    ///
    /// [`SubjectId`]: crate::id::SubjectId
    #[must_use]
    pub const fn with_people(self, people: &'static [(&'static str, &'static str)]) -> Self {
        Self { people, ..self }
    }

    /// The columns that hold blind indexes of people's values, each with its table, which must be one of
    /// [`with_people`](Self::with_people). When a person is erased, theirs are set to null; in a table that has no sealed
    /// column the whole row is deleted. A schema with an indexed column does not open without.
    #[must_use]
    pub const fn with_indexes(self, indexes: &'static [(&'static str, &'static str)]) -> Self {
        Self { indexes, ..self }
    }

    /// The tables that every door may change: a counter, an outbox. Nothing of a person belongs into them, and no sealed
    /// column, or the file does not open.
    #[must_use]
    pub const fn with_shared(self, shared: &'static [&'static str]) -> Self {
        Self { shared, ..self }
    }

    /// The tables whose rows belong to a clinic and to no person. In PostgreSQL every table is named once, here or in
    /// [`with_people`](Self::with_people), [`with_shared`](Self::with_shared) or [`with_global`](Self::with_global); in SQLite a
    /// table that is not named otherwise is one of these.
    #[must_use]
    pub const fn with_clinics(self, clinics: &'static [&'static str]) -> Self {
        Self { clinics, ..self }
    }

    /// The tables of PostgreSQL that belong to no clinic and that every clinic may read: lists of codes. Nobody changes them
    /// but their owner.
    #[must_use]
    pub const fn with_global(self, global: &'static [&'static str]) -> Self {
        Self { global, ..self }
    }

    /// Every sealed column.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &'static ColumnInfo> {
        self.columns.iter().flat_map(|group| group.iter())
    }
}
