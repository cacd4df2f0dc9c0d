//! That a leaf is in a tree.

use super::{Hash, Head, ProofError, tree};

/// Proof that a record is in a ledger of a certain size: the hashes beside its way from the leaf to the root.
///
/// As text it is a line `inclusion INDEX SIZE` and a line of base64 for each hash. At most 64 hashes.
///
/// ```
/// use tower_ward::audit::{Head, InclusionProof, ProofError, leaf_hash};
/// # use sha2::{Digest, Sha256};
///
/// let (mine, other) = (leaf_hash(b"my record"), leaf_hash(b"another"));
/// let root = Sha256::new().chain_update([1]).chain_update(mine).chain_update(other).finalize();
/// let head = Head::new(2, root.into());
///
/// let proof = InclusionProof::new(0, 2, vec![other])?;
/// assert_eq!(proof.verify(&mine, &head), Ok(()));
/// assert_eq!(proof.verify(&leaf_hash(b"my rec0rd"), &head), Err(ProofError::Root));
///
/// let text = proof.to_string();
/// assert!(text.starts_with("inclusion 0 2\n"));
/// assert_eq!(text.parse(), Ok(proof));
/// # Ok::<(), ProofError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    index: u64,
    size: u64,
    path: Vec<Hash>,
}

impl InclusionProof {
    /// A proof for the leaf at `index`, counted from 0, among `size`; the path from the leaf's sibling upwards.
    ///
    /// # Errors
    ///
    /// [`ProofError::Index`] if there is no such leaf, [`ProofError::Length`] if its path has not that many hashes.
    pub fn new(index: u64, size: u64, path: Vec<[u8; 32]>) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::Index);
        }
        if path.len() != Self::length(index, size) {
            return Err(ProofError::Length);
        }
        Ok(Self { index, size, path })
    }

    /// How many hashes the path has. Below where the ways to this leaf and to the last one part, each level has a sibling;
    /// above, a level has one on the left or none.
    pub(super) fn length(index: u64, size: u64) -> usize {
        let parting = u64::BITS - (index ^ (size - 1)).leading_zeros();
        let above = index.checked_shr(parting).unwrap_or(0).count_ones();
        (parting + above) as usize
    }

    /// Which leaf, counted from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Among how many.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes beside the way, from the leaf's sibling upwards.
    #[must_use]
    pub fn path(&self) -> &[[u8; 32]] {
        &self.path
    }

    /// Checks that the leaf with this hash stands at the index in the tree with this head (RFC 9162 §2.1.3.2).
    ///
    /// # Errors
    ///
    /// [`ProofError::Size`] if the head is of another size, [`ProofError::Root`] if the path leads elsewhere.
    ///
    /// # Security
    ///
    /// Against whoever shows a record that is not in the ledger, or stands elsewhere in it, finding no second preimage of
    /// SHA-256. Hash the record by [`leaf_hash`](super::leaf_hash) yourself, from its bytes: a leaf's hash from the same hand
    /// as the proof says nothing of the record. The head must come from where that hand cannot write.
    pub fn verify(&self, leaf: &[u8; 32], head: &Head) -> Result<(), ProofError> {
        if self.size != head.size {
            return Err(ProofError::Size);
        }
        let (mut at, mut last) = (self.index, self.size - 1);
        let mut hash = *leaf;
        for beside in &self.path {
            if last == 0 {
                return Err(ProofError::Length);
            }
            if at & 1 == 1 || at == last {
                hash = tree::node(beside, &hash);
                // The last node of a level may have no sibling: it then goes up alone.
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                hash = tree::node(&hash, beside);
            }
            at >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(ProofError::Length);
        }
        if hash == head.root { Ok(()) } else { Err(ProofError::Root) }
    }
}
