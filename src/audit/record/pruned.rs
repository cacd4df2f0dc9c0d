//! What a prune record says, and what is left of a record that one covers.

use std::fmt::Write as _;

use super::{Hash, RecordError, Stream, encode, parse};
use crate::clock::Timestamp;

/// The longest `kept`, in bytes: the rest of its record has room beside it.
pub(crate) const MAX_KEPT: usize = 32 * 1024;
/// The longest signature line.
pub(super) const MAX_SIGNATURE: usize = 512;

/// What a [`Kind::Pruned`](super::Kind::Pruned) record lets retention drop of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    pub(crate) from: u64,
    pub(crate) below: u64,
    pub(crate) until: Timestamp,
    pub(crate) kept: Spans,
}

impl Prune {
    /// The first number of the chain that it is about.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The first number behind those.
    #[must_use]
    pub fn below(&self) -> u64 {
        self.below
    }

    /// All that may be dropped is older.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether the record with this number of the chain may be dropped.
    #[must_use]
    pub fn covers(&self, sequence: u64) -> bool {
        (self.from..self.below).contains(&sequence) && !self.kept.contains(sequence)
    }
}

/// Numbers, as ranges that rise and do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds a number above all others.
    pub(crate) fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => self.0.push((number, number)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).is_some_and(|place| number <= self.0[place].1)
    }

    /// First and last of each range.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// How many numbers from `from` on and before `below`.
    pub(crate) fn count(&self, from: u64, below: u64) -> u64 {
        let within = |(first, last): (u64, u64)| (last + 1).min(below).saturating_sub(first.max(from));
        self.ranges().map(within).sum()
    }

    /// Those from `from` on and before `below`.
    pub(crate) fn slice(&self, from: u64, below: u64) -> Self {
        let within = |(first, last): (u64, u64)| (first.max(from), last.min(below.saturating_sub(1)));
        Self(self.ranges().map(within).filter(|(first, last)| first <= last && below > 0).collect())
    }

    /// The first of them, as many as have room in so many bytes of text, and where the next one begins, or `end`.
    pub(crate) fn cut(mut self, bytes: usize, end: u64) -> (Self, u64) {
        // Two numbers, a dash and a comma.
        let most = bytes / (2 * 20 + 2);
        let next = self.0.get(most).map_or(end, |(first, _)| *first);
        self.0.truncate(most);
        (self, next)
    }

    /// As it stands in a record.
    pub(super) fn write_to(&self, out: &mut String) {
        for (n, (first, last)) in self.ranges().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{first}", if n == 0 { "" } else { "," });
            if first < last {
                let _ = write!(out, "-{last}");
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        let mut text = String::new();
        self.write_to(&mut text);
        text.len()
    }

    /// `None` for anything that `write_to` does not write. Empty text is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut spans = Self::default();
        for range in text.split(',') {
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (parse::decimal(first)?, parse::decimal(last)?),
                None => (parse::decimal(range)?, parse::decimal(range)?),
            };
            let rises = spans.0.last().is_none_or(|(_, before)| before.checked_add(1).is_some_and(|next| next < first));
            // Room for the number behind the last one.
            if !rises || first > last || first == last && range.contains('-') || last == u64::MAX {
                return None;
            }
            spans.0.push((first, last));
        }
        Some(spans)
    }
}

/// What is left of a record that retention dropped: its place and its hash.
///
/// ```
/// use tower_ward::audit::{Dropped, Record};
///
/// let line = format!(r#"{{"v":1,"index":12,"stream":"harbour","seq":5,"dropped":"{}"}}"#, "ab".repeat(32));
/// let dropped: Dropped = Dropped::from_bytes(line.as_bytes())?;
/// assert_eq!((dropped.index(), dropped.sequence(), dropped.hash()), (12, 5, &[0xab; 32]));
/// assert_eq!(dropped.to_bytes(), line.as_bytes());
/// // It is no record, and has one spelling.
/// assert!(Record::from_bytes(line.as_bytes()).is_err());
/// assert!(Dropped::from_bytes(line.replace("ab", "AB").as_bytes()).is_err());
/// # Ok::<(), tower_ward::audit::RecordError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub(crate) index: u64,
    pub(crate) stream: Stream,
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

impl Dropped {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    ///
    /// If they are not exactly what [`to_bytes`](Self::to_bytes) writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        parse::dropped(bytes)
    }

    /// Whether this is what is left of a record, by its look.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        // The name, 64 digits, a quote and a brace.
        bytes.len().checked_sub(77).and_then(|at| bytes[at..].strip_prefix(br#""dropped":""#)).is_some()
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::with_capacity(160);
        encode::dropped(self, &mut out);
        out.into_bytes()
    }

    /// The place in the whole ledger, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whose chain it stands in.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The place in its own chain, from 0.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash of the record that stood here: its leaf in the tree.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
