//! What would let one clinic see another, looked for in the database's own catalogue before anything is served from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    PostgresDb,
    database::Sealed,
    request::{Request, Verb},
    script::{LIBRARY, Rule, Table, functions},
};
use crate::{
    db::{DbError, Schema, TxError, clinics::quoted},
    id::TenantId,
};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// The role that logged in is a superuser.
    Superuser,
    /// The role has `BYPASSRLS`.
    BypassRls,
    /// The role owns a table, a schema or the database, or may take the part of one who does.
    Owner,
    /// The role may make other roles, replicate, or take the part of a role with rights of its own.
    RoleRights,
    /// Settings are tied to the role, which would be in force in each of its sessions.
    RoleSetting,
    /// The role may make tables, functions or temporary tables, behind which the clinics' would hide.
    MayCreate,
    /// A table is in the schema and is declared nowhere.
    Undeclared,
    /// A table is declared and not in the schema.
    Missing,
    /// A table has no column `tenant text not null default ward.tenant()`.
    TenantColumn,
    /// A table's row-level security is off.
    RlsOff,
    /// A table's row-level security does not hold for its owner.
    NotForced,
    /// A policy is missing.
    NoPolicy,
    /// A policy is not the one that was installed.
    OtherPolicy,
    /// A policy was added that lets more through.
    ExtraPolicy,
    /// A table's primary key does not begin with the clinic, so that one clinic's key would be refused to another.
    PrimaryKey,
    /// A table has no index that begins with the clinic.
    NoIndex,
    /// A foreign key could lead into another clinic.
    ForeignKey,
    /// A unique index that does not begin with the clinic tells one clinic of another's values.
    UniqueIndex,
    /// The role may do more with a table than the installation gave it: truncate it, refer to it, put a trigger on it, or
    /// change a row's clinic, person or key.
    TableRights,
    /// The role may read what the functions alone may.
    SecretReadable,
    /// A function runs with its owner's rights, may be called by the role, and is not the library's.
    DefinerFunction,
    /// One of the library's functions is not the one that was installed.
    OtherFunction,
    /// A view or materialised view over the tables shows rows by its owner's rights.
    OwnerView,
    /// A rule rewrites statements on a table.
    Rule,
    /// A trigger by which the library learns of changes is missing or disabled.
    Trigger,
    /// A column for sealed values takes others.
    NotBytes,
    /// Two clinics that are none see each other, or something else.
    Leak,
    /// The server may lose what it acknowledged.
    Durability,
}

impl FindingKind {
    /// What is wrong, and what to do.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Superuser => "the role is a superuser, whom no policy holds: log in as a role that is none",
            Self::BypassRls => "the role has `bypassrls`: `alter role … nobypassrls`",
            Self::Owner => "the role owns it, or is a member of who does: let another role own it",
            Self::RoleRights => {
                "the role has rights of its own: `alter role … nocreaterole noreplication`, and revoke its memberships"
            }
            Self::RoleSetting => "settings are tied to the role: `alter role … reset all`",
            Self::MayCreate => {
                "the role may create objects here: revoke `create` and `temporary` from it and from `public`"
            }
            Self::Undeclared => "the table is declared nowhere: name it in the `Schema`, or put it into another schema",
            Self::Missing => "the table is declared and not there: run the installation",
            Self::TenantColumn => "the table needs `tenant text not null default ward.tenant()`: write a migration",
            Self::RlsOff => "row-level security is off: run the installation",
            Self::NotForced => "row-level security does not hold for the owner: run the installation",
            Self::NoPolicy => "a policy is missing: run the installation",
            Self::OtherPolicy => "a policy is not the one that was installed: run the installation",
            Self::ExtraPolicy => "a policy lets more through than the installed ones: drop it",
            Self::PrimaryKey => {
                "the primary key must be `(tenant, …)`, and `(tenant, id)` with a `uuid` where columns are sealed: write a migration"
            }
            Self::NoIndex => "no index begins with `tenant`: run the installation",
            Self::ForeignKey => {
                "a foreign key does not include `tenant` on both sides: make it `foreign key (tenant, …) references … (tenant, …)`"
            }
            Self::UniqueIndex => "a unique index does not begin with `tenant`: make it `(tenant, …)`",
            Self::TableRights => "the role may do more than the installation gave it: run the installation",
            Self::SecretReadable => "the role may read what belongs to the library's functions: run the installation",
            Self::DefinerFunction => {
                "a `security definer` function that is not the library's may be called by the role: revoke it, or make it `security invoker`"
            }
            Self::OtherFunction => "the function is not the one that was installed: run the installation",
            Self::OwnerView => {
                "the view shows rows by its owner's rights: create it `with (security_invoker = true)`, or revoke it"
            }
            Self::Rule => "a rule rewrites statements: drop it",
            Self::Trigger => "a trigger of the library is missing or disabled: run the installation",
            Self::NotBytes => "the column holds sealed values and must be `bytea`: write a migration",
            Self::Leak => "a clinic that has nothing sees rows: do not serve from this database",
            Self::Durability => "an acknowledged commit could be lost: turn `fsync` and `full_page_writes` on",
        }
    }
}

