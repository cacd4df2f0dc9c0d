//! One file per clinic.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use crate::{
    audit::{Ledger, Outcome},
    field::{ColumnInfo, check_columns},
    id::TenantId,
};

/// The most clinics' files that one process holds open.
pub const MAX_OPEN_FILES: usize = 4096;

/// The clinics' files could not be opened or brought up to date. Names the clinic, table or column at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The folder cannot be used.
    #[error("the folder of the clinics' files cannot be used: check that it exists and is writable")]
    Folder(#[source] std::io::Error),
    /// There is no file for this clinic.
    #[error("clinic `{0}` has no file: create it first")]
    Missing(TenantId),
    /// The file belongs to another clinic.
    #[error("the file of clinic `{0}` was made for another clinic: it was copied or renamed, put the right one back")]
    Foreign(TenantId),
    /// A declared column is not in the migrated schema.
    #[error("column `{table}.{column}` is declared in `columns!` but not in the schema: write its migration")]
    Column {
        /// The table that was declared.
        table: &'static str,
        /// The column that was declared.
        column: &'static str,
    },
    /// A declared column is not a blob, so the database would take something unsealed.
    #[error("column `{table}.{column}` holds sealed values and must be declared `blob` in the schema")]
    NotBlob {
        /// The table that was declared.
        table: &'static str,
        /// The column that was declared.
        column: &'static str,
    },
    /// Two `columns!` entries name one column.
    #[error(transparent)]
    Twins(#[from] crate::field::ColumnTwins),
    /// [`MAX_OPEN_FILES`] are open.
    #[error("{MAX_OPEN_FILES} clinics' files are open: run another process for more clinics")]
    TooMany,
    /// The migrations failed.
    #[error("the migrations of clinic `{0}` failed")]
    Migrate(TenantId, #[source] sqlx::migrate::MigrateError),
    /// SQLite failed.
    #[error("the clinic's file could not be read or written")]
    Sqlite(#[source] sqlx::Error),
    /// The ledger could not be told what became of an attempt.
    #[error("the ledger could not be told what became of an attempt")]
    Ledger,
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What a clinic's file holds: its migrations, and the sealed columns that must be in it.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    migrations: &'static Migrator,
    columns: &'static [&'static [ColumnInfo]],
}

impl Schema {
    /// A schema by its migrations (`sqlx::migrate!`) and the `COLUMNS` of every [`columns!`](crate::columns).
    #[must_use]
    pub const fn new(migrations: &'static Migrator, columns: &'static [&'static [ColumnInfo]]) -> Self {
        Self { migrations, columns }
    }
}

/// The library's own tables in every clinic's file.
const OWN_TABLES: &str = "
    create table if not exists ward_tenant (id text not null primary key) strict, without rowid;
    create table if not exists ward_attempts (id blob not null primary key) strict, without rowid;
    create table if not exists ward_relations (
        user blob not null, subject blob not null, kind text not null check (kind in ('assigned', 'circle')),
        until integer, primary key (user, subject, kind)
    ) strict, without rowid;
    create index if not exists ward_relations_by_subject on ward_relations (subject);
";

/// The clinics' files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    schema: Schema,
    open: Mutex<HashMap<TenantId, Arc<File>>>,
}

/// One clinic's connections: several that read, one that writes.
#[derive(Debug)]
pub(super) struct File {
    pub(super) readers: SqlitePool,
    pub(super) writer: SqlitePool,
}

impl Db {
    /// The clinics' files in `folder`, which is created if it is not there.
    ///
    /// # Errors
    ///
    /// [`DbError::Folder`] if the folder cannot be used, [`DbError::Twins`] if two columns share table and name.
    pub fn open(folder: impl Into<PathBuf>, schema: Schema) -> Result<Self, DbError> {
        let folder = folder.into();
        check_columns(schema.columns)?;
        std::fs::create_dir_all(&folder).map_err(DbError::Folder)?;
        Ok(Self(Arc::new(Inner { folder, schema, open: Mutex::default() })))
    }

    /// Creates a clinic's file if it has none, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`DbError`], naming what is wrong with the file or the schema.
    pub async fn create(&self, tenant: &TenantId) -> Result<(), DbError> {
        self.file_with(tenant, true).await.map(|_| ())
    }

    /// Tells the ledger what became of the attempts that a crash left open, by looking each up in its clinic's file.
    /// To be called once at start, before the first request.
    ///
    /// # Errors
    ///
    /// [`DbError`] if a file or the ledger cannot be reached: do not serve then.
    pub async fn settle(&self, ledger: &Ledger) -> Result<usize, DbError> {
        let open = ledger.unsettled();
        for attempt in &open {
            // A change of data is always some clinic's.
            let Some(tenant) = attempt.tenant() else { continue };
            let file = self.file(tenant).await?;
            let found = sqlx::query("select 1 from ward_attempts where id = ?")
                .bind(attempt.attempt().as_bytes().to_vec())
                .fetch_optional(&file.readers)
                .await?;
            let outcome = if found.is_some() { Outcome::Committed } else { Outcome::RolledBack };
            ledger.settle(attempt.attempt(), outcome).await.map_err(|_| DbError::Ledger)?;
        }
        Ok(open.len())
    }

    pub(super) async fn file(&self, tenant: &TenantId) -> Result<Arc<File>, DbError> {
        self.file_with(tenant, false).await
    }

    async fn file_with(&self, tenant: &TenantId, create: bool) -> Result<Arc<File>, DbError> {
        // Held while a file opens: two requests must not migrate one file, and opening is once per clinic and process.
        let mut open = self.0.open.lock().await;
        if let Some(file) = open.get(tenant) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= MAX_OPEN_FILES {
            return Err(DbError::TooMany);
        }
        let path = self.0.folder.join(format!("{tenant}.sqlite"));
        if !create && !path.exists() {
            return Err(DbError::Missing(tenant.clone()));
        }
        let file = Arc::new(self.0.open_file(tenant, &path).await?);
        open.insert(tenant.clone(), Arc::clone(&file));
        Ok(file)
    }
}

/// Whether a connection that is given back can be used again.
///
/// On a full or failing disk SQLite ends a transaction by itself. sqlx's `ROLLBACK` fails then, and it goes on counting
/// one as open: no other would ever begin on that connection. It is closed, and the next transaction opens another.
async fn is_at_rest(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    // The rollback is queued; the ping comes back behind it.
    conn.ping().await?;
    Ok(!conn.is_in_transaction())
}

impl Inner {
    async fn open_file(&self, tenant: &TenantId, path: &Path) -> Result<File, DbError> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF");
        let pool = |most: u32| {
            SqlitePoolOptions::new()
                .max_connections(most)
                .acquire_timeout(Duration::from_secs(5))
                .after_release(|conn, _| Box::pin(is_at_rest(conn)))
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::raw_sql(OWN_TABLES).execute(&writer).await?;
        let owner: Option<String> = sqlx::query_scalar("select id from ward_tenant").fetch_optional(&writer).await?;
        match owner {
            Some(owner) if owner == tenant.as_str() => {}
            Some(_) => return Err(DbError::Foreign(tenant.clone())),
            None => {
                sqlx::query("insert into ward_tenant (id) values (?)").bind(tenant.as_str()).execute(&writer).await?;
            }
        }
        self.schema.migrations.run(&writer).await.map_err(|e| DbError::Migrate(tenant.clone(), e))?;
        self.check_schema(&writer).await?;
        let readers = pool(4).connect_with(options.read_only(true).create_if_missing(false)).await?;
        Ok(File { readers, writer })
    }

    async fn check_schema(&self, pool: &SqlitePool) -> Result<(), DbError> {
        let columns: Vec<&ColumnInfo> = self.schema.columns.iter().flat_map(|group| group.iter()).collect();
        for column in columns {
            let (table, name) = (column.table(), column.name());
            let kind: Option<String> =
                sqlx::query_scalar("select lower(type) from pragma_table_info(?) where name = ?")
                    .bind(table)
                    .bind(name)
                    .fetch_optional(pool)
                    .await?;
            match kind.as_deref() {
                Some("blob") => {}
                Some(_) => return Err(DbError::NotBlob { table, column: name }),
                None => return Err(DbError::Column { table, column: name }),
            }
        }
        Ok(())
    }
}
