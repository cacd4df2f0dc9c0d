//! What the prune records of one chain cover, and what is missing of it.

use crate::audit::record::{Prune, Spans};

/// Of one chain: what may be missing, and what is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cover {
    /// Each begins where the one before ends, the first with 0, and has the number of its record.
    prunes: Vec<(u64, Prune)>,
    /// The numbers whose bodies are gone.
    dropped: Spans,
}

impl Cover {
    /// Takes the next prune record of the chain; `false` if it goes on nowhere and takes no other's place.
    pub(crate) fn add(&mut self, sequence: u64, prune: &Prune) -> bool {
        let place = self.prunes().position(|other| (other.from, other.below) == (prune.from, prune.below));
        match place {
            Some(place) => self.prunes[place] = (sequence, prune.clone()),
            None if prune.from == self.end() => self.prunes.push((sequence, prune.clone())),
            None => return false,
        }
        true
    }

    /// The next entry of the chain has no body.
    pub(crate) fn drop(&mut self, sequence: u64) {
        self.dropped.push(sequence);
    }

    pub(crate) fn dropped(&self) -> &Spans {
        &self.dropped
    }

    pub(crate) fn prunes(&self) -> impl Iterator<Item = &Prune> {
        self.prunes.iter().map(|(_, prune)| prune)
    }

    /// The prune records in force, with their numbers in the chain.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u64, &Prune)> {
        self.prunes.iter().map(|(sequence, prune)| (*sequence, prune))
    }

    /// The first number that no prune record speaks of.
    pub(crate) fn end(&self) -> u64 {
        self.prunes.last().map_or(0, |(_, last)| last.below)
    }

    /// Whether the body with this number may go.
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        let after = self.prunes.partition_point(|(_, prune)| prune.from <= sequence);
        after.checked_sub(1).is_some_and(|place| self.prunes[place].1.covers(sequence))
    }

    /// The first number whose body is missing though it should not be.
    pub(crate) fn unexplained(&self) -> Option<u64> {
        self.dropped.ranges().find_map(|(first, last)| {
            let beyond = (last >= self.end()).then(|| first.max(self.end()));
            let kept = self.prunes().flat_map(|prune| prune.kept.ranges());
            let held = kept.filter(|(from, to)| *from <= last && first <= *to).map(|(from, _)| from.max(first));
            held.chain(beyond).min()
        })
    }
}
