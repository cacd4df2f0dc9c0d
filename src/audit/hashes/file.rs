//! Writing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Hash, HashError, HashReader, io,
    position::{self, HASH, HEADER},
    reader::{Shared, header},
    segment, tree,
};

/// Leaves that one write carries at most: 4 MiB.
const CHUNK: usize = 65_536;

/// The file of hashes that belongs to a ledger, open for appending. One handle writes a file at a time.
///
/// ```
/// use tower_ward::audit::{HashError, HashFile, HashReader, ProofError, leaf_hash};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ledger.hashes");
/// let mut file = HashFile::open(&path)?;
/// file.append(&[leaf_hash(b"first"), leaf_hash(b"second"), leaf_hash(b"third")])?;
/// file.sync()?;
///
/// let reader: HashReader = file.reader();
/// let head = reader.head_at(3)?;
/// assert_eq!(reader.inclusion(1, 3)?.verify(&leaf_hash(b"second"), &head), Ok(()));
/// assert!(matches!(reader.inclusion(3, 3), Err(HashError::Proof(ProofError::Index))));
/// assert!(matches!(HashFile::open(&path), Err(HashError::Locked)));
///
/// // A new head is held against the one before.
/// file.append(&[leaf_hash(b"fourth")])?;
/// assert_eq!(reader.consistency(3, 4)?.verify(&head, &reader.head_at(4)?), Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HashFile {
    pub(super) shared: Arc<Shared>,
    /// Roots of the complete subtrees, the largest first: one for each bit of the size.
    pub(super) peaks: Vec<Hash>,
}

impl HashFile {
    /// Opens the file, making it if there is none. What a crash left of a leaf that is not wholly there is cut off.
    ///
    /// A crash can also leave bytes *before* the end that never reached the disk. [`HashReader::sound`] finds most of them;
    /// who has the records compares heads.
    ///
    /// # Errors
    ///
    /// [`HashError::Io`] if it cannot be read or written, [`HashError::Locked`] while another handle writes it,
    /// [`HashError::Header`] if it is no file of hashes.
    pub fn open(path: &Path) -> Result<Self, HashError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path)?,
            opened => opened.map_err(io("open"))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HashError::Locked),
            Err(TryLockError::Error(source)) => return Err(HashError::Io { doing: "lock", source }),
        }
        let shared = Shared::new(file)?;
        let size = shared.size();
        shared.file.set_len(position::end(size)).map_err(io("cut"))?;
        let peaks = shared.peaks(size)?;
        Ok(Self { shared: Arc::new(shared), peaks })
    }

    /// Gives the file its name only when its header is on the disk.
    fn create(path: &Path) -> Result<File, HashError> {
        use std::io::Write as _;
        // Beside it, and named as nothing else in a ledger's folder is.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        let unfinished = Path::new(&unfinished);
        let mut file = segment::private(OpenOptions::new().read(true).write(true).create(true).truncate(true))
            .open(unfinished)
            .map_err(io("make"))?;
        file.write_all(&header()).and_then(|()| file.sync_all()).map_err(io("make"))?;
        std::fs::rename(unfinished, path).map_err(io("make"))?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => segment::sync_dir(folder).map_err(io("make"))?,
            _ => segment::sync_dir(Path::new(".")).map_err(io("make"))?,
        }
        Ok(file)
    }

    /// How many leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Reads beside this handle, and sees what it appends.
    #[must_use]
    pub fn reader(&self) -> HashReader {
        HashReader::of(Arc::clone(&self.shared))
    }

    /// Appends leaves and the subtrees that they complete, by one write for each 65,536 leaves, without a sync.
    ///
    /// # Errors
    ///
    /// [`HashError::Io`] if a write fails. The file then has the [`size`](Self::size) that it says, and the rest of the
    /// leaves may be appended again.
    pub fn append(&mut self, leaves: &[[u8; 32]]) -> Result<(), HashError> {
        for chunk in leaves.chunks(CHUNK) {
            self.write(chunk)?;
        }
        Ok(())
    }

    fn write(&mut self, leaves: &[Hash]) -> Result<(), HashError> {
        let start = self.size();
        let mut size = start;
        let mut peaks = self.peaks.clone();
        let mut bytes = Vec::with_capacity(leaves.len() * 2 * HASH);
        for leaf in leaves {
            let mut hash = *leaf;
            bytes.extend_from_slice(&hash);
            for _ in 0..size.trailing_ones() {
                let left = peaks.pop().expect("a tree has one peak for each bit of its size");
                hash = tree::node(&left, &hash);
                bytes.extend_from_slice(&hash);
            }
            peaks.push(hash);
            size += 1;
        }
        if let Err(error) = self.shared.write_all_at(&bytes, position::end(start)) {
            // Part of it may be there, and the next start would take it for appended.
            let _ = self.shared.file.set_len(position::end(start));
            return Err(io("write")(error));
        }
        self.peaks = peaks;
        // Readers look no further than this, so they see whole leaves only.
        self.shared.size.store(size, Ordering::Release);
        Ok(())
    }

    /// Drops the leaves from `size` on.
    ///
    /// # Errors
    ///
    /// [`HashError::Beyond`] if it does not hold so many, [`HashError::Io`] if the file cannot be cut or read.
    pub fn truncate(&mut self, size: u64) -> Result<(), HashError> {
        if size > self.size() {
            return Err(HashError::Beyond);
        }
        let peaks = self.shared.peaks(size)?;
        self.shared.size.store(size, Ordering::Release);
        self.peaks = peaks;
        self.shared.file.set_len(position::end(size)).map_err(io("cut"))
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    ///
    /// [`HashError::Io`] if the disk says that it is not. What was appended since the last success may then be lost,
    /// although it still reads.
    pub fn sync(&mut self) -> Result<(), HashError> {
        self.shared.file.sync_data().map_err(io("sync"))
    }
}

impl Drop for HashFile {
    fn drop(&mut self) {
        // The readers keep the file open, and so would keep the lock. A failure leaves it to them.
        let _ = self.shared.file.unlock();
    }
}

const _: () = assert!(HEADER == HASH, "the header is as long as a hash, so hashes stand at multiples of their length");
