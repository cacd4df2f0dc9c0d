//! The relations `assigned` and `circle`, kept in the clinic's own file.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Db, File};
use crate::{
    access::{BoxFuture, RelationError, RelationSource, Relations},
    clock::SharedClock,
    db::relation::Row,
    id::{SubjectId, TenantId, UserId},
    keys::{Keyring, TenantKey},
};

/// [`RelationSource`] over the clinics' files. Asked on every request, so an assignment that ended is effective on the
/// next one.
///
/// ```
/// use tower_ward::{
///     access::{Relations, SubjectGrant}, clock::{SharedClock, Timestamp}, db::{Change, Db, SqliteRelations, TenantTx, TxError},
///     id::UserId, keys::Keyring,
/// };
///
/// tower_ward::permissions! { pub Assign = "team.assign" changes; }
///
/// /// For the builder's `relations`.
/// fn source(db: &Db, keyring: &Keyring, clock: &SharedClock) -> SqliteRelations {
///     SqliteRelations::new(db.clone(), keyring.clone(), clock.clone())
/// }
///
/// /// Through the patient's door, and recorded with both names. Without it, this doctor's door is a 404.
/// async fn assign(db: &Db, chart: &SubjectGrant<Assign>, doctor: UserId, until: Timestamp) -> Result<(), TxError> {
///     let mut tx: TenantTx = db.change(chart, Change::assign(doctor, Relations::ASSIGNED)).await?;
///     tx.relate(Some(until)).await?;
///     tx.commit().await
/// }
/// ```
///
/// # Security
///
/// Each row has a MAC under the clinic's key, and a row whose MAC is wrong relates nobody: whoever writes the file past
/// the library, without a key, makes no relation. He can remove one, and put back one that has ended if it had no end.
#[derive(Debug, Clone)]
pub struct SqliteRelations {
    db: Db,
    keyring: Keyring,
    clock: SharedClock,
}

impl SqliteRelations {
    /// The relations in these files.
    #[must_use]
    pub fn new(db: Db, keyring: Keyring, clock: SharedClock) -> Self {
        Self { db, keyring, clock }
    }
}

/// Makes a relation hold.
pub(super) async fn insert(conn: &mut SqliteConnection, row: &Row<'_>, key: &TenantKey) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into main.ward_relations (user, subject, kind, until, mac) values (?, ?, ?, ?, ?)
         on conflict (user, subject, kind) do update set until = excluded.until, mac = excluded.mac",
    )
    .bind(row.user)
    .bind(row.subject)
    .bind(row.kind)
    .bind(row.until)
    .bind(row.mac(key).to_vec())
    .execute(conn)
    .await
    .map(|_| ())
}

/// Ends a relation; says whether it held.
pub(super) async fn remove(
    conn: &mut SqliteConnection,
    user: UserId,
    subject: SubjectId,
    kind: &'static str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("delete from main.ward_relations where user = ? and subject = ? and kind = ?")
        .bind(user)
        .bind(subject)
        .bind(kind)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

fn push_kinds(query: &mut QueryBuilder<Sqlite>, column: &'static str, kept: Relations) {
    query.push(" and ").push(column).push(" in (");
    let mut list = query.separated(", ");
    for name in kept.names() {
        list.push_bind(name);
    }
    query.push(")");
}

/// SQLite takes 32,766 variables in one statement; a cohort asks for 500 at most.
const CHUNK: usize = 500;

impl RelationSource for SqliteRelations {
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
            let file = self.db.file(tenant).await.map_err(RelationError::new)?;
            let key = self.keyring.tenant(tenant).await.map_err(RelationError::new)?;
            let now = self.clock.now().as_millisecond();
            for start in (0..subjects.len()).step_by(CHUNK) {
                let end = subjects.len().min(start + CHUNK);
                for (subject, kind) in kept(&file, &key, user, &subjects[start..end], among, now).await? {
                    let relation = Relations::named(&kind).unwrap_or(Relations::NONE);
                    for (asked, out) in subjects[start..end].iter().zip(&mut found[start..end]) {
                        if *asked == subject {
                            *out = out.union(relation);
                        }
                    }
                }
            }
            Ok(found)
        })
    }
}

/// The relations among these that hold between a user and some people.
async fn kept(
    file: &File,
    key: &TenantKey,
    user: UserId,
    subjects: &[SubjectId],
    among: Relations,
    now: i64,
) -> Result<Vec<(SubjectId, String)>, RelationError> {
    let mut query: QueryBuilder<Sqlite> =
        QueryBuilder::new("select subject, kind, until, mac from ward_relations where user = ");
    query.push_bind(user).push(" and (until is null or until > ").push_bind(now).push(")");
    push_kinds(&mut query, "kind", among);
    query.push(" and subject in (");
    let mut list = query.separated(", ");
    for subject in subjects {
        list.push_bind(*subject);
    }
    query.push(")");
    let rows: Vec<(SubjectId, String, Option<i64>, Vec<u8>)> =
        query.build_query_as().fetch_all(&file.readers).await.map_err(RelationError::new)?;
    let made_here = |(subject, kind, until, mac): &(SubjectId, String, Option<i64>, Vec<u8>)| {
        Row { user, subject: *subject, kind, until: *until }.has(mac, key)
    };
    Ok(rows.into_iter().filter(made_here).map(|(subject, kind, ..)| (subject, kind)).collect())
}
