//! The relations `assigned` and `circle`, kept in the shared database.

use super::{
    PostgresDb,
    database::refused,
    request::{Request, Verb},
};
use crate::{
    access::{BoxFuture, RelationError, RelationSource, Relations},
    clock::SharedClock,
    db::relation::Row,
    id::{SubjectId, TenantId, UserId},
    keys::Keyring,
};

/// [`RelationSource`] over the shared database. Asked on every request, in one round trip, so an assignment that ended is
/// effective on the next one.
///
/// ```
/// use tower_ward::{clock::SharedClock, db::{PostgresDb, PostgresRelations}, keys::Keyring};
///
/// /// For the builder's `relations`.
/// fn source(db: &PostgresDb, keyring: &Keyring, clock: &SharedClock) -> PostgresRelations {
///     PostgresRelations::new(db.clone(), keyring.clone(), clock.clone())
/// }
/// ```
///
/// # Security
///
/// Each row has a MAC under the clinic's key, and a row whose MAC is wrong relates nobody: whoever writes the table past the
/// library, without a key, makes no relation. He can remove one, and put back one that has ended if it had no end.
#[derive(Debug, Clone)]
pub struct PostgresRelations {
    db: PostgresDb,
    keyring: Keyring,
    clock: SharedClock,
}

impl PostgresRelations {
    /// The relations in this database.
    #[must_use]
    pub fn new(db: PostgresDb, keyring: Keyring, clock: SharedClock) -> Self {
        Self { db, keyring, clock }
    }
}

impl RelationSource for PostgresRelations {
    fn relations<'a>(
        &'a self,
        tenant: &'a TenantId,
        user: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        Box::pin(async move {
            let among = among.intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
            let mut found = vec![Relations::NONE; subjects.len()];
            if among.is_empty() {
                return Ok(found);
            }
            let key = self.keyring.tenant(tenant).await.map_err(RelationError::new)?;
            let now = self.clock.now();
            let request = Request { user: Some(user), ..Request::new(tenant, Verb::Read) };
            let (text, signature) =
                self.db.0.signer.sign(&request, self.db.0.clock.now()).map_err(RelationError::new)?;
            let kinds: Vec<&str> = among.names().collect();
            let rows: Vec<(SubjectId, String, Option<i64>, Vec<u8>)> =
                sqlx::query_as("select subject, kind, until, mac from ward.related($1, $2, $3, $4, $5)")
                    .bind(text)
                    .bind(signature)
                    .bind(subjects)
                    .bind(kinds)
                    .bind(now.as_millisecond())
                    .fetch_all(&self.db.0.pool)
                    .await
                    .map_err(|error| RelationError::new(refused(error, tenant)))?;
            for (subject, kind, until, mac) in rows {
                if !(Row { user, subject, kind: &kind, until }).has(&mac, &key) {
                    continue;
                }
                let relation = Relations::named(&kind).unwrap_or(Relations::NONE);
                for (asked, out) in subjects.iter().zip(&mut found) {
                    if *asked == subject {
                        *out = out.union(relation);
                    }
                }
            }
            Ok(found)
        })
    }
}
