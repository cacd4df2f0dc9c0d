//! Transactions that need an opened door.

use std::sync::Arc;

use sqlx::{FromRow as _, PgConnection, Row as _};

use super::{
    PostgresDb,
    changes::{self, Touched},
    database::Entering,
    request::{Request, Verb},
    session::{Session, bytes, literal},
};
use crate::{
    access::{Authority, ChangeDoor, ErasureDoor, Owner, Relations},
    audit::{Action, Attempt, AttemptId, Trail, TrailError},
    clock::Timestamp,
    db::{
        Change, TxError,
        change::{Door, Watching, kind},
        relation::Row,
        seal::Sealer,
    },
    id::{SubjectId, TenantId, UserId},
    keys::TenantKey,
};

/// A transaction of PostgreSQL that reads one clinic's rows. It is read-only.
#[derive(Debug)]
pub struct PostgresReadTx {
    tx: Session,
}

impl PostgresReadTx {
    /// The connection, for the application's queries.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }
}

/// A transaction of PostgreSQL that changes one clinic's rows. Dropped without [`commit`](Self::commit), it rolls back.
#[derive(Debug)]
#[must_use = "a transaction that is not committed rolls back"]
pub struct PostgresTx {
    tx: Session,
    db: PostgresDb,
    attempt: Attempt,
    trail: Trail,
    watching: Watching,
    /// For the MAC of a relation. An erasure has none, and makes none.
    key: Option<Arc<TenantKey>>,
    /// Whose relation this transaction was begun to change, to whom.
    relation: Option<(SubjectId, UserId, Relations)>,
    tenant: TenantId,
    /// An erasure has none: it states nothing.
    owner: Option<Owner>,
}

impl PostgresDb {
    /// Begins a transaction that reads, in the clinic of the door that was opened.
    ///
    /// # Errors
    ///
    /// [`TxError::Db`] if the database cannot be read; [`TxError::Trail`] once the request has ended, and in the handler of
    /// another.
    pub async fn read(&self, by: &impl Authority) -> Result<PostgresReadTx, TxError> {
        let facts = by.facts();
        facts.trail.may_open()?;
        let tx = self.enter(&Request::new(&facts.tenant, Verb::Read)).await?;
        Ok(PostgresReadTx { tx })
    }

    /// Begins a transaction that changes what `change` says, in the clinic of the door that was opened. The record of the
    /// attempt is enqueued before this returns.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if no record can be made now; [`TxError::Db`] if the database cannot be written.
    pub async fn change(&self, by: &impl ChangeDoor, change: Change) -> Result<PostgresTx, TxError> {
        let verb = match (change.watching, change.relation, change.action) {
            (_, Some(_), Action::Delete) => Verb::Unassign,
            (_, Some(_), _) => Verb::Assign,
            (Watching::All, ..) => Verb::Change,
            (Watching::Import, ..) => Verb::Import,
            (Watching::Nothing, ..) => Verb::Reseal,
        };
        self.begin_change(Door::of(by), change, verb).await
    }

    /// Begins the transaction of an erasure, which has ended what the library keeps of the person: their relations, and the
    /// blind indexes of their values.
    pub(super) async fn erase(&self, by: &ErasureDoor) -> Result<PostgresTx, TxError> {
        let mut tx = self.begin_change(Door::erasing(by), Change::erasure(), Verb::Erase).await?;
        for forget in &self.0.forget {
            tx.tx.say(&forget.replace("$1", &literal(&by.subject.to_string()))).await?;
        }
        tx.tx.say("select ward.erase()").await?;
        Ok(tx)
    }

    /// Begins the transaction in which a person's values are sealed anew.
    pub(super) async fn reseal(&self, by: &impl ChangeDoor) -> Result<PostgresTx, TxError> {
        self.change(by, Change::reseal()).await
    }

    async fn begin_change(&self, by: Door<'_>, change: Change, verb: Verb) -> Result<PostgresTx, TxError> {
        let facts = by.facts;
        facts.trail.may_open()?;
        let relation = by.relation(&change)?;
        if let Some((.., relation)) = relation {
            kind(relation)?;
        }
        // A connection is waited for before the record says that something is attempted.
        let tx = self.begin(verb).await?;
        let attempt = by.attempt(&change)?;
        let request = Request {
            tenant: &facts.tenant,
            verb,
            subject: by.subject,
            attempt: Some(attempt.id()),
            user: relation.map(|(_, user, _)| user),
            relation: relation.map(|(_, _, relation)| relation),
        };
        let tx = match self.enter_in(tx, &request).await {
            // Another session is as good, and the attempt is still the same.
            Err(Entering::Session) => self.enter(&request).await?,
            entered => entered?,
        };
        let (trail, tenant) = (facts.trail.clone(), facts.tenant.clone());
        let (watching, Door { key, owner, .. }) = (change.watching, by);
        Ok(PostgresTx { tx, db: self.clone(), attempt, trail, watching, key, relation, tenant, owner })
    }
}

