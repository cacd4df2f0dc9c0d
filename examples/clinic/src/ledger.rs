//! The ledger: in the data folder or in a database, with whoever signs its checkpoints, and its copy.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower_ward::{
    audit::{CheckpointSigner, FolderSink, Ledger, LedgerOptions, PostgresLedger, Retention, RetentionError, Sinks},
    clock::SharedClock,
    keys::KeySource,
    secret::ExposeSecret as _,
};

use crate::{
    app::Error,
    args::Args,
    folder::{Folder, LEDGER_KEY},
    urls::Urls,
};

/// What the demo's ledger is called in its checkpoints.
const NAME: &str = "clinic.localhost/ledger";
/// No signing key's text is longer.
const MAX_KEY: usize = 512;

/// The database that was asked for, looked at before anything is emptied for the sake of a ledger there.
pub(crate) async fn database(
    urls: &Urls,
    folder: &Folder,
    clock: &SharedClock,
) -> Result<Option<PostgresLedger>, Error> {
    let Some(url) = &urls.ledger else { return Ok(None) };
    let place = url.place(PostgresLedger::new)?;
    if folder.is_new() {
        let looked = Ledger::open_postgres(&place, Sinks::new(), LedgerOptions::new(), Arc::clone(clock)).await?;
        let size = looked.head().size();
        looked.shutdown().await;
        if size > 0 {
            // What another folder's changes came to, this one's files could not say.
            return Err(NOT_EMPTY.into());
        }
    }
    Ok(Some(place))
}

const NOT_EMPTY: &str = "the database of --ledger-database holds the ledger of another data folder: name that folder with --data, \
    or a database without records, made by what `ward audit schema` prints";

/// Opens the ledger.
pub(crate) async fn open(
    args: &Args,
    database: Option<PostgresLedger>,
    folder: &Folder,
    clock: &SharedClock,
) -> Result<Ledger, Error> {
    let signer = signer(args, folder)?;
    // What an auditor needs to have, and nobody needs to hide.
    folder.write_private("ledger.vkey", format!("{}\n", signer.verifier_key()).as_bytes())?;
    let options = LedgerOptions::new().with_signer(signer);
    let sinks = match &args.ledger_copy {
        Some(copy) => Sinks::new().add_required("copy", FolderSink::open(copy, &options)?),
        None => Sinks::new(),
    };
    let Some(place) = database else {
        return Ok(Ledger::open_with(&folder.ledger(), sinks, options, Arc::clone(clock))?);
    };
    let ledger = Ledger::open_postgres(&place, sinks, options, Arc::clone(clock)).await?;
    if !folder.is_new() && ledger.head().size() == 0 {
        ledger.shutdown().await;
        return Err(EMPTY.into());
    }
    Ok(ledger)
}

const EMPTY: &str = "the database of --ledger-database holds no records, and the ledger of this data folder had some: name the \
    database that the folder was begun with";

/// Once a day, drops what is older than it has to be kept.
pub(crate) async fn keep(ledger: Ledger, years: NonZeroU16) {
    let retention = Retention::new().with_years(years);
    // The first run comes when the clinic has been up for a while: it reads the whole ledger.
    let mut next = tokio::time::interval_at(Instant::now() + FIRST, DAY);
    loop {
        next.tick().await;
        match ledger.prune(&retention).await {
            Ok(report) => {
                tracing::info!(
                    bodies = report.bodies(),
                    prunes = report.prunes(),
                    "old records of the ledger are dropped"
                );
                for chain in report.skipped() {
                    tracing::warn!(chain = chain.as_str(), "old records of this chain wait for the next run");
                }
            }
            // Another server does it.
            Err(RetentionError::Running) => {}
            Err(error) => tracing::error!(%error, "old records of the ledger are not dropped"),
        }
    }
}

const FIRST: Duration = Duration::from_secs(10 * 60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn signer(args: &Args, folder: &Folder) -> Result<CheckpointSigner, Error> {
    let source = args.ledger_key.clone().transpose().map_err(|error| format!("--ledger-key: {error}"))?;
    let source = match source {
        Some(source) => source,
        None => {
            if !folder.ledger_key().exists() {
                let signer = CheckpointSigner::generate(NAME)?;
                folder.write_private(LEDGER_KEY, signer.encode().expose_secret().as_bytes())?;
            }
            KeySource::File(folder.ledger_key())
        }
    };
    Ok(CheckpointSigner::decode(&source.read_secret(MAX_KEY)?)?)
}
