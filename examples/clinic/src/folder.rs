//! The data folder: what is where, and the mark that says it is a demo's.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

/// The file whose presence marks a folder as a demo's, which `--fresh` may empty.
const MARK: &str = "DEMO";
const MARK_TEXT: &str = "This folder holds the demo data of the clinic example. `--fresh` removes it.\n";
/// The file that remembers where the copy of the key store is, if that is outside of the folder.
const KEY_COPY: &str = "key-copy";
/// The file of the key that signs the ledger's checkpoints.
pub(crate) const LEDGER_KEY: &str = "ledger-signing.key";

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Reading or writing failed.
    #[error("`{path}`: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder has files that no demo made.
    #[error("`{0}` is not empty and not marked as a demo's: name another folder with --data")]
    Foreign(PathBuf),
    /// A server runs on it.
    #[error("a server runs on `{0}`: stop it first")]
    InUse(PathBuf),
    /// The demo was not laid out to its end.
    #[error("the demo in `{0}` was not laid out to its end: start once with --fresh")]
    Incomplete(PathBuf),
    /// The copy of a new key store would take the place of something, or stand beside the store.
    #[error(
        "`{0}` cannot be the copy of a new key store: name a file that is not there yet, outside the data folder, \
             with --key-copy"
    )]
    CopyPlace(PathBuf),
    /// The key store has its copy elsewhere.
    #[error("the copy of this folder's key store is `{there}`, not `{asked}`: start without --key-copy; if the file was moved, \
             write its new place into `{file}`", file = KEY_COPY)]
    OtherCopy {
        /// Where it is.
        there: PathBuf,
        /// What was asked for.
        asked: PathBuf,
    },
    /// It was begun in the folder.
    #[error(
        "the {name} of `{path}` {is} in that folder: start without {flag}; to have {it} in a database, begin a new folder \
             with --data",
        name = .part.words().name, is = .part.words().is, flag = .part.words().flag, it = .part.words().it
    )]
    Here {
        /// What.
        part: Part,
        /// The folder.
        path: PathBuf,
    },
    /// It was begun in a database.
    #[error(
        "the {name} of `{path}` {is} in a PostgreSQL database: name the source of its URL with {flag}",
        name = .part.words().name, is = .part.words().is, flag = .part.words().flag
    )]
    Elsewhere {
        /// What.
        part: Part,
        /// The folder.
        path: PathBuf,
    },
}

/// What a database may hold instead of the folder. A file in the folder remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The ledger. Its file is locked by the server that writes there.
    Ledger,
    /// The clinics' data.
    Clinics,
    /// Keys, accounts and sessions.
    Keys,
}

struct Words {
    mark: &'static str,
    name: &'static str,
    is: &'static str,
    it: &'static str,
    flag: &'static str,
}

impl Part {
    const fn words(self) -> Words {
        let (is, it) = ("are", "them");
        match self {
            Self::Ledger => {
                Words { mark: "ledger-database", name: "ledger", is: "is", it: "it", flag: "--ledger-database" }
            }
            Self::Clinics => Words { mark: "database", name: "clinics", is, it, flag: "--database-url" },
            Self::Keys => Words { mark: "keys-database", name: "keys and accounts", is, it, flag: "--keys-database" },
        }
    }

    fn mark(self, folder: &Path) -> PathBuf {
        folder.join(self.words().mark)
    }
}

/// A folder that is a demo's.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    new: bool,
    keys_copy: PathBuf,
    /// What is in a database.
    elsewhere: Vec<Part>,
}