impl PostgresTx {
    /// The attempt that this transaction is recorded as.
    pub(crate) fn attempt(&self) -> AttemptId {
        self.attempt.id()
    }

    /// The connection, for the application's statements.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }

    /// Makes the relation hold that this transaction was begun for, until some time or for good.
    ///
    /// # Errors
    ///
    /// [`TxError::NoRelation`] unless it was begun with [`Change::assign`].
    pub async fn relate(&mut self, until: Option<Timestamp>) -> Result<(), TxError> {
        let (subject, user, relation) = self.relation.ok_or(TxError::NoRelation)?;
        let until = until.map(Timestamp::as_millisecond);
        let key = self.key.as_ref().ok_or(TxError::NoRelation)?;
        let proof = Row { user, subject, kind: kind(relation)?, until }.mac(key);
        let signature = self.db.0.signer.relate(self.attempt.id(), until, &proof);
        let ends = until.map_or_else(|| "null".to_owned(), |until| until.to_string());
        self.tx.say(&format!("select ward.relate({ends}, {}, {})", bytes(&proof), bytes(&signature))).await?;
        Ok(())
    }

    /// Ends the relation that this transaction was begun for; says whether it held.
    ///
    /// # Errors
    ///
    /// [`TxError::NoRelation`] unless it was begun with [`Change::unassign`].
    pub async fn unrelate(&mut self) -> Result<bool, TxError> {
        self.relation.ok_or(TxError::NoRelation)?;
        let rows = self.tx.say("select ward.unrelate()").await?;
        Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
    }

    /// Says in the ledger what the transaction made of each row with sealed columns, waits until every record of the request
    /// so far is durable, then commits.
    ///
    /// # Errors
    ///
    /// [`TxError::Trail`] if the request has ended or the records cannot be made durable: nothing was changed then.
    /// [`TxError::TooManyRows`], [`TxError::KeyNotYetKnown`] and [`TxError::Withdrawn`] if it cannot be said.
    /// [`TxError::RolledBack`] and [`TxError::Unknown`] if the database failed.
    pub async fn commit(mut self) -> Result<(), TxError> {
        self.trail.may_open()?;
        let signature = self.db.0.signer.leave(self.attempt.id());
        let left = format!("select place, key, made, was from ward.leave({})", bytes(&signature));
        // An aborted transaction, or another one than was begun: nothing of it may be committed.
        let rows = self.tx.say(&left).await.map_err(|_| TxError::RolledBack)?;
        let touched = rows.iter().map(Touched::from_row).collect::<Result<Vec<_>, _>>()?;
        if let (Some(owner), true) = (&self.owner, self.watching != Watching::Nothing) {
            let sealer = Sealer { tenant: &self.tenant, owner, attempt: self.attempt.id() };
            let changes = changes::changes(&self.db, &sealer, touched, self.watching, &mut self.tx).await?;
            self.attempt.changes(changes)?;
        }
        self.trail.settled().await?;
        let Self { tx, db, mut attempt, trail, tenant, .. } = self;
        // In a task of its own: whoever drops the request's future must not stop a commit half-way.
        let commit = tokio::spawn(async move {
            // Once more, right before: the wait for the records may have been long.
            if trail.is_overdue() {
                tx.rollback().await;
                attempt.rolled_back();
                return Err(TrailError::Expired.into());
            }
            attempt.sent();
            let Err(error) = tx.commit().await else {
                attempt.committed();
                return Ok(());
            };
            // Whoever said so, only the database knows.
            crate::trace::event!(warn, error = %error, "a commit failed, and is looked for");
            match db.made(&tenant, attempt.id()).await {
                Ok(true) => {
                    attempt.committed();
                    Ok(())
                }
                Ok(false) => {
                    attempt.rolled_back();
                    Err(TxError::RolledBack)
                }
                Err(_) => {
                    attempt.unknown();
                    Err(TxError::Unknown)
                }
            }
        });
        commit.await.unwrap_or(Err(TxError::Unknown))
    }
}
