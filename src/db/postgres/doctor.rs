//! What would let one clinic see another, looked for in the database's own catalogue before anything is served from it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    Finding, FindingKind, PostgresDb,
    database::Sealed,
    request::{Request, Verb},
    script::{LIBRARY, Rule, Table, functions},
};
use crate::{
    db::{DbError, Schema, TxError, clinics::quoted},
    id::TenantId,
};

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
        "select unnest(setconfig) from pg_db_role_setting
            where setrole in (0, (select oid from pg_roles where rolname = current_user))
              and setdatabase in (0, (select oid from pg_database where datname = current_database()))",
    ),
    (
        FindingKind::DefaultRights,
        "select coalesce(nullif(defaclnamespace, 0)::regnamespace::text, 'every schema') from pg_default_acl, aclexplode(defaclacl) as a
            where a.grantee in (0, (select oid from pg_roles where rolname = current_user))",
    ),
    (
        FindingKind::Elsewhere,
        "select nspname || '.' || relname from pg_class c join pg_namespace n on n.oid = relnamespace
            where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and nspname not in ('public', 'ward', 'pg_catalog', 'information_schema')
              and nspname !~ '^pg_(toast|temp)' and has_schema_privilege(n.oid, 'usage')
              and (has_table_privilege(c.oid, 'select, insert, update, delete, truncate, references, trigger')
                or (relkind <> 'S' and has_any_column_privilege(c.oid, 'select, insert, update, references')))",
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
              and has_schema_privilege(n.oid, 'usage')",
    ),
    (
        FindingKind::OwnerView,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')
            and has_any_column_privilege(oid, 'select')
            and (relkind = 'm' or not coalesce(reloptions::text[] && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false))",
    ),
    (
        FindingKind::Rule,
        "select relname || '.' || rulename from pg_rewrite r join pg_class c on c.oid = ev_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any ($2)",
    ),
    (
        FindingKind::Durability,
        "select name from unnest(array['fsync', 'full_page_writes']) as name where current_setting(name) <> 'on'",
    ),
];

