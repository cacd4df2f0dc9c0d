//! That a tree is the beginning of another.

use super::{Hash, Head, InclusionProof, ProofError, tree};

/// Proof that the first records of a ledger are those that an older head stands for: it only grew.
///
/// As text it is a line `consistency OLD NEW` and a line of base64 for each hash. At most 65 hashes.
///
/// ```
/// use tower_ward::audit::{ConsistencyProof, Head, ProofError, leaf_hash};
/// # use sha2::{Digest, Sha256};
///
/// let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
/// let root = Sha256::new().chain_update([1]).chain_update(first).chain_update(second).finalize();
/// let (kept, now) = (Head::new(1, first), Head::new(2, root.into()));
///
/// let proof = ConsistencyProof::new(1, 2, vec![second])?;
/// assert_eq!(proof.verify(&kept, &now), Ok(()));
/// let forked = Head::new(1, leaf_hash(b"another first"));
/// assert_eq!(proof.verify(&forked, &now), Err(ProofError::Root));
///
/// assert_eq!(proof.to_string().parse(), Ok(proof));
/// # Ok::<(), ProofError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    old: u64,
    new: u64,
    path: Vec<Hash>,
}

impl ConsistencyProof {
    /// A proof from `old` records to `new`; the path from the bottom upwards.
    ///
    /// # Errors
    ///
    /// [`ProofError::Order`] if the old tree is empty or the larger one, [`ProofError::Length`] if the path between them has
    /// not that many hashes.
    pub fn new(old: u64, new: u64, path: Vec<[u8; 32]>) -> Result<Self, ProofError> {
        if old == 0 || old > new {
            return Err(ProofError::Order);
        }
        if path.len() != Self::length(old, new) {
            return Err(ProofError::Length);
        }
        Ok(Self { old, new, path })
    }

    /// How many hashes the path has: those beside the way from the last complete subtree of the old tree, and that subtree
    /// itself, unless it is the whole old tree.
    fn length(old: u64, new: u64) -> usize {
        if old == new {
            return 0;
        }
        let below = old.trailing_zeros() as usize;
        // The way of the old tree's last leaf is inside that subtree so far, and has a sibling on each level of it.
        InclusionProof::length(old - 1, new) - below + usize::from(!old.is_power_of_two())
    }

    /// How many records the older head stands for.
    #[must_use]
    pub fn old_size(&self) -> u64 {
        self.old
    }

    /// How many records the newer head stands for.
    #[must_use]
    pub fn new_size(&self) -> u64 {
        self.new
    }

    /// The hashes, from the bottom upwards.
    #[must_use]
    pub fn path(&self) -> &[[u8; 32]] {
        &self.path
    }

    /// Checks that the tree with the head `old` is the beginning of the one with the head `new` (RFC 9162 §2.1.4.2).
    ///
    /// # Errors
    ///
    /// [`ProofError::Size`] if a head is of another size, [`ProofError::Root`] if the path does not lead to both roots.
    ///
    /// # Security
    ///
    /// Against a ledger that was cut off, forked or written anew since the older head was kept. `old` must come from where
    /// the writer of the ledger cannot write, and `new` from a checkpoint whose signature was verified.
    pub fn verify(&self, old: &Head, new: &Head) -> Result<(), ProofError> {
        if self.old != old.size || self.new != new.size {
            return Err(ProofError::Size);
        }
        if self.old == self.new {
            return if old.root == new.root { Ok(()) } else { Err(ProofError::Root) };
        }
        let mut path = self.path.iter();
        // A whole old tree is a node of the new one, and its root is known.
        let first = if self.old.is_power_of_two() { &old.root } else { path.next().ok_or(ProofError::Length)? };
        let below = self.old.trailing_zeros();
        let (mut at, mut last) = ((self.old - 1) >> below, (self.new - 1) >> below);
        let (mut before, mut after) = (*first, *first);
        for beside in path {
            if last == 0 {
                return Err(ProofError::Length);
            }
            if at & 1 == 1 || at == last {
                before = tree::node(beside, &before);
                after = tree::node(beside, &after);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                after = tree::node(&after, beside);
            }
            at >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(ProofError::Length);
        }
        if before == old.root && after == new.root { Ok(()) } else { Err(ProofError::Root) }
    }
}