/// Something that would let one clinic see another, or lose what is on record.
///
/// ```
/// use tower_ward::db::{DbError, Finding, FindingKind};
///
/// /// What an operator is told, kind by kind.
/// fn refused(error: &DbError) -> Vec<FindingKind> {
///     let DbError::Unguarded(findings) = error else { return Vec::new() };
///     findings.iter().map(Finding::kind).collect()
/// }
/// assert!(refused(&DbError::Clock).is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    kind: FindingKind,
    object: String,
}

impl Finding {
    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> FindingKind {
        self.kind
    }

    /// The table, function, role or setting at fault.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.object, self.kind.sentence())
    }
}

/// Checks that are one question to the catalogue: its answer is the objects at fault. `$1` are the clinics' tables, `$2` all
/// that are known.
const QUESTIONS: &[(FindingKind, &str)] = &[
    (FindingKind::Superuser, "select rolname from pg_roles where rolname = current_user and rolsuper"),
    (FindingKind::BypassRls, "select rolname from pg_roles where pg_has_role(current_user, oid, 'member') and rolbypassrls and not rolsuper"),
    (
        FindingKind::Owner,
        "select relname from pg_class where relnamespace in ('public'::regnamespace, 'ward'::regnamespace) and relkind in ('r', 'p', 'v', 'm', 'S', 'f')
            and pg_has_role(current_user, relowner, 'member')
         union select nspname from pg_namespace where nspname in ('public', 'ward') and pg_has_role(current_user, nspowner, 'member')
         union select datname from pg_database where datname = current_database() and pg_has_role(current_user, datdba, 'member')
         union select proname from pg_proc where pronamespace = 'ward'::regnamespace and pg_has_role(current_user, proowner, 'member')",
    ),
    (
        FindingKind::RoleRights,
        "select rolname from pg_roles where rolname = current_user and (rolcreaterole or rolreplication or rolcreatedb)
         union select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles u on u.oid = m.member where u.rolname = current_user",
    ),
    (
        FindingKind::RoleSetting,
        "select unnest(setconfig) from pg_db_role_setting s join pg_roles r on r.oid = s.setrole where r.rolname = current_user",
    ),
    (
        FindingKind::MayCreate,
        "select nspname from pg_namespace where has_schema_privilege(oid, 'create') and nspname !~ '^pg_(toast_)?temp_'
         union select datname from pg_database where datname = current_database()
            and (has_database_privilege(oid, 'create') or has_database_privilege(oid, 'temporary'))",
    ),
    (
        FindingKind::Undeclared,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'f') and relname <> all ($2)",
    ),
    (
        FindingKind::Missing,
        "select name from unnest($1::text[]) as name where to_regclass('public.' || name) is null",
    ),
    (
        FindingKind::TenantColumn,
        "select name from unnest($1::text[]) as name where to_regclass('public.' || name) is not null and name not like 'ward\\_%' and not exists (
            select 1 from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                where attrelid = to_regclass('public.' || name) and attname = 'tenant' and atttypid = 'text'::regtype and attnotnull
                  and pg_get_expr(adbin, adrelid) = 'ward.tenant()')",
    ),
    (
        FindingKind::RlsOff,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relname = any ($1) and not relrowsecurity",
    ),
    (
        FindingKind::NotForced,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relname = any ($1) and not relforcerowsecurity
            and (relname not like 'ward\\_%' or relname = 'ward_canary')",
    ),
    (
        FindingKind::PrimaryKey,
        "select relname from pg_class c where relnamespace = 'public'::regnamespace and relname = any ($1) and relname not like 'ward\\_%' and not exists (
            select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                where i.indrelid = c.oid and indisprimary and attname = 'tenant')",
    ),
    (
        FindingKind::NoIndex,
        "select relname from pg_class c where relnamespace = 'public'::regnamespace and relname = any ($1) and not exists (
            select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                where i.indrelid = c.oid and indisvalid and indpred is null and attname = 'tenant')",
    ),
    (
        FindingKind::UniqueIndex,
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid
            where relnamespace = 'public'::regnamespace and relname = any ($1) and relname not like 'ward\\_%' and indisunique and not indisprimary
              and not exists (select 1 from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[0] and attname = 'tenant')",
    ),
    (
        FindingKind::ForeignKey,
        "select conname from pg_constraint k join pg_class c on c.oid = conrelid join pg_class p on p.oid = confrelid
            where contype = 'f' and c.relnamespace = 'public'::regnamespace and c.relname = any ($1) and p.relname = any ($1)
              and p.relnamespace = 'public'::regnamespace and not exists (
                select 1 from unnest(conkey, confkey) as pair (here, there)
                    join pg_attribute a on a.attrelid = conrelid and a.attnum = here and a.attname = 'tenant'
                    join pg_attribute b on b.attrelid = confrelid and b.attnum = there and b.attname = 'tenant')",
    ),
    (
        FindingKind::TableRights,
        "select name from unnest($1::text[]) as name where to_regclass('public.' || name) is not null
            and (has_table_privilege('public.' || name, 'truncate') or has_table_privilege('public.' || name, 'references')
              or has_table_privilege('public.' || name, 'trigger') or has_table_privilege('public.' || name, 'update')
              or (name like 'ward\\_%' and (has_table_privilege('public.' || name, 'insert') or has_table_privilege('public.' || name, 'delete'))))
         union select name || '.' || attname from unnest($1::text[]) as name join pg_attribute on attrelid = to_regclass('public.' || name)
            where attnum > 0 and not attisdropped and has_column_privilege('public.' || name, attname, 'update')
              and (attname = 'tenant' or name like 'ward\\_%' or exists (
                select 1 from pg_index where indrelid = attrelid and indisprimary and attnum = any (indkey)))
         union select name from unnest($2::text[]) as name where name <> all ($1) and to_regclass('public.' || name) is not null
            and (has_any_column_privilege('public.' || name, 'insert, update') or has_table_privilege('public.' || name, 'delete, truncate, trigger'))",
    ),
    (
        FindingKind::SecretReadable,
        "select c.relname from pg_class c where relnamespace = 'ward'::regnamespace and relkind = 'r'
            and (has_table_privilege(c.oid, 'select, insert, update, delete, truncate, references, trigger')
              or has_any_column_privilege(c.oid, 'select, insert, update, references'))",
    ),
    (
        FindingKind::DefinerFunction,
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace
            where prosecdef and has_function_privilege(p.oid, 'execute') and nspname not in ('ward', 'pg_catalog', 'information_schema')
              -- The verbs of a `PostgresLedger` in the same database.
              and not (nspname = 'ward_ledger' and proname in ('hold', 'append', 'sign', 'prune'))
              and has_schema_privilege(n.oid, 'usage')",
    ),
    (
        FindingKind::OwnerView,
        "select distinct v.relname from pg_depend d join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
            join pg_class v on v.oid = r.ev_class and v.relkind in ('v', 'm')
            join pg_class t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
            where t.oid <> v.oid and ((t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p', 'm', 'v')) or t.relnamespace = 'ward'::regnamespace)
              and has_any_column_privilege(v.oid, 'select')
              and not coalesce(v.reloptions::text[] && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)",
    ),
    (
        FindingKind::Rule,
        "select relname || '.' || rulename from pg_rewrite r join pg_class c on c.oid = ev_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any ($2)",
    ),
    (
        FindingKind::Trigger,
        "select 'ward_attempts' where not exists (select 1 from pg_trigger where tgrelid = 'public.ward_attempts'::regclass and tgname = 'ward_left'
            and tgenabled in ('O', 'A') and tgdeferrable and tginitdeferred)",
    ),
    (
        FindingKind::Durability,
        "select name from unnest(array['fsync', 'full_page_writes']) as name where current_setting(name) <> 'on'",
    ),
];

