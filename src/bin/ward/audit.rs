//! `ward audit`.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tower_ward::{
    audit::{CheckpointSigner, CheckpointVerifier, Head, Known, MAX_CHECKPOINT, Report, VerifierKey, verify_with},
    secret::ExposeSecret as _,
};

/// What to verify, and what is known of it from elsewhere.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The ledger's folder.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A checkpoint that was kept elsewhere, signed by `--key`: the ledger must once have been so. May be given again.
    #[arg(long, value_name = "CHECKPOINT", requires = "key")]
    since: Vec<PathBuf>,
    /// A head that was written down, `SIZE:ROOT`, without any signature. May be given again.
    #[arg(long, value_name = "HEAD")]
    since_head: Vec<Head>,
    /// Who signs the checkpoints, as `ward audit keygen` printed it. The ledger's own newest one is verified too.
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
    /// Who signed them before. May be given again.
    #[arg(long, value_name = "KEY", requires = "key")]
    old_key: Vec<VerifierKey>,
    /// A witness: if it has cosigned a checkpoint, that must hold. May be given again.
    #[arg(long, value_name = "KEY", requires = "key")]
    witness: Vec<VerifierKey>,
    /// How many witnesses must have cosigned each checkpoint that was kept.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "witness")]
    quorum: usize,
}

/// Checks a ledger, and says what it is worth, or which record is the first bad one.
pub(crate) fn verify(what: &Verify) -> ExitCode {
    let report = known(what)
        .and_then(|known| verify_with(&what.dir, &known).map_err(|error| format!("{}: {error}", what.dir.display())));
    match report {
        Ok(report) => {
            say(what, &report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn known(what: &Verify) -> Result<Known, String> {
    let mut known = what.since_head.iter().copied().fold(Known::new(), Known::add_head);
    let Some(key) = &what.key else { return Ok(known) };
    let add = |keys: CheckpointVerifier, key: &VerifierKey| keys.add_old_key(key.clone());
    let own = CheckpointVerifier::new(key.clone()).and_then(|own| what.old_key.iter().try_fold(own, add));
    // The ledger itself asks no witness: what it has just signed, none has seen yet.
    let own = own.map_err(|error| error.to_string())?;
    let kept = what.witness.iter().try_fold(own.clone(), |keys, witness| keys.add_witness(witness.clone()));
    let kept = match what.quorum {
        0 => kept,
        quorum => kept.and_then(|keys| keys.with_quorum(quorum)),
    };
    let kept = kept.map_err(|error| error.to_string())?;
    for file in &what.since {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let mut note = Vec::new();
        let limit = MAX_CHECKPOINT as u64 + 1;
        std::fs::File::open(file)
            .and_then(|open| open.take(limit).read_to_end(&mut note))
            .map_err(|error| at(&error))?;
        let signed = kept.verify(&note).map_err(|error| at(&error))?;
        known = known.add_head(signed.head());
    }
    Ok(known.with_keys(own))
}

fn say(what: &Verify, report: &Report) {
    println!(
        "ok: {} records of {} clinics in {} segments, head {}",
        report.records(),
        report.tenants(),
        report.segments(),
        report.head()
    );
    if let Some(bytes) = report.torn() {
        println!("{bytes} bytes at the end were cut off by a crash before they were acknowledged");
    }
    if let Some(signed) = report.signed() {
        println!("signed up to record {}, {} after that", signed.size(), report.records() - signed.size());
    }
    match what.since.len() + what.since_head.len() {
        0 => println!(
            "keep the head or a checkpoint elsewhere: the ledger alone cannot show that its end was cut or all was rewritten"
        ),
        kept => println!("it begins as each of the {kept} that were kept says"),
    }
}

/// Makes a key that signs checkpoints.
pub(crate) fn keygen(name: &str, out: &Path) -> ExitCode {
    let made = CheckpointSigner::generate(name).map_err(|error| error.to_string()).and_then(|signer| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = |mut file: std::fs::File| {
            file.write_all(signer.encode().expose_secret().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        let written = options.open(out).and_then(write);
        written.map(|()| signer.verifier_key().to_string()).map_err(|error| format!("{}: {error}", out.display()))
    });
    match made {
        Ok(key) => {
            println!("{key}");
            eprintln!("the signing key is in {}; give the line above to whoever is to verify", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
