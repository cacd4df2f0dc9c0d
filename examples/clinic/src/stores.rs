//! The key store and the accounts, in two files of the data folder or two schemas of a database; and the copy of the keys, which
//! is a file.

use std::{path::PathBuf, sync::Arc};

use tower_ward::{
    clock::SharedClock,
    keys::{KeyError, Keyring, KeyringOptions, RootKey},
    store::{Durable, ObjectName, PostgresPlace, PostgresStore, SqliteStore, StoreError},
};

use crate::{app::Error, folder::Folder, urls::Urls};

const KEYS: &str = "ward_keys";
const ACCOUNTS: &str = "ward_accounts";

/// The databases that are no clinic's.
#[derive(Debug)]
pub(crate) struct Stores {
    keys: Store,
    accounts: Store,
    copy: Option<SqliteStore>,
}

#[derive(Debug)]
enum Store {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Store {
    fn durable(&self) -> Arc<dyn Durable> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl Stores {
    /// Accounts, sessions, and which envelopes were used.
    pub(crate) fn accounts(&self) -> Arc<dyn Durable> {
        self.accounts.durable()
    }

    /// Whether keys and accounts are in a database.
    pub(crate) const fn in_database(&self) -> bool {
        matches!(self.keys, Store::Postgres(_))
    }

    pub(crate) async fn close(&self) {
        self.keys.close().await;
        self.accounts.close().await;
        if let Some(copy) = &self.copy {
            copy.close().await;
        }
    }
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("`{path}` cannot be opened")]
    File { path: PathBuf, source: StoreError },
    #[error("--keys-database: the schema `{schema}`, made by what `ward store schema` prints, cannot be opened")]
    Schema { schema: &'static str, source: StoreError },
}

async fn file(path: PathBuf, clock: &SharedClock) -> Result<SqliteStore, Fault> {
    let opened = SqliteStore::open_with_clock(&path, Arc::clone(clock)).await;
    opened.map_err(|source| Fault::File { path, source })
}

/// A store of the database that was asked for, and whether nothing is in it.
async fn schema(
    place: &PostgresPlace,
    schema: &'static str,
    clock: &SharedClock,
) -> Result<(PostgresStore, bool), Fault> {
    let open = async {
        let place = place.clone().with_schema(schema)?;
        let store = PostgresStore::open_with_clock(&place, Arc::clone(clock)).await?;
        let empty = store.written_since(0, 1).await?.is_empty();
        Ok((store, empty))
    };
    open.await.map_err(|source| Fault::Schema { schema, source })
}

/// Keys and accounts in a database.
pub(crate) struct InDatabase {
    keys: PostgresStore,
    accounts: PostgresStore,
}

/// The database that was asked for, looked at before anything is emptied for the sake of keys there.
pub(crate) async fn database(urls: &Urls, folder: &Folder, clock: &SharedClock) -> Result<Option<InDatabase>, Error> {
    let Some(url) = &urls.keys else { return Ok(None) };
    let place = url.place(PostgresPlace::new)?;
    let (keys, no_keys) = schema(&place, KEYS, clock).await?;
    let (accounts, no_accounts) = schema(&place, ACCOUNTS, clock).await?;
    match folder.is_new() {
        true if !(no_keys && no_accounts) => Err(NOT_EMPTY.into()),
        // What would be begun there opens nothing that this folder has.
        false if no_keys || no_accounts => Err(EMPTY.into()),
        _ => Ok(Some(InDatabase { keys, accounts })),
    }
}

const NOT_EMPTY: &str = "the database of --keys-database holds keys or accounts already, of another data folder or of what --fresh would \
    remove: name that folder with --data, or a database with empty stores, made by what `ward store schema` prints; those of a start that broke \
    off are emptied by `drop schema ward_keys, ward_accounts cascade`";
const EMPTY: &str = "the database of --keys-database holds no keys or no accounts, and this data folder had some, without which nothing \
    opens: name the database that the folder was begun with";
const ANOTHER: &str = "the database of --keys-database holds the keys of another data folder: name the database that this one was begun \
    with";

/// The keyring over the key store and its copy, and the stores.
pub(crate) async fn open(
    root: RootKey,
    database: Option<InDatabase>,
    folder: &Folder,
    clock: &SharedClock,
) -> Result<(Keyring, Stores), Error> {
    let (keys, accounts) = match database {
        Some(InDatabase { keys, accounts }) => (Store::Postgres(keys), Store::Postgres(accounts)),
        None => {
            (Store::Sqlite(file(folder.keys(), clock).await?), Store::Sqlite(file(folder.accounts(), clock).await?))
        }
    };
    let mut stores = Stores { keys, accounts, copy: None };
    let mut options = KeyringOptions::default().with_clock(Arc::clone(clock));
    // One that is gone is not begun anew in its place: wherever it is, it may hold the keys of whoever will be erased.
    let there = folder.is_new() || folder.keys_copy().exists();
    if there {
        let copy = file(folder.keys_copy().to_owned(), clock).await?;
        if stores.in_database() && follows_another(&copy, &*stores.keys.durable()).await? {
            return Err(ANOTHER.into());
        }
        options = options.add_copy("copy", Arc::new(copy.clone()))?;
        stores.copy = Some(copy);
    }
    match Keyring::open_with(root, stores.keys.durable(), &options).await {
        Ok(keyring) => Ok((keyring, stores)),
        Err(error @ KeyError::MissingCopy(_)) if !there => {
            Err(format!("`{}` is not there: {error}", folder.keys_copy().display()).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the copy says that it is another store's: the root key may be the same for both. By the names that stand in
/// `docs/keys.md`.
async fn follows_another(copy: &SqliteStore, keys: &dyn Durable) -> Result<bool, Error> {
    let taken = copy.get(&ObjectName::platform("key-store", "taken")?).await?;
    let id = keys.get(&ObjectName::platform("key-store", "id")?).await?;
    Ok(match (taken, id) {
        (Some(taken), Some(id)) => !taken.value.starts_with(&id.value),
        // It has not followed any.
        _ => false,
    })
}
