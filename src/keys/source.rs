//! Where a key comes from, and every way in which that fails.

use std::{
    ffi::OsString,
    fmt, io,
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use zeroize::{Zeroize as _, Zeroizing};

use super::root::{ENCODED, PREFIX};
use crate::secret::SecretString;

/// The variable in which systemd gives a unit its folder of credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a key, or another secret, is read from. As text: `env:NAME`, `file:/path` or `credential:name`.
///
/// ```
/// use tower_ward::keys::KeySource;
///
/// let source: KeySource = "file:/etc/clinic/root.key".parse()?;
/// assert_eq!(source.to_string(), "file:/etc/clinic/root.key");
/// assert!("/etc/clinic/root.key".parse::<KeySource>().is_err());
/// # Ok::<(), tower_ward::keys::KeySourceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// An environment variable. Child processes inherit it and a crash dump may hold it: prefer one of the others.
    Env(String),
    /// A regular file that only its owner may read, with at most one newline at its end.
    File(PathBuf),
    /// A file of this name in the folder that systemd names in `CREDENTIALS_DIRECTORY` (`LoadCredential=`).
    Credential(String),
}

impl KeySource {
    /// Reads a secret of another form than a root key, such as a signing key's text: one line of at most `most` bytes of
    /// UTF-8, without control characters, and with no white space around it. Waits for the disk.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};
    /// use tower_ward::{keys::{KeySource, KeySourceErrorKind}, secret::ExposeSecret};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("signing.key");
    /// let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).unwrap();
    /// writeln!(file, "PRIVATE+KEY+clinic.example").unwrap();
    ///
    /// let source = KeySource::File(path);
    /// assert_eq!(source.read_secret(512).unwrap().expose_secret(), "PRIVATE+KEY+clinic.example");
    /// let error = source.read_secret(10).unwrap_err();
    /// assert_eq!(error.kind(), &KeySourceErrorKind::Oversize { most: 10 });
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If there is none, it cannot be read, others may read it, or it has another form. The error names the source and never
    /// what was read.
    pub fn read_secret(&self, most: usize) -> Result<SecretString, KeySourceError> {
        read_secret(self, most, &environment)
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl FromStr for KeySource {
    type Err = KeySourceError;

    fn from_str(text: &str) -> Result<Self, KeySourceError> {
        // What was given is not repeated before it is known to be a name: it may be a key.
        let unnamed = |kind| Err(KeySourceError::new("key source".to_owned(), kind));
        if text.contains(PREFIX) {
            return unnamed(KeySourceErrorKind::KeyAsSource);
        }
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Ok(Self::File(path.into())),
            Some(("credential", name)) if is_credential(name) => Ok(Self::Credential(name.to_owned())),
            _ => unnamed(KeySourceErrorKind::NotASource),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes, [b'A'..=b'Z' | b'a'..=b'z' | b'_', ..])
        && bytes.len() <= 255
        && bytes.iter().all(|b| matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// One component of a path, so that a name does not leave the folder.
fn is_credential(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes, [b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_', ..])
        && bytes.len() <= 255
        && bytes.iter().all(|b| matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

/// A key could not be had from its source. Names the source, never what was read there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {kind}")]
pub struct KeySourceError {
    source_name: String,
    kind: KeySourceErrorKind,
}

impl KeySourceError {
    pub(super) fn new(source_name: String, kind: KeySourceErrorKind) -> Self {
        Self { source_name, kind }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &KeySourceErrorKind {
        &self.kind
    }
}

/// What is wrong with a key's source or text, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceErrorKind {
    /// The text names no source.
    #[error("not a key source: write `env:NAME`, `file:/path` or `credential:name`")]
    NotASource,
    /// A key stands where its source should be named.
    #[error("a key stands where its source should: replace that key, it may be in a log, and name its source instead")]
    KeyAsSource,
    /// The variable is not set.
    #[error("the variable is not set: set it; a root key is made by `ward keygen`")]
    VariableMissing,
    /// The file does not exist.
    #[error("there is no such file: make it; a root key is made by `ward keygen --out FILE`")]
    FileMissing,
    /// `CREDENTIALS_DIRECTORY` is not set.
    #[error("`CREDENTIALS_DIRECTORY` is not set: run under systemd with `LoadCredential=`, or name another source")]
    NoCredentials,
    /// `CREDENTIALS_DIRECTORY` is not an absolute path.
    #[error("`CREDENTIALS_DIRECTORY` is not an absolute path: let systemd set it")]
    RelativeCredentials,
    /// The credential is not in the folder.
    #[error("the unit has no such credential: add `LoadCredential=` with this name to it")]
    CredentialMissing,
    /// The file is a symbolic link.
    #[error("the file is a symbolic link, which may be pointed elsewhere: name the file itself")]
    Symlink,
    /// The path names a folder.
    #[error("the path names a folder: name the file in it")]
    Folder,
    /// The path names a pipe, a socket or a device.
    #[error("the path names no regular file: copy what is in it into a file of mode 0600")]
    NotRegular,
    /// Others may read or change the file.
    #[error(
        "others may read or change the file (mode {mode:04o}): `chmod 600` it, and replace the key if it was shared"
    )]
    Exposed {
        /// The file's permission bits.
        mode: u32,
    },
    /// The file was replaced while it was opened.
    #[error("the file was replaced while it was opened: try again, and find out by whom")]
    Replaced,
    /// The file cannot be read.
    #[error("the file cannot be read ({0}): let the server's user own it")]
    Unreadable(io::ErrorKind),
    /// This platform has no permission bits.
    #[error("this platform does not tell who may read a file: use an environment variable")]
    Platform,
    /// There is nothing.
    #[error("it is empty: put the secret there; a root key is made by `ward keygen`")]
    Empty,
    /// The bytes are no text.
    #[error("it is not text: store the text itself, of a root key the one that `ward keygen` wrote, not its bytes")]
    NotText,
    /// White space before or after the secret.
    #[error("there is white space around the secret: leave the secret, and in a file at most one newline after it")]
    Whitespace,
    /// More than such a secret can have.
    #[error("it is longer than {most} bytes: store the secret and nothing else")]
    Oversize {
        /// The most bytes that are taken.
        most: usize,
    },
    /// The prefix is not there.
    #[error("it does not begin with `tower-ward-key-v1:`: store the whole text that `ward keygen` wrote")]
    Prefix,
    /// Fewer than 43 characters after the prefix.
    #[error("the key is too short: 43 characters follow the prefix; copy it whole")]
    Short,
    /// More than 43 characters after the prefix.
    #[error("the key is too long: 43 characters follow the prefix; store one key and nothing else")]
    Long,
    /// Not canonical base64url.
    #[error("the key is not base64url without padding (A-Z a-z 0-9 - _) in its one spelling: copy it again")]
    Encoding,
    /// All bytes are zero.
    #[error("the key is all zeros: make one with `ward keygen`")]
    AllZero,
    /// All bytes are the same.
    #[error("the key is one byte repeated: make one with `ward keygen`")]
    RepeatedByte,
    /// A short pattern, again and again.
    #[error("the key is a short pattern repeated: make one with `ward keygen`")]
    RepeatedPattern,
    /// Every byte is the one before plus the same step.
    #[error("the key counts up or down: make one with `ward keygen`")]
    Sequential,
    /// All bytes are printable text.
    #[error("the key's bytes are printable text, as of a password: make one with `ward keygen`")]
    Text,
    /// Too few distinct bytes.
    #[error("the key has too few distinct bytes to be random: make one with `ward keygen`")]
    LowVariety,
}

use KeySourceErrorKind as Kind;

/// The one place that reads this process's environment.
pub(super) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Looks up an environment variable. A parameter, because a test cannot set one without `unsafe`.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The text that stands at `source`, without the one newline that a file may end with: a root key, or what is longer.
pub(super) fn read(source: &KeySource, environment: Environment<'_>) -> Result<Zeroizing<String>, KeySourceError> {
    read_up_to(source, ENCODED, environment)
}

/// A secret of another form than a root key, such as a PIN: one line of at most `most` bytes, without control
/// characters, and with no white space around it.
pub(super) fn read_secret(
    source: &KeySource,
    most: usize,
    environment: Environment<'_>,
) -> Result<SecretString, KeySourceError> {
    let text = read_up_to(source, most, environment)?;
    let wrong = if text.is_empty() {
        Kind::Empty
    } else if text.len() > most {
        Kind::Oversize { most }
    } else if text.trim() != text.as_str() {
        Kind::Whitespace
    } else if text.contains(char::is_control) {
        Kind::NotText
    } else {
        return Ok(SecretString::from(text.as_str()));
    };
    Err(KeySourceError::new(source.to_string(), wrong))
}

fn read_up_to(
    source: &KeySource,
    most: usize,
    environment: Environment<'_>,
) -> Result<Zeroizing<String>, KeySourceError> {
    let read = match source {
        KeySource::Env(name) => read_variable(name, environment),
        KeySource::File(path) if path.to_string_lossy().contains(PREFIX) => Err(Kind::NotASource),
        KeySource::File(path) => read_file(path, most, 0o077, &Kind::FileMissing),
        KeySource::Credential(name) => read_credential(name, most, environment),
    };
    read.map_err(|kind| {
        // A source made around `FromStr` may hold a key where its name should be; then it is not repeated.
        let shown = if kind == Kind::NotASource { "key source".to_owned() } else { source.to_string() };
        KeySourceError::new(shown, kind)
    })
}

fn read_variable(name: &str, environment: Environment<'_>) -> Result<Zeroizing<String>, Kind> {
    // The enum can be built around `FromStr`, and `var_os` does not take every text.
    if !is_variable(name) {
        return Err(Kind::NotASource);
    }
    let value = environment(name).ok_or(Kind::VariableMissing)?;
    text(value.into_encoded_bytes())
}

fn read_credential(name: &str, most: usize, environment: Environment<'_>) -> Result<Zeroizing<String>, Kind> {
    if !is_credential(name) {
        return Err(Kind::NotASource);
    }
    let folder = environment(CREDENTIALS_DIRECTORY).ok_or(Kind::NoCredentials)?;
    let folder = PathBuf::from(folder);
    if !folder.is_absolute() {
        return Err(Kind::RelativeCredentials);
    }
    // systemd gives the unit's user access by an access list, whose mask stands in the group's bits; so for a
    // credential alone the group may have `r`.
    read_file(&folder.join(name), most, 0o037, &Kind::CredentialMissing)
}

/// Reads a regular file of at most `most` bytes and one newline, or the beginning of a longer one, on which none of the
/// `forbidden` permission bits are set.
fn read_file(path: &Path, most: usize, forbidden: u32, missing: &Kind) -> Result<Zeroizing<String>, Kind> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => missing.clone(),
        // A NUL or a component that is no folder: as good as not there, and nothing to look up.
        kind => Kind::Unreadable(kind),
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let seen = std::fs::symlink_metadata(path).map_err(failed)?;
    if seen.is_symlink() {
        return Err(Kind::Symlink);
    }
    if seen.is_dir() {
        return Err(Kind::Folder);
    }
    if !seen.is_file() {
        return Err(Kind::NotRegular);
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    check_file(&seen, &file.metadata().map_err(failed)?, forbidden)?;
    // One byte more than a newline, to see that a file is longer.
    let limit = most + 2;
    // With room to spare, so that no half-filled buffer is left behind by growing.
    let mut bytes = Vec::with_capacity(2 * limit);
    let read = file.take(limit as u64).read_to_end(&mut bytes);
    if let Err(error) = read {
        bytes.zeroize();
        return Err(failed(error));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    text(bytes)
}

/// What was opened is what was looked at, and is closed to others.
#[cfg(unix)]
fn check_file(seen: &std::fs::Metadata, opened: &std::fs::Metadata, forbidden: u32) -> Result<(), Kind> {
    use std::os::unix::fs::MetadataExt as _;

    if (seen.dev(), seen.ino()) != (opened.dev(), opened.ino()) {
        return Err(Kind::Replaced);
    }
    if opened.mode() & forbidden != 0 {
        return Err(Kind::Exposed { mode: opened.mode() & 0o7777 });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_file(_: &std::fs::Metadata, _: &std::fs::Metadata, _: u32) -> Result<(), Kind> {
    Err(Kind::Platform)
}

fn text(bytes: Vec<u8>) -> Result<Zeroizing<String>, Kind> {
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        Kind::NotText
    })
}
