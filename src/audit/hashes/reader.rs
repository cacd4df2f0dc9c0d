//! Reading.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    ConsistencyProof, Hash, HashError, Head, InclusionProof, ProofError, io,
    position::{self, HASH, HEADER, Node},
    tree,
};

const MAGIC: &[u8; 8] = b"TWHASHES";
const VERSION: u32 = 1;
/// Hashes that are read at once where all are read.
const CHUNK: u64 = 32_768;

/// The first bytes of the file.
pub(super) fn header() -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_be_bytes());
    out
}

/// What the writer and the readers of one file share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: File,
    /// Leaves that are wholly there.
    pub(super) size: AtomicU64,
}

impl Shared {
    pub(super) fn new(file: File) -> Result<Self, HashError> {
        let shared = Self { file, size: AtomicU64::new(0) };
        let length = shared.file.metadata().map_err(io("read"))?.len();
        let mut first = [0; HEADER];
        if length < HEADER as u64 {
            return Err(HashError::Header);
        }
        shared.read_exact_at(&mut first, 0).map_err(io("read"))?;
        if first != header() {
            return Err(HashError::Header);
        }
        shared.size.store(position::leaves((length - HEADER as u64) / HASH as u64), Ordering::Release);
        Ok(shared)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn hash(&self, node: Node) -> Result<Hash, HashError> {
        let mut hash = [0; HASH];
        self.read_exact_at(&mut hash, node.offset()).map_err(io("read"))?;
        Ok(hash)
    }

    /// Roots of the complete subtrees of so many leaves, the largest first.
    pub(super) fn peaks(&self, size: u64) -> Result<Vec<Hash>, HashError> {
        self.range(0, size)
    }

    fn range(&self, low: u64, high: u64) -> Result<Vec<Hash>, HashError> {
        position::cover(low, high).map(|node| self.hash(node)).collect()
    }

    /// The roots over the ranges, each of at least one leaf.
    fn roots(&self, ranges: &[position::Range]) -> Result<Vec<Hash>, HashError> {
        let root = |&(low, high)| position::fold(&self.range(low, high)?).ok_or(HashError::Damaged);
        ranges.iter().map(root).collect()
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(unix)]
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
        while !buffer.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[read..];
            offset += read as u64;
        }
        Ok(())
    }

    #[cfg(windows)]
    pub(super) fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset)?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }
}

/// Reads a file of hashes beside its writer, or without one, and makes proofs. Cheap to clone; shared by threads.
///
/// ```
/// use tower_ward::audit::{HashError, HashFile, HashReader, Head, leaf_hash};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ledger.hashes");
/// let mut file = HashFile::open(&path)?;
/// file.append(&[leaf_hash(b"first"), leaf_hash(b"second")])?;
/// let reader = HashReader::open(&path)?;
/// let signed: Head = reader.head_at(2)?; // what a checkpoint said
///
/// // The head decides, not the file.
/// assert!(reader.inclusion_in(0, &signed).is_ok());
/// let forked = Head::new(2, leaf_hash(b"another"));
/// assert!(matches!(reader.inclusion_in(0, &forked), Err(HashError::Damaged)));
/// assert!(matches!(reader.head_at(3), Err(HashError::Beyond)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HashReader {
    shared: Arc<Shared>,
}

impl HashReader {
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens a file to read it only, as it is now: its [`size`](Self::size) does not grow. [`HashFile::reader`] gives one
    /// that sees what is appended.
    ///
    /// [`HashFile::reader`]: super::HashFile::reader
    ///
    /// # Errors
    ///
    /// [`HashError::Io`] if it cannot be read, [`HashError::Header`] if it is no file of hashes.
    pub fn open(path: &Path) -> Result<Self, HashError> {
        let file = File::open(path).map_err(io("open"))?;
        Ok(Self::of(Arc::new(Shared::new(file)?)))
    }

