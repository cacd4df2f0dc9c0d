//! The SQL that sets the clinics apart: what the owner of the tables runs.

use std::fmt::Write as _;

use crate::{
    db::{DbError, Schema, clinics::quoted},
    field::ColumnInfo,
};

const WARD: &str = include_str!("ward.sql");

/// Whose rows a table holds, and what may be done to them through which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// People's: this column says whose.
    People(&'static str),
    /// Of no person.
    Clinic,
    /// Every door may change them.
    Shared,
    /// The library's: to be read.
    Library,
}

impl Rows {
    /// What must hold of a row that is changed, besides its clinic.
    fn door(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::People(column) => Some((column, "person")),
            Self::Clinic => Some(("tenant", "clinic")),
            Self::Shared => Some(("tenant", "changing")),
            Self::Library => None,
        }
    }
}

/// A table whose rows belong to clinics.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) rows: Rows,
    pub(super) sealed: Vec<&'static ColumnInfo>,
}

/// A policy: the command, and the conditions of rows that are there and of rows that come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) command: &'static str,
    pub(super) using: Option<String>,
    pub(super) check: Option<String>,
}

impl Table {
    /// Every table that has clinics' rows.
    pub(super) fn all(schema: &Schema) -> Result<Vec<Self>, DbError> {
        let mut tables: Vec<Self> = Vec::new();
        let people = schema.people.iter().map(|&(name, column)| (name, Rows::People(column)));
        let clinics = schema.clinics.iter().map(|&name| (name, Rows::Clinic));
        let shared = schema.shared.iter().map(|&name| (name, Rows::Shared));
        for (name, rows) in people.chain(clinics).chain(shared) {
            if LIBRARY.contains(&name) || tables.iter().any(|table| table.name == name) {
                return Err(DbError::Declared(name));
            }
            if !is_plain(name) {
                return Err(DbError::Name(name));
            }
            if let Rows::People(column) = rows
                && !is_plain(column)
            {
                return Err(DbError::Name(column));
            }
            let sealed: Vec<_> = schema.sealed().filter(|column| column.table() == name).collect();
            if rows == Rows::Shared && !sealed.is_empty() {
                return Err(DbError::SealedShared(name));
            }
            if let Some(column) = sealed.iter().find(|column| !is_plain(column.name())) {
                return Err(DbError::Name(column.name()));
            }
            tables.push(Self { name, rows, sealed });
        }
        if let Some(column) = schema.sealed().find(|column| !tables.iter().any(|t| t.name == column.table())) {
            return Err(DbError::Table(column.table()));
        }
        Ok(tables)
    }

    /// The library's own tables that the servers read.
    pub(super) fn library() -> impl Iterator<Item = Self> {
        LIBRARY.into_iter().map(|name| Self { name, rows: Rows::Library, sealed: Vec::new() })
    }

