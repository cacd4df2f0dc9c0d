//! What can be told of records without parsing them, and what is remembered of whole segments.

use std::{collections::HashMap, sync::Mutex};

use jiff::fmt::temporal::DateTimePrinter;

use super::lock;
use crate::clock::Timestamp;

/// What is remembered: some 150 bytes for each segment and chain.
const SUMMARIES: usize = 16_384;

/// A time as it stands in a record. All of this length are in the order of their letters.
pub(super) type At = [u8; 30];

/// How a record would spell this time; `None` beyond the year 9999 or before the year 0.
pub(super) fn at(time: Timestamp) -> Option<At> {
    let mut text = String::with_capacity(30);
    let printer = DateTimePrinter::new().precision(Some(9));
    printer.print_timestamp(&time, &mut text).ok()?;
    text.as_bytes().try_into().ok()
}

/// The first fields of a canonical record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) stream: &'a str,
    pub(super) sequence: u64,
    pub(super) at: At,
}

impl<'a> Head<'a> {
    /// `None` if it does not look as expected, which a parser has to judge.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(r#"{"v":"#)?;
        // What stands before it are numbers.
        let (_, rest) = rest.split_once(r#","stream":""#)?;
        let (stream, rest) = rest.split_once(r#"","seq":"#)?;
        let (sequence, rest) = rest.split_once(',')?;
        let rest = rest.strip_prefix(r#""prev":""#)?.get(64..)?;
        let at = rest.strip_prefix(r#"","at":""#)?.split('"').next()?;
        Some(Self { stream, sequence: sequence.parse().ok()?, at: at.as_bytes().try_into().ok()? })
    }
}

/// What some records hold of one chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// The numbers of the oldest and the newest.
    pub(super) sequences: Option<(u64, u64)>,
    /// The earliest and the latest time, which need not be theirs: a clock can be set back.
    times: Option<(At, At)>,
    /// A record had no time that can be compared so.
    odd: bool,
}

impl Summary {
    /// The next record.
    pub(super) fn add(&mut self, sequence: u64, at: Option<At>) {
        let next = Self { sequences: Some((sequence, sequence)), times: at.map(|at| (at, at)), odd: at.is_none() };
        *self = self.before(&next);
    }

    /// The next one is gone, and nothing that is asked for can be there.
    pub(super) fn add_dropped(&mut self, sequence: u64) {
        *self = self.before(&Self { sequences: Some((sequence, sequence)), times: None, odd: false });
    }

    /// These records and `newer` ones.
    pub(super) fn before(&self, newer: &Self) -> Self {
        let sequences = match (self.sequences, newer.sequences) {
            (Some((oldest, _)), Some((_, newest))) => Some((oldest, newest)),
            (one, other) => one.or(other),
        };
        let times = match (self.times, newer.times) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        Self { sequences, times, odd: self.odd || newer.odd }
    }

    /// Whether none of them can be from `from` on and before `until`.
    pub(super) fn is_outside(&self, from: Option<At>, until: Option<At>) -> bool {
        if self.odd {
            return false;
        }
        let Some((first, last)) = self.times else { return true };
        from.is_some_and(|from| last < from) || until.is_some_and(|until| first >= until)
    }
}

/// What is remembered of segments that nobody adds to any more, by their number and the chain.
#[derive(Debug, Default)]
pub(crate) struct Summaries(Mutex<HashMap<(u32, String), Summary>>);

impl Summaries {
    pub(super) fn get(&self, chunk: u32, stream: &str) -> Option<Summary> {
        lock(&self.0).get(&(chunk, stream.to_owned())).copied()
    }

    pub(super) fn keep(&self, chunk: u32, stream: &str, summary: Summary) {
        let mut known = lock(&self.0);
        if known.len() >= SUMMARIES {
            known.clear();
        }
        known.insert((chunk, stream.to_owned()), summary);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}
