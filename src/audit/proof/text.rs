//! Proofs as text: a head line and a line for each hash.

use std::{fmt, str::FromStr};

use data_encoding::BASE64;

use super::{ConsistencyProof, Hash, InclusionProof, ProofError};

/// The longest path: of a consistency proof in a tree of 2^64 leaves.
const MAX_HASHES: usize = 65;

fn write(f: &mut fmt::Formatter<'_>, word: &str, a: u64, b: u64, path: &[Hash]) -> fmt::Result {
    writeln!(f, "{word} {a} {b}")?;
    path.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode_display(hash)))
}

fn read(text: &str, word: &str) -> Result<(u64, u64, Vec<Hash>), ProofError> {
    let mut lines = text.strip_suffix('\n').ok_or(ProofError::Text)?.split('\n');
    let head = lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(' ')?.split_once(' '));
    let (a, b) = head.ok_or(ProofError::Text)?;
    let (a, b) = (decimal(a).ok_or(ProofError::Text)?, decimal(b).ok_or(ProofError::Text)?);
    let mut path = Vec::new();
    for line in lines {
        if path.len() == MAX_HASHES {
            return Err(ProofError::Length);
        }
        path.push(unhash(line).ok_or(ProofError::Text)?);
    }
    Ok((a, b, path))
}

/// A number without sign or leading zeros.
pub(in crate::audit) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// 32 bytes in base64 (RFC 4648 §4), padded, in the one spelling.
pub(in crate::audit) fn unhash(text: &str) -> Option<Hash> {
    // 32 bytes are 44 characters: nothing longer is decoded.
    let hash: Hash = (text.len() == 44).then(|| BASE64.decode(text.as_bytes()).ok()?.try_into().ok()).flatten()?;
    // The decoder takes padding in the middle as well.
    (BASE64.encode(&hash) == text).then_some(hash)
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, "inclusion", self.index(), self.size(), self.path())
    }
}

impl FromStr for InclusionProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (index, size, path) = read(text, "inclusion")?;
        Self::new(index, size, path)
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, "consistency", self.old_size(), self.new_size(), self.path())
    }
}

impl FromStr for ConsistencyProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (old, new, path) = read(text, "consistency")?;
        Self::new(old, new, path)
    }
}

/// For the fuzz target: reads a proof of either kind and prints it.
#[doc(hidden)]
#[must_use]
pub fn fuzz_proof(text: &str) -> Option<String> {
    let inclusion = text.parse::<InclusionProof>().map(|proof| proof.to_string());
    inclusion.or_else(|_| text.parse::<ConsistencyProof>().map(|proof| proof.to_string())).ok()
}