/// A policy as it is there: its command, both conditions, and whether it is everybody's.
type Found = (String, Option<String>, Option<String>, bool);

pub(super) struct Doctor<'a> {
    db: &'a PostgresDb,
    tables: Vec<Table>,
    known: Vec<String>,
    found: BTreeSet<Finding>,
}

impl<'a> Doctor<'a> {
    pub(super) fn new(db: &'a PostgresDb, schema: &Schema) -> Result<Self, DbError> {
        let tables: Vec<_> = Table::all(schema)?.into_iter().chain(Table::library()).collect();
        let migrations = schema.migrations.table_name.rsplit('.').next().unwrap_or_default();
        let known = tables.iter().map(|table| table.name).chain(schema.global.iter().copied()).chain([migrations]);
        let known = known.map(str::to_owned).collect();
        Ok(Self { db, tables, known, found: BTreeSet::new() })
    }

    fn find(&mut self, kind: FindingKind, object: impl Into<String>) {
        self.found.insert(Finding { kind, object: object.into() });
    }

    pub(super) async fn examine(mut self) -> Result<Vec<Finding>, DbError> {
        let mut conn = self.db.begin(Verb::Read).await?;
        let names: Vec<_> = self.tables.iter().map(|table| table.name.to_owned()).collect();
        for (kind, question) in QUESTIONS {
            let known = &self.known;
            let found: Result<Vec<String>, _> =
                sqlx::query_scalar(*question).bind(&names).bind(known).persistent(false).fetch_all(&mut *conn).await;
            for object in found? {
                self.find(*kind, object);
            }
        }
        self.policies(&mut conn).await?;
        self.functions(&mut conn).await?;
        self.sealed(&mut conn).await?;
        conn.rollback().await?;
        match self.canaries().await {
            // What was found above may be what makes it fail.
            Err(_) if !self.found.is_empty() => {}
            looked => looked?,
        }
        Ok(self.found.into_iter().collect())
    }

