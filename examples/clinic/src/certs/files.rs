//! Files that are there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::CertError;

/// More than any file of ours holds.
const MAX_FILE: u64 = 64 << 10;

/// A file as it was found.
pub(super) struct Found {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Whether somebody besides the owner may read or write it.
    pub(super) exposed: bool,
}

/// The file's contents, cut at [`MAX_FILE`]; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Found>, CertError> {
    let read = || {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // The mode is asked of the open file: the name could be given to another one meanwhile.
        let exposed = file.metadata()?.mode() & 0o077 != 0;
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(Some(Found { bytes, exposed }))
    };
    read().map_err(|source| CertError::File { path: path.to_owned(), source })
}

/// Puts `bytes` at `path` with this mode, whatever the umask. A crash leaves the old file or the new one.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertError> {
    let temporary = path.with_extension("pem.new");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new` follows no link that somebody left here.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is durable once the folder is.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| CertError::File { path: path.to_owned(), source })
}
