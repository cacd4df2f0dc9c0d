//! `ward`: make keys, check keys, look after stores, verify and read a ledger.
//!
//! Exit codes: 0, all is well; 1, something is wrong and was said; 2, the command was not understood.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[path = "ward/audit.rs"]
mod audit;
#[path = "ward/keys.rs"]
mod keys;
#[path = "ward/rotate.rs"]
mod rotate;
#[path = "ward/store.rs"]
mod store;

/// Make keys, check keys, look after stores, verify and read a ledger.
#[derive(Debug, Parser)]
#[command(name = "ward", version, propagate_version = true, arg_required_else_help = true)]
struct Ward {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a root key and write it to a new file that only its owner may read.
    Keygen {
        /// The file, which must not exist yet; `-` prints the key on standard output.
        #[arg(long, value_name = "FILE", default_value = "tower-ward.key")]
        out: PathBuf,
    },
    /// Look after keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Replace keys by new ones, while a server uses them.
    #[command(subcommand)]
    Rotate(rotate::What),
    /// Look after the ledger.
    #[command(subcommand)]
    Audit(Audit),
    /// Look after stores of keys, accounts and sessions in PostgreSQL.
    #[command(subcommand)]
    Store(Store),
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Read each key as a server would, and say what is wrong with it or which one it is.
    Check {
        /// `env:NAME`, `file:/path` or `credential:name`; never a key itself.
        #[arg(value_name = "SOURCE", required = true)]
        sources: Vec<String>,
    },
    /// Say how the keys of a store stand, and what should be done about them.
    Report(rotate::Store),
    /// Cut the access to a clinic's keys, in every process that shares the store, within 5 s. Nothing is destroyed.
    Revoke {
        /// The clinic.
        tenant: String,
        #[command(flatten)]
        store: rotate::Store,
    },
    /// Give back the access that `revoke` cut.
    Restore {
        /// The clinic.
        tenant: String,
        #[command(flatten)]
        store: rotate::Store,
    },
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Check the records of a ledger, and name the first bad one.
    Verify(audit::Verify),
    /// Make a key that signs checkpoints, write it to a new file that only its owner may read, and print the key by which
    /// others verify them.
    Keygen {
        /// The ledger's name, like a URL without scheme: `clinic.example/ledger`.
        #[arg(long)]
        name: String,
        /// The file, which must not exist yet.
        #[arg(long, value_name = "FILE", default_value = "ledger.key")]
        out: PathBuf,
    },
    /// Print the SQL that makes a ledger's tables in PostgreSQL. Run it once as the role that is to own them:
    /// `ward audit schema --role ward_writer | psql -1 -v ON_ERROR_STOP=1 …`.
    Schema {
        /// The schema that is made.
        #[arg(long, value_name = "NAME", default_value = "ward_ledger")]
        schema: String,
        /// The role that the servers log in as, which must be there and must be another one than the owner.
        #[arg(long, value_name = "NAME")]
        role: String,
    },
    /// Print records of a ledger, the newest first. The folder is only read, also while a server writes it.
    List(Box<audit::List>),
}

#[derive(Debug, Subcommand)]
enum Store {
    /// Print the SQL that makes a store's tables in PostgreSQL. Run it once as the role that is to own them:
    /// `ward store schema --role ward | psql -1 -v ON_ERROR_STOP=1 …`.
    Schema {
        /// The schema that is made.
        #[arg(long, value_name = "NAME", default_value = "ward_store")]
        schema: String,
        /// The role that the servers log in as, which must be there and must be another one than the owner.
        #[arg(long, value_name = "NAME")]
        role: String,
    },
}

fn main() -> ExitCode {
    // Before anything can repeat an argument in its message.
    if std::env::args_os().any(|arg| keys::holds_key(&arg)) {
        eprintln!(
            "error: a key stands among the arguments, where every user of this machine can read it: replace that key, \
             and name the source of the new one instead"
        );
        return ExitCode::from(2);
    }
    match Ward::parse().command {
        Command::Keygen { out } => keys::generate(&out),
        Command::Keys(Keys::Check { sources }) => keys::check(&sources),
        Command::Keys(Keys::Report(store)) => rotate::report(&store),
        Command::Keys(Keys::Revoke { tenant, store }) => rotate::revoke(&tenant, &store),
        Command::Keys(Keys::Restore { tenant, store }) => rotate::restore(&tenant, &store),
        Command::Rotate(what) => rotate::rotate(&what),
        Command::Audit(Audit::Verify(what)) => audit::verify(&what),
        Command::Audit(Audit::Keygen { name, out }) => audit::keygen(&name, &out),
        Command::Audit(Audit::Schema { schema, role }) => audit::schema(&schema, &role),
        Command::Audit(Audit::List(list)) => audit::list(&list),
        Command::Store(Store::Schema { schema, role }) => store::schema(&schema, &role),
    }
}
