//! What erasures and rotations ask of the shared database.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    PostgresDb, PostgresTx,
    request::{Request, Verb},
};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor},
    audit::AttemptId,
    db::{
        Clinics, DbError, TxError,
        clinics::{Cells, PeopleTable, sealed::Sealed},
    },
    id::{SubjectId, TenantId},
};

impl Sealed for PostgresDb {}

impl Clinics for PostgresDb {
    type Tx = PostgresTx;
    const PLACE: &'static str = "public.";

    #[expect(private_interfaces, reason = "the trait is sealed; only erasures call this")]
    async fn begin_erasure(&self, by: &ErasureDoor) -> Result<PostgresTx, TxError> {
        self.erase(by).await
    }

    async fn begin_reseal<D: ChangeDoor + Sync>(&self, by: &D) -> Result<PostgresTx, TxError> {
        self.reseal(by).await
    }

    fn attempt_of(tx: &PostgresTx) -> AttemptId {
        tx.attempt()
    }

    async fn commit(tx: PostgresTx) -> Result<(), TxError> {
        tx.commit().await
    }

    async fn people(&self, _: &TenantId) -> Result<Arc<[PeopleTable]>, DbError> {
        Ok(Arc::clone(&self.0.people))
    }

    async fn number(&self, tenant: &TenantId, sql: String) -> Result<i64, TxError> {
        let mut tx = self.enter(&Request::new(tenant, Verb::Read)).await?;
        Ok(tx.say(&sql).await?.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
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
        // Not one that is named, which somebody could have put another in the place of.
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(subject);
        let query = match after {
            Some(after) => query.bind(uuid(after)?),
            None => query,
        };
        let rows = query.fetch_all(tx.conn()).await?;
        rows.iter()
            .map(|row| {
                let key: Uuid = row.try_get(0)?;
                let cells = (1..=columns).map(|at| row.try_get(at)).collect::<Result<_, _>>()?;
                Ok((key.as_bytes().to_vec(), cells))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(Into::into)
    }

    async fn replace(
        tx: &mut PostgresTx,
        sql: String,
        new: Vec<u8>,
        key: &[u8],
        old: Vec<u8>,
    ) -> Result<u64, sqlx::Error> {
        let done = sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .bind(new)
            .bind(uuid(key)?)
            .bind(old)
            .execute(tx.conn())
            .await?;
        Ok(done.rows_affected())
    }
}

fn uuid(key: &[u8]) -> Result<Uuid, sqlx::Error> {
    Uuid::from_slice(key).map_err(|error| sqlx::Error::Decode(error.into()))
}
