//! The bytes of a segment file, and making one. `docs/ledger.md` draws them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::audit::record::{Hash, MAX_RECORD};

/// Of one segment file.
pub(crate) const MIN_SIZE: u64 = 128 * 1024;
/// Of one segment file.
pub(crate) const MAX_SIZE: u64 = 1024 * 1024 * 1024;
/// Bytes before the first batch.
pub(crate) const HEADER: usize = 128;
/// Bytes before the first frame of a batch.
pub(crate) const BATCH: usize = 64;
/// Bytes before a record: its length and checksum.
pub(crate) const FRAME: usize = 8;
/// A batch is closed once it is longer than this.
const BATCH_LIMIT: usize = 1024 * 1024;
/// No batch is longer.
pub(crate) const MAX_BATCH: usize = BATCH_LIMIT + FRAME + MAX_RECORD;

/// What is written to disk is taken to be old or new in units of this many bytes.
pub(crate) const SECTOR: u64 = 512;

const MAGIC: &[u8; 8] = b"TWLEDGER";
const VERSION: u32 = 1;
/// Holds bytes that no UTF-8 text has, so no record can look like the start of a batch.
pub(crate) const BATCH_MAGIC: [u8; 4] = [0xf7, b'T', b'W', 0xff];

/// The first bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    /// Bytes of the whole file.
    pub(crate) size: u64,
    /// The index of its first record. Whatever the segment before it holds from this index on is void.
    pub(crate) first: u64,
    /// The root over all records before the first.
    pub(crate) root: Hash,
    /// How often retention has written it anew.
    pub(crate) rewritten: u32,
}

impl Header {
    pub(crate) fn to_bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_be_bytes());
        out[12..16].copy_from_slice(&self.number.to_be_bytes());
        out[16..24].copy_from_slice(&self.size.to_be_bytes());
        out[24..32].copy_from_slice(&self.first.to_be_bytes());
        out[32..64].copy_from_slice(&self.root);
        out[64..68].copy_from_slice(&self.rewritten.to_be_bytes());
        let crc = crc32fast::hash(&out[..HEADER - 4]);
        out[HEADER - 4..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Refuses what `to_bytes` does not write, the padding included.
    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let header = Self {
            number: u32_at(bytes, 12),
            size: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            root: hash_at(bytes, 32),
            rewritten: u32_at(bytes, 64),
        };
        // What was written anew is as long as what is left in it.
        let least = if header.rewritten == 0 { MIN_SIZE } else { HEADER as u64 };
        let sane = (least..=MAX_SIZE).contains(&header.size);
        (sane && header.to_bytes() == *bytes).then_some(header)
    }
}

/// The first bytes of a batch: the records that one write and one sync made durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// The index of its first record.
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Bytes of its frames.
    pub(crate) length: u32,
    /// The root over all records before it.
    pub(crate) root: Hash,
}

impl BatchHeader {
    pub(crate) fn to_bytes(&self) -> [u8; BATCH] {
        let mut out = [0; BATCH];
        out[..4].copy_from_slice(&BATCH_MAGIC);
        out[4..8].copy_from_slice(&self.segment.to_be_bytes());
        out[8..12].copy_from_slice(&self.offset.to_be_bytes());
        out[12..20].copy_from_slice(&self.first.to_be_bytes());
        out[20..24].copy_from_slice(&self.count.to_be_bytes());
        out[24..28].copy_from_slice(&self.length.to_be_bytes());
        out[28..60].copy_from_slice(&self.root);
        let crc = crc32fast::hash(&out[..BATCH - 4]);
        out[BATCH - 4..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; BATCH]) -> Option<Self> {
        let header = Self {
            segment: u32_at(bytes, 4),
            offset: u32_at(bytes, 8),
            first: u64_at(bytes, 12),
            count: u32_at(bytes, 20),
            length: u32_at(bytes, 24),
            root: hash_at(bytes, 28),
        };
        (header.to_bytes() == *bytes).then_some(header)
    }
}

/// The eight bytes before a record.
pub(crate) fn frame(record: &[u8]) -> [u8; FRAME] {
    let length = u32::try_from(record.len()).expect("a record is at most 48 KiB").to_be_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(record);
    let mut out = [0; FRAME];
    out[..4].copy_from_slice(&length);
    out[4..].copy_from_slice(&crc.finalize().to_be_bytes());
    out
}

/// The record at the start of `frames`, and what follows it; `None` if its frame is not intact.
pub(crate) fn unframe(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = frames.split_first_chunk::<FRAME>()?;
    let length = u32_at(head, 0) as usize;
    if length == 0 || length > MAX_RECORD {
        return None;
    }
    let (record, rest) = rest.split_at_checked(length)?;
    (frame(record) == *head).then_some((record, rest))
}

/// For the fuzz target: takes a segment apart and puts together again what is intact of it.
#[doc(hidden)]
#[must_use]
pub fn fuzz_segment(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let Some((head, mut rest)) = bytes.split_first_chunk() else { return out };
    let Some(header) = Header::from_bytes(head) else { return out };
    out.extend(header.to_bytes());
    while let Some((head, after)) = rest.split_first_chunk()
        && let Some(batch) = BatchHeader::from_bytes(head)
        && let Some((mut frames, after)) = after.split_at_checked(batch.length as usize)
    {
        out.extend(batch.to_bytes());
        while let Some((record, next)) = unframe(frames) {
            out.extend(frame(record));
            out.extend(record);
            frames = next;
        }
        if !frames.is_empty() {
            break;
        }
        rest = after;
    }
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(out)
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(&bytes[at..at + 32]);
    out
}