    /// How many leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    fn has(&self, size: u64) -> Result<(), HashError> {
        if size <= self.size() { Ok(()) } else { Err(HashError::Beyond) }
    }

    /// The hash of a leaf, as it stands in the file: unlike a proof, it is not checked.
    ///
    /// # Errors
    ///
    /// [`HashError::Beyond`] if there is no such leaf, [`HashError::Io`] if it cannot be read.
    pub fn leaf(&self, index: u64) -> Result<[u8; 32], HashError> {
        if index >= self.size() {
            return Err(HashError::Beyond);
        }
        self.shared.hash(Node::leaf(index))
    }

    /// The head over the first `size` leaves, as the file has it. Compare it with the ledger's own.
    ///
    /// # Errors
    ///
    /// [`HashError::Beyond`] if it does not hold so many, [`HashError::Io`] if it cannot be read.
    pub fn head_at(&self, size: u64) -> Result<Head, HashError> {
        self.has(size)?;
        let root = position::fold(&self.shared.peaks(size)?).unwrap_or_else(|| tree::Tree::default().root());
        Ok(Head { size, root })
    }

    /// Proof that the leaf at `index` is among the first `size`, checked against [`head_at`](Self::head_at).
    ///
    /// # Errors
    ///
    /// [`HashError::Proof`] if the index is not below the size, and as [`inclusion_in`](Self::inclusion_in).
    pub fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, HashError> {
        self.inclusion_in(index, &self.head_at(size)?)
    }

    /// Proof that the leaf at `index` is in the tree with this head, which may come from a checkpoint.
    ///
    /// # Errors
    ///
    /// [`HashError::Damaged`] if the file's hashes do not lead to the head, [`HashError::Beyond`] if it does not hold so
    /// many, [`HashError::Proof`] if the index is not below the size, [`HashError::Io`] if it cannot be read.
    ///
    /// # Security
    ///
    /// Whoever can write the file cannot make it prove what is not so: the proof was checked against the head.
    pub fn inclusion_in(&self, index: u64, head: &Head) -> Result<InclusionProof, HashError> {
        self.has(head.size)?;
        if index >= head.size {
            return Err(ProofError::Index.into());
        }
        let path = self.shared.roots(&position::inclusion(index, head.size))?;
        let proof = InclusionProof::new(index, head.size, path)?;
        proof.verify(&self.leaf(index)?, head).map_err(|_| HashError::Damaged)?;
        Ok(proof)
    }

    /// Proof that the first `old` leaves are the beginning of the first `new`, checked against [`head_at`](Self::head_at)
    /// both.
    ///
    /// # Errors
    ///
    /// [`HashError::Proof`] if `old` is 0 or above `new`, and as [`consistency_between`](Self::consistency_between).
    pub fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, HashError> {
        if old == 0 || old > new {
            return Err(ProofError::Order.into());
        }
        self.consistency_between(&self.head_at(old)?, &self.head_at(new)?)
    }

    /// Proof that the tree with the head `old` is the beginning of the one with the head `new`, which may come from
    /// checkpoints.
    ///
    /// # Errors
    ///
    /// [`HashError::Damaged`] if the file's hashes do not lead to both heads, [`HashError::Beyond`] if it does not hold so
    /// many, [`HashError::Proof`] if the old tree is empty or the larger one, [`HashError::Io`] if it cannot be read.
    pub fn consistency_between(&self, old: &Head, new: &Head) -> Result<ConsistencyProof, HashError> {
        if old.size == 0 || old.size > new.size {
            return Err(ProofError::Order.into());
        }
        self.has(new.size)?;
        let ranges = if old.size == new.size { Vec::new() } else { position::consistency(old.size, new.size) };
        let proof = ConsistencyProof::new(old.size, new.size, self.shared.roots(&ranges)?)?;
        proof.verify(old, new).map_err(|_| HashError::Damaged)?;
        Ok(proof)
    }

    /// Up to how many leaves each subtree's hash is what its halves hash to, given that the first `from` leaves are sound.
    /// Reads and hashes all after them: about a second for three million leaves.
    ///
    /// For after a crash. A last leaf without a sibling has nothing that tells whether it is as it was written; compare
    /// [`head_at`](Self::head_at) with the ledger's own head.
    ///
    /// # Errors
    ///
    /// [`HashError::Beyond`] if it does not hold so many, [`HashError::Io`] if it cannot be read.
    pub fn sound(&self, from: u64) -> Result<u64, HashError> {
        let size = self.size();
        self.has(from)?;
        let mut peaks = self.shared.peaks(from)?;
        let mut buffer = Buffer { shared: &self.shared, bytes: Vec::new(), next: 0, at: position::end(from) };
        let end = position::end(size);
        for leaf in from..size {
            let mut hash = buffer.next(end)?;
            for _ in 0..leaf.trailing_ones() {
                let left = peaks.pop().ok_or(HashError::Damaged)?;
                hash = tree::node(&left, &hash);
                if buffer.next(end)? != hash {
                    return Ok(leaf);
                }
            }
            peaks.push(hash);
        }
        Ok(size)
    }
}

/// Reads one hash after the other.
struct Buffer<'a> {
    shared: &'a Shared,
    bytes: Vec<u8>,
    /// Of `bytes`, what was given out.
    next: usize,
    /// Where in the file `bytes` ends.
    at: u64,
}

impl Buffer<'_> {
    fn next(&mut self, end: u64) -> Result<Hash, HashError> {
        if self.next == self.bytes.len() {
            let length = (end - self.at).min(CHUNK * HASH as u64);
            self.bytes.resize(usize::try_from(length).expect("a chunk is 1 MiB"), 0);
            self.shared.read_exact_at(&mut self.bytes, self.at).map_err(io("read"))?;
            self.at += length;
            self.next = 0;
        }
        let mut hash = [0; HASH];
        let end = self.next + HASH;
        hash.copy_from_slice(&self.bytes[self.next..end]);
        self.next = end;
        Ok(hash)
    }
}
