//! One page of a ledger, read in bounded memory.
//!
//! Records are looked at in windows of a fixed number, forwards inside a window whichever way the windows go. Of a record
//! of another chain, or one that cannot be meant, only the head is read. What a segment that nobody adds to any more
//! holds of one chain is remembered, so that the next reading may pass it by.

use std::{collections::VecDeque, ops::ControlFlow};

use super::{
    LedgerError,
    archive::{Archive, Chunk, unwanted},
    query::{LedgerQuery, Place},
    sheet::{Chains, Found, PAGE_BYTES, Sheet},
    skim::{At, Head, Summaries, Summary, at},
    timeline::TimelineError,
};
use crate::audit::{
    record::{Dropped, Record},
    verify::{Fault, VerifyError},
};

/// Records in a window.
const WINDOW: u64 = 1_024;
/// Bytes of records that one reading looks at before it gives away what it has: about four segments.
const WORK: usize = 64 * 1024 * 1024;
/// Records between two looks at whether anybody still waits.
const ASK: u64 = 256;

/// Reads pages.
pub(crate) struct Pager<'a> {
    pub(crate) archive: &'a dyn Archive,
    pub(crate) summaries: &'a Summaries,
    /// Whether somebody still waits for it.
    pub(crate) wanted: &'a dyn Fn() -> bool,
}

impl Pager<'_> {
    /// Reads one page. `place` is where the last one ended.
    pub(crate) fn page(
        &self,
        chains: Chains<'_>,
        query: &LedgerQuery,
        place: Option<Place>,
    ) -> Result<Found, TimelineError> {
        query.check().map_err(|field| TimelineError::Query { field })?;
        let binding = query.binding(&chains.name());
        if place.is_some_and(|place| place.binding != binding) {
            return Err(TimelineError::Cursor);
        }
        let end = place.map_or(u64::MAX, |place| place.end).min(self.archive.end());
        let start = if query.oldest_first { 0 } else { end };
        let position = place.map_or(start, |place| place.position).min(end);
        let mut search = Search {
            pager: self,
            chains,
            query,
            needles: query.needles(),
            from: query.from.and_then(at),
            until: query.until.and_then(at),
            work: WORK,
            sheet: Sheet::default(),
            passed: None,
            last: place.and_then(|place| place.sequence),
        };
        let stopped = if query.oldest_first { search.upwards(position, end)? } else { search.downwards(position)? };
        let next = stopped.map(|position| Place { binding, position, end, sequence: search.last });
        let sequences = search.passed.map(|(oldest, newest)| oldest..=newest);
        Ok(Found { records: search.sheet.records, sequences, next })
    }
}

/// What is looked for, and how far it came.
struct Search<'a> {
    pager: &'a Pager<'a>,
    chains: Chains<'a>,
    query: &'a LedgerQuery,
    needles: Vec<String>,
    from: Option<At>,
    until: Option<At>,
    /// Bytes that may still be looked at.
    work: usize,
    sheet: Sheet,
    /// The numbers that were passed on this page: the oldest and the newest.
    passed: Option<(u64, u64)>,
    /// The number of the last record that was passed, on this page or before.
    last: Option<u64>,
}

/// A record of a chain that is looked at.
struct Seen {
    sequence: u64,
    at: Option<At>,
    /// If it is asked for.
    record: Option<Record>,
    /// Retention has dropped it, and its time with it.
    dropped: bool,
}

impl Seen {
    fn add_to(&self, summary: &mut Summary) {
        if self.dropped { summary.add_dropped(self.sequence) } else { summary.add(self.sequence, self.at) }
    }
}

/// What a window holds, the newest last.
#[derive(Default)]
struct Window {
    summary: Summary,
    found: VecDeque<(usize, Record)>,
    bytes: usize,
    /// Older ones had no room.
    dropped: bool,
}

