//! The one PostgreSQL database of all clinics: its installation by its owner, and its opening.

use tower_ward::{
    db::{PostgresDb, PostgresOptions},
    keys::Keyring,
};

use crate::{
    app::Error,
    folder::Folder,
    model,
    urls::{Url, Urls},
};

/// How the database is reached: by the role that the server logs in as, and, where this process is to install it, by the one
/// that owns the tables.
pub(crate) struct Database<'a> {
    url: &'a Url,
    owner: Option<&'a Url>,
}

impl<'a> Database<'a> {
    /// The database that was asked for, if one was.
    pub(crate) fn asked(urls: &'a Urls) -> Result<Option<Self>, Error> {
        match (&urls.clinics, &urls.owner) {
            (Some(url), owner) => Ok(Some(Self { url, owner: owner.as_ref() })),
            (None, Some(_)) => Err(OWNER_ALONE.into()),
            (None, None) => Ok(None),
        }
    }

    /// Looks at it before anything is made or emptied for the sake of clinics there: whoever is to log in can, and a new folder
    /// begins with an empty database, as no other does.
    pub(crate) async fn look(&self, folder: &Folder) -> Result<(), Error> {
        self.url.connect().await?;
        let Some(owner) = self.owner else {
            return if folder.is_new() { Err(NOT_INSTALLED.into()) } else { Ok(()) };
        };
        let mut conn = owner.connect().await?;
        let installed: bool =
            sqlx::query_scalar("select to_regclass('ward.keys') is not null").fetch_one(&mut conn).await?;
        match (folder.is_new(), installed) {
            (true, true) => Err(NOT_EMPTY.into()),
            (false, false) => Err(EMPTY.into()),
            _ => Ok(()),
        }
    }

    /// Opens the clinics' data, after its owner has brought it up to date if this process has the owner's role.
    pub(crate) async fn open(&self, keyring: &Keyring) -> Result<PostgresDb, Error> {
        if let Some(owner) = self.owner {
            let owner = owner.place(PostgresOptions::new)?;
            PostgresDb::install(&owner, &self.url.role()?, model::POSTGRES_SCHEMA, keyring).await?;
        }
        let options = self.url.place(PostgresOptions::new)?;
        Ok(PostgresDb::open(&options, model::POSTGRES_SCHEMA, keyring).await?)
    }
}

const NOT_INSTALLED: &str = "a new data folder begins with an empty database: name the source of its owner's URL with --database-owner, \
    which installs it";
const NOT_EMPTY: &str = "the database of --database-url holds clinics already, of another data folder, or of a start that broke off: name \
    that folder with --data, or an empty database, made by `createdb`";
const EMPTY: &str = "the database of --database-url holds no clinics, and this data folder had some: name the database that the folder \
    was begun with, or put its backup back first";
const OWNER_ALONE: &str = "--database-owner installs the database of --database-url: name both";
