//! A text held against a file of the repository.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Why a text is not the golden one. Its [`Display`](std::fmt::Display) is for the reader of a test that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// They differ.
    #[error("`{path}` says otherwise:\n{lines}\nIf that is meant, say so in the commit, and:\n  mv {new} {path}", path = path.display(), new = new.display())]
    Differs {
        /// The golden file.
        path: PathBuf,
        /// Where the text was put.
        new: PathBuf,
        /// The lines that went, after `-`, and those that came, after `+`.
        lines: String,
    },
    /// A file cannot be read or written.
    #[error("`{path}`: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Holds a text, such as [`Router::matrix`](crate::axum::Router::matrix), against the golden file: who may do what then changes
/// in review, or not at all. A text that differs is put beside it as `FILE.new`, ready to take its place.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("golden-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// use tower_ward::testing::{GoldenError, golden};
///
/// let path = folder.join("matrix.txt");
/// std::fs::write(&path, "GET /notes doctor\n")?;
/// assert!(golden(&path, "GET /notes doctor\n").is_ok());
/// let error = golden(&path, "GET /notes doctor receptionist\n").unwrap_err();
/// assert!(matches!(error, GoldenError::Differs { .. }));
/// assert!(error.to_string().contains("- GET /notes doctor\n+ GET /notes doctor receptionist\n"));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Errors
///
/// If they differ, or a file cannot be read or written.
pub fn golden(path: &Path, text: &str) -> Result<(), GoldenError> {
    let at = |path: &Path, source| GoldenError::Io { path: path.to_owned(), source };
    let golden = match fs::read_to_string(path) {
        // The first one is accepted as any other is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(|source| at(path, source))?),
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if golden.as_deref() == Some(text) {
        return match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&new, error)),
            _ => Ok(()),
        };
    }
    fs::write(&new, text).map_err(|source| at(&new, source))?;
    let golden = golden.unwrap_or_default();
    let (before, after): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), text.lines().collect());
    let mut lines = String::new();
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(lines, "- {line}");
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        let _ = writeln!(lines, "+ {line}");
    }
    if lines.is_empty() {
        lines.push_str("(the same lines in another order, or other white space)\n");
    }
    Err(GoldenError::Differs { path: path.to_owned(), new, lines })
}