    /// The policies are the ones that were installed, and no others.
    async fn policies(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let rows = sqlx::query(
            "select tablename::text, policyname::text, lower(cmd), permissive = 'PERMISSIVE', qual, with_check, roles::text[] = array['public']
             from pg_policies where schemaname = 'public'",
        )
        .fetch_all(conn)
        .await?;
        let mut there: BTreeMap<(String, String), Found> = BTreeMap::new();
        for row in rows {
            let (table, name, command): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let permissive: bool = row.try_get(3)?;
            if !permissive {
                // It can only take away.
                continue;
            }
            there.insert((table, name), (command, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?));
        }
        for table in self.tables.clone() {
            for Rule { name, command, using, check } in table.rules() {
                let object = format!("{}.{name}", table.name);
                let Some((cmd, qual, with, everybody)) = there.remove(&(table.name.to_owned(), name.to_owned())) else {
                    self.find(FindingKind::NoPolicy, object);
                    continue;
                };
                let same = |wanted: Option<String>, found: Option<String>| match (wanted, found) {
                    (Some(wanted), Some(found)) => bare(&wanted) == bare(&found),
                    (None, None) => true,
                    _ => false,
                };
                if cmd != command || !everybody || !same(using, qual) || !same(check, with) {
                    self.find(FindingKind::OtherPolicy, object);
                }
            }
        }
        for (table, name) in there.into_keys() {
            if self.tables.iter().any(|known| known.name == table) {
                self.find(FindingKind::ExtraPolicy, format!("{table}.{name}"));
            }
        }
        Ok(())
    }

    /// The library's functions do what was installed.
    async fn functions(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(
            "select proname::text, prosrc, prosecdef, has_function_privilege(oid, 'execute') from pg_proc
             where pronamespace = 'ward'::regnamespace",
        )
        .fetch_all(conn)
        .await?;
        let mut there: BTreeMap<_, _> =
            rows.into_iter().map(|(name, body, definer, may)| (name, (body, definer, may))).collect();
        for (name, body) in functions() {
            if there.remove(name).is_none_or(|(found, ..)| found != body) {
                self.find(FindingKind::OtherFunction, format!("ward.{name}"));
            }
        }
        for table in &self.db.0.sealed {
            let Some(declared) = self.tables.iter().find(|declared| declared.name == table.table) else { continue };
            let (name, body) = declared.touch(&table.key);
            if there.remove(&name).is_none_or(|(found, ..)| found != body) {
                self.find(FindingKind::OtherFunction, format!("ward.{name}"));
            }
        }
        for (name, (_, definer, may)) in there {
            if definer && may {
                self.find(FindingKind::DefinerFunction, format!("ward.{name}"));
            }
        }
        Ok(())
    }

