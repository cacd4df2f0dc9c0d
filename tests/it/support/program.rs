//! The programs that tests start.

use std::path::{Path, PathBuf};

/// A program: where `scripts/test` puts it, or else on the path.
///
/// # Panics
///
/// If there is none. A test that needs a program is not skipped.
pub(crate) fn program(name: &str) -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv").join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::iter::once(environment).chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("there is no `{name}`, neither in target/venv/bin nor on the path: run `scripts/test --step setup`")
    })
}
