//! What keeps a statement to the rows that its transaction was begun for, and from ending it by itself.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::touched::{RowKey, TOLD, Touched, Watched};
use crate::{
    audit::AttemptId,
    db::{change::Watching, clinics::quoted},
    id::SubjectId,
};

/// The library's own tables.
const OWN: [&str; 4] = ["ward_attempts", "ward_erased", "ward_relations", "ward_tenant"];

/// What the triggers call. SQLite takes it for a collation, which is the one Rust function that SQL can be given without
/// `unsafe`.
const ASK: &str = "ward_row";
/// In front of a table's name, where [`ASK`] is asked. No row's part of the question has it: that is hexadecimal.
const TABLE: &str = "t:";

/// Whose rows a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// People's: this column says whose.
    People(&'static str),
    /// Of no person.
    Nobody,
    /// Every door may change them.
    Shared,
    /// The library's.
    Library,
}

impl Rows {
    /// What a table holds that was declared as none of the others. The record of what was migrated is the library's too:
    /// without it, the next start would fail.
    pub(super) fn undeclared(table: &str, migrations: &str) -> Self {
        if OWN.contains(&table) || table.eq_ignore_ascii_case(migrations) { Self::Library } else { Self::Nobody }
    }
}

/// The tables of a clinic's file, by their names in small letters.
pub(super) type Tables = HashMap<String, Rows>;

/// Which rows may be changed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Allowed {
    /// None: no transaction is open.
    #[default]
    Nothing,
    /// The library's own.
    Library,
    /// One person's.
    Person(SubjectId),
    /// Those of no person.
    Nobody,
}

#[derive(Debug, Default)]
struct State {
    lifted: bool,
    allowed: Allowed,
    watching: Watching,
    touched: Touched,
    /// The table of the first row that was changed and may not have been.
    stray: Option<String>,
}

/// Watches the one connection that writes.
///
/// The application's statements reach it as text, and one that was injected, or that forgot its `where`, would change
/// rows that its door was not opened for, under a record that does not say so; `'; commit; --` would end the transaction
/// before its record is durable. So SQLite asks the latch before every row that changes, and at every commit, the
/// implicit ones included. A commit passes once for each time the latch is lifted, and not after a stray row.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tables: Tables,
    watched: Vec<Watched>,
    state: Mutex<State>,
    /// What the first connection was when it was opened; all are opened alike.
    fresh: OnceLock<String>,
}

/// The library writes while this exists; then what was allowed before is allowed again.
pub(super) struct ByLibrary<'a>(&'a Latch, Allowed);

impl Drop for ByLibrary<'_> {
    fn drop(&mut self) {
        self.0.state().allowed = self.1;
    }
}

impl Latch {
    pub(super) fn new(tables: Tables, watched: Vec<Watched>) -> Self {
        Self(Arc::new(Inner { tables, watched, ..Inner::default() }))
    }

    /// The tables whose sealed cells are watched.
    pub(super) fn watched(&self) -> &[Watched] {
        &self.0.watched
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction begins that may change these rows, and of which so much is to be told.
    pub(super) fn begin(&self, allowed: Allowed, watching: Watching) {
        *self.state() = State { allowed, watching, ..State::default() };
    }

    /// The rows of which it was told, or `None` if they are too many; and of which of them something is to be said.
    pub(super) fn take_touched(&self) -> (Option<BTreeSet<RowKey>>, Watching) {
        let mut state = self.state();
        (std::mem::take(&mut state.touched).into_rows(), state.watching)
    }

    /// Takes what is told of a row of this table; says whether it can be one.
    fn tell(&self, table: &str, message: &str) -> bool {
        let found = self.0.watched.iter().position(|watched| watched.table.eq_ignore_ascii_case(table));
        found.is_some_and(|table| {
            let mut state = self.state();
            let watching = state.watching;
            state.touched.take(watching, table, message)
        })
    }

    pub(super) fn by_library(&self) -> ByLibrary<'_> {
        ByLibrary(self, std::mem::replace(&mut self.state().allowed, Allowed::Library))
    }

