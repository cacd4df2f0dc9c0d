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
    /// Takes the next prune record of the chain. One that goes on nowhere and takes no other's place covers nothing: two
    /// servers may have written one at a time.
    pub(crate) fn add(&mut self, sequence: u64, prune: &Prune) {
        let place = self.prunes().position(|other| (other.from, other.below) == (prune.from, prune.below));
        match place {
            Some(place) => self.prunes[place] = (sequence, prune.clone()),
            None if prune.from == self.end() => self.prunes.push((sequence, prune.clone())),
            None => {}
        }
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

    /// How many bodies are there that this prune record lets go.
    pub(crate) fn left(&self, prune: &Prune) -> u64 {
        let spoken = self.dropped.count(prune.from, prune.below) + prune.kept.count(prune.from, prune.below);
        (prune.below - prune.from).saturating_sub(spoken)
    }

    /// Whether there is one of any of them.
    pub(crate) fn is_left(&self) -> bool {
        self.prunes().any(|prune| self.left(prune) > 0)
    }

    pub(crate) fn into_dropped(self) -> Spans {
        self.dropped
    }

    /// The first number whose body is missing though it should not be.
    pub(crate) fn unexplained(&self) -> Option<u64> {
        // Both lists rise, so that one walk through both is enough.
        let mut kept = self.prunes().flat_map(|prune| prune.kept.ranges()).peekable();
        for (first, last) in self.dropped.ranges() {
            while kept.next_if(|(_, to)| *to < first).is_some() {}
            if let Some((from, _)) = kept.peek().filter(|(from, _)| *from <= last) {
                return Some(first.max(*from));
            }
            if last >= self.end() {
                return Some(first.max(self.end()));
            }
        }
        None
    }
}
