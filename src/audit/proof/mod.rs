//! Proofs that a record is in a ledger, and that a ledger only grew (RFC 9162 §2.1.3 and §2.1.4).
//!
//! A proof is checked by [`InclusionProof::verify`] or [`ConsistencyProof::verify`] against [`Head`]s, and is worth what
//! they are worth: take them from a checkpoint whose signature was verified, or from where the writer of the ledger
//! cannot write.

mod consistency;
mod inclusion;
mod text;

pub use consistency::ConsistencyProof;
pub use inclusion::InclusionProof;
#[doc(hidden)]
pub use text::fuzz_proof;
pub(in crate::audit) use text::{decimal, unhash};

use super::{
    ledger::{Head, tree},
    record::Hash,
};

/// The hash that a record has as a leaf of the tree: `SHA-256(00 ‖ record)` (RFC 9162 §2.1.1).
///
/// ```
/// use tower_ward::audit::leaf_hash;
///
/// let hash = leaf_hash(b"L123456");
/// assert_eq!(hash[..4], [0x39, 0x5a, 0xa0, 0x64]);
/// assert_ne!(hash, leaf_hash(b"L123457"));
/// ```
#[must_use]
pub fn leaf_hash(record: &[u8]) -> [u8; 32] {
    tree::leaf(record)
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no such leaf in a tree of this size.
    #[error("the index is not below the size: ask for a leaf that the tree has")]
    Index,
    /// The old tree is empty, or larger than the new one. Of an empty tree nothing can be proved.
    #[error("the old size is zero or above the new one: begin with the smaller head that has a record")]
    Order,
    /// A path between these places has another length.
    #[error("the path has not the length that the sizes give it: ask for the proof again")]
    Length,
    /// The proof is for a tree of another size than the head.
    #[error("the proof is for another size than the head: ask for one of the head's size")]
    Size,
    /// The path leads elsewhere: leaf, path and root do not belong together.
    #[error("the path does not lead to the root: the record or the ledger is not what the head was signed over")]
    Root,
    /// The text is none that a proof prints as.
    #[error("the text is not that of a proof: give it whole, as it was printed")]
    Text,
}

#[cfg(test)]
mod tests;
