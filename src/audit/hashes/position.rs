//! Where a hash stands in the file, and which hashes a proof needs.
//!
//! Post-order: a leaf, and after it every subtree that it completes, from the smallest up. So the first *n* leaves with all
//! their complete subtrees are a prefix of the file, whatever comes later.

use super::Hash;

/// Bytes before the first hash.
pub(super) const HEADER: usize = 32;
/// Bytes of one hash.
pub(super) const HASH: usize = 32;

/// A complete subtree: the `n`th, from 0, of those with 2^level leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) level: u32,
    pub(super) n: u64,
}

/// How many hashes so many leaves are: a leaf and a subtree above it for each, less one for each peak.
pub(super) fn count(leaves: u64) -> u64 {
    2 * leaves - u64::from(leaves.count_ones())
}

/// The most leaves whose hashes are at most so many.
pub(super) fn leaves(hashes: u64) -> u64 {
    // `2n - 64 <= count(n) <= 2n`.
    let mut leaves = hashes / 2;
    while count(leaves + 1) <= hashes {
        leaves += 1;
    }
    leaves
}

/// Where the hash with this number begins.
fn offset(number: u64) -> u64 {
    HEADER as u64 + HASH as u64 * number
}

/// Where the hashes of so many leaves end.
pub(super) fn end(leaves: u64) -> u64 {
    offset(count(leaves))
}

impl Node {
    pub(super) fn leaf(index: u64) -> Self {
        Self { level: 0, n: index }
    }

    /// Where its hash begins in the file.
    pub(super) fn offset(self) -> u64 {
        // Its last leaf completes it, and the smaller ones before it.
        let last = ((self.n + 1) << self.level) - 1;
        offset(count(last) + u64::from(self.level))
    }
}

/// The complete subtrees whose leaves are those from `low` to below `high`, the largest first. `low` must be a multiple of
/// the largest power of two that is not above their number.
pub(super) fn cover(low: u64, high: u64) -> impl Iterator<Item = Node> {
    let mut low = low;
    std::iter::from_fn(move || {
        let level = (high - low).checked_ilog2()?;
        let node = Node { level, n: low >> level };
        low += 1 << level;
        Some(node)
    })
}

/// Leaves from the first number to below the second.
pub(super) type Range = (u64, u64);

/// RFC 9162 §2.1.3.1: the ranges beside the way to a leaf, from the bottom upwards.
pub(super) fn inclusion(index: u64, size: u64) -> Vec<Range> {
    let (mut low, mut high) = (0, size);
    let mut beside = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            beside.push((middle, high));
            high = middle;
        } else {
            beside.push((low, middle));
            low = middle;
        }
    }
    beside.reverse();
    beside
}

/// RFC 9162 §2.1.4.1: the ranges of a consistency proof, from the bottom upwards. `old` is neither 0 nor above `new`.
pub(super) fn consistency(old: u64, new: u64) -> Vec<Range> {
    let (mut low, mut high) = (0, new);
    let mut beside = Vec::new();
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            beside.push((middle, high));
            high = middle;
        } else {
            beside.push((low, middle));
            low = middle;
        }
    }
    // Whoever asks has the root of the whole old tree.
    if low != 0 {
        beside.push((low, high));
    }
    beside.reverse();
    beside
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The hash over what a [`cover`] gave, of at least one hash.
pub(super) fn fold(hashes: &[Hash]) -> Option<Hash> {
    let (last, rest) = hashes.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| super::tree::node(left, &right)))
}