/// How many bytes of frames fit into one batch of a segment of this size, the last record aside.
pub(crate) fn batch_limit(segment_size: u64) -> usize {
    let room = usize::try_from(segment_size).unwrap_or(usize::MAX) - HEADER - BATCH - FRAME - MAX_RECORD;
    room.min(BATCH_LIMIT)
}

/// The file of a segment.
pub(crate) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("ledger-{number:06}.seg"))
}

/// The number in a segment's file name.
pub(crate) fn number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("ledger-")?.strip_suffix(".seg")?.parse().ok()?;
    // One spelling: `ledger-0000001.seg` is no segment.
    (format!("ledger-{number:06}.seg") == name).then_some(number)
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    number: u32,
    size: u64,
    offset: u64,
}

impl Segment {
    /// Makes a segment: zeros to its full size, the header, all of it synced, and only then its name. So a file by a
    /// segment's name is whole, and writing into it changes no metadata.
    pub(crate) fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        let unfinished = dir.join("ledger.new");
        let made = Self::fill(&unfinished, header).and_then(|file| {
            std::fs::rename(&unfinished, path(dir, header.number))?;
            sync_dir(dir)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self { file, number: header.number, size: header.size, offset: HEADER as u64 }),
            Err(error) => {
                // It holds nothing, and keeping it would keep the space it took.
                let _ = std::fs::remove_file(&unfinished);
                Err(error)
            }
        }
    }

    fn fill(path: &Path, header: &Header) -> io::Result<File> {
        let mut file = private(OpenOptions::new().read(true).write(true).create(true).truncate(true)).open(path)?;
        let zeros = vec![0; 1024 * 1024];
        let mut left = header.size;
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            file.write_all(&zeros[..usize::try_from(now).unwrap_or(zeros.len())])?;
            left -= now;
        }
        file.rewind()?;
        file.write_all(&header.to_bytes())?;
        file.sync_all()?;
        Ok(file)
    }

    /// Goes on in a segment that was left at `offset`.
    ///
    /// Rewrites the last batch and clears what follows: after a failed sync of the process before this one, the bytes
    /// read here may be in the page cache alone, and only a dirty page is written by the next sync.
    pub(crate) fn resume(dir: &Path, header: &Header, last: Option<(u64, &[u8])>, offset: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path(dir, header.number))?;
        let mut segment = Self { file, number: header.number, size: header.size, offset };
        if let Some((at, bytes)) = last {
            segment.file.seek(SeekFrom::Start(at))?;
            segment.file.write_all(bytes)?;
        }
        segment.clear()?;
        segment.file.seek(SeekFrom::Start(offset))?;
        segment.file.sync_data()?;
        Ok(segment)
    }

    /// Zeros from the offset on, touching only what is not zero.
    fn clear(&mut self) -> io::Result<()> {
        use std::io::Read as _;
        let mut chunk = vec![0; 64 * 1024];
        let mut at = self.offset;
        while at < self.size {
            let now = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(chunk.len());
            self.file.seek(SeekFrom::Start(at))?;
            self.file.read_exact(&mut chunk[..now])?;
            if !is_zero(&chunk[..now]) {
                chunk[..now].fill(0);
                self.file.seek(SeekFrom::Start(at))?;
                self.file.write_all(&chunk[..now])?;
            }
            at += now as u64;
        }
        Ok(())
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.size - self.offset >= bytes as u64
    }

    /// One write, one sync. After an error nothing more may be written here.
    pub(crate) fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        self.file.write_all(batch)?;
        self.file.sync_data()?;
        self.offset += batch.len() as u64;
        Ok(())
    }
}

/// Whether all bytes are zero. Compares whole blocks: most of a segment is zeros, and a start reads all of them.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}

/// For the owner's eyes alone.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// The file of the newest signed checkpoint.
const CHECKPOINT: &str = "ledger.checkpoint";
/// No checkpoint is longer: a head and a few dozen signatures.
const MAX_CHECKPOINT: u64 = 64 * 1024;

/// Puts the newest checkpoint in the place of the one before, whole or not at all. Its name may be lost in a crash, and then
/// the one before is there.
pub(crate) fn write_checkpoint(dir: &Path, note: &str) -> io::Result<()> {
    let unfinished = dir.join("ledger.checkpoint.new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&unfinished)?;
    file.write_all(note.as_bytes())?;
    // Without it, some file systems come back with the name and no bytes.
    file.sync_data()?;
    std::fs::rename(unfinished, dir.join(CHECKPOINT))
}

/// The newest checkpoint, if there is one.
pub(crate) fn read_checkpoint(dir: &Path) -> io::Result<Option<String>> {
    use std::io::Read as _;
    let file = match File::open(dir.join(CHECKPOINT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut note = String::new();
    file.take(MAX_CHECKPOINT).read_to_string(&mut note)?;
    Ok(Some(note))
}

/// Makes a new or renamed file's name durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}