/// A policy as it is there: its command, both conditions, and whether it is everybody's.
type Policy = (String, Option<String>, Option<String>, bool);

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
        let mut session = self.db.begin(Verb::Read).await?;
        let conn = session.conn();
        let names: Vec<_> = self.tables.iter().map(|table| table.name.to_owned()).collect();
        for (kind, question) in QUESTIONS {
            let known = &self.known;
            let found: Result<Vec<String>, _> =
                sqlx::query_scalar(*question).bind(&names).bind(known).persistent(false).fetch_all(&mut *conn).await;
            for object in found? {
                self.find(*kind, object);
            }
        }
        self.policies(conn).await?;
        self.parameters(conn).await?;
        self.functions(conn).await?;
        self.triggers(conn).await?;
        self.people(conn).await?;
        self.sealed(conn).await?;
        session.rollback().await;
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
        let mut there: BTreeMap<(String, String), Policy> = BTreeMap::new();
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

    /// From PostgreSQL 15 on, a role may be given settings that are a superuser's.
    async fn parameters(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let there: bool = sqlx::query_scalar("select to_regclass('pg_catalog.pg_parameter_acl') is not null")
            .persistent(false)
            .fetch_one(&mut *conn)
            .await?;
        if !there {
            return Ok(());
        }
        let given: Vec<String> = sqlx::query_scalar(
            "select distinct parname from pg_parameter_acl, aclexplode(paracl) as a
             where a.grantee = 0 or a.grantee = (select oid from pg_roles where rolname = current_user)",
        )
        .persistent(false)
        .fetch_all(conn)
        .await?;
        given.into_iter().for_each(|name| self.find(FindingKind::RoleSetting, name));
        Ok(())
    }

    /// The library's functions are what was installed, and there are no others.
    async fn functions(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
            "select proname::text, concat_ws(' ', lanname,
                    case provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
                    case proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end,
                    case when prosecdef then 'security definer' end, array_to_string(proconfig, ' ')),
                    prosrc, proowner = (select relowner from pg_class where oid = 'ward.keys'::regclass)
             from pg_proc p join pg_language l on l.oid = prolang where pronamespace = 'ward'::regnamespace",
        )
        .persistent(false)
        .fetch_all(conn)
        .await?;
        let mut there: BTreeMap<String, Vec<(String, String, bool)>> = BTreeMap::new();
        for (name, manner, body, owned) in rows {
            there.entry(name).or_default().push((manner, body, owned));
        }
        let mut wanted: Vec<(String, String, String)> = functions()
            .map(|function| (function.name.to_owned(), function.manner(), function.body.to_owned()))
            .collect();
        for table in &self.db.0.sealed {
            let Some(declared) = self.tables.iter().find(|declared| declared.name == table.table) else { continue };
            let (name, body) = declared.touch(&table.key);
            wanted.push((name, TOUCH_MANNER.to_owned(), body));
        }
        for (name, manner, body) in wanted {
            match there.remove(&name).as_deref() {
                Some([(found_manner, found, true)]) if *found == body && *found_manner == manner => {}
                _ => self.find(FindingKind::OtherFunction, format!("ward.{name}")),
            }
        }
        for name in there.into_keys() {
            self.find(FindingKind::OtherFunction, format!("ward.{name}"));
        }
        Ok(())
    }

    /// The triggers by which the library learns of changes, and keeps others from committing them.
    async fn triggers(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
            "select relname::text, tgname::text, pg_get_triggerdef(t.oid), tgenabled = 'A'
             from pg_trigger t join pg_class c on c.oid = tgrelid
             where relnamespace = 'public'::regnamespace and not tgisinternal",
        )
        .persistent(false)
        .fetch_all(conn)
        .await?;
        let mut there: BTreeMap<(String, String), (String, bool)> =
            rows.into_iter().map(|(table, name, text, always)| ((table, name), (text, always))).collect();
        let left = "create constraint trigger ward_left after insert on public.ward_attempts deferrable initially deferred \
                    for each row when not new.void execute function ward.left";
        let mut wanted = vec![("ward_attempts", "ward_left", left.to_owned())];
        for table in self.tables.iter().filter(|table| !table.sealed.is_empty()) {
            wanted.extend(table.triggers().into_iter().map(|(name, text)| (table.name, name, text)));
        }
        for (table, name, text) in wanted {
            match there.remove(&(table.to_owned(), name.to_owned())) {
                Some((found, true)) if bare(&found) == bare(&text) => {}
                _ => self.find(FindingKind::Trigger, format!("{table}.{name}")),
            }
        }
        Ok(())
    }

    /// Whose a row is stays, and what a row takes along when it goes is the same person's.
    async fn people(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        let people = self.tables.iter().filter_map(|table| Some((table.name.to_owned(), table.person()?.to_owned())));
        let (tables, columns): (Vec<String>, Vec<String>) = people.unzip();
        let given: Vec<String> = sqlx::query_scalar(
            "select t || '.' || c from unnest($1::text[], $2::text[]) as one (t, c)
             where to_regclass('public.' || t) is not null and has_column_privilege('public.' || t, c, 'update')",
        )
        .bind(&tables)
        .bind(&columns)
        .persistent(false)
        .fetch_all(&mut *conn)
        .await?;
        given.into_iter().for_each(|object| self.find(FindingKind::TableRights, object));
        let acting: Vec<String> = sqlx::query_scalar(
            "with people (t, c) as (select * from unnest($1::text[], $2::text[]))
             select conname::text from pg_constraint k
                join pg_class a on a.oid = conrelid join pg_class b on b.oid = confrelid
                join people pa on pa.t = a.relname left join people pb on pb.t = b.relname
             where contype = 'f' and a.relnamespace = 'public'::regnamespace
               and (confdeltype not in ('a', 'r') or confupdtype not in ('a', 'r'))
               and not exists (
                 select 1 from unnest(conkey, confkey) as pair (here, there)
                    join pg_attribute x on x.attrelid = conrelid and x.attnum = here and x.attname = pa.c
                    join pg_attribute y on y.attrelid = confrelid and y.attnum = there and y.attname = pb.c)",
        )
        .bind(&tables)
        .bind(&columns)
        .persistent(false)
        .fetch_all(conn)
        .await?;
        acting.into_iter().for_each(|name| self.find(FindingKind::ForeignKey, name));
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
            let seen: Vec<String> = sqlx::query_scalar("select tenant from public.ward_canary")
                .persistent(false)
                .fetch_all(tx.conn())
                .await?;
            if seen != [own] {
                self.find(
                    FindingKind::Leak,
                    format!("ward_canary: `{own}` sees {} rows, and `{other}` among them", seen.len()),
                );
            }
            for table in self.tables.clone().iter().filter(|table| !LIBRARY.contains(&table.name)) {
                let sql = format!("select exists (select 1 from public.{})", quoted(table.name));
                if sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(tx.conn()).await? {
                    self.find(FindingKind::Leak, table.name);
                }
            }
            tx.rollback().await;
        }
        // And whoever has entered none sees nothing.
        let mut session = self.db.begin(Verb::Read).await?;
        for table in self.tables.clone() {
            let sql = format!("select exists (select 1 from public.{})", quoted(table.name));
            if sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(session.conn()).await? {
                self.find(FindingKind::Leak, table.name);
            }
        }
        Ok(())
    }
}

/// How the functions that note changes are declared.
const TOUCH_MANNER: &str = "plpgsql volatile security definer search_path=pg_catalog, pg_temp";

/// A condition without the brackets and names that PostgreSQL puts in when it prints one.
fn bare(condition: &str) -> String {
    let words = condition.to_ascii_lowercase().replace(['(', ')'], " ").replace('"', "");
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
