//! One relation as it is kept, and the condition that a row's person stands in one.

use crate::{
    access::{Permission, Relations, Scope},
    clock::Timestamp,
    id::{SubjectId, UserId},
    keys::TenantKey,
    secret,
};

/// One relation.
pub(super) struct Row<'a> {
    pub(super) user: UserId,
    pub(super) subject: SubjectId,
    pub(super) kind: &'a str,
    pub(super) until: Option<i64>,
}

impl Row<'_> {
    pub(super) fn mac(&self, key: &TenantKey) -> [u8; 16] {
        // A fixed length, and `None` like no time that could be.
        let until = self.until.map_or([0; 9], |until| {
            let mut bytes = [1; 9];
            bytes[1..].copy_from_slice(&until.to_be_bytes());
            bytes
        });
        let message = [self.user.as_bytes(), self.subject.as_bytes(), &until[..], self.kind.as_bytes()].concat();
        let digest = key.index_mac("ward_relations", "mac").tag(&message);
        *digest.first_chunk().expect("half of it")
    }

    /// Whether this is its MAC.
    pub(super) fn has(&self, mac: &[u8], key: &TenantKey) -> bool {
        secret::equal(&self.mac(key), mac)
    }
}

/// A statement that is being written: text, and values that are bound. [`filter`] writes into it.
///
/// Implemented for the `QueryBuilder` of both databases; an application with a builder of its own implements it.
///
/// ```
/// use tower_ward::db::Condition;
///
/// /// A builder that counts what it is given.
/// #[derive(Default)]
/// struct Counted { text: String, bound: usize }
///
/// impl Counted {
///     fn mark(&mut self) {
///         self.bound += 1;
///         self.text += &format!("${}", self.bound);
///     }
/// }
///
/// impl Condition for Counted {
///     fn sql(&mut self, text: &str) { self.text += text; }
///     fn bind_id(&mut self, _: [u8; 16]) { self.mark(); }
///     fn bind_int(&mut self, _: i64) { self.mark(); }
///     fn bind_text(&mut self, _: &'static str) { self.mark(); }
/// }
///
/// let mut query = Counted::default();
/// query.sql("id = ");
/// query.bind_id([0; 16]);
/// assert_eq!(query.text, "id = $1");
/// ```
pub trait Condition {
    /// Text of the library's or the application's own.
    fn sql(&mut self, text: &str);
    /// An identifier: 16 bytes in SQLite, a `uuid` in PostgreSQL.
    fn bind_id(&mut self, id: [u8; 16]);
    /// A number.
    fn bind_int(&mut self, value: i64);
    /// A word.
    fn bind_text(&mut self, text: &'static str);
}

macro_rules! builders {
    ($($feature:literal: $database:ident;)+) => { $(
        #[cfg(feature = $feature)]
        impl Condition for sqlx::QueryBuilder<sqlx::$database> {
            fn sql(&mut self, text: &str) {
                self.push(text);
            }

            fn bind_id(&mut self, id: [u8; 16]) {
                self.push_bind(SubjectId::from_bytes(id));
            }

            fn bind_int(&mut self, value: i64) {
                self.push_bind(value);
            }

            fn bind_text(&mut self, text: &'static str) {
                self.push_bind(text);
            }
        }
    )+ };
}
builders! {
    "postgres": Postgres;
    "sqlite": Sqlite;
}

/// Writes the condition that `column` is within `scope` into a query: the filter of a cohort, in SQL.
///
/// ```sql
/// -- for a doctor whose policy says `assigned`
/// (p.id = ? or exists (select 1 from ward_relations …))
/// ```
pub fn filter<P: Permission>(query: &mut impl Condition, scope: &Scope<P>, column: &'static str, now: Timestamp) {
    if scope.is_clinic_wide() {
        query.sql("1 = 1");
        return;
    }
    query.sql("(");
    match scope.own() {
        Some(own) => {
            query.sql(column);
            query.sql(" = ");
            query.bind_id(*own.as_bytes());
        }
        None => query.sql("1 = 0"),
    }
    let kept = scope.relations().intersection(Relations::ASSIGNED.union(Relations::CIRCLE));
    if let (Some(user), false) = (scope.user(), kept.is_empty()) {
        query.sql(" or exists (select 1 from ward_relations ward_r where ward_r.subject = ");
        query.sql(column);
        query.sql(" and ward_r.user = ");
        query.bind_id(*user.as_bytes());
        query.sql(" and ward_r.kind in (");
        for (n, name) in kept.names().enumerate() {
            query.sql(if n == 0 { "" } else { ", " });
            query.bind_text(name);
        }
        query.sql(") and (ward_r.until is null or ward_r.until > ");
        query.bind_int(now.as_millisecond());
        query.sql("))");
    }
    query.sql(")");
}
