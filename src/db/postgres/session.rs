//! A transaction, from the message that begins it to the one that ends it.
//!
//! What the library itself says is text of its own in the simple protocol, with nothing bound: a statement that is prepared
//! once and named could be put in the place of another by whoever injects SQL into the same session.

use std::fmt::Write as _;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _, pool::PoolConnection,
    postgres::PgRow,
};

/// A connection in a transaction. Dropped, it rolls back.
#[derive(Debug)]
pub(super) struct Session {
    /// There until it has ended.
    conn: Option<PoolConnection<Postgres>>,
    /// What tells this transaction from every other, as `ward.transaction` says it.
    name: String,
}

/// Whether anything is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

/// What was left in the session by whoever had it before: settings, cursors that outlive their transaction, locks.
const CLEAN: &str = "begin; reset all; close all; unlisten *; select pg_advisory_unlock_all(); commit;";
/// Behind a pooler, what a session is asked for when it begins is not asked again, and no statement has a name.
const CLEAN_POOLED: &str = "begin; reset all; deallocate all; close all; unlisten *; select pg_advisory_unlock_all(); \
    set client_encoding = 'UTF8'; set time zone 'UTC'; set datestyle = 'ISO, MDY'; commit;";
/// The transaction's name, and how many statements the driver has prepared in the session.
const NAME: &str = "select concat_ws(' ', pg_backend_pid(), extract(epoch from transaction_timestamp())),
    (select count(*) from pg_prepared_statements where not from_sql)";

impl Session {
    /// Begins, in a session that is as if it were new.
    pub(super) async fn begin(pool: &PgPool, pooled: bool, mode: Mode) -> Result<Self, sqlx::Error> {
        let clean = if pooled { CLEAN_POOLED } else { CLEAN };
        let begin = match mode {
            Mode::Read => "begin isolation level read committed read only",
            Mode::Write => "begin isolation level read committed read write",
        };
        let text = format!("{clean} {begin}; {NAME}");
        // Each connection that has died, or that somebody took the driver's statements from, is found out here, once, before
        // anything was asked.
        let mut tries = pool.options().get_max_connections();
        loop {
            let mut session = Self { conn: Some(pool.acquire().await?), name: String::new() };
            let error = match session.say(&text).await {
                Ok(rows) => {
                    let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
                    let prepared: i64 = row.try_get(1)?;
                    if usize::try_from(prepared).is_ok_and(|there| there >= session.conn().cached_statements_size()) {
                        session.name = row.try_get(0)?;
                        return Ok(session);
                    }
                    sqlx::Error::Protocol("prepared statements were taken from each session that was tried".to_owned())
                }
                Err(error) if died(&error) => error,
                Err(error) => {
                    session.close();
                    return Err(error);
                }
            };
            session.close();
            if tries == 0 {
                return Err(error);
            }
            tries -= 1;
        }
    }

    /// What tells this transaction from every other.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The connection, for statements.
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("it is there until it has ended")
    }

    /// Runs text of the library's own; the rows of all its statements.
    pub(super) async fn say(&mut self, text: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_all(self.conn()).await
    }

    /// Ends the connection with the transaction: what is left in it is nobody's to have.
    pub(super) fn close(mut self) {
        if let Some(mut conn) = self.conn.take() {
            conn.close_on_drop();
        }
    }

    /// Commits. After an error it is not known whether it took effect, whatever the error says: something that stands before
    /// the server may say it.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let done = self.conn().execute("commit").await;
        match done {
            Ok(_) => drop(self.conn.take()),
            Err(_) => self.close(),
        }
        done.map(|_| ())
    }

    pub(super) async fn rollback(mut self) {
        if let Some(conn) = self.conn.take() {
            roll_back(conn).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(roll_back(conn))),
            Err(_) => conn.close_on_drop(),
        }
    }
}

async fn roll_back(mut conn: PoolConnection<Postgres>) {
    if conn.execute("rollback").await.is_err() {
        conn.close_on_drop();
    }
}

/// Whether the connection is what failed: it broke, or the server or a pooler ended it.
fn died(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    debug_assert!(!text.contains('\\'), "what the library says has none");
    format!("'{}'", text.replace('\'', "''"))
}

/// Bytes in SQL.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(5 + 2 * bytes.len());
    out.push_str("'\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\'');
    out
}