    /// The columns for sealed values are such, and their tables are watched.
    async fn sealed(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        for table in self.tables.clone().iter().filter(|table| !table.sealed.is_empty()) {
            if !self.db.0.sealed.iter().any(|sealed| sealed.table == table.name) {
                self.find(FindingKind::PrimaryKey, table.name);
            }
            for column in &table.sealed {
                let fits: Option<bool> = sqlx::query_scalar(
                    "select atttypid = 'bytea'::regtype from pg_attribute where attrelid = to_regclass('public.' || $1) and attname = $2
                        and not attisdropped",
                )
                .bind(table.name)
                .bind(column.name())
                .fetch_optional(&mut *conn)
                .await?;
                if fits != Some(true) {
                    self.find(FindingKind::NotBytes, format!("{}.{}", table.name, column.name()));
                }
            }
            let watched: i64 = sqlx::query_scalar(
                "select count(*) from pg_trigger t join pg_proc p on p.oid = tgfoid
                 where tgrelid = to_regclass('public.' || $1) and tgname in ('ward_made', 'ward_changed') and tgenabled = 'A'
                   and pronamespace = 'ward'::regnamespace and proname = 'touch_' || $1",
            )
            .bind(table.name)
            .fetch_one(&mut *conn)
            .await?;
            if watched != 2 {
                self.find(FindingKind::Trigger, table.name);
            }
        }
        Ok(())
    }

    /// Two clinics that are none each see themselves in the table that was made for them, and nothing in any other.
    async fn canaries(&mut self) -> Result<(), DbError> {
        for (own, other) in [("ward-canary-a", "ward-canary-b"), ("ward-canary-b", "ward-canary-a")] {
            let tenant = TenantId::new(own).expect("a clinic's name");
            let entered = self.db.enter(&Request::new(&tenant, Verb::Read)).await;
            let mut tx = match entered {
                Ok(tx) => tx,
                Err(TxError::Db(error)) => return Err(error),
                Err(_) => return Err(DbError::OtherKey),
            };
            let seen: Vec<String> =
                sqlx::query_scalar("select tenant from public.ward_canary").fetch_all(&mut *tx).await?;
            if seen != [own] {
                self.find(
                    FindingKind::Leak,
                    format!("ward_canary: `{own}` sees {} rows, and `{other}` among them", seen.len()),
                );
            }
            for table in self.tables.clone().iter().filter(|table| !LIBRARY.contains(&table.name)) {
                let sql = format!("select exists (select 1 from public.{})", quoted(table.name));
                if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *tx).await? {
                    self.find(FindingKind::Leak, table.name);
                }
            }
            tx.rollback().await?;
        }
        // And whoever has entered none sees nothing.
        let mut conn = self.db.begin(Verb::Read).await?;
        for table in self.tables.clone() {
            let sql = format!("select exists (select 1 from public.{})", quoted(table.name));
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *conn).await? {
                self.find(FindingKind::Leak, table.name);
            }
        }
        Ok(())
    }
}

/// A condition without the brackets and names that PostgreSQL puts in when it prints one.
fn bare(condition: &str) -> String {
    let words = condition.to_ascii_lowercase().replace(['(', ')'], " ");
    let mut out: Vec<&str> = Vec::new();
    let mut words = words.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        if word == "as" {
            // The name of the one column of `(select f())`.
            words.next();
            continue;
        }
        out.push(word);
    }
    out.join(" ")
}

/// The tables with sealed columns whose primary key is `(tenant, id)`.
pub(super) async fn sealed(conn: &mut PgConnection, tables: &[Table]) -> Result<Vec<Sealed>, DbError> {
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !table.sealed.is_empty()) {
        let key: Vec<(String, bool)> = sqlx::query_as(
            "select attname::text, atttypid = 'uuid'::regtype from pg_index join pg_attribute on attrelid = indrelid and attnum = any (indkey)
             where indrelid = to_regclass('public.' || $1) and indisprimary and attname <> 'tenant'",
        )
        .bind(table.name)
        .fetch_all(&mut *conn)
        .await?;
        if let [(key, true)] = key.as_slice() {
            let (person, columns) = (table.person(), table.sealed.clone());
            found.push(Sealed { table: table.name, person, key: key.clone(), columns });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn what_is_printed_of_a_policy_is_what_was_written() {
        let written = "tenant = (select ward.tenant()) and patient = (select ward.person())";
        let printed =
            "((tenant = ( SELECT ward.tenant() AS tenant)) AND (patient = ( SELECT ward.person() AS person)))";
        assert_eq!(bare(written), bare(printed));
        for other in ["true", "(tenant = ward.tenant())", "((tenant = ( SELECT ward.tenant() AS tenant)) OR true)"] {
            assert_ne!(bare("tenant = (select ward.tenant())"), bare(other), "{other}");
        }
    }
}
