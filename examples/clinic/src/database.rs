//! The one PostgreSQL database of all clinics: whose URL it is reached by, its installation by its owner, and its opening.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use tower_ward::{
    db::{DbError, PostgresDb, PostgresOptions},
    keys::{KeySource, KeySourceError, Keyring},
    secret::{ExposeSecret as _, SecretString},
};

use crate::{app::Error, args::Args, model};

/// No database's URL is longer.
const MAX_URL: usize = 4_096;

/// How the database is reached: by the role that the server logs in as, and, where this process is to install it, by the one
/// that owns the tables. What is said of either never holds the URL, in which a password may stand.
pub(crate) struct Database {
    url: SecretString,
    owner: Option<SecretString>,
}

impl Database {
    /// The database that was asked for, if one was.
    pub(crate) fn asked(args: &Args) -> Result<Option<Self>, Error> {
        let Some(url) = &args.database_url else {
            return if args.database_owner.is_some() { Err(OWNER_ALONE.into()) } else { Ok(None) };
        };
        let url = read("--database-url", url)?;
        let owner = args.database_owner.as_ref().map(|source| read("--database-owner", source)).transpose()?;
        Ok(Some(Self { url, owner }))
    }

    /// The role that the server logs in as.
    fn role(&self) -> Result<String, Error> {
        let options = PgConnectOptions::from_str(self.url.expose_secret()).map_err(|_| DbError::Url)?;
        Ok(options.get_username().to_owned())
    }

    /// Opens the clinics' data, after its owner has brought it up to date if this process has the owner's role.
    pub(crate) async fn open(&self, keyring: &Keyring) -> Result<PostgresDb, Error> {
        if let Some(owner) = &self.owner {
            let owner = PostgresOptions::new(owner.expose_secret())?;
            PostgresDb::install(&owner, &self.role()?, model::POSTGRES_SCHEMA, keyring).await?;
        }
        let options = PostgresOptions::new(self.url.expose_secret())?;
        Ok(PostgresDb::open(&options, model::POSTGRES_SCHEMA, keyring).await?)
    }
}

fn read(flag: &str, source: &Result<KeySource, KeySourceError>) -> Result<SecretString, Error> {
    let read = || -> Result<SecretString, Error> { Ok(source.as_ref().map_err(Clone::clone)?.read_secret(MAX_URL)?) };
    read().map_err(|error| format!("{flag}: {error}").into())
}

const OWNER_ALONE: &str = "--database-owner installs the database of --database-url: name both";
