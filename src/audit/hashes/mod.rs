//! A file of the tree's hashes, from which a proof costs a few dozen reads, however long the ledger is.
//!
//! It holds the hash of each leaf and of each complete subtree, and nothing of the records: those may be pruned, and
//! everything else is still proved. `docs/ledger.md` gives the bytes.
//!
//! One [`HashFile`] writes; any number of [`HashReader`]s read beside it. No proof leaves a reader that was not checked
//! against the head it is for, so a damaged file gives an error and never a wrong proof.

mod file;
mod position;
mod reader;

pub use file::HashFile;
pub use reader::HashReader;

use super::{
    ledger::{Head, segment, tree},
    proof::{ConsistencyProof, InclusionProof, ProofError},
    record::Hash,
};

/// What is wrong with a file of hashes, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The file system refused.
    #[error("cannot {doing} the file of hashes: check that it exists, may be written and has room")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file begins otherwise.
    #[error("the file does not begin as a file of hashes does: name the right file, or make it again from the records")]
    Header,
    /// It is open for writing elsewhere.
    #[error("the file of hashes is locked: another handle is writing it; close that one")]
    Locked,
    /// It holds fewer leaves.
    #[error("the file of hashes does not hold so many leaves: ask for a size or index within it")]
    Beyond,
    /// Hashes in it are not those of its leaves, or not those of the head that was asked for.
    #[error("the hashes in the file do not lead to the head: make the file again from the records")]
    Damaged,
    /// No such proof can be.
    #[error("there is no such proof")]
    Proof(#[from] ProofError),
}

fn io(doing: &'static str) -> impl Fn(std::io::Error) -> HashError {
    move |source| HashError::Io { doing, source }
}

#[cfg(test)]
mod tests;
