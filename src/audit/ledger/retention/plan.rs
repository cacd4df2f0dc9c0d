//! What may go, found by reading the ledger.

use std::collections::{HashMap, HashSet};

use super::{Drops, Retention, RetentionError};
use crate::{
    audit::{
        ledger::{
            LedgerError,
            home::{Entry, Records},
            open::read_error,
            scan::Scanned,
        },
        record::{Action, AttemptId, Kind, MAX_KEPT, Outcome, Prune, Record, Spans, Stream},
    },
    clock::Timestamp,
    id::{SubjectId, TrailId},
};

/// What has to be known of the whole before anything is decided.
pub(super) struct Survey {
    pub(super) scanned: Scanned,
    holds: Holds,
    /// Attempts whose outcome is not known.
    open: HashMap<AttemptId, (Stream, u64)>,
    /// Of each chain the first number that is too young.
    due: HashMap<Stream, Due>,
}

#[derive(Default)]
struct Due {
    below: u64,
    ended: bool,
}

/// The holds in force.
#[derive(Debug, Default)]
struct Holds {
    chains: HashSet<Stream>,
    people: HashMap<Stream, HashSet<SubjectId>>,
}

impl Holds {
    fn note(&mut self, record: &Record) {
        // What an operator does stands in the platform's chain as well, and names nobody there.
        if record.stream == Stream::Platform {
            return;
        }
        let whole = record.subjects.is_empty();
        let people = self.people.entry(record.stream.clone()).or_default();
        match record.kind {
            Kind::Held if whole => _ = self.chains.insert(record.stream.clone()),
            Kind::Released if whole => _ = self.chains.remove(&record.stream),
            Kind::Held => people.extend(&record.subjects),
            _ => record.subjects.iter().for_each(|subject| _ = people.remove(subject)),
        }
    }

    fn keep(&self, record: &Record) -> bool {
        let people = self.people.get(&record.stream).filter(|people| !people.is_empty());
        people.is_some_and(|people| record.subjects.iter().any(|subject| people.contains(subject)))
    }
}

/// From when on a chain's records are too young.
pub(super) struct Cutoffs<'r> {
    retention: &'r Retention,
    now: Timestamp,
    known: HashMap<Stream, Timestamp>,
}

impl<'r> Cutoffs<'r> {
    pub(super) fn new(retention: &'r Retention, now: Timestamp) -> Self {
        Self { retention, now, known: HashMap::new() }
    }

    fn of(&mut self, stream: &Stream) -> Timestamp {
        if let Some(known) = self.known.get(stream) {
            return *known;
        }
        let cutoff = self.retention.cutoff(stream, self.now);
        self.known.insert(stream.clone(), cutoff);
        cutoff
    }
}

