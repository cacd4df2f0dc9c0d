//! The URLs of PostgreSQL databases, each from where its flag says it is. What is said of one never holds it, for a password may
//! stand in it.

use std::{fmt::Display, str::FromStr as _};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tower_ward::{
    keys::{KeySource, KeySourceError},
    secret::{ExposeSecret as _, SecretString},
};

use crate::{app::Error, args::Args};

/// No database's URL is longer.
const MAX_URL: usize = 4_096;

/// The databases that were asked for.
pub(crate) struct Urls {
    pub(crate) ledger: Option<Url>,
    pub(crate) clinics: Option<Url>,
    pub(crate) owner: Option<Url>,
    pub(crate) keys: Option<Url>,
}

impl Urls {
    /// Reads them all. Whoever may log in for one part is not to find another there too.
    pub(crate) fn asked(args: &Args) -> Result<Self, Error> {
        let urls = Self {
            ledger: Url::asked("--ledger-database", args.ledger_database.as_ref())?,
            clinics: Url::asked("--database-url", args.database_url.as_ref())?,
            owner: Url::asked("--database-owner", args.database_owner.as_ref())?,
            keys: Url::asked("--keys-database", args.keys_database.as_ref())?,
        };
        urls.have_roles_of_their_own()?;
        Ok(urls)
    }

    fn have_roles_of_their_own(&self) -> Result<(), Error> {
        let mut seen: Vec<(String, &str)> = Vec::new();
        for url in [&self.ledger, &self.clinics, &self.owner, &self.keys].into_iter().flatten() {
            let role = url.role()?;
            // Whatever the server: one has many names.
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == role) {
                return Err(format!("{}: {other}{OWN_ROLE}", url.flag).into());
            }
            seen.push((role, url.flag));
        }
        Ok(())
    }
}

const OWN_ROLE: &str = " names this role too, and each needs a database role of its own: make one, with the rights that docs/postgres.md \
    gives it";

/// One of them, and the flag that names its source.
pub(crate) struct Url {
    flag: &'static str,
    text: SecretString,
}

impl Url {
    fn asked(flag: &'static str, source: Option<&Result<KeySource, KeySourceError>>) -> Result<Option<Self>, Error> {
        let Some(source) = source else { return Ok(None) };
        let read = || source.as_ref().map_err(Clone::clone)?.read_secret(MAX_URL);
        let text = read().map_err(|error| format!("{flag}: {error}"))?;
        Ok(Some(Self { flag, text }))
    }

    /// What is reached by it.
    pub(crate) fn place<T, E: Display>(&self, new: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Error> {
        new(self.text.expose_secret()).map_err(|error| format!("{}: {error}", self.flag).into())
    }

    /// The role that logs in.
    pub(crate) fn role(&self) -> Result<String, Error> {
        Ok(self.options()?.get_username().to_owned())
    }

    /// Logs in.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Error> {
        let connected = PgConnection::connect_with(&self.options()?).await;
        connected.map_err(|error| format!("{}: nobody can log in there: {error}", self.flag).into())
    }

    fn options(&self) -> Result<PgConnectOptions, Error> {
        self.place(|url| {
            PgConnectOptions::from_str(url).map_err(|_| "this is no URL: expected postgres://USER@HOST/DATABASE")
        })
    }
}