    /// The policies, as they are to be, in the form in which the planner asks each function once for a statement.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let clinic = "tenant = (select ward.tenant())";
        let read = Rule { name: "ward_read", command: "select", using: Some(clinic.to_owned()), check: None };
        let Some((column, function)) = self.rows.door() else { return vec![read] };
        let both = format!("{clinic} and {column} = (select ward.{function}())");
        let rule = |name, command, using: bool, check: bool| Rule {
            name,
            command,
            using: using.then(|| both.clone()),
            check: check.then(|| both.clone()),
        };
        vec![
            read,
            rule("ward_insert", "insert", false, true),
            rule("ward_update", "update", true, true),
            rule("ward_delete", "delete", true, false),
        ]
    }

    fn guard(&self, role: &str, sql: &mut String) {
        let Self { name, rows, sealed } = self;
        let _ = writeln!(sql, "\n-- {name}\nalter table public.{name} enable row level security;");
        // The library's functions reach past it, as their owner.
        if *rows != Rows::Library || *name == CANARY {
            let _ = writeln!(sql, "alter table public.{name} force row level security;");
        }
        for Rule { name: rule, command, using, check } in self.rules() {
            let using = using.map_or_else(String::new, |rows| format!(" using ({rows})"));
            let check = check.map_or_else(String::new, |rows| format!(" with check ({rows})"));
            let _ = writeln!(
                sql,
                "drop policy if exists {rule} on public.{name};\n\
                 create policy {rule} on public.{name} for {command}{using}{check};"
            );
        }
        if *rows == Rows::Library {
            return;
        }
        let person = match rows {
            Rows::People(column) => column,
            _ => "tenant",
        };
        let _ = writeln!(
            sql,
            "revoke all on public.{name} from public, {role};\n\
             grant select, insert, delete on public.{name} to {role};\n\
             do $do$ declare changing text; begin\n\
             \x20   select string_agg(quote_ident(attname), ', ') into changing from pg_attribute a\n\
             \x20       where attrelid = 'public.{name}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''\n\
             \x20         and attname not in ('tenant', '{person}') and not exists (\n\
             \x20           select 1 from pg_index where indrelid = attrelid and indisprimary and attnum = any (indkey));\n\
             \x20   if changing is not null then\n\
             \x20       execute format('grant update (%s) on public.{name} to {role}', changing);\n\
             \x20   end if;\n\
             \x20   if not exists (select 1 from pg_index i join pg_attribute a on attrelid = indrelid and attnum = indkey[0]\n\
             \x20       where indrelid = 'public.{name}'::regclass and attname = 'tenant' and indisvalid and indpred is null)\n\
             \x20   then\n\
             \x20       create index ward_tenant_{name} on public.{name} (tenant);\n\
             \x20   end if;\n\
             end $do$;"
        );
        if !sealed.is_empty() {
            let _ = writeln!(sql, "{}", self.telling());
        }
    }

    /// The function that notes which rows with sealed columns change: its name, and its body for this key.
    pub(super) fn touch(&self, key: &str) -> (String, String) {
        let columns: Vec<_> = self.sealed.iter().map(|column| format!("old.{}", quoted(column.name()))).collect();
        let body = format!(
            "\nbegin\n\
             \x20   insert into ward.touched (xid, place, key, made, was) values (pg_current_xact_id(), '{}',\n\
             \x20       case when tg_op = 'INSERT' then new.{key} else old.{key} end, tg_op = 'INSERT',\n\
             \x20       case when tg_op <> 'INSERT' then array[{}] end)\n\
             \x20       on conflict do nothing;\n\
             \x20   return null;\n\
             end\n",
            self.name,
            columns.join(", "),
        );
        (format!("touch_{}", self.name), body)
    }

    /// The condition that a sealed column changed.
    fn differs(&self) -> String {
        let differs = |column: &&ColumnInfo| format!("old.{0} is distinct from new.{0}", quoted(column.name()));
        self.sealed.iter().map(differs).collect::<Vec<_>>().join(" or ")
    }

    /// The triggers that note changes, as they are printed, but for brackets and quotes.
    pub(super) fn triggers(&self) -> [(&'static str, String); 2] {
        let (name, differs) = (self.name, self.differs());
        let text = |trigger, events, when: &str| {
            format!(
                "create trigger {trigger} after {events} on public.{name} for each row {when} execute function ward.touch_{name}"
            )
        };
        [
            ("ward_made", text("ward_made", "insert or delete", "")),
            ("ward_changed", text("ward_changed", "update", &format!("when {differs}"))),
        ]
    }

    fn telling(&self) -> String {
        let name = self.name;
        let (function, body) = self.touch("{key}");
        format!(
            "do $do$ declare key text; begin\n\
             \x20   select attname into key from pg_index join pg_attribute on attrelid = indrelid and attnum = any (indkey)\n\
             \x20       where indrelid = 'public.{name}'::regclass and indisprimary and attname <> 'tenant' limit 1;\n\
             \x20   if key is null then\n\
             \x20       raise exception 'table `{name}` has sealed columns, so its primary key must be (tenant, id)';\n\
             \x20   end if;\n\
             \x20   execute replace($sql$\n\
             \x20       create or replace function ward.{function}() returns trigger language plpgsql security definer\n\
             \x20           set search_path = pg_catalog, pg_temp as $body${body}$body$;\n\
             \x20       revoke all on function ward.{function} from public;\n\
             \x20       create or replace trigger ward_made after insert or delete on public.{name}\n\
             \x20           for each row execute function ward.{function}();\n\
             \x20       create or replace trigger ward_changed after update on public.{name}\n\
             \x20           for each row when ({differs}) execute function ward.{function}();\n\
             \x20       alter table public.{name} enable always trigger ward_made;\n\
             \x20       alter table public.{name} enable always trigger ward_changed\n\
             \x20   $sql$, '{{key}}', quote_ident(key));\n\
             end $do$;",
            differs = self.differs(),
        )
    }
}

