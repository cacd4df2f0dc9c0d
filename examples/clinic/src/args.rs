//! The command line.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

use clap::Parser;
use tower_ward::keys::{KeySource, KeySourceError};

/// A multi-tenant clinic server on demo data. With no arguments it lays out its data folder, issues itself a
/// certificate and answers at https://{clinic}.localhost:8443.
#[derive(Debug, Clone, Parser)]
#[command(name = "clinic", version)]
pub struct Args {
    /// The data folder. It is created if it is not there.
    #[arg(long, value_name = "DIR", default_value = "clinic-data")]
    pub data: PathBuf,
    /// The address to listen on. Any other than loopback is refused while demo accounts exist.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// HTTP without TLS, on a loopback address only.
    #[arg(long)]
    pub plain_http: bool,
    /// Remove what is in the data folder and lay it out anew. Refused unless the folder is marked as a demo's.
    #[arg(long)]
    pub fresh: bool,
    /// Where the root key is: env:NAME, file:PATH or credential:NAME. Default: `root.key` in the data folder, which a
    /// new folder gets at random.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub key: Option<Result<KeySource, KeySourceError>>,
    /// Where the copy of the key store is: a file on another disk than the data folder, in which whoever is erased is
    /// erased too. A new folder remembers it, and does not start without it. Default: `keys-copy.sqlite` in the data
    /// folder.
    #[arg(long, value_name = "PATH")]
    pub key_copy: Option<PathBuf>,
    /// Where the key is that signs the ledger's checkpoints: env:NAME, file:PATH or credential:NAME, as `ward audit keygen`
    /// makes it. Default: `ledger-signing.key` in the data folder, which gets one at random.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub ledger_key: Option<Result<KeySource, KeySourceError>>,
    /// Where the URL of the PostgreSQL database is that holds the ledger, instead of the data folder: env:NAME, file:PATH or
    /// credential:NAME. The tables are made by what `ward audit schema` prints. A new folder remembers where its ledger is,
    /// and does not start with another.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub ledger_database: Option<Result<KeySource, KeySourceError>>,
    /// Where the URL of the PostgreSQL database is that holds all clinics' data, instead of the data folder:
    /// env:NAME, file:PATH or credential:NAME. It names the role that the server logs in as, which owns nothing there and is not
    /// the ledger's. A new folder remembers where its data are, and does not start with others.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub database_url: Option<Result<KeySource, KeySourceError>>,
    /// Where the URL of the same database is for the role that owns the tables: installs them, or brings them up to date,
    /// before the server starts. Without it they must be there.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub database_owner: Option<Result<KeySource, KeySourceError>>,
    /// Where the URL of the PostgreSQL database is that holds keys, accounts and sessions, instead of the data folder: env:NAME,
    /// file:PATH or credential:NAME. It names a role that owns nothing there and that no other of these URLs names. The tables
    /// are made by what `ward store schema` prints for the schemas `ward_keys` and `ward_accounts`. A new folder remembers
    /// where its keys are, and does not start with others; their copy stays a file.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    pub keys_database: Option<Result<KeySource, KeySourceError>>,
    /// A second folder for the ledger, on another disk: nothing is answered before its records are in both.
    #[arg(long, value_name = "DIR")]
    pub ledger_copy: Option<PathBuf>,
    /// Years for which the ledger's records are kept. What is older, and not held, is dropped once a day.
    #[arg(long, value_name = "N", default_value = "7")]
    pub ledger_years: NonZeroU16,
    /// Requests that one address may make in a minute.
    #[arg(long, value_name = "N", default_value = "1200")]
    pub peer_quota: NonZeroU32,
    /// Requests that one user may make in a minute.
    #[arg(long, value_name = "N", default_value = "600")]
    pub user_quota: NonZeroU32,
}

/// A parser's refusal would be printed next to the text that was refused, which may be a key: so it refuses nothing. Nor is a
/// key that begins with a hyphen taken for a flag that is not known, which would be printed as well.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn source(text: &str) -> Result<Result<KeySource, KeySourceError>, Infallible> {
    Ok(text.parse())
}
