//! The one PostgreSQL database of all clinics: its installation by its owner, and its opening.

use tower_ward::{
    db::{PostgresDb, PostgresOptions},
    keys::Keyring,
};

use crate::{
    app::Error,
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

const OWNER_ALONE: &str = "--database-owner installs the database of --database-url: name both";
