//! The filter of a cohort, in SQL.

use jiff::Timestamp;
use tower_ward::access::{Permission, Relations, Scope};

use super::Sql;

/// Writes the condition that `column` is within `scope` into a statement.
pub(crate) fn filter<P: Permission>(query: &mut Sql, scope: &Scope<P>, column: &'static str, now: Timestamp) {
    if scope.is_clinic_wide() {
        query.sql("true");
        return;
    }
    query.sql("(");
    match scope.own() {
        Some(own) => {
            query.sql(column);
            query.sql(" = ");
            query.bind_id(*own.as_bytes());
        }
        None => query.sql("false"),
    }
    let kept = scope.relations().intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
    if let (Some(user), false) = (scope.user(), kept.is_empty()) {
        query.sql(" or exists (select 1 from ward_relations ward_r where ward_r.subject = ");
        query.sql(column);
        query.sql(" and ward_r.\"user\" = ");
        query.bind_id(*user.as_bytes());
        query.sql(" and ward_r.kind in (");
        for (place, name) in kept.names().enumerate() {
            query.sql(if place == 0 { "" } else { ", " });
            query.bind_text(name);
        }
        query.sql(") and (ward_r.until is null or ward_r.until > ");
        query.bind_int(now.as_millisecond());
        query.sql("))");
    }
    query.sql(")");
}
