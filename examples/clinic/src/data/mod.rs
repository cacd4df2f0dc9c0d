//! The clinics' data, so that no handler knows which database it runs on.
//!
//! 1. A transaction begins with a door that was opened, as in [`tower_ward::db`]: [`Data::read`], [`Data::change`].
//! 2. A statement is one that every backend takes: `$1` parameters, `true` and `false`, `on conflict`, no `rowid`.
//! 3. What differs between backends stands in this module and nowhere else.

mod statement;

use sqlx::{PgConnection, SqliteConnection};
use tower_ward::{
    access::{Authority, BoxFuture, ChangeDoor, Changes, Grant, RelationError, RelationSource, Relations},
    audit::Ledger,
    clock::{SharedClock, Timestamp},
    db::{
        Change, Db, DbError, PostgresDb, PostgresReadTx, PostgresRelations, PostgresTx, ReadTx, SqliteRelations,
        TenantTx, TxError,
    },
    id::{SubjectId, TenantId, UserId},
    keys::{Erasure, Keyring},
    privacy::{ErasureError, Erasures},
};

pub use statement::QueryError;
pub(crate) use statement::{Row, Sql, sql};

/// Where the clinics' data are. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Data {
    /// One file per clinic.
    Sqlite(Db),
    /// One database for all.
    Postgres(PostgresDb),
}

/// A transaction that reads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Read {
    /// In the clinic's file.
    Sqlite(ReadTx),
    /// In the one database.
    Postgres(PostgresReadTx),
}

/// A transaction that changes one clinic's data. Dropped without [`commit`](Self::commit), it rolls back.
#[derive(Debug)]
#[must_use = "a transaction that is not committed rolls back"]
#[non_exhaustive]
pub enum Write {
    /// In the clinic's file.
    Sqlite(TenantTx),
    /// In the one database.
    Postgres(PostgresTx),
}

/// What statements run on.
#[derive(Debug)]
pub(crate) enum Conn<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

/// A transaction in which statements run.
pub(crate) trait Tx: Send {
    fn conn(&mut self) -> Conn<'_>;
}

impl Tx for Read {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(tx) => Conn::Sqlite(tx.conn()),
            Self::Postgres(tx) => Conn::Postgres(tx.conn()),
        }
    }
}

impl Tx for Write {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(tx) => Conn::Sqlite(tx.conn()),
            Self::Postgres(tx) => Conn::Postgres(tx.conn()),
        }
    }
}

/// An erasure's transaction is the library's own.
impl Tx for TenantTx {
    fn conn(&mut self) -> Conn<'_> {
        Conn::Sqlite(Self::conn(self))
    }
}

impl Tx for PostgresTx {
    fn conn(&mut self) -> Conn<'_> {
        Conn::Postgres(Self::conn(self))
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
            Self::Postgres(db) => db.create(tenant).await,
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
            Self::Postgres(db) => db.settle(ledger).await,
        }
    }

    /// Closes what is open, once no transaction uses it.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
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
            Self::Postgres(db) => db.read(by).await.map(Read::Postgres),
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
            Self::Postgres(db) => db.change(by, change).await.map(Write::Postgres),
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
            Self::Postgres(tx) => tx.relate(until).await,
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
            Self::Postgres(tx) => tx.unrelate().await,
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
            Self::Postgres(tx) => tx.commit().await,
        }
    }
}

/// What erases people, wherever their data are. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Erasing {
    /// In the clinics' files.
    Sqlite(Erasures<Db>),
    /// In the one database.
    Postgres(Erasures<PostgresDb>),
}

impl Erasing {
    /// Compares the ledger with the key store, and finishes what was decided before a crash.
    ///
    /// # Errors
    ///
    /// As [`Erasures::open`].
    pub async fn open(keyring: &Keyring, data: &Data, ledger: &Ledger) -> Result<Self, ErasureError> {
        match data {
            Data::Sqlite(db) => Erasures::open(keyring, db, ledger).await.map(Self::Sqlite),
            Data::Postgres(db) => Erasures::open(keyring, db, ledger).await.map(Self::Postgres),
        }
    }

    /// Erases a person, and in the same transaction what `also` does.
    pub(crate) async fn erase_with<P: Changes>(
        &self,
        grant: &Grant<P>,
        subject: SubjectId,
        also: impl for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<(), sqlx::Error>> + Send,
    ) -> Result<Erasure, ErasureError> {
        match self {
            Self::Sqlite(erasures) => {
                erasures.erase_with(grant, subject, async |tx: &mut TenantTx| also(tx).await).await
            }
            Self::Postgres(erasures) => {
                erasures.erase_with(grant, subject, async |tx: &mut PostgresTx| also(tx).await).await
            }
        }
    }
}

/// Where it is kept who is assigned to whom.
#[derive(Debug)]
#[non_exhaustive]
pub enum Kept {
    /// In the clinics' files.
    Sqlite(SqliteRelations),
    /// In the one database.
    Postgres(PostgresRelations),
}

impl Kept {
    /// The relations in these data.
    #[must_use]
    pub fn of(data: &Data, keyring: &Keyring, clock: &SharedClock) -> Self {
        let (keyring, clock) = (keyring.clone(), clock.clone());
        match data {
            Data::Sqlite(db) => Self::Sqlite(SqliteRelations::new(db.clone(), keyring, clock)),
            Data::Postgres(db) => Self::Postgres(PostgresRelations::new(db.clone(), keyring, clock)),
        }
    }
}

impl RelationSource for Kept {
    fn relations<'a>(
        &'a self,
        tenant: &'a TenantId,
        user: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        match self {
            Self::Sqlite(kept) => kept.relations(tenant, user, subjects, among),
            Self::Postgres(kept) => kept.relations(tenant, user, subjects, among),
        }
    }
}
