//! The relations `assigned` and `circle`, kept in the shared database.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use sqlx::{AssertSqlSafe, FromRow};

use super::{
    PostgresDb,
    database::refused,
    request::{Request, Verb},
};
use crate::{
    access::{BoxFuture, RelationError, RelationSource, Relations},
    clock::{SharedClock, Timestamp},
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
            let sql = question(&text, &signature, subjects, among, now);
            // It only reads, so it is asked again if the connection died.
            let ask = || sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&self.db.0.pool);
            let rows = self.db.again(ask).await.map_err(|error| RelationError::new(refused(error, tenant)))?;
            for row in &rows {
                let (subject, kind, until, mac): (SubjectId, String, Option<i64>, String) =
                    FromRow::from_row(row).map_err(RelationError::new)?;
                let mac = HEXLOWER.decode(mac.as_bytes()).map_err(RelationError::new)?;
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

/// One statement with all that is asked in it, so that it is one message: outside of a transaction a pooler may give what is
/// prepared and what is then bound to two sessions, and on a connection that was shared the name of what was prepared may stand
/// for something else. Nothing in it has a quote: a request's text is identifiers, the rest is numbers.
fn question(text: &str, signature: &[u8], subjects: &[SubjectId], among: Relations, now: Timestamp) -> String {
    let mut sql = format!(
        "select subject, kind, until, encode(mac, 'hex') from ward.related('{text}', decode('{}', 'hex'), array[",
        HEXLOWER.encode(signature)
    );
    for (at, subject) in subjects.iter().enumerate() {
        let _ = write!(sql, "{}'{subject}'", if at == 0 { "" } else { "," });
    }
    sql += "]::uuid[], array[";
    for (at, kind) in among.names().enumerate() {
        let _ = write!(sql, "{}'{kind}'", if at == 0 { "" } else { "," });
    }
    let _ = write!(sql, "]::text[], {})", now.as_millisecond());
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_statement_without_a_quote_in_its_values() {
        let tenant = TenantId::new("harbour").expect("a clinic");
        let now = Timestamp::from_millisecond(1_790_000_000_123).expect("a time");
        let people = [SubjectId::from_bytes([1; 16]), SubjectId::from_bytes([2; 16])];
        let sql = question(&format!("{tenant}\nread"), &[0xab; 2], &people, Relations::ASSIGNED, now);
        assert_eq!(
            sql,
            "select subject, kind, until, encode(mac, 'hex') from ward.related('harbour\nread', decode('abab', 'hex'), \
             array['01010101-0101-0101-0101-010101010101','02020202-0202-0202-0202-020202020202']::uuid[], \
             array['assigned']::text[], 1790000000123)"
        );
        let none = question("harbour\nread", &[], &[], Relations::CIRCLE, now);
        assert!(none.contains("array[]::uuid[], array['circle']::text[]"), "{none}");
    }
}
