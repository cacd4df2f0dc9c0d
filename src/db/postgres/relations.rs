//! The relations `assigned` and `circle`, kept in the shared database.

use sqlx::FromRow;

use super::{
    PostgresDb,
    request::{Request, Verb},
    session::{bytes, literal},
};
use crate::{
    access::{BoxFuture, RelationError, RelationSource, Relations},
    clock::SharedClock,
    db::relation::Row,
    id::{SubjectId, TenantId, UserId},
    keys::Keyring,
};

/// [`RelationSource`] over the shared database. Asked on every request, so an assignment that ended is
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
            let request = Request::new(tenant, Verb::Read);
            let mut tx = self.db.enter(&request).await.map_err(RelationError::new)?;
            let people: Vec<_> = subjects.iter().map(|subject| literal(&subject.to_string())).collect();
            let kinds: Vec<_> = among.names().map(literal).collect();
            let asked = format!(
                "select subject, kind, until, mac from ward.related({}, {}, array[{}]::uuid[], array[{}], {})",
                bytes(&self.db.0.signer.related(tx.name())),
                literal(&user.to_string()),
                people.join(", "),
                kinds.join(", "),
                now.as_millisecond(),
            );
            let rows = tx.say(&asked).await.map_err(RelationError::new)?;
            for row in &rows {
                let (subject, kind, until, mac): (SubjectId, String, Option<i64>, Vec<u8>) =
                    FromRow::from_row(row).map_err(RelationError::new)?;
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
