//! `ward keys report`, `ward keys revoke`, `ward keys restore` and `ward rotate`: on a key store, while a server uses it.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tower_ward::{
    clock::SystemClock,
    db::{RotationError, RotationLog, RotationMode, RotationProgress, RotationStage},
    id::TenantId,
    keys::{Kek, KekId, KeyError, KeySource, Keyring, KeyringOptions, RootKey},
    store::{Durable, SqliteStore},
};

/// Whatever is wrong, in one sentence.
type Error = Box<dyn std::error::Error>;

/// Which key store, and what opens it.
#[derive(Debug, Args)]
pub(crate) struct Store {
    /// The key store's file.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Where the platform's root key is: `env:NAME`, `file:/path` or `credential:name`.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true)]
    root: Option<Result<KeySource, String>>,
    /// The name of the root key in records.
    #[arg(long, value_name = "NAME", default_value = "root")]
    root_name: String,
    /// Another key-encryption key, as NAME=SOURCE; as often as there are some.
    #[arg(long, value_name = "NAME=SOURCE", value_parser = named)]
    kek: Vec<Result<(String, String), String>>,
    /// A registered copy of the key store, as NAME=FILE; each must be named.
    #[arg(long, value_name = "NAME=FILE", value_parser = named)]
    copy: Vec<Result<(String, String), String>>,
}