    /// The table of a row that was changed and may not have been.
    pub(super) fn stray(&self) -> Option<String> {
        self.state().stray.clone()
    }

    /// Lets the next commit pass. The next transaction begins without.
    pub(super) fn lift(&self) {
        self.state().lifted = true;
    }

    fn may_commit(&self) -> bool {
        let mut state = self.state();
        std::mem::take(&mut state.lifted) && state.stray.is_none()
    }

    /// Whether a row of this table may change; `whose` is what [`Rows::People`]'s column holds, in hexadecimal.
    fn may_change(&self, table: &str, whose: &str) -> bool {
        let mut state = self.state();
        let fine = match (self.0.tables.get(table), state.allowed) {
            (Some(Rows::Library), Allowed::Library) | (Some(Rows::Nobody), Allowed::Nobody) => true,
            (Some(Rows::Shared), allowed) => allowed != Allowed::Nothing,
            (Some(Rows::People(_)), Allowed::Person(subject)) => {
                whose.len() == 32
                    && whose.is_ascii()
                    && subject
                        .as_bytes()
                        .iter()
                        .enumerate()
                        .all(|(at, byte)| u8::from_str_radix(&whose[2 * at..2 * at + 2], 16) == Ok(*byte))
            }
            _ => false,
        };
        if !fine {
            state.stray.get_or_insert_with(|| table.to_owned());
        }
        fine
    }

    /// Has the connections ask the latch before a row changes.
    pub(super) fn asked_by(&self, options: SqliteConnectOptions) -> SqliteConnectOptions {
        let latch = self.clone();
        let ask = move |a: &str, b: &str| {
            let side = |prefix| match (a.strip_prefix(prefix), b.strip_prefix(prefix)) {
                (Some(table), None) => Some((table, b)),
                (None, Some(table)) => Some((table, a)),
                _ => None,
            };
            let fine = match (side(TABLE), side(TOLD)) {
                (Some((table, whose)), _) => latch.may_change(table, whose),
                (None, Some((table, row))) => latch.tell(table, row),
                (None, None) => return a.cmp(b),
            };
            if fine { Ordering::Equal } else { Ordering::Less }
        };
        // By itself, SQLite runs no trigger for a row that `or replace` deletes.
        options.collation(ASK, ask).pragma("recursive_triggers", "ON")
    }

    /// The triggers that ask. They belong to the connection, not to the file, which tools without the function open too.
    fn triggers(&self) -> String {
        let mut sql = String::new();
        self.0.watched.iter().for_each(|watched| watched.triggers(ASK, &mut sql));
        for (table, rows) in &self.0.tables {
            if *rows == Rows::Shared {
                continue;
            }
            let name = format!("'{TABLE}{}'", table.replace('\'', "''"));
            for (n, (event, versions)) in
                [("insert", &["new"][..]), ("update", &["old", "new"]), ("delete", &["old"])].into_iter().enumerate()
            {
                let asks = versions.iter().map(|version| match rows {
                    Rows::People(column) => {
                        format!("hex({version}.{}) collate {ASK} <> {name}", quoted(column))
                    }
                    _ => format!("'' collate {ASK} <> {name}"),
                });
                let _ = write!(
                    sql,
                    "create temp trigger {} before {event} on main.{} when {}
                     begin select raise(abort, 'this row is not of the door that was opened'); end;",
                    quoted(&format!("ward_{n}_{table}")),
                    quoted(table),
                    asks.collect::<Vec<_>>().join(" or "),
                );
            }
        }
        sql
    }

