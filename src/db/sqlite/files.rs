//! One file per clinic.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::OnceCell;

use super::{
    latch::{self, Latch, Rows, Tables},
    touched::Watched,
};
use crate::{
    audit::{Ledger, Outcome},
    db::{
        DbError, Schema,
        clinics::{PeopleTable, quoted},
    },
    field::{ColumnInfo, check_columns},
    id::TenantId,
};

/// The most clinics' files that one process holds open.
///
/// ```
/// use tower_ward::db::{DbError, MAX_OPEN_FILES};
///
/// // The refusal says it too, and what to do.
/// let full = DbError::TooMany.to_string();
/// assert!(full.starts_with(&MAX_OPEN_FILES.to_string()) && full.contains("run another process"), "{full}");
/// ```
pub const MAX_OPEN_FILES: usize = 4096;

/// The library's own tables in every clinic's file.
const OWN_TABLES: &str = "
    create table if not exists ward_tenant (id text not null primary key) strict, without rowid;
    create table if not exists ward_attempts (id blob not null primary key) strict, without rowid;
    create table if not exists ward_relations (
        user blob not null, subject blob not null, kind text not null check (kind in ('assigned', 'circle')),
        until integer, mac blob not null, primary key (user, subject, kind)
    ) strict, without rowid;
    create table if not exists ward_erased (subject blob not null primary key) strict, without rowid;
    create index if not exists ward_relations_by_subject on ward_relations (subject);
";

/// The clinics' files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    schema: Schema,
    /// Held for a look and no longer: a file that is slow to open stops its own clinic alone.
    open: Mutex<HashMap<TenantId, Arc<OnceCell<Arc<File>>>>>,
}

/// One clinic's connections: several that read, one that writes.
#[derive(Debug)]
pub(super) struct File {
    pub(super) readers: SqlitePool,
    pub(super) writer: SqlitePool,
    /// One that reads what the file held before the transaction that writes. The application never has it, so it cannot
    /// keep a commit waiting for it, and nothing is left on it.
    pub(super) before: SqlitePool,
    /// Of the one that writes.
    pub(super) latch: Latch,
    pub(super) indexes: Vec<Index>,
    pub(super) people: Arc<[PeopleTable]>,
}

/// Blind indexes in one column.
#[derive(Debug)]
pub(super) struct Index {
    /// The statement that removes those of one person.
    pub(super) forget: String,
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
        private_folder(&folder).map_err(DbError::Folder)?;
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
            let file = match self.file(tenant).await {
                Ok(file) => file,
                // The clinic is gone and its file with it: nobody can tell any more, and the others must start.
                Err(DbError::Missing(_)) => {
                    ledger.settle(attempt.attempt(), Outcome::Unknown).await.map_err(|_| DbError::Ledger)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let found = sqlx::query("select 1 from ward_attempts where id = ?")
                .bind(attempt.attempt().as_bytes().to_vec())
                .fetch_optional(&file.readers)
                .await?;
            let outcome = if found.is_some() { Outcome::Committed } else { Outcome::RolledBack };
            ledger.settle(attempt.attempt(), outcome).await.map_err(|_| DbError::Ledger)?;
        }
        Ok(open.len())
    }

    /// Closes the files, once no transaction uses them: SQLite then folds its log into them and removes it. A file that
    /// is used again is not opened again.
    pub async fn close(&self) {
        let open: Vec<_> = self.0.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for cell in open {
            if let Some(file) = cell.get() {
                file.readers.close().await;
                file.before.close().await;
                file.writer.close().await;
            }
        }
    }

    pub(super) async fn file(&self, tenant: &TenantId) -> Result<Arc<File>, DbError> {
        self.file_with(tenant, false).await
    }

