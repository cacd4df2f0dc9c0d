//! What may go, found by reading the ledger.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Cover, Retention, run::SILENCE};
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
    /// Between two records that are not due lies too long a silence.
    gap: bool,
}

/// What is to be written, and of which chains nothing may go.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) prunes: Vec<(Stream, Prune)>,
    pub(super) skipped: HashSet<Stream>,
}

#[derive(Default)]
struct Due {
    below: u64,
    ended: bool,
}

/// Who placed a hold, the clinic or an operator, and why: the same ends it.
type Hand = (bool, Option<String>);

/// The holds in force.
#[derive(Debug, Default)]
struct Holds {
    chains: HashMap<Stream, BTreeSet<Hand>>,
    people: HashMap<Stream, HashMap<SubjectId, BTreeSet<Hand>>>,
    /// Of each chain the number of the newest.
    newest: HashMap<Stream, u64>,
}

impl Holds {
    fn note(&mut self, record: &Record) {
        // What an operator does stands in the platform's chain as well, and names nobody there.
        if record.stream == Stream::Platform {
            return;
        }
        let hand = (record.permission.is_some(), record.reason.as_deref().map(str::to_owned));
        let held = record.kind == Kind::Held;
        let set = |hands: &mut BTreeSet<Hand>| {
            let _ = if held { hands.insert(hand.clone()) } else { hands.remove(&hand) };
        };
        if record.subjects.is_empty() {
            set(self.chains.entry(record.stream.clone()).or_default());
        }
        for subject in &record.subjects {
            set(self.people.entry(record.stream.clone()).or_default().entry(*subject).or_default());
        }
        if held {
            self.newest.insert(record.stream.clone(), record.sequence);
        }
    }

    fn all(&self, stream: &Stream) -> bool {
        self.chains.get(stream).is_some_and(|hands| !hands.is_empty())
    }

    fn any_person(&self) -> bool {
        self.people.values().flat_map(HashMap::values).any(|hands| !hands.is_empty())
    }

    fn keep(&self, record: &Record) -> bool {
        let people = self.people.get(&record.stream);
        people.is_some_and(|people| {
            record.subjects.iter().any(|subject| people.get(subject).is_some_and(|hands| !hands.is_empty()))
        })
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

    /// Whether a record has to stay for its age.
    fn is_young(&mut self, record: &Record) -> bool {
        record.at >= self.of(&record.stream)
    }
}

impl Survey {
    /// Reads and checks all of it.
    pub(super) fn of(records: &dyn Records, most: usize, cutoffs: &mut Cutoffs<'_>) -> Result<Self, LedgerError> {
        let (mut holds, mut open, mut due) = (Holds::default(), HashMap::new(), HashMap::new());
        let (mut before, mut gap) = (None::<Timestamp>, false);
        let mut visit = |entry: Entry<'_>| {
            if !due.contains_key(entry.stream) {
                due.insert(entry.stream.clone(), Due::default());
            }
            let due = due.get_mut(entry.stream).expect("it was put there");
            // One from the future is young, and a clock that was set back must not make it the last one that ever goes.
            due.ended |= entry.record.is_some_and(|record| cutoffs.is_young(record) && record.at <= cutoffs.now);
            if !due.ended {
                due.below = entry.sequence + 1;
            }
            let Some(record) = entry.record else { return };
            let silence = before.map_or(0.0, |before| record.at.duration_since(before).as_secs_f64());
            gap |= silence > SILENCE.as_secs_f64() && cutoffs.is_young(record);
            before = Some(record.at);
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
        Ok(Self { scanned, holds, open, due, gap })
    }

    /// The same where nothing is decided.
    pub(super) fn covers(records: &dyn Records, most: usize) -> Result<Self, LedgerError> {
        let scanned = records.check(true, most, &[], &mut |_| ()).map_err(read_error)?;
        Ok(Self { scanned, holds: Holds::default(), open: HashMap::new(), due: HashMap::new(), gap: false })
    }

    /// Whether the records themselves speak for the clock.
    pub(super) fn is_steady(&self) -> bool {
        !self.gap
    }

    /// Whether nothing of the chain may go.
    pub(super) fn holds_all(&self, stream: &Stream) -> bool {
        self.holds.all(stream)
    }

