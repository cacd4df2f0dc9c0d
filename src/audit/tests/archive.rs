//! Pages of an archive that is no folder: whatever its parts are, and whatever is missing in it.

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::{prelude::*, test_runner::TestCaseError};

use super::*;
use crate::{
    audit::{
        ledger::{
            LedgerError, LedgerQuery, TimelineError,
            archive::{Archive, Chunk, Visit},
            page::Pager,
            sheet::{Chains, Found},
            skim::Summaries,
        },
        record::{Kind, Stream},
        verify::Fault,
    },
    clock::Timestamp,
};

/// Records in memory, in parts of any length.
#[derive(Debug)]
struct Memory {
    records: Vec<Record>,
    /// The first index of each part.
    parts: Vec<u64>,
    /// How many records were handed out.
    read: AtomicUsize,
}

impl Memory {
    fn new(records: Vec<Record>, parts: Vec<u64>) -> Self {
        Self { records, parts, read: AtomicUsize::new(0) }
    }
}

impl Archive for Memory {
    fn end(&self) -> u64 {
        self.records.len() as u64
    }

    fn chunks(&self) -> Result<Vec<Chunk>, LedgerError> {
        Ok((0..).zip(&self.parts).map(|(number, first)| Chunk { number, first: *first }).collect())
    }