impl Search<'_> {
    /// The name of the one chain that is read.
    fn one(&self) -> Option<&str> {
        match self.chains {
            Chains::One(stream) => Some(stream.as_str()),
            Chains::All | Chains::Several(_) => None,
        }
    }

    fn is_full(&self) -> bool {
        self.sheet.records.len() >= self.query.limit
    }

    /// Looks at a record; `None` if it is of another chain.
    fn look(&self, index: u64, bytes: &[u8]) -> Result<Option<Seen>, LedgerError> {
        if index.is_multiple_of(ASK) && !(self.pager.wanted)() {
            return Err(unwanted());
        }
        let edited = || LedgerError::from(VerifyError::new(index, Fault::Edited));
        let parsed = || Record::from_bytes(bytes).ok().filter(|record| record.index == index).ok_or_else(edited);
        if Dropped::is(bytes) {
            let left = Dropped::from_bytes(bytes).ok().filter(|left| left.index == index).ok_or_else(edited)?;
            let ours = self.chains.hold(left.stream.as_str());
            return Ok(ours.then_some(Seen { sequence: left.sequence, at: None, record: None, dropped: true }));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| edited())?;
        let Some(head) = Head::of(text) else {
            // Whatever its head looks like, it is not left out unread.
            let record = parsed()?;
            let (sequence, ours) = (record.sequence, self.chains.hold(record.stream.as_str()));
            let record = self.query.matches(&record).then_some(record);
            return Ok(ours.then_some(Seen { sequence, at: None, record, dropped: false }));
        };
        if !self.chains.hold(head.stream) {
            return Ok(None);
        }
        let early = self.from.is_some_and(|from| head.at < from);
        let late = self.until.is_some_and(|until| head.at >= until);
        // Most records are of somebody else: do not parse them.
        let hopeless = early || late || !self.needles.iter().all(|needle| text.contains(needle.as_str()));
        let record = if hopeless { None } else { Some(parsed()?).filter(|record| self.query.matches(record)) };
        Ok(Some(Seen { sequence: head.sequence, at: Some(head.at), record, dropped: false }))
    }

    /// What is known of a whole segment, if it holds nothing that is asked for.
    fn barren(&self, chunk: &Chunk) -> Option<Summary> {
        let known = self.pager.summaries.get(chunk.number, self.one()?)?;
        known.is_outside(self.from, self.until).then_some(known)
    }

    fn keep(&self, chunk: &Chunk, whole: Option<Summary>) {
        if let (Some(whole), Some(stream)) = (whole, self.one()) {
            self.pager.summaries.keep(chunk.number, stream, whole);
        }
    }

    /// Steps from the last number of the chain to this one, which must be its neighbour: or a record between them is
    /// missing.
    fn step(&mut self, sequence: u64, index: u64) -> Result<(), LedgerError> {
        if self.one().is_none() {
            return Ok(());
        }
        let expected = match (self.query.oldest_first, self.last) {
            (true, None) => Some(0),
            (true, Some(last)) => last.checked_add(1),
            (false, None) => Some(sequence),
            (false, Some(last)) => last.checked_sub(1),
        };
        if expected != Some(sequence) {
            return Err(VerifyError::new(index, Fault::Deleted).into());
        }
        self.pass(sequence);
        Ok(())
    }

    /// Says how far it came, where all between is known to be there.
    fn pass(&mut self, sequence: u64) {
        if self.one().is_some() {
            let (oldest, newest) = self.passed.unwrap_or((sequence, sequence));
            self.passed = Some((oldest.min(sequence), newest.max(sequence)));
            self.last = Some(sequence);
        }
    }

    /// From below `position` back to the first record; where it stopped, if there may be more.
    fn downwards(&mut self, mut position: u64) -> Result<Option<u64>, LedgerError> {
        let chunks = self.pager.archive.chunks()?;
        for (n, chunk) in chunks.iter().enumerate().rev() {
            if chunk.first >= position {
                continue;
            }
            let mut whole = None;
            if chunks.get(n + 1).is_some_and(|next| next.first == position) {
                if let Some(known) = self.barren(chunk) {
                    if let Some((oldest, newest)) = known.sequences {
                        self.step(newest, chunk.first)?;
                        self.pass(oldest);
                    }
                    position = chunk.first;
                    if self.last == Some(0) {
                        return Ok(None);
                    }
                    continue;
                }
                whole = Some(Summary::default());
            }
            while position > chunk.first {
                if self.is_full() || self.work == 0 {
                    return Ok(Some(position));
                }
                let from = position.saturating_sub(WINDOW).max(chunk.first);
                let window = self.window(chunk, from, position)?;
                whole = whole.map(|newer| window.summary.before(&newer));
                if let Some(stopped) = self.take_newest(window, from, position)? {
                    return Ok(Some(stopped));
                }
                position = from;
                if self.last == Some(0) {
                    break;
                }
            }
            if position == chunk.first {
                self.keep(chunk, whole);
            }
            // The first record of the chain: nothing comes before it.
            if self.last == Some(0) {
                return Ok(None);
            }
        }
        match self.last {
            // What comes before is not here.
            Some(last) if last > 0 => Err(VerifyError::new(0, Fault::Deleted).into()),
            _ => Ok(None),
        }
    }

    /// Reads one window. Keeps no more of it than has room on the page.
    fn window(&mut self, chunk: &Chunk, from: u64, until: u64) -> Result<Window, LedgerError> {
        let mut window = Window::default();
        let room = self.query.limit - self.sheet.records.len();
        let mut looked = 0;
        self.pager.archive.read(chunk, from, until, &mut |index, bytes| {
            looked += bytes.len();
            let Some(seen) = self.look(index, bytes)? else { return Ok(ControlFlow::Continue(())) };
            let gap = window.summary.sequences.is_some_and(|(_, newest)| newest.checked_add(1) != Some(seen.sequence));
            if gap && self.one().is_some() {
                return Err(VerifyError::new(index, Fault::Deleted).into());
            }
            seen.add_to(&mut window.summary);
            if let Some(record) = seen.record {
                window.bytes += bytes.len();
                window.found.push_back((bytes.len(), record));
                while window.found.len() > room || window.found.len() > 1 && window.bytes > PAGE_BYTES {
                    window.bytes -= window.found.pop_front().map_or(0, |(length, _)| length);
                    window.dropped = true;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.work = self.work.saturating_sub(looked);
        Ok(window)
    }

    /// Puts what a window holds on the page, the newest first; where it stopped, if the page is full.
    fn take_newest(&mut self, window: Window, from: u64, until: u64) -> Result<Option<u64>, LedgerError> {
        let Some((oldest, newest)) = window.summary.sequences else { return Ok(None) };
        // Until something is taken, the page ends where the window begins.
        let (mut stop, before) = (until, (self.last, self.passed));
        self.step(newest, from)?;
        for (length, record) in window.found.into_iter().rev() {
            let (index, sequence) = (record.index, record.sequence);
            if !self.sheet.take(record, length) {
                if stop == until {
                    (self.last, self.passed) = before;
                }
                return Ok(Some(stop));
            }
            stop = index;
            self.pass(sequence);
        }
        if window.dropped {
            return Ok(Some(stop));
        }
        self.pass(oldest);
        Ok(None)
    }

    /// From `position` on to the end; where it stopped, if there is more.
    fn upwards(&mut self, mut position: u64, end: u64) -> Result<Option<u64>, LedgerError> {
        let chunks = self.pager.archive.chunks()?;
        for (n, chunk) in chunks.iter().enumerate() {
            let next = chunks.get(n + 1).map(|next| next.first);
            let until = next.unwrap_or(end).min(end);
            if until <= position {
                continue;
            }
            let mut whole = None;
            if position == chunk.first && next.is_some_and(|next| next <= end) {
                if let Some(known) = self.barren(chunk) {
                    if let Some((oldest, newest)) = known.sequences {
                        self.step(oldest, chunk.first)?;
                        self.pass(newest);
                    }
                    position = until;
                    continue;
                }
                whole = Some(Summary::default());
            }
            while position < until {
                if self.is_full() || self.work == 0 {
                    return Ok(Some(position));
                }
                let to = position.saturating_add(WINDOW).min(until);
                position = self.take_oldest(chunk, position, to, &mut whole)?;
                if position < to {
                    return Ok(Some(position));
                }
            }
            self.keep(chunk, whole);
        }
        Ok(None)
    }

    /// Puts what is asked for on the page until that is full, and says where the next one begins.
    fn take_oldest(
        &mut self,
        chunk: &Chunk,
        from: u64,
        to: u64,
        whole: &mut Option<Summary>,
    ) -> Result<u64, LedgerError> {
        let (mut stop, mut looked) = (to, 0);
        self.pager.archive.read(chunk, from, to, &mut |index, bytes| {
            looked += bytes.len();
            let Some(seen) = self.look(index, bytes)? else { return Ok(ControlFlow::Continue(())) };
            let before = (self.last, self.passed);
            self.step(seen.sequence, index)?;
            if let Some(whole) = whole {
                seen.add_to(whole);
            }
            let Some(record) = seen.record else { return Ok(ControlFlow::Continue(())) };
            if !self.sheet.take(record, bytes.len()) {
                (self.last, self.passed) = before;
                stop = index;
                return Ok(ControlFlow::Break(()));
            }
            if self.is_full() {
                stop = index + 1;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.work = self.work.saturating_sub(looked);
        Ok(stop)
    }
}
