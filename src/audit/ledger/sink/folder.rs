//! A second folder of segments.

use std::{fs::File, path::Path, sync::Arc};

use super::{Sink, SinkError};
use crate::audit::ledger::{
    Head, LedgerError, LedgerOptions,
    home::{Batch, Folder},
    open::{forget_unfinished, io, make_dir, read_error, take},
    scan::scan,
    segment,
};
#[cfg(feature = "checkpoint")]
use crate::audit::ledger::{
    home::{FolderRecords, Home as _},
    retention::{Pruned, Pruning},
};

/// A copy of the ledger in another folder, on another disk say, in the same bytes: [`verify`](crate::audit::verify) reads
/// it, and a ledger can be opened from it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{audit::{FolderSink, Ledger, LedgerError, LedgerOptions, Sinks, verify}, clock::SystemClock};
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// let (here, there) = (folder.path().join("here"), folder.path().join("there"));
/// let sinks = || Ok::<_, LedgerError>(Sinks::new().add_required("copy", FolderSink::open(&there, &options)?));
/// let ledger = Ledger::open_with(&here, sinks()?, options.clone(), SystemClock::shared())?;
/// // One process writes a folder.
/// assert!(matches!(sinks(), Err(LedgerError::Locked)));
/// ledger.shutdown().await;
/// assert_eq!(verify(&here)?.head(), verify(&there)?.head());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FolderSink {
    folder: Folder,
    head: Head,
    #[cfg(feature = "checkpoint")]
    pruning: Pruning,
    /// Kept while it is written.
    #[cfg_attr(not(feature = "checkpoint"), expect(dead_code, reason = "it is held"))]
    lock: Arc<File>,
}

impl FolderSink {
    /// Takes the folder, making it if there is none, and reads and checks all of it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, another process writes it, or what it holds is not as it was written.
    pub fn open(dir: &Path, options: &LedgerOptions) -> Result<Self, LedgerError> {
        options.check()?;
        make_dir(dir).map_err(io("make"))?;
        let lock = take(dir)?;
        forget_unfinished(dir)?;
        let scanned = scan(dir, false, options.tenants, &[], &mut |_| ()).map_err(read_error)?;
        let folder = Folder::resume(dir, options.segment_size, &scanned).map_err(io("write the last segment"))?;
        Ok(Self {
            folder,
            head: Head::of(&scanned.places.tree),
            #[cfg(feature = "checkpoint")]
            pruning: Pruning::default(),
            lock: Arc::new(lock),
        })
    }
}

impl Sink for FolderSink {
    fn held(&mut self) -> Result<Option<Head>, SinkError> {
        // What a failed write left is void by the header of the segment after it.
        Ok(Some(self.head))
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if batch.before() != self.head {
            return Err("the batch does not go on where this copy ends".into());
        }
        self.folder.append_batch(batch)?;
        self.head = batch.head();
        Ok(())
    }

    #[cfg(feature = "checkpoint")]
    fn prune(&mut self, pruned: &Pruned) -> Result<(), SinkError> {
        let records = FolderRecords(self.folder.dir().to_owned());
        let Self { folder, pruning, lock, .. } = self;
        pruning.start(Box::new(records), pruned, Some(Arc::clone(lock)), || folder.close_part())
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), SinkError> {
        Ok(segment::write_checkpoint(self.folder.dir(), note)?)
    }
}