const CANARY: &str = "ward_canary";
/// The library's tables in the application's schema.
pub(super) const LIBRARY: [&str; 4] = ["ward_attempts", "ward_canary", "ward_erased", "ward_relations"];

/// One of the library's functions.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// What stands between its result and its body.
    declared: &'static str,
    pub(super) body: &'static str,
}

impl Function {
    /// Its language, and how it runs, as the doctor asks the catalogue for it.
    pub(super) fn manner(&self) -> String {
        let words: Vec<_> = self.declared.split_ascii_whitespace().collect();
        let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)).copied();
        let volatile = ["immutable", "stable"].into_iter().find(|kind| words.contains(kind)).unwrap_or("volatile");
        let mut manner = format!("{} {volatile}", after("language").unwrap_or_default());
        if let Some(parallel) = after("parallel") {
            manner += &format!(" parallel {parallel}");
        }
        if words.contains(&"definer") {
            manner += " security definer";
        }
        if let Some((_, path)) = self.declared.split_once("search_path = ") {
            manner += &format!(" search_path={}", path.trim());
        }
        manner
    }
}

/// The library's functions.
pub(super) fn functions() -> impl Iterator<Item = Function> {
    WARD.split("\n--- ").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once('\n')?;
        let mut parts = rest.split("$body$");
        let (head, body) = (parts.next()?, parts.next()?);
        let declared = head[head.find("language ")?..].trim_end().strip_suffix("as")?;
        Some(Function { name, declared, body })
    })
}

/// What has to be there before the application's migrations, which name `ward.tenant()` as a default.
pub(super) fn ground(role: &str) -> Result<String, DbError> {
    identifier(role)?;
    Ok(WARD.replace("{role}", role))
}

/// What sets the clinics apart in the tables that the migrations made.
pub(super) fn guards(schema: &Schema, role: &str) -> Result<String, DbError> {
    identifier(role)?;
    // As in `ward.sql`, for a table's lock. An index that is made takes its time.
    let mut sql = String::from("set local lock_timeout = '10s';\nset local statement_timeout = '30min';\n");
    for table in Table::library().chain(Table::all(schema)?) {
        table.guard(role, &mut sql);
    }
    for table in schema.global {
        if !is_plain(table) {
            return Err(DbError::Name(table));
        }
        let _ = writeln!(
            sql,
            "\n-- {table}: of no clinic\nrevoke all on public.{table} from public, {role};\ngrant select on public.{table} to {role};"
        );
    }
    let _ = writeln!(
        sql,
        "\nrevoke create on schema public from public, {role};\n\
         do $do$ begin\n\
         \x20   execute format('revoke create, temporary on database %I from public, {role}', current_database());\n\
         end $do$;"
    );
    Ok(sql)
}

/// A name that needs no quotes.
fn is_plain(name: &str) -> bool {
    let bytes = name.as_bytes();
    // Room is left for what the library puts in front of it.
    matches!(bytes, [b'a'..=b'z' | b'_', ..])
        && bytes.len() <= 48
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn identifier(role: &str) -> Result<(), DbError> {
    let reserved = matches!(role, "public" | "current_user" | "current_role" | "session_user" | "user" | "none");
    if is_plain(role) && !reserved { Ok(()) } else { Err(DbError::Role) }
}