    async fn file_with(&self, tenant: &TenantId, create: bool) -> Result<Arc<File>, DbError> {
        let path = self.0.folder.join(format!("{tenant}.sqlite"));
        let cell = {
            let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get(tenant) {
                Some(cell) => Arc::clone(cell),
                None if open.len() >= MAX_OPEN_FILES => return Err(DbError::TooMany),
                None if !create && !path.exists() => return Err(DbError::Missing(tenant.clone())),
                None => Arc::clone(open.entry(tenant.clone()).or_default()),
            }
        };
        let open = async || self.0.open_file(tenant, &path).await.map(Arc::new);
        cell.get_or_try_init(open).await.map(Arc::clone)
    }
}

impl Inner {
    async fn open_file(&self, tenant: &TenantId, path: &Path) -> Result<File, DbError> {
        private_file(path).map_err(DbError::Folder)?;
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF");
        let pool = |most: u32| SqlitePoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(5));
        // Before the latch is set, since migrations commit by themselves.
        let setup = pool(1).connect_with(options.clone()).await?;
        sqlx::raw_sql(OWN_TABLES).execute(&setup).await?;
        let owner: Option<String> = sqlx::query_scalar("select id from ward_tenant").fetch_optional(&setup).await?;
        match owner {
            Some(owner) if owner == tenant.as_str() => {}
            Some(_) => return Err(DbError::Foreign(tenant.clone())),
            None => {
                sqlx::query("insert into ward_tenant (id) values (?)").bind(tenant.as_str()).execute(&setup).await?;
            }
        }
        self.schema.migrations.run(&setup).await.map_err(|e| DbError::Migrate(tenant.clone(), e))?;
        self.check_schema(&setup).await?;
        let latch = Latch::new(self.tables(&setup).await?, self.watched(&setup).await?);
        let (indexes, people) = (self.indexes(&setup).await?, self.people(&setup).await?);
        setup.close().await;
        let writer = latch.guard(pool(1)).connect_with(latch.asked_by(options.clone())).await?;
        let options = options.read_only(true).create_if_missing(false);
        let before = pool(1).connect_lazy_with(options.clone());
        let readers = latch::reading(pool(4)).connect_with(options).await?;
        Ok(File { readers, writer, before, latch, indexes, people })
    }

    /// Whose rows the tables hold.
    async fn tables(&self, pool: &SqlitePool) -> Result<Tables, DbError> {
        // Neither views nor virtual tables, which have no rows of their own, nor SQLite's own.
        let names: Vec<String> = sqlx::query_scalar(
            "select lower(name) from pragma_table_list
             where schema = 'main' and type in ('table', 'shadow') and name not like 'sqlite\\_%' escape '\\'",
        )
        .fetch_all(pool)
        .await?;
        let migrations = self.schema.migrations.table_name.rsplit('.').next().unwrap_or_default();
        let mut tables: Tables =
            names.into_iter().map(|name| (name.clone(), Rows::undeclared(&name, migrations))).collect();
        for &(table, column) in self.schema.people {
            let found: bool =
                sqlx::query_scalar("select exists (select 1 from pragma_table_xinfo(?) where lower(name) = lower(?))")
                    .bind(table)
                    .bind(column)
                    .fetch_one(pool)
                    .await?;
            let rows = tables.get_mut(&table.to_ascii_lowercase()).filter(|_| found);
            declare(rows.ok_or(DbError::Column { table, column })?, table, Rows::People(column))?;
        }
        for &table in self.schema.shared {
            let rows = tables.get_mut(&table.to_ascii_lowercase()).ok_or(DbError::Table(table))?;
            declare(rows, table, Rows::Shared)?;
        }
        let sealed = |table: &str| {
            self.schema.columns.iter().flat_map(|group| group.iter()).any(|c| c.table().eq_ignore_ascii_case(table))
        };
        if let Some(table) = self.schema.shared.iter().find(|table| sealed(table)) {
            return Err(DbError::SealedShared(table));
        }
        Ok(tables)
    }

    /// How the blind indexes of a person are removed.
    async fn indexes(&self, pool: &SqlitePool) -> Result<Vec<Index>, DbError> {
        let sealed = || self.schema.columns.iter().flat_map(|group| group.iter());
        if let (true, Some(column)) = (self.schema.indexes.is_empty(), sealed().find(|column| column.is_indexed())) {
            return Err(DbError::NoIndex { table: column.table(), column: column.name() });
        }
        let mut indexes = Vec::with_capacity(self.schema.indexes.len());
        for &(table, column) in self.schema.indexes {
            let fault = DbError::Index { table, column };
            let whose = self.schema.people.iter().find(|(people, _)| people.eq_ignore_ascii_case(table));
            let (Some((_, whose)), Some(nullable)) = (whose, nullable(pool, table, column).await?) else {
                return Err(fault);
            };
            let (table, column, whose) = (quoted(table), quoted(column), quoted(whose));
            let forget = if !sealed().any(|sealed| quoted(sealed.table()).eq_ignore_ascii_case(&table)) {
                format!("delete from main.{table} where {whose} = ?")
            } else if nullable {
                format!("update main.{table} set {column} = null where {whose} = ?")
            } else {
                return Err(fault);
            };
            indexes.push(Index { forget });
        }
        Ok(indexes)
    }

    /// The tables of people's rows that have sealed columns.
    async fn people(&self, pool: &SqlitePool) -> Result<Arc<[PeopleTable]>, DbError> {
        let mut found = Vec::new();
        for &(table, person) in self.schema.people {
            let all = self.schema.columns.iter().flat_map(|group| group.iter());
            let columns: Vec<_> = all.filter(|column| column.table().eq_ignore_ascii_case(table)).collect();
            if columns.is_empty() {
                continue;
            }
            let key = key_of(pool, table).await?.ok_or_else(|| DbError::RowId(table.to_owned()))?;
            found.push(PeopleTable { table, person, key, columns });
        }
        Ok(found.into())
    }

    /// The tables with sealed columns.
    async fn watched(&self, pool: &SqlitePool) -> Result<Vec<Watched>, DbError> {
        let mut found = Vec::<Watched>::new();
        for column in self.schema.columns.iter().flat_map(|group| group.iter()) {
            let table = column.table();
            if let Some(watched) = found.iter_mut().find(|watched| watched.table.eq_ignore_ascii_case(table)) {
                watched.columns.push(column);
            } else {
                let key = key_of(pool, table).await?.ok_or_else(|| DbError::RowId(table.to_owned()))?;
                found.push(Watched { table, key, columns: vec![column] });
            }
        }
        Ok(found)
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

/// The column that is a table's whole primary key, a blob and never null: the row's identifier, as it is sealed into the
/// values.
async fn key_of(pool: &SqlitePool, table: &str) -> Result<Option<String>, DbError> {
    let mut key: Vec<(String, bool)> =
        sqlx::query_as("select name, lower(type) = 'blob' and \"notnull\" = 1 from pragma_table_info(?) where pk > 0")
            .bind(table)
            .fetch_all(pool)
            .await?;
    Ok(if key.len() == 1 { key.pop().and_then(|(name, fits)| fits.then_some(name)) } else { None })
}

/// Whether a column may be null; `None` if there is no such column.
async fn nullable(pool: &SqlitePool, table: &str, column: &str) -> Result<Option<bool>, DbError> {
    let sql = "select \"notnull\" = 0 and pk = 0 from pragma_table_info(?) where lower(name) = lower(?)";
    Ok(sqlx::query_scalar(sql).bind(table).bind(column).fetch_optional(pool).await?)
}

/// Of two declarations of one table the laxer would win, and none may open the library's own.
fn declare(rows: &mut Rows, table: &'static str, declared: Rows) -> Result<(), DbError> {
    if *rows != Rows::Nobody {
        return Err(DbError::Declared(table));
    }
    *rows = declared;
    Ok(())
}

/// A folder that its owner alone may enter.
fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes sure that the file is there and that its owner alone may read it; SQLite gives its log the same mode.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}