    /// Whether bodies are there that prune records cover, of other chains than these.
    pub(super) fn is_left(&self, skipped: &HashSet<Stream>) -> bool {
        let chains = self.scanned.covers.iter();
        chains
            .filter(|(stream, _)| !skipped.contains(*stream) && !self.holds_all(stream))
            .any(|(_, cover)| cover.is_left())
    }

    /// Whether nothing can be due, as far as that is known without reading once more: nothing is old enough but what prune
    /// records speak of, none of which stays, and all of which is gone.
    fn is_idle(&self) -> bool {
        let gone = |cover: &Cover| cover.dropped().count(0, cover.end()) == cover.end();
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
    ) -> Result<Plan, LedgerError> {
        let mut plan = Plan::default();
        if self.is_idle() {
            return Ok(plan);
        }
        let open: HashSet<(&Stream, u64)> = self.open.values().map(|(stream, number)| (stream, *number)).collect();
        let trails = self.trails(records, most)?;
        let mut kept: HashMap<Stream, Spans> = HashMap::new();
        let mut visit = |entry: Entry<'_>| {
            let Some(record) = entry.record else { return };
            if entry.sequence >= self.end(entry.stream) {
                return;
            }
            let held = self.holds.keep(record) || record.trail.is_some_and(|trail| trails.contains(&trail));
            if held || stays(record) || open.contains(&(entry.stream, entry.sequence)) || cutoffs.is_young(record) {
                kept.entry(entry.stream.clone()).or_default().push(entry.sequence);
            }
        };
        records.check(true, most, &[], &mut visit).map_err(read_error)?;
        let mut chains: Vec<&Stream> = self.due.keys().filter(|stream| !self.holds_all(stream)).collect();
        chains.sort();
        for stream in chains {
            let kept = kept.remove(stream).unwrap_or_default();
            match self.prunes(stream, &kept, cutoffs.of(stream)) {
                Some(prunes) => plan.prunes.extend(prunes.into_iter().map(|prune| (stream.clone(), prune))),
                None => _ = plan.skipped.insert(stream.clone()),
            }
        }
        Ok(plan)
    }

    /// The trails in which somebody was named whose records are held.
    fn trails(&self, records: &dyn Records, most: usize) -> Result<HashSet<TrailId>, LedgerError> {
        let mut trails = HashSet::new();
        if self.holds.any_person() {
            let mut visit = |entry: Entry<'_>| {
                let held = entry.record.filter(|record| self.holds.keep(record));
                trails.extend(held.and_then(|record| record.trail));
            };
            records.check(true, most, &[], &mut visit).map_err(read_error)?;
        }
        Ok(trails)
    }

    /// Behind what is spoken of, or is to be.
    fn end(&self, stream: &Stream) -> u64 {
        let spoken = self.scanned.covers.get(stream).map_or(0, Cover::end);
        self.due.get(stream).map_or(0, |due| due.below).max(spoken)
    }

    /// `None` if what stays has no room.
    fn prunes(&self, stream: &Stream, kept: &Spans, until: Timestamp) -> Option<Vec<Prune>> {
        let nothing = Cover::default();
        let cover = self.scanned.covers.get(stream).unwrap_or(&nothing);
        let held = self.holds.newest.get(stream).copied();
        let mut prunes = Vec::new();
        for (number, prune) in cover.numbered() {
            let now = kept.slice(prune.from, prune.below);
            // A body that is still there goes by no record that is older than a hold.
            let outdated = held.is_some_and(|held| held > number) && cover.left(prune) > 0;
            if now == prune.kept && !outdated {
                continue;
            }
            if now.len() <= MAX_KEPT {
                prunes.push(Prune { kept: now, until, ..prune.clone() });
            } else if now.count(0, u64::MAX) > prune.kept.count(0, u64::MAX) || outdated {
                return None;
            }
            // Else less stays than could be said, and what was said holds.
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
        Some(prunes)
    }
}

/// What stays however old it is: what says why something is missing, or has to be.
fn stays(record: &Record) -> bool {
    let erases = record.action == Some(Action::Erase);
    matches!(record.kind, Kind::Pruned | Kind::Held | Kind::Released)
        || erases && matches!(record.kind, Kind::Attempt | Kind::Outcome | Kind::Event)
}
