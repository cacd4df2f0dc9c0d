//! The clinics' data, so that no handler knows which database it runs on.
//!
//! 1. A transaction begins with a door that was opened, as in [`tower_ward::db`]: [`Data::read`], [`Data::change`].
//! 2. A statement is one that every backend takes: `$1` parameters, `true` and `false`, `on conflict`, no `rowid`.
//! 3. What differs between backends stands in this module and nowhere else.

mod filter;
mod statement;

use sqlx::SqliteConnection;
use tower_ward::{
    access::{Authority, ChangeDoor},
    audit::Ledger,
    clock::Timestamp,
    db::{Change, Db, DbError, ReadTx, TenantTx, TxError},
    id::TenantId,
};

pub(crate) use self::{
    filter::filter,
    statement::{Row, Sql, sql},
};
pub use statement::QueryError;

/// Where the clinics' data are. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Data {
    /// One file per clinic.
    Sqlite(Db),
}

/// A transaction that reads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Read {
    /// In the clinic's file.
    Sqlite(ReadTx),
}

/// A transaction that changes one clinic's data. Dropped without [`commit`](Self::commit), it rolls back.
#[derive(Debug)]
#[must_use = "a transaction that is not committed rolls back"]
#[non_exhaustive]
pub enum Write {
    /// In the clinic's file.
    Sqlite(TenantTx),
}

/// What statements run on.
#[derive(Debug)]
pub(crate) enum Conn<'a> {
    Sqlite(&'a mut SqliteConnection),
}

/// A transaction in which statements run.
pub(crate) trait Tx: Send {
    fn conn(&mut self) -> Conn<'_>;
}

impl Tx for Read {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(tx) => Conn::Sqlite(tx.conn()),
        }
    }
}

impl Tx for Write {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(tx) => Conn::Sqlite(tx.conn()),
        }
    }
}

/// An erasure's transaction is the library's own.
impl Tx for TenantTx {
    fn conn(&mut self) -> Conn<'_> {
        Conn::Sqlite(Self::conn(self))
    }
}

impl Data {
    /// Makes a clinic's place, unless it has one, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`DbError`], naming what is wrong with the database or the schema.
    pub async fn create(&self, tenant: &TenantId) -> Result<(), DbError> {
        match self {
            Self::Sqlite(db) => db.create(tenant).await,
        }
    }

    /// Tells the ledger what became of the changes that a crash left open.
    ///
    /// # Errors
    ///
    /// [`DbError`] if the database or the ledger cannot be reached.
    pub async fn settle(&self, ledger: &Ledger) -> Result<usize, DbError> {
        match self {
            Self::Sqlite(db) => db.settle(ledger).await,
        }
    }

    /// Closes what is open, once no transaction uses it.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
        }
    }

    /// Begins a transaction that reads, in the clinic of the door that was opened.
    ///
    /// # Errors
    ///
    /// As [`Db::read`].
    pub async fn read(&self, by: &impl Authority) -> Result<Read, TxError> {
        match self {
            Self::Sqlite(db) => db.read(by).await.map(Read::Sqlite),
        }
    }

    /// Begins a transaction that changes what `change` says, in the clinic of the door that was opened.
    ///
    /// # Errors
    ///
    /// As [`Db::change`].
    pub async fn change(&self, by: &impl ChangeDoor, change: Change) -> Result<Write, TxError> {
        match self {
            Self::Sqlite(db) => db.change(by, change).await.map(Write::Sqlite),
        }
    }
}

impl Write {
    /// Makes the relation hold that this transaction was begun for, until some time or for good.
    ///
    /// # Errors
    ///
    /// As [`TenantTx::relate`].
    pub async fn relate(&mut self, until: Option<Timestamp>) -> Result<(), TxError> {
        match self {
            Self::Sqlite(tx) => tx.relate(until).await,
        }
    }

    /// Ends the relation that this transaction was begun for; says whether it held.
    ///
    /// # Errors
    ///
    /// As [`TenantTx::unrelate`].
    pub async fn unrelate(&mut self) -> Result<bool, TxError> {
        match self {
            Self::Sqlite(tx) => tx.unrelate().await,
        }
    }

    /// Commits once every record of the request so far is durable.
    ///
    /// # Errors
    ///
    /// As [`TenantTx::commit`].
    pub async fn commit(self) -> Result<(), TxError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
        }
    }
}