impl Survey {
    /// Reads and checks all of it.
    pub(super) fn of(records: &dyn Records, most: usize, cutoffs: &mut Cutoffs<'_>) -> Result<Self, RetentionError> {
        let (mut holds, mut open, mut due) = (Holds::default(), HashMap::new(), HashMap::new());
        let mut visit = |entry: Entry<'_>| {
            if !due.contains_key(entry.stream) {
                due.insert(entry.stream.clone(), Due::default());
            }
            let due = due.get_mut(entry.stream).expect("it was put there");
            due.ended |= entry.record.is_some_and(|record| record.at >= cutoffs.of(entry.stream));
            if !due.ended {
                due.below = entry.sequence + 1;
            }
            let Some(record) = entry.record else { return };
            match (record.kind, record.attempt) {
                (Kind::Held | Kind::Released, _) => holds.note(record),
                (Kind::Attempt, Some(attempt)) => {
                    open.insert(attempt, (record.stream.clone(), record.sequence));
                }
                (Kind::Outcome, Some(attempt)) if record.outcome != Some(Outcome::Unknown) => _ = open.remove(&attempt),
                _ => {}
            }
        };
        let scanned = records.check(true, most, &[], &mut visit).map_err(read_error)?;
        Ok(Self { scanned, holds, open, due })
    }

    /// The same where nothing is decided.
    pub(super) fn holds(records: &dyn Records, most: usize) -> Result<Self, LedgerError> {
        let mut holds = Holds::default();
        let mut visit = |entry: Entry<'_>| {
            let hold = entry.record.filter(|record| matches!(record.kind, Kind::Held | Kind::Released));
            hold.into_iter().for_each(|record| holds.note(record));
        };
        let scanned = records.check(true, most, &[], &mut visit).map_err(read_error)?;
        Ok(Self { scanned, holds, open: HashMap::new(), due: HashMap::new() })
    }

    /// What may go as the prune records are now. Nothing of a chain that is held.
    pub(super) fn drops<'a>(&'a self, wanted: &'a (dyn Fn() -> bool + Sync)) -> Drops<'a> {
        Drops { covers: &self.scanned.covers, held: &self.holds.chains, closed: None, wanted }
    }

    /// Whether nothing can be due, as far as that is known without reading once more: nothing is old enough but what prune
    /// records speak of, none of which stays, and all of which is gone.
    fn is_idle(&self) -> bool {
        let gone = |cover: &super::Cover| cover.dropped().count(0, cover.end()) == cover.end();
        self.due.iter().all(|(stream, due)| match self.scanned.covers.get(stream) {
            Some(cover) => due.below <= cover.end() && gone(cover),
            None => due.below == 0,
        })
    }

    /// The prune records that are missing, each for its chain.
    pub(super) fn plan(
        &self,
        records: &dyn Records,
        most: usize,
        cutoffs: &mut Cutoffs<'_>,
    ) -> Result<Vec<(Stream, Prune)>, RetentionError> {
        if self.is_idle() {
            return Ok(Vec::new());
        }
        let open: HashSet<(&Stream, u64)> = self.open.values().map(|(stream, number)| (stream, *number)).collect();
        let mut kept: HashMap<Stream, Spans> = HashMap::new();
        let mut trails: HashSet<TrailId> = HashSet::new();
        let mut visit = |entry: Entry<'_>| {
            let Some(record) = entry.record else { return };
            if entry.sequence >= self.end(entry.stream) {
                return;
            }
            let held = self.holds.keep(record) || record.trail.is_some_and(|trail| trails.contains(&trail));
            if held {
                trails.extend(record.trail);
            }
            let young = record.at >= cutoffs.of(entry.stream);
            if held || young || stays(record) || open.contains(&(entry.stream, entry.sequence)) {
                kept.entry(entry.stream.clone()).or_default().push(entry.sequence);
            }
        };
        records.check(true, most, &[], &mut visit).map_err(read_error)?;
        let mut plan = Vec::new();
        let mut chains: Vec<&Stream> = self.due.keys().filter(|stream| !self.holds.chains.contains(*stream)).collect();
        chains.sort();
        for stream in chains {
            let kept = kept.remove(stream).unwrap_or_default();
            let until = cutoffs.of(stream);
            plan.extend(self.prunes(stream, &kept, until)?.into_iter().map(|prune| (stream.clone(), prune)));
        }
        Ok(plan)
    }

    /// Behind what is spoken of, or is to be.
    fn end(&self, stream: &Stream) -> u64 {
        let spoken = self.scanned.covers.get(stream).map_or(0, super::Cover::end);
        self.due.get(stream).map_or(0, |due| due.below).max(spoken)
    }

    fn prunes(&self, stream: &Stream, kept: &Spans, until: Timestamp) -> Result<Vec<Prune>, RetentionError> {
        let nothing = super::Cover::default();
        let cover = self.scanned.covers.get(stream).unwrap_or(&nothing);
        let mut prunes = Vec::new();
        for prune in cover.prunes() {
            let now = kept.slice(prune.from, prune.below);
            if now != prune.kept {
                if now.len() > MAX_KEPT {
                    return Err(RetentionError::TooMuchKept { chain: stream.clone() });
                }
                prunes.push(Prune { kept: now, until, ..prune.clone() });
            }
        }
        let (mut from, end) = (cover.end(), self.end(stream));
        while from < end {
            let (kept, below) = kept.slice(from, end).cut(MAX_KEPT, end);
            if kept.count(from, below) == below - from {
                // All of it stays, so there is nothing to say, and nothing can be said of what comes after it.
                break;
            }
            prunes.push(Prune { from, below, until, kept });
            from = below;
        }
        Ok(prunes)
    }
}

/// What stays however old it is: what says why something is missing, or has to be.
fn stays(record: &Record) -> bool {
    let erases = record.action == Some(Action::Erase);
    matches!(record.kind, Kind::Pruned | Kind::Held | Kind::Released)
        || erases && matches!(record.kind, Kind::Attempt | Kind::Outcome | Kind::Event)
}
