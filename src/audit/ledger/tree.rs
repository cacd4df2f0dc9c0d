//! The Merkle tree of RFC 6962 §2.1, kept as the roots of its complete subtrees.

use sha2::{Digest, Sha256};

use crate::audit::record::Hash;

/// The hash of a leaf: `SHA-256(0x00 ‖ bytes)`.
pub(crate) fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The hash of a node: `SHA-256(0x01 ‖ left ‖ right)`.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that only grows. At most 64 hashes, whatever its size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Roots of the complete subtrees, the largest first: one per bit of `size`.
    peaks: Vec<Hash>,
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let left = self.peaks.pop().expect("a tree has one peak for each bit of its size");
            hash = node(&left, &hash);
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; of the empty tree, the hash of nothing.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Sha256::digest([]).into() };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

/// The ledger's size and the root over its records: what a checkpoint signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

impl Head {
    pub(crate) fn of(tree: &Tree) -> Self {
        Self { size: tree.size(), root: tree.root() }
    }

    /// A head that was kept: so many records, and the root over them.
    ///
    /// ```
    /// let kept = tower_ward::audit::Head::new(3, [7; 32]);
    /// assert_eq!((kept.size(), kept.root()), (3, &[7; 32]));
    /// ```
    #[must_use]
    pub fn new(size: u64, root: [u8; 32]) -> Self {
        Self { size, root }
    }

    /// How many records.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the Merkle tree over them (RFC 6962 §2.1).
    #[must_use]
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Head({self})")
    }
}

impl std::fmt::Display for Head {
    /// `SIZE:ROOT`, the root in hex.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.size, crate::codec::hex(&self.root))
    }
}

/// A text that is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is the number of records, a colon and the root in 64 hex digits, as `ward audit verify` prints it")]
pub struct HeadError(());

impl std::str::FromStr for Head {
    type Err = HeadError;

    /// Takes `SIZE:ROOT` in its one spelling.
    fn from_str(text: &str) -> Result<Self, HeadError> {
        let head = text
            .split_once(':')
            .and_then(|(size, root)| Some(Self { size: size.parse().ok()?, root: crate::codec::unhex(root)? }));
        head.filter(|head| head.to_string() == text).ok_or(HeadError(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{hex, unhex};

    /// Leaves and roots that certificate-transparency implementations share (`merkle/testonly` of the C++ original).
    #[test]
    fn roots_are_those_of_rfc_6962() {
        const LEAVES: [&str; 8] =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        const ROOTS: [&str; 9] = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(hex(&tree.root()), ROOTS[0]);
        for (leaf_hex, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            tree.push(leaf(&data_encoding::HEXLOWER.decode(leaf_hex.as_bytes()).unwrap()));
            assert_eq!(hex(&tree.root()), *root, "size {}", tree.size());
        }
    }

    #[test]
    fn leaf_and_node_are_kept_apart() {
        assert_eq!(Some(leaf(b"L123456")), unhex("395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"),);
        let mut inner = b"N123".to_vec();
        inner.extend_from_slice(b"N456");
        let node: Hash = Sha256::new().chain_update([1]).chain_update(inner).finalize().into();
        assert_eq!(Some(node), unhex("aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"));
    }

    #[test]
    fn the_peaks_agree_with_the_recursive_definition() {
        fn recursive(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => Sha256::digest([]).into(),
                [one] => *one,
                _ => {
                    let k = (leaves.len() - 1).ilog2();
                    let (left, right) = leaves.split_at(1 << k);
                    node(&recursive(left), &recursive(right))
                }
            }
        }
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        for n in 0_u32..200 {
            assert_eq!(tree.root(), recursive(&leaves), "size {n}");
            leaves.push(leaf(&n.to_be_bytes()));
            tree.push(leaves[leaves.len() - 1]);
        }
    }
}
