//! What erasures and rotations ask of the clinics' files.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row as _};

use super::{Db, TenantTx};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor},
    audit::AttemptId,
    db::{
        Clinics, DbError, TxError,
        clinics::{Cells, PeopleTable, sealed::Sealed},
    },
    id::{SubjectId, TenantId},
};

impl Sealed for Db {}

impl Clinics for Db {
    type Tx = TenantTx;
    const PLACE: &'static str = "main.";

    #[expect(private_interfaces, reason = "the trait is sealed; only erasures call this")]
    async fn begin_erasure(&self, by: &ErasureDoor) -> Result<TenantTx, TxError> {
        self.erase(by).await
    }

    async fn begin_reseal<D: ChangeDoor + Sync>(&self, by: &D) -> Result<TenantTx, TxError> {
        self.reseal(by).await
    }

    fn attempt_of(tx: &TenantTx) -> AttemptId {
        tx.attempt()
    }

    async fn commit(tx: TenantTx) -> Result<(), TxError> {
        tx.commit().await
    }

    async fn people(&self, tenant: &TenantId) -> Result<Arc<[PeopleTable]>, DbError> {
        Ok(Arc::clone(&self.file(tenant).await?.people))
    }

    async fn number(&self, tenant: &TenantId, sql: String) -> Result<i64, TxError> {
        let file = self.file(tenant).await?;
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&file.readers).await?)
    }

    async fn rows<A: Authority + Sync>(
        &self,
        by: &A,
        sql: String,
        subject: SubjectId,
        after: Option<&[u8]>,
        columns: usize,
    ) -> Result<Vec<Cells>, TxError> {
        let mut tx = self.read(by).await?;
        let query = sqlx::query(AssertSqlSafe(sql)).bind(subject);
        let query = match after {
            Some(after) => query.bind(after),
            None => query,
        };
        let rows = query.fetch_all(tx.conn()).await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, (1..=columns).map(|at| row.try_get(at)).collect::<Result<_, _>>()?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(Into::into)
    }

    async fn replace(
        tx: &mut TenantTx,
        sql: String,
        new: Vec<u8>,
        key: &[u8],
        old: Vec<u8>,
    ) -> Result<u64, sqlx::Error> {
        let done = sqlx::query(AssertSqlSafe(sql)).bind(new).bind(key).bind(old).execute(tx.conn()).await?;
        Ok(done.rows_affected())
    }
}