    /// A pool each of whose connections is watched.
    pub(super) fn guard(&self, pool: SqlitePoolOptions) -> SqlitePoolOptions {
        let (opened, released) = (self.clone(), self.clone());
        pool.after_connect(move |conn, _| {
            let latch = opened.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(latch.triggers())).execute(&mut *conn).await?;
                let fresh = connection(conn).await?;
                latch.0.fresh.get_or_init(|| fresh);
                conn.lock_handle().await?.set_commit_hook(move || latch.may_commit());
                Ok(())
            })
        })
        // A statement may also have left something on the connection for whoever has it next; and the driver does not
        // know of a transaction that ended without it. Such a connection is closed.
        .after_release(move |conn, _| {
            let latch = released.clone();
            Box::pin(async move {
                latch.begin(Allowed::Nothing, Watching::Nothing);
                let fresh = connection(conn).await?;
                Ok(latch.0.fresh.get() == Some(&fresh) && !conn.is_in_transaction())
            })
        })
    }

    /// Whether this is still the transaction that the attempt was written in, with the tables that it found, on a connection
    /// as it was opened: without `recursive_triggers`, no trigger is asked about a row that `or replace` deletes.
    pub(super) async fn is_whole(
        &self,
        conn: &mut SqliteConnection,
        attempt: AttemptId,
        found: &str,
    ) -> Result<bool, sqlx::Error> {
        let written: bool = sqlx::query_scalar("select exists (select 1 from main.ward_attempts where id = ?)")
            .bind(attempt.as_bytes().to_vec())
            .fetch_one(&mut *conn)
            .await?;
        let whole = tables(conn).await? == found && self.0.fresh.get() == Some(&connection(conn).await?);
        Ok(written && whole)
    }
}

/// A pool of connections that read. They can change nothing, but one could show another file's tables to whoever has it
/// next; such a connection is closed.
pub(super) fn reading(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    pool.after_release(|conn, _| {
        Box::pin(async move {
            let clean: bool = sqlx::query_scalar(
                "select not exists (select 1 from pragma_database_list where name not in ('main', 'temp'))
                    and not exists (select 1 from temp.sqlite_schema)",
            )
            .fetch_one(&mut *conn)
            .await?;
            Ok(clean && !conn.is_in_transaction())
        })
    })
}

/// The tables, and what could stand before them. While a transaction writes, nobody else changes them; between two, a
/// tool may, such as one that vacuums. A trigger that was taken down and put up again shows in the version of what is
/// temporary.
pub(super) async fn tables(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let version: i64 = sqlx::query_scalar("pragma temp.schema_version").fetch_one(&mut *conn).await?;
    let tables: String = sqlx::query_scalar(
        "select format('%d %d %d %d %d',
            (select count(*) from pragma_database_list where name not in ('main', 'temp')),
            (select count(*) from temp.sqlite_schema), (select total(rowid * length(sql)) from temp.sqlite_schema),
            (select count(*) from main.sqlite_schema), (select schema_version from pragma_schema_version))",
    )
    .fetch_one(conn)
    .await?;
    Ok(format!("{version} {tables}"))
}

/// What a statement could leave on the connection for whoever has it next.
async fn connection(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(
        "select format('%d %d %d ',
            (select count(*) from pragma_database_list where name not in ('main', 'temp')),
            (select count(*) from temp.sqlite_schema), (select total(rowid * length(sql)) from temp.sqlite_schema))
         || format('%s %s %s %s %s %s %s %s %s %s %s',
            (select query_only from pragma_query_only), (select synchronous from pragma_synchronous),
            (select foreign_keys from pragma_foreign_keys), (select secure_delete from pragma_secure_delete),
            (select locking_mode from pragma_locking_mode), (select journal_mode from pragma_journal_mode),
            (select writable_schema from pragma_writable_schema), (select trusted_schema from pragma_trusted_schema),
            (select ignore_check_constraints from pragma_ignore_check_constraints),
            (select recursive_triggers from pragma_recursive_triggers), (select timeout from pragma_busy_timeout))
         || ' ' || (select max_page_count from pragma_max_page_count)",
    )
    .fetch_one(conn)
    .await
}
