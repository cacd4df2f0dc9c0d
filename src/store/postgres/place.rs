//! Where a store is.

use std::{fmt, num::NonZeroU32, str::FromStr as _};

use sqlx::{
    AssertSqlSafe, Postgres,
    postgres::{PgArguments, PgConnectOptions},
    query::Query,
};

use super::super::StoreError;
use crate::codec::{SQL_NAME, is_sql_name};

const SCHEMA: &str = include_str!("schema.sql");
const CONNECTIONS: NonZeroU32 = NonZeroU32::new(8).expect("it is not zero");

/// Where in a PostgreSQL database a [`PostgresStore`](super::PostgresStore) is: as whom to log in, and in which schema.
///
/// The tables belong to another role than the one that the servers log in as, which may look, add, change and remove, and
/// nothing else. Run [`schema`](Self::schema) once as the owner; `ward store schema` prints the same. Keys and accounts are
/// two stores: in two schemas of one database, or better in two databases.
///
/// ```
/// use tower_ward::store::{PostgresPlace, StoreError};
///
/// let place = PostgresPlace::new("postgres://ward@db.clinic.example/ward_keys?sslmode=verify-full")?;
/// let script = place.schema("ward")?; // for `psql`, as the owner
/// assert!(script.contains("ward_store.objects") && script.contains("to ward;"));
/// // Another store beside it, behind PgBouncer in its transaction mode.
/// let accounts = place.with_schema("ward_accounts")?.with_pooler().with_connections(2.try_into()?);
/// assert!(accounts.schema("ward")?.contains("ward_accounts.objects"));
///
/// // A name that would need quotes is refused, and so is another kind of database, whose URL is not repeated.
/// assert!(matches!(accounts.schema("x; drop table y"), Err(StoreError::Place { setting: "role", .. })));
/// let error = PostgresPlace::new("mysql://ward:canary@db").unwrap_err();
/// assert!(!format!("{error} {error:?} {accounts:?}").contains("canary"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PostgresPlace {
    options: PgConnectOptions,
    schema: String,
    pub(super) connections: NonZeroU32,
    pub(super) pooled: bool,
    pub(super) archived: bool,
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPlace")
            .field("schema", &self.schema)
            .field("pooled", &self.pooled)
            .field("archived", &self.archived)
            .finish_non_exhaustive()
    }
}

impl PostgresPlace {
    /// The schema `ward_store` of the database with this URL, `postgres://…`. What it leaves open, such as the port or
    /// `sslmode`, is taken from the variables that `psql` looks at (`PGPORT`, `PGSSLMODE`, …) and from `~/.pgpass`: say all of
    /// it in the URL. Ask for `sslmode=verify-full` unless the server is reached through a socket.
    ///
    /// # Errors
    ///
    /// If the URL is none of a PostgreSQL database. It may hold a password, so the error does not say more.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::Place { setting: "url", expected: "postgres://USER@HOST/DATABASE" };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(wrong());
        }
        // Statements are traced at a level that shows what is bound to nobody.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
        Ok(Self {
            options: options.application_name("tower-ward store"),
            schema: "ward_store".to_owned(),
            connections: CONNECTIONS,
            pooled: false,
            archived: false,
        })
    }

    /// In another schema: 1 to 63 of `a-z 0-9 _`, a letter first.
    ///
    /// # Errors
    ///
    /// If it is spelled otherwise.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, StoreError> {
        identifier("schema", schema)?;
        self.schema = schema.to_owned();
        Ok(self)
    }

    /// At most so many connections at a time; 8 if this is not called. Each writer has its turn, so many are of use to readers
    /// alone.
    #[must_use]
    pub fn with_connections(mut self, connections: NonZeroU32) -> Self {
        self.connections = connections;
        self
    }

    /// Through a pooler that hands out a connection for each transaction, such as PgBouncer with `pool_mode = transaction`:
    /// no statement is prepared under a name, nothing is set for longer than a transaction, and each reading is one too.
    #[must_use]
    pub fn with_pooler(mut self) -> Self {
        // PgBouncer refuses a connection that asks for this one.
        self.options = self.options.extra_float_digits(None).statement_cache_capacity(0);
        self.pooled = true;
        self
    }

    /// Also in a server that archives its write-ahead log (`archive_mode`).
    ///
    /// # Security
    ///
    /// Whatever was ever written can be read from the archive. This is for accounts and sessions: what is removed there is
    /// not looked for again, and need not be gone from the earth. [`scrub`](crate::store::Durable::scrub) refuses, so a key
    /// store whose place says this erases nobody.
    #[must_use]
    pub fn danger_archived(mut self) -> Self {
        self.archived = true;
        self
    }

    /// The SQL that makes the tables, with what the role that the servers log in as may do with them.
    ///
    /// # Errors
    ///
    /// If the role's name is not 1 to 63 of `a-z 0-9 _`, a letter first.
    pub fn schema(&self, role: &str) -> Result<String, StoreError> {
        identifier("role", role)?;
        Ok(SCHEMA.replace("{schema}", &self.schema).replace("{role}", role))
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A statement of our own with the schema's name in it, which has been checked.
    pub(super) fn statement(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{schema}", &self.schema))
    }

    pub(super) fn query<'q>(&self, text: &str) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(self.statement(text)).persistent(!self.pooled)
    }
}

fn identifier(setting: &'static str, name: &str) -> Result<(), StoreError> {
    if is_sql_name(name) { Ok(()) } else { Err(StoreError::Place { setting, expected: SQL_NAME }) }
}
