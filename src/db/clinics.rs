//! What erasures and rotations ask of either database.

use std::{fmt, sync::Arc};

use super::{DbError, TxError};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor},
    audit::AttemptId,
    field::ColumnInfo,
    id::{SubjectId, TenantId},
};

pub(super) mod sealed {
    pub trait Sealed {}
}

/// A table of people's rows with sealed columns.
#[derive(Debug, Clone)]
pub struct PeopleTable {
    pub(super) table: &'static str,
    /// The column that says whose a row is.
    pub(super) person: &'static str,
    /// The one column that is the row's identifier.
    pub(super) key: String,
    pub(super) columns: Vec<&'static ColumnInfo>,
}

/// A row's identifier, and its cells.
pub(super) type Cells = (Vec<u8>, Vec<Option<Vec<u8>>>);

/// The clinics' data, wherever they are kept: [`Db`](super::Db) with a file for each clinic, or `PostgresDb` with all in one
/// database. What works with both takes this.
///
/// ```
/// use tower_ward::{access::{Changes, Grant}, db::Clinics, id::SubjectId, privacy::{ErasureError, Erasures}};
///
/// /// On either database.
/// async fn forget<D: Clinics, P: Changes>(erasures: &Erasures<D>, grant: &Grant<P>, person: SubjectId) -> Result<bool, ErasureError> {
///     Ok(erasures.erase(grant, person).await?.is_complete())
/// }
/// ```
pub trait Clinics: sealed::Sealed + Clone + fmt::Debug + Send + Sync + 'static {
    /// A transaction that changes one clinic's data.
    type Tx: fmt::Debug + Send;
    /// In front of a table's name.
    #[doc(hidden)]
    const PLACE: &'static str;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "the trait is sealed; only erasures call this")]
    fn begin_erasure(&self, by: &ErasureDoor) -> impl Future<Output = Result<Self::Tx, TxError>> + Send;
    #[doc(hidden)]
    fn begin_reseal<D: ChangeDoor + Sync>(&self, by: &D) -> impl Future<Output = Result<Self::Tx, TxError>> + Send;
    #[doc(hidden)]
    fn attempt_of(tx: &Self::Tx) -> AttemptId;
    #[doc(hidden)]
    fn commit(tx: Self::Tx) -> impl Future<Output = Result<(), TxError>> + Send;

    /// The tables of people's rows with sealed columns.
    #[doc(hidden)]
    fn people(&self, tenant: &TenantId) -> impl Future<Output = Result<Arc<[PeopleTable]>, DbError>> + Send;
    /// A number that the library asks for by itself.
    #[doc(hidden)]
    fn number(&self, tenant: &TenantId, sql: String) -> impl Future<Output = Result<i64, TxError>> + Send;
    /// Rows of a person, after the one with this key: `$1` is the person, `$2` the key.
    #[doc(hidden)]
    fn rows<A: Authority + Sync>(
        &self,
        by: &A,
        sql: String,
        subject: SubjectId,
        after: Option<&[u8]>,
        columns: usize,
    ) -> impl Future<Output = Result<Vec<Cells>, TxError>> + Send;
    /// Puts a new value, `$1`, into the row with this key, `$2`, if the old one, `$3`, is still there.
    #[doc(hidden)]
    fn replace(
        tx: &mut Self::Tx,
        sql: String,
        new: Vec<u8>,
        key: &[u8],
        old: Vec<u8>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
