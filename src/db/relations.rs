//! The relations `assigned` and `circle`, kept in the clinic's own file.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Db, files::File};
use crate::{
    access::{BoxFuture, Permission, RelationError, RelationSource, Relations, Scope},
    clock::{SharedClock, Timestamp},
    id::{SubjectId, TenantId, UserId},
};

/// [`RelationSource`] over the clinics' files. Asked on every request, so an assignment that ended is effective on the
/// next one.
#[derive(Debug, Clone)]
pub struct SqliteRelations {
    db: Db,
    clock: SharedClock,
}

impl SqliteRelations {
    /// The relations in these files.
    #[must_use]
    pub fn new(db: Db, clock: SharedClock) -> Self {
        Self { db, clock }
    }
}

/// Makes a relation hold.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    user: UserId,
    subject: SubjectId,
    kind: &'static str,
    until: Option<Timestamp>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ward_relations (user, subject, kind, until) values (?, ?, ?, ?)
         on conflict (user, subject, kind) do update set until = excluded.until",
    )
    .bind(user)
    .bind(subject)
    .bind(kind)
    .bind(until.map(Timestamp::as_millisecond))
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
    let done = sqlx::query("delete from ward_relations where user = ? and subject = ? and kind = ?")
        .bind(user)
        .bind(subject)
        .bind(kind)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Writes the condition that `column` is within `scope` into a query: the filter of a cohort, in SQL.
///
/// ```sql
/// -- for a doctor whose policy says `assigned`
/// (p.id = ? or exists (select 1 from ward_relations …))
/// ```
pub fn filter<P: Permission>(query: &mut QueryBuilder<Sqlite>, scope: &Scope<P>, column: &'static str, now: Timestamp) {
    if scope.is_clinic_wide() {
        query.push("1");
        return;
    }
    query.push("(");
    match scope.own() {
        Some(own) => query.push(column).push(" = ").push_bind(own),
        None => query.push("0"),
    };
    let kept = scope.relations().intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
    if let (Some(user), false) = (scope.user(), kept.is_empty()) {
        query.push(" or exists (select 1 from ward_relations ward_r where ward_r.subject = ").push(column);
        query.push(" and ward_r.user = ").push_bind(user);
        push_kinds(query, "ward_r.kind", kept);
        query.push(" and (ward_r.until is null or ward_r.until > ").push_bind(now.as_millisecond()).push("))");
    }
    query.push(")");
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
            let now = self.clock.now().as_millisecond();
            for start in (0..subjects.len()).step_by(CHUNK) {
                let end = subjects.len().min(start + CHUNK);
                for (subject, kind) in kept(&file, user, &subjects[start..end], among, now).await? {
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
    user: UserId,
    subjects: &[SubjectId],
    among: Relations,
    now: i64,
) -> Result<Vec<(SubjectId, String)>, RelationError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("select subject, kind from ward_relations where user = ");
    query.push_bind(user).push(" and (until is null or until > ").push_bind(now).push(")");
    push_kinds(&mut query, "kind", among);
    query.push(" and subject in (");
    let mut list = query.separated(", ");
    for subject in subjects {
        list.push_bind(*subject);
    }
    query.push(")");
    query.build_query_as().fetch_all(&file.readers).await.map_err(RelationError::new)
}
