//! Checking a ledger.

/// What is wrong, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {kind}")]
pub struct VerifyError {
    index: u64,
    kind: Fault,
}

impl VerifyError {
    pub(crate) fn new(index: u64, kind: Fault) -> Self {
        Self { index, kind }
    }

    /// The index of the first record that is not as it was written.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What is wrong with it.
    #[must_use]
    pub fn kind(&self) -> Fault {
        self.kind
    }
}

/// What is wrong with a ledger, as far as its own files can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its bytes are not those that were written.
    #[error("edited")]
    Edited,
    /// It is not there, and later ones are.
    #[error("deleted")]
    Deleted,
    /// It was not written by the ledger, or not in this place, or twice.
    #[error("inserted")]
    Inserted,
    /// It stands in another place than it was written to.
    #[error("reordered")]
    Reordered,
    /// The file ends before it.
    #[error("truncated")]
    Truncated,
    /// The file cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(std::io::ErrorKind),
}