/// A parser's refusal would be printed next to the text that was refused, which may be a key: so it refuses nothing.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn source(text: &str) -> Result<Result<KeySource, String>, std::convert::Infallible> {
    Ok(text.parse::<KeySource>().map_err(|error| error.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn named(text: &str) -> Result<Result<(String, String), String>, std::convert::Infallible> {
    let parts = text.split_once('=').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    Ok(parts.ok_or_else(|| "write NAME=SOURCE".to_owned()))
}

/// What is rotated.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Seal the values of a clinic's people anew under new keys. The server does the work; this begins it and looks on, and
    /// may be ended and begun again at any time. The old keys stay until `--retire`.
    Values {
        /// The clinic.
        tenant: String,
        /// Count people and values, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Look at every value once more, and destroy the old keys. Backups of the data from before the values were sealed
        /// anew do not open any more: make one first.
        #[arg(long, conflicts_with = "dry_run")]
        retire: bool,
        #[command(flatten)]
        store: Store,
    },
    /// Give a clinic a new wrapping key, and wrap its people's keys under it. No value is touched.
    Clinic {
        /// The clinic.
        tenant: String,
        #[command(flatten)]
        store: Store,
    },
    /// Wrap everything that is wrapped under one key-encryption key under another. No value is touched. Servers that run must
    /// know both: one that does not serves from memory for as long as an outage is allowed, and then refuses.
    Root {
        /// The key-encryption key that is given up, by its name in records.
        #[arg(long, value_name = "NAME", default_value = "root")]
        from: String,
        /// The one that takes its place, by its name; give it by `--kek`.
        #[arg(long, value_name = "NAME")]
        to: String,
        #[command(flatten)]
        store: Store,
    },
}

impl Store {
    async fn open(&self) -> Result<(Keyring, Arc<dyn Durable>), Error> {
        let source = self.root.clone().ok_or("--root: name the source of the root key")?;
        let root = RootKey::load(&source.map_err(|error| format!("--root: {error}"))?)?;
        let root = Kek::new(id(&self.root_name, "--root-name")?, root);
        let mut options = KeyringOptions::default();
        for kek in &self.kek {
            let (name, source) = kek.as_ref().map_err(|error| format!("--kek: {error}"))?;
            let source: KeySource = source.parse().map_err(|error| format!("--kek: {error}"))?;
            options = options.add_kek(Kek::new(id(name, "--kek")?, RootKey::load(&source)?));
        }
        for copy in &self.copy {
            let (name, path) = copy.as_ref().map_err(|_| "--copy: write NAME=FILE")?;
            let store = Arc::new(open(path.as_ref()).await?);
            options = options.add_copy(name, store).map_err(|error| format!("--copy: {error}"))?;
        }
        let store: Arc<dyn Durable> = Arc::new(open(&self.store).await?);
        let keyring = Keyring::open_with(root, Arc::clone(&store), &options).await.map_err(|error| match error {
            KeyError::MissingCopy(name) => {
                format!("the copy `{name}` of the key store is registered: give it by `--copy {name}=FILE`").into()
            }
            error => Error::from(error),
        })?;
        Ok((keyring, store))
    }
}

/// A store that is there: a misspelt path would otherwise begin an empty one.
async fn open(path: &std::path::Path) -> Result<SqliteStore, Error> {
    if !path.exists() {
        return Err(format!("{}: there is no such file", path.display()).into());
    }
    Ok(SqliteStore::open(path).await?)
}

fn id(name: &str, argument: &str) -> Result<KekId, Error> {
    KekId::new(name).map_err(|error| format!("{argument}: {error}").into())
}

fn clinic(name: &str) -> Result<TenantId, Error> {
    TenantId::new(name).map_err(|error| format!("TENANT: {error}").into())
}

/// Runs to its end, and says what went wrong.
fn run(work: impl Future<Output = Result<(), Error>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn report(store: &Store) -> ExitCode {
    run(async {
        let (keyring, _) = store.open().await?;
        let report = keyring.report().await?;
        print!("{report}");
        for finding in report.findings() {
            println!("! {finding}");
        }
        Ok(())
    })
}

pub(crate) fn revoke(tenant: &str, store: &Store) -> ExitCode {
    run(async {
        let (keyring, _) = store.open().await?;
        keyring.revoke_tenant(&clinic(tenant)?).await?;
        println!("access to the keys of `{tenant}` is revoked: every process that shares the store refuses within 5 s");
        Ok(())
    })
}

pub(crate) fn restore(tenant: &str, store: &Store) -> ExitCode {
    run(async {
        let (keyring, _) = store.open().await?;
        keyring.restore_tenant(&clinic(tenant)?).await?;
        println!("access to the keys of `{tenant}` is restored");
        Ok(())
    })
}

pub(crate) fn rotate(what: &What) -> ExitCode {
    run(async {
        match what {
            What::Values { tenant, dry_run, retire, store } => {
                let mode = match (dry_run, retire) {
                    (true, _) => RotationMode::Count,
                    (false, true) => RotationMode::Retire,
                    (false, false) => RotationMode::Reseal,
                };
                values(&clinic(tenant)?, mode, store).await
            }
            What::Clinic { tenant, store } => {
                let (keyring, _) = store.open().await?;
                let bar = spinner("wrapping people's keys anew");
                let moved = keyring.rotate_tenant(&clinic(tenant)?).await?;
                bar.finish_and_clear();
                println!("`{tenant}` has a new wrapping key; the keys of {moved} people are wrapped under it");
                Ok(())
            }
            What::Root { from, to, store } => {
                let (keyring, _) = store.open().await?;
                let bar = spinner("wrapping clinics' keys anew");
                let told = |done: usize| bar.set_message(format!("{done} wrapped anew"));
                let done = keyring.rewrap_all(&id(from, "--from")?, &id(to, "--to")?, told).await?;
                bar.finish_and_clear();
                println!(
                    "{done} keys are wrapped under `{to}`; nothing is left under `{from}`, which may be destroyed"
                );
                println!("start servers with `{to}` from now on");
                Ok(())
            }
        }
    })
}

/// How often a rotation that a server does is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After how many looks somebody should take it up.
const PATIENCE: u32 = 40;

async fn values(tenant: &TenantId, mode: RotationMode, store: &Store) -> Result<(), Error> {
    let (keyring, store) = store.open().await?;
    let log = RotationLog::new(&keyring, store, SystemClock::shared());
    let begun = match log.begin(tenant, mode).await {
        Ok(begun) => begun,
        Err(RotationError::GoingOn) => {
            println!("a rotation of this clinic's values is going on: looking on");
            log.progress(tenant).await?.ok_or("the rotation is gone")?
        }
        Err(error) => return Err(error.into()),
    };
    let bar = ProgressBar::new(begun.total);
    bar.set_style(ProgressStyle::with_template("{msg:24} {bar:32} {pos:>6}/{len} people, {elapsed}")?);
    let (mut last, mut idle) = (begun.clone(), 0);
    loop {
        let now = log.progress(tenant).await?.ok_or("the rotation is gone")?;
        idle = if now == last { idle + 1 } else { 0 };
        if idle == PATIENCE && now.stage == RotationStage::Prepare {
            bar.println(
                "no server has taken it up yet: it is done by one that runs `Rotation::attend` on this key store",
            );
        }
        bar.set_message(now.stage.as_str());
        bar.set_position(now.people);
        if now.stage == RotationStage::Done {
            bar.finish_and_clear();
            say(&now);
            return Ok(());
        }
        last = now;
        tokio::time::sleep(LOOK).await;
    }
}

fn say(done: &RotationProgress) {
    let RotationProgress { id, total, values, damaged, mode, .. } = done;
    match mode {
        RotationMode::Count => println!("{total} people, {values} sealed values; nothing was changed"),
        RotationMode::Retire | RotationMode::Whole => {
            println!(
                "rotation {id}: {values} values of {total} people were sealed anew, and the old keys are destroyed"
            );
            println!("backups of the data from before do not open any more");
        }
        _ => {
            println!("rotation {id}: {values} values of {total} people were sealed anew; the old keys are kept");
            println!("make a new backup of the data, and then destroy them with --retire");
        }
    }
    if *damaged > 0 {
        println!("{damaged} value(s) did not open and were left as they are; their owners keep the old key");
    }
}

fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