impl Folder {
    /// Looks at a folder, and changes nothing: it is a demo's, or there is nothing yet.
    ///
    /// # Errors
    ///
    /// [`FolderError`], naming what stands in the way.
    pub fn find(path: &Path, fresh: bool) -> Result<Self, FolderError> {
        let mut entries = match fs::read_dir(path) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(FolderError::Io { path: path.to_owned(), source }),
        };
        let keys_copy = path.join("keys-copy.sqlite");
        let mut folder = Self { path: path.to_owned(), new: true, keys_copy, elsewhere: Vec::new() };
        if entries.as_mut().is_none_or(|entries| entries.next().is_none()) {
            return Ok(folder);
        }
        // Its text counts, not its name: somebody else's folder may well hold something called so.
        if fs::read(path.join(MARK)).is_ok_and(|text| text == MARK_TEXT.as_bytes()) {
            folder.new = fresh;
        } else {
            return Err(FolderError::Foreign(path.to_owned()));
        }
        if folder.new && in_use(path) {
            return Err(FolderError::InUse(path.to_owned()));
        }
        if !folder.new && !folder.demo_json().exists() {
            return Err(FolderError::Incomplete(path.to_owned()));
        }
        if !folder.new
            && let Some(there) = folder.remembered_copy()?
        {
            folder.keys_copy = there;
        }
        Ok(folder)
    }

    /// Puts the copy of the key store where it was asked for. A new folder remembers that; another one has its copy
    /// already, and keeps it where it is: a second one, begun elsewhere, would leave people who are erased in the first.
    ///
    /// # Errors
    ///
    /// [`FolderError`], naming both places, or what is wrong with the new one.
    pub fn with_keys_copy(mut self, asked: Option<&Path>) -> Result<Self, FolderError> {
        let Some(asked) = asked else { return Ok(self) };
        let at = |source| FolderError::Io { path: asked.to_owned(), source };
        let asked = std::path::absolute(asked).map_err(at)?;
        let (there, home) = (std::path::absolute(&self.keys_copy), std::path::absolute(&self.path));
        let (there, home) = (there.map_err(at)?, home.map_err(at)?);
        if !self.new {
            return if asked == there { Ok(self) } else { Err(FolderError::OtherCopy { there, asked }) };
        }
        // `symlink_metadata`: a link that leads nowhere is something too.
        let taken = fs::symlink_metadata(&asked).is_ok() || asked.starts_with(home);
        if taken || !asked.parent().is_some_and(Path::is_dir) {
            return Err(FolderError::CopyPlace(asked));
        }
        self.keys_copy = asked;
        Ok(self)
    }

    /// Says whether a part was asked for in a database. A new folder remembers that; another one has this part already: a
    /// second one, begun elsewhere, would know nothing of what is in the first. Nor is a folder emptied whose part in a
    /// database nobody named: that would be left there, and nobody's.
    ///
    /// # Errors
    ///
    /// [`FolderError`], saying where the part is.
    pub fn with_database(mut self, part: Part, asked: bool) -> Result<Self, FolderError> {
        match (self.new, asked, part.mark(&self.path).exists()) {
            (false, true, false) => return Err(FolderError::Here { part, path: self.path }),
            (_, false, true) => return Err(FolderError::Elsewhere { part, path: self.path }),
            _ => {}
        }
        if asked {
            self.elsewhere.push(part);
        }
        Ok(self)
    }

    /// Where the ledger is in a database, keeps every other server off this folder while the file is held. One in a folder
    /// has a lock of its own.
    ///
    /// # Errors
    ///
    /// [`FolderError::InUse`] while another server holds it.
    pub fn hold(&self) -> Result<Option<fs::File>, FolderError> {
        if !self.elsewhere.contains(&Part::Ledger) {
            return Ok(None);
        }
        let path = Part::Ledger.mark(&self.path);
        let file = fs::File::open(&path).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Err(FolderError::InUse(self.path.clone())),
            Err(fs::TryLockError::Error(source)) => Err(FolderError::Io { path, source }),
        }
    }

    fn remembered_copy(&self) -> Result<Option<PathBuf>, FolderError> {
        let path = self.path.join(KEY_COPY);
        match fs::read(&path) {
            Ok(place) => Ok(Some(OsString::from_vec(place.trim_ascii_end().to_vec()).into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Io { path, source }),
        }
    }

    /// Makes a folder that is [new](Self::is_new), empty and marked. To be called once nothing else speaks against the
    /// start, since from here on only a demo that was laid out to its end is taken for one.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] with the path at fault.
    pub fn make(&self) -> Result<(), FolderError> {
        if !self.new {
            return Ok(());
        }
        let at = |source| FolderError::Io { path: self.path.clone(), source };
        if self.path.join(MARK).exists() {
            fs::remove_dir_all(&self.path).map_err(at)?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(at)?;
        self.write_private(MARK, MARK_TEXT.as_bytes())?;
        for part in &self.elsewhere {
            let Words { mark, name, is, .. } = part.words();
            let text = format!("The {name} of this folder {is} in a PostgreSQL database.\n");
            self.write_private(mark, text.as_bytes())?;
        }
        if self.keys_copy.starts_with(&self.path) {
            return Ok(());
        }
        self.write_private(KEY_COPY, &[self.keys_copy.as_os_str().as_bytes(), b"\n"].concat())
    }

    /// Whether it is to be laid out.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.new
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root key, unless it comes from elsewhere.
    #[must_use]
    pub fn root_key(&self) -> PathBuf {
        self.path.join("root.key")
    }

    /// The key that signs the ledger's checkpoints, unless it comes from elsewhere.
    #[must_use]
    pub fn ledger_key(&self) -> PathBuf {
        self.path.join(LEDGER_KEY)
    }

    /// The wrapped keys, unless they are in a database: a file of their own, which is never part of a data backup.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys.sqlite")
    }

    /// The copy of the wrapped keys: in the folder, unless [`with_keys_copy`](Self::with_keys_copy) put it elsewhere.
    #[must_use]
    pub fn keys_copy(&self) -> &Path {
        &self.keys_copy
    }

    /// Accounts, sessions and used envelopes, unless they are in a database.
    #[must_use]
    pub fn accounts(&self) -> PathBuf {
        self.path.join("accounts.sqlite")
    }

    /// The clinics' files.
    #[must_use]
    pub fn clinics(&self) -> PathBuf {
        self.path.join("clinics")
    }

    /// The ledger, unless it is in a database.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// What a script may rely on: hosts, logins, patients.
    #[must_use]
    pub fn demo_json(&self) -> PathBuf {
        self.path.join("demo.json")
    }

    /// Writes a file that its owner alone may read: whole or not at all.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] with the file's path.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| FolderError::Io { path, source })
    }
}

/// Whether a server holds the ledger of this folder.
fn in_use(path: &Path) -> bool {
    let locks = [path.join("ledger").join("ledger.lock"), Part::Ledger.mark(path)];
    locks.iter().any(|lock| fs::File::open(lock).is_ok_and(|lock| lock.try_lock().is_err()))
}