    fn read(&self, chunk: &Chunk, from: u64, until: u64, visit: &mut Visit<'_>) -> Result<(), LedgerError> {
        let next = self.parts.get(chunk.number as usize + 1).copied().unwrap_or(u64::MAX);
        assert!(chunk.first <= from && from <= until && until <= next.min(self.end()), "asked beyond the part");
        for index in from..until {
            self.read.fetch_add(1, Ordering::Relaxed);
            if visit(index, &self.records[index as usize].to_bytes())?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A ledger of these clinics' records, each of one person, at one time.
fn ledger(of: impl IntoIterator<Item = (u8, u8, i64)>) -> Vec<Record> {
    let mut next = [0_u64; 256];
    let records = of.into_iter().enumerate().map(|(index, (clinic, person, second))| {
        let stream = Stream::Tenant(tenant(&format!("clinic-{clinic}")));
        let mut record = Record::empty(Kind::Opened, stream, time(second), Duration::ZERO);
        record.index = index as u64;
        record.sequence = next[usize::from(clinic)];
        record.subjects = vec![subject(person)];
        next[usize::from(clinic)] += 1;
        record
    });
    records.collect()
}

/// All pages of one clinic.
fn all(archive: &Memory, summaries: &Summaries, clinic: u8, query: &LedgerQuery) -> Result<Vec<Record>, TimelineError> {
    let chain = Stream::Tenant(tenant(&format!("clinic-{clinic}")));
    let pager = Pager { archive, summaries, wanted: &|| true };
    let (mut records, mut place) = (Vec::new(), None);
    loop {
        let Found { records: more, next, .. } = pager.page(Chains::One(&chain), query, place)?;
        assert!(more.len() <= query.limit_for_test());
        records.extend(more);
        // What a cursor carries is what was meant.
        place = next.map(|next| crate::audit::Place::from_bytes(&next.to_bytes()).unwrap());
        if place.is_none() {
            return Ok(records);
        }
    }
}

fn query(limit: usize, oldest_first: bool, person: Option<u8>, times: Option<(i64, i64)>) -> LedgerQuery {
    let mut query = LedgerQuery::new().with_limit(NonZeroUsize::new(limit).unwrap());
    query = person.into_iter().fold(query, |query, person| query.with_subject(subject(person)));
    query = times.into_iter().fold(query, |query, (from, until)| query.with_from(time(from)).with_until(time(until)));
    if oldest_first { query.oldest_first() } else { query }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Page by page one meets each record that is asked for once, in order, and no other: however long the pages and the
    /// parts are, wherever a clock was set back, and whatever is known of the parts by then.
    #[test]
    fn pages_together_are_what_is_asked_for(
        of in prop::collection::vec((0_u8..3, 0_u8..4, 0_i64..50), 0..300),
        cuts in prop::collection::btree_set(0_u64..300, 0..6),
        limit in 1_usize..40,
        oldest_first: bool,
        person in prop::option::of(0_u8..4),
        times in prop::option::of((0_i64..50, 1_i64..30)),
    ) {
        let records = ledger(of);
        let end = records.len() as u64;
        let parts = std::iter::once(0).chain(cuts.into_iter().filter(|cut| *cut > 0 && *cut < end)).collect();
        let archive = Memory::new(records.clone(), parts);
        let times = times.map(|(from, length)| (from, from + length));
        let query = query(limit, oldest_first, person, times);
        let summaries = Summaries::default();
        for clinic in [0, 1, 2, 0, 1, 2] {
            let mut expected: Vec<_> = records
                .iter()
                .filter(|r| r.stream.as_str() == format!("clinic-{clinic}"))
                .filter(|r| person.is_none_or(|person| r.subjects == [subject(person)]))
                .filter(|r| times.is_none_or(|(from, until)| r.at >= time(from) && r.at < time(until)))
                .cloned()
                .collect();
            if !oldest_first {
                expected.reverse();
            }
            let found = all(&archive, &summaries, clinic, &query).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(found, expected);
        }
    }

    /// Whichever record of a clinic is missing between two others of its own, and with the indexes mended: paging over it
    /// is an error and not a page that looks whole. Nobody else's paging is disturbed.
    #[test]
    fn a_record_that_is_missing_is_noticed_in_whatever_page(
        of in prop::collection::vec((0_u8..2, 0_u8..2, 0_i64..9), 30..200),
        which: prop::sample::Index,
        limit in 1_usize..20,
        oldest_first: bool,
        cut in 1_u64..20,
    ) {
        let mut records = ledger(of);
        let gone = records.remove(which.index(records.len()));
        for (index, record) in records.iter_mut().enumerate() {
            record.index = index as u64;
        }
        let newest = records.iter().filter(|r| r.stream == gone.stream).map(|r| r.sequence).max();
        let archive = Memory::new(records, vec![0, cut]);
        let (theirs, other) = if gone.stream.as_str() == "clinic-0" { (0, 1) } else { (1, 0) };
        let query = query(limit, oldest_first, None, None);
        let found = all(&archive, &Summaries::default(), theirs, &query);
        // The newest of all is not missed by its chain alone: `docs/ledger.md` says what tells.
        if newest.is_some_and(|newest| newest > gone.sequence) {
            let deleted = |e: &TimelineError| {
                matches!(e, TimelineError::Ledger(LedgerError::Damaged(fault)) if fault.kind() == Fault::Deleted)
            };
            prop_assert!(found.as_ref().is_err_and(deleted), "{:?}", found);
        }
        prop_assert!(all(&archive, &Summaries::default(), other, &query).is_ok());
    }
}

/// Parts that a clinic has nothing in, or nothing at that time, are read once and then passed by.
#[test]
fn parts_that_cannot_match_are_passed_by_once_they_are_known() {
    // Ten parts of a hundred: clinic 1 is in the first alone; clinic 0 everywhere, a part a hundred seconds.
    let records = ledger((0..1_000).map(|n| (u8::from(n == 5), 0, n)));
    for oldest_first in [true, false] {
        let archive = Memory::new(records.clone(), (0..10).map(|n| n * 100).collect());
        let summaries = Summaries::default();
        let cost = |clinic, times| {
            let before = archive.read.load(Ordering::Relaxed);
            let found = all(&archive, &summaries, clinic, &query(1_000, oldest_first, None, times)).unwrap();
            (found.len(), archive.read.load(Ordering::Relaxed) - before)
        };
        assert_eq!(cost(1, None), (1, 1_000), "a stranger's parts are read once");
        let again = cost(1, None);
        // The last part may grow, so it is read each time; the one with the record as well.
        assert!(again.0 == 1 && again.1 <= 200, "{again:?}");
        assert_eq!(cost(0, Some((310, 320))), (10, 1_000));
        let again = cost(0, Some((310, 320)));
        assert!(again.0 == 10 && again.1 <= 200, "{again:?}");
        assert_eq!(cost(0, Some((2_000, 2_001))).0, 0);
        assert!(summaries.len() >= 18);
    }
}

/// Records of 39 KiB, made while they are read.
struct Huge(u64);

impl Archive for Huge {
    fn end(&self) -> u64 {
        self.0
    }

    fn chunks(&self) -> Result<Vec<Chunk>, LedgerError> {
        Ok(vec![Chunk { number: 0, first: 0 }])
    }

    fn read(&self, _: &Chunk, from: u64, until: u64, visit: &mut Visit<'_>) -> Result<(), LedgerError> {
        let mut record = Record::empty(Kind::Opened, Stream::Tenant(tenant("clinic-0")), time(0), Duration::ZERO);
        record.subjects = (0..1_000_u128).map(|n| SubjectId::from_bytes(n.to_be_bytes())).collect();
        let bytes = record.to_bytes();
        let rest = bytes.windows(8).position(|text| text == br#","prev":"#).unwrap();
        for index in from..until {
            let bytes =
                [format!(r#"{{"v":1,"index":{index},"stream":"clinic-0","seq":{index}"#).as_bytes(), &bytes[rest..]]
                    .concat();
            if visit(index, &bytes)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// A reading that finds nothing ends after a fixed amount of work, and the next one goes on from there; and a page of
/// long records is short.
#[test]
fn a_reading_is_bounded_in_work_and_a_page_in_bytes() {
    let (archive, summaries) = (Huge(2_600), Summaries::default());
    let chain = Stream::Tenant(tenant("clinic-0"));
    let pager = Pager { archive: &archive, summaries: &summaries, wanted: &|| true };
    for oldest_first in [true, false] {
        let nobody = query(1_000, oldest_first, None, None).with_user(UserId::from_bytes([3; 16]));
        let (mut place, mut numbers) = (None, Vec::new());
        loop {
            let found = pager.page(Chains::One(&chain), &nobody, place).unwrap();
            assert!(found.records.is_empty());
            numbers.extend(found.sequences.map(|numbers| numbers.count()));
            place = found.next;
            if place.is_none() {
                break;
            }
        }
        assert_eq!(numbers, [2_048, 552], "two windows of 40 MB, and the rest");
        let long = pager.page(Chains::One(&chain), &query(1_000, oldest_first, None, None), None).unwrap();
        let bytes: usize = long.records.iter().map(|record| record.to_bytes().len()).sum();
        assert!(bytes <= 4 << 20 && long.records.len() > 90, "{} records of {bytes} bytes", long.records.len());
    }
}

/// Somebody hangs up: the reading ends there and then, on its way back and forth.
#[test]
fn nobody_reads_on_for_somebody_who_hung_up() {
    let archive = Memory::new(ledger((0..2_000).map(|n| (0, 0, n))), vec![0]);
    let (summaries, chain) = (Summaries::default(), Stream::Tenant(tenant("clinic-0")));
    for oldest_first in [true, false] {
        let asked = AtomicUsize::new(0);
        let wanted = || asked.fetch_add(1, Ordering::Relaxed) < 2;
        let pager = Pager { archive: &archive, summaries: &summaries, wanted: &wanted };
        let before = archive.read.load(Ordering::Relaxed);
        let found = pager.page(Chains::One(&chain), &query(1_000, oldest_first, None, None), None);
        assert!(matches!(found, Err(TimelineError::Ledger(LedgerError::Io { .. }))), "{found:?}");
        assert!(archive.read.load(Ordering::Relaxed) - before <= 1_024);
    }
}
