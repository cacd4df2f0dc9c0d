//! `ward keygen` and `ward keys check`.

use std::{ffi::OsStr, io::Write as _, path::Path, process::ExitCode};

use tower_ward::{
    keys::{KeySource, RootKey},
    secret::ExposeSecret,
};

/// Whether an argument holds a key's text.
pub(crate) fn holds_key(arg: &OsStr) -> bool {
    arg.to_string_lossy().contains("tower-ward-key-v1:")
}

pub(crate) fn generate(out: &Path) -> ExitCode {
    let key = RootKey::generate();
    if out == Path::new("-") {
        let text = key.encode();
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{}", text.expose_secret()).and_then(|()| stdout.flush()) {
            eprintln!("error: the key could not be printed: {error}");
            return ExitCode::FAILURE;
        }
        eprintln!("fingerprint {}", key.fingerprint());
        return ExitCode::SUCCESS;
    }
    match key.write_new_file(out) {
        Ok(()) => {
            println!("wrote {} (mode 0600), fingerprint {}", out.display(), key.fingerprint());
            println!("keep a second copy where no copy of the key store is: what it seals is lost without it");
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            eprintln!("error: {} is there already, and a key is never overwritten: name another file", out.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {} could not be written: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn check(sources: &[String]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for source in sources {
        match source.parse::<KeySource>().and_then(|source| Ok((RootKey::load(&source)?, source))) {
            Ok((key, source)) => println!("ok {source} fingerprint {}", key.fingerprint()),
            Err(error) => {
                eprintln!("error: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
