//! Reading a whole ledger and checking that it is as it was written, in one pass.

use std::{collections::HashMap, io, path::Path};

use super::{
    home::{Entry, Link, Places, Visit},
    reader::{self, Found, Reader},
    retention::Cover,
    segment::{self, Header},
    tree::{self, Head, Tree},
};
use crate::audit::{
    record::{Dropped, Hash, Record, Stream},
    verify::{Fault, VerifyError},
};

/// A ledger that was read to its end.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) places: Places,
    /// What is to be said of each head that was known, in the order given.
    pub(crate) known: Vec<Agreement>,
    /// What retention has dropped, and may drop.
    pub(crate) covers: HashMap<Stream, Cover>,
    /// The segment to go on in.
    pub(crate) last: Option<Last>,
    /// Bytes of a batch that was cut off at the end.
    pub(crate) torn: Option<u64>,
}

/// Whether a ledger was once as a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// Its first records give the root.
    Agrees,
    /// It has fewer records.
    Behind,
    /// Its first records give another root.
    Differs,
}

#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) header: Header,
    /// After its last batch.
    pub(crate) offset: u64,
    /// Its last batch and where that stands.
    pub(crate) batch: Option<(u64, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) enum ScanError {
    Fault(VerifyError),
    /// A body is missing, in this place of this chain, and no prune record covers it.
    Missing(Stream, u64),
    /// Bodies were dropped while this was read: read it again.
    Overtaken,
    TooManyTenants,
}

impl From<VerifyError> for ScanError {
    fn from(error: VerifyError) -> Self {
        Self::Fault(error)
    }
}

/// A record `k` that does not follow the one before it in its chain, `j`. The next one of the chain tells which of the
/// two is wrong.
#[derive(Debug)]
struct Doubt {
    stream: Stream,
    j: Option<Chain>,
    k: Chain,
}

/// The end of a chain, and where in the ledger it stands.
#[derive(Debug, Clone, Copy)]
struct Chain {
    index: u64,
    link: Link,
}

/// The checks of a whole ledger, record by record.
pub(super) struct Check<'v, 'f> {
    tree: Tree,
    last: Option<Hash>,
    chains: HashMap<Stream, Chain>,
    tenants: usize,
    most: usize,
    /// The index of the first record of the batch before.
    batch: u64,
    /// The batch that begins here does not give the root that was written after it.
    suspect: Option<u64>,
    doubt: Option<Doubt>,
    decided: Option<VerifyError>,
    /// What is known from elsewhere, the smallest last, each with its place in the answer.
    to_come: Vec<(usize, Head)>,
    known: Vec<Agreement>,
    covers: HashMap<Stream, Cover>,
    /// Of a missing body the index is wanted.
    missing: Option<(Stream, u64)>,
    missing_at: Option<u64>,
    visit: &'v mut Visit<'f>,
}

/// Reads every record in `dir`. Memory is bounded by one batch and the chains of `most` tenants.
pub(crate) fn scan(
    dir: &Path,
    written: bool,
    most: usize,
    known: &[Head],
    visit: &mut Visit<'_>,
) -> Result<Scanned, ScanError> {
    checked(most, known, visit, |check| check.segments(dir, written)).map(|((last, torn), scanned)| Scanned {
        last,
        torn,
        ..scanned
    })
}

/// Checks what `read` reads.
pub(super) fn checked<T>(
    most: usize,
    known: &[Head],
    visit: &mut Visit<'_>,
    mut read: impl FnMut(&mut Check<'_, '_>) -> Result<T, ScanError>,
) -> Result<(T, Scanned), ScanError> {
    let mut pass = |missing, known, visit: &mut Visit<'_>| {
        let mut check = Check::new(most, known, visit);
        check.missing = missing;
        match read(&mut check) {
            Ok(found) => Ok((found, check.finish()?)),
            Err(error) => Err(check.explain(error)),
        }
    };
    match pass(None, known, visit) {
        // Only the end of the chain tells that it is missing. Its index is looked for then, and not kept for all of them. If
        // it is not missing any more, a prune record came while this was read.
        Err(ScanError::Missing(stream, sequence)) => match pass(Some((stream, sequence)), &[], &mut |_| ()) {
            Ok(_) | Err(ScanError::Missing(..)) => Err(ScanError::Overtaken),
            Err(found) => Err(found),
        },
        done => done,
    }
}

impl<'v, 'f> Check<'v, 'f> {
    pub(super) fn new(most: usize, known: &[Head], visit: &'v mut Visit<'f>) -> Self {
        let mut to_come: Vec<_> = known.iter().copied().enumerate().collect();
        to_come.sort_by_key(|(_, head)| std::cmp::Reverse(head.size));
        Self {
            tree: Tree::default(),
            last: None,
            chains: HashMap::new(),
            tenants: 0,
            most,
            batch: 0,
            suspect: None,
            doubt: None,
            decided: None,
            known: vec![Agreement::Behind; known.len()],
            covers: HashMap::new(),
            missing: None,
            missing_at: None,
            to_come,
            visit,
        }
    }
}

impl Check<'_, '_> {
    /// What the whole is, once there is nothing more to read.
    pub(super) fn finish(mut self) -> Result<Scanned, ScanError> {
        self.compare();
        if let Some(error) = self.misgiving() {
            return Err(error.into());
        }
        let mut missing: Vec<_> =
            self.covers.iter().filter_map(|(stream, cover)| Some((stream, cover.unexplained()?))).collect();
        missing.sort();
        if let Some((stream, sequence)) = missing.into_iter().next() {
            let same = self.missing.as_ref().is_some_and(|missing| (&missing.0, missing.1) == (stream, sequence));
            return Err(match self.missing_at.filter(|_| same) {
                Some(index) => VerifyError::new(index, Fault::Deleted).into(),
                None => ScanError::Missing(stream.clone(), sequence),
            });
        }
        let chains = self.chains.into_iter().map(|(stream, chain)| (stream, chain.link)).collect();
        let places = Places { tree: self.tree, last: self.last, chains };
        Ok(Scanned { places, known: self.known, covers: self.covers, last: None, torn: None })
    }

    /// What to say when reading ended with this error.
    pub(super) fn explain(mut self, error: ScanError) -> ScanError {
        let ScanError::Fault(error) = error else { return error };
        // What was in doubt before stands earlier. But a record that stands twice explains the doubt about it.
        let twice = error.kind() == Fault::Inserted && self.doubt.as_ref().is_some_and(|d| d.k.index == error.index());
        if twice { error.into() } else { self.misgiving().unwrap_or(error).into() }
    }

    /// How many records were read.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// A batch begins here.
    pub(super) fn begin_batch(&mut self, root: &Hash) {
        self.root(root);
        self.batch = self.tree.size();
    }

    /// Answers for the heads of the present size.
    fn compare(&mut self) {
        while let Some((place, head)) = self.to_come.pop_if(|(_, head)| head.size <= self.tree.size()) {
            let agrees = head.size == self.tree.size() && self.tree.root() == head.root;
            self.known[place] = if agrees { Agreement::Agrees } else { Agreement::Differs };
        }
    }

    pub(super) fn fault(&self, kind: Fault) -> ScanError {
        VerifyError::new(self.tree.size(), kind).into()
    }

    fn unreadable(&self) -> impl Fn(io::Error) -> ScanError {
        let index = self.tree.size();
        move |error| VerifyError::new(index, Fault::Unreadable(error.kind())).into()
    }

    fn segments(&mut self, dir: &Path, written: bool) -> Result<(Option<Last>, Option<u64>), ScanError> {
        let numbers = reader::segments(dir).map_err(self.unreadable())?;
        let mut result = (None, None);
        for (place, &number) in numbers.iter().enumerate() {
            if number as usize != place {
                return Err(self.fault(Fault::Deleted));
            }
            let mut reader =
                Reader::open(dir, number).map_err(self.unreadable())?.map_err(|fault| self.fault(fault))?;
            if reader.header.first != self.tree.size() {
                return Err(self.fault(Fault::Deleted));
            }
            self.root(&reader.header.root);
            let next = numbers.get(place + 1).filter(|&&next| next == number + 1);
            // An unreadable header of the next one is found when that one is opened.
            let until = match next {
                Some(&next) => Reader::open(dir, next).map_err(self.unreadable())?.ok().map(|next| next.header.first),
                None => None,
            };
            let last = place + 1 == numbers.len();
            let torn = self.segment(&mut reader, until, last, written).map_err(|error| match error {
                ScanError::Fault(found) if found.kind() == Fault::Deleted => self.moved(dir, &numbers[place..], found),
                other => other,
            })?;
            result = (Some(torn.0), torn.1);
        }
        Ok(result)
    }

    /// Whether what is missing in its place stands further on.
    fn moved(&self, dir: &Path, numbers: &[u32], found: VerifyError) -> ScanError {
        let elsewhere = numbers.iter().any(|&number| {
            Reader::open(dir, number)
                .ok()
                .and_then(Result::ok)
                .is_some_and(|mut reader| reader.holds(found.index()).unwrap_or(false))
        });
        if elsewhere { VerifyError::new(found.index(), Fault::Reordered).into() } else { found.into() }
    }

    /// Reads one segment up to the first index of the next: what stands there from that index on is void.
    fn segment(
        &mut self,
        reader: &mut Reader,
        until: Option<u64>,
        last: bool,
        written: bool,
    ) -> Result<(Last, Option<u64>), ScanError> {
        let mut end = Last { header: reader.header.clone(), offset: reader.offset, batch: None };
        let mut torn = None;
        while until != Some(self.tree.size()) {
            let at = reader.offset;
            match reader.next(self.tree.size(), written).map_err(self.unreadable())? {
                Found::Batch(batch) => {
                    self.begin_batch(&batch.root);
                    self.frames(reader.frames(), until)?;
                    end.offset = reader.offset;
                    if last {
                        let kept = end.batch.get_or_insert_default();
                        kept.0 = at;
                        kept.1.clone_from(&reader.batch);
                    }
                }
                Found::End if until.is_none() => break,
                Found::Torn(bytes) if last => {
                    torn = Some(bytes);
                    break;
                }
                Found::End | Found::Torn(_) => return Err(self.fault(Fault::Deleted)),
                Found::OtherIndex(first) => return Err(self.misplaced(first)),
                Found::Broken(fault) => {
                    // What is intact before the damage may tell more.
                    self.frames(reader.frames(), until)?;
                    return Err(self.fault(fault));
                }
            }
        }
        if let Some(fault) = reader.wrong_length() {
            return Err(self.fault(fault));
        }
        Ok((end, torn))
    }

    fn frames(&mut self, mut frames: &[u8], until: Option<u64>) -> Result<(), ScanError> {
        while let Some((record, rest)) = segment::unframe(frames) {
            if until == Some(self.tree.size()) {
                // The next segment begins inside a batch.
                return Err(self.fault(Fault::Inserted));
            }
            self.record(record)?;
            frames = rest;
        }
        Ok(())
    }

    /// A record with this index stands where another is expected.
    pub(super) fn misplaced(&self, index: u64) -> ScanError {
        let expected = self.tree.size();
        if index > expected {
            return self.fault(Fault::Deleted);
        }
        // Directly after itself it stands twice; which of the two is the false one cannot be told.
        VerifyError::new(if index + 1 == expected { index } else { expected }, Fault::Inserted).into()
    }

    fn root(&mut self, root: &Hash) {
        if self.suspect.is_none() && self.tree.root() != *root {
            self.suspect = Some(self.batch);
        }
    }

    /// The next record, or what is left of it.
    pub(super) fn record(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        self.compare();
        if Dropped::is(bytes) {
            let Ok(dropped) = Dropped::from_bytes(bytes) else { return Err(self.fault(Fault::Edited)) };
            let Dropped { index, stream, sequence, hash } = &dropped;
            let entry = Entry { index: *index, stream, sequence: *sequence, record: None, bytes, hash };
            self.entry(entry)?;
            if self.missing.as_ref().is_some_and(|missing| (&missing.0, missing.1) == (stream, *sequence)) {
                self.missing_at = Some(*index);
            }
            self.cover(stream).drop(*sequence);
            return Ok(());
        }
        let Ok(record) = Record::from_bytes(bytes) else { return Err(self.fault(Fault::Edited)) };
        let (index, sequence, hash) = (record.index, record.sequence, tree::leaf(bytes));
        self.entry(Entry { index, stream: &record.stream, sequence, record: Some(&record), bytes, hash: &hash })?;
        if let Some(prune) = record.prune() {
            self.cover(&record.stream).add(sequence, prune);
        }
        Ok(())
    }

    fn cover(&mut self, stream: &Stream) -> &mut Cover {
        if !self.covers.contains_key(stream) {
            self.covers.insert(stream.clone(), Cover::default());
        }
        self.covers.get_mut(stream).expect("it was put there")
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), ScanError> {
        if entry.index != self.tree.size() {
            return Err(self.misplaced(entry.index));
        }
        let (stream, hash) = (entry.stream, *entry.hash);
        // What was dropped does not say what it followed.
        let previous = entry.record.map(|record| record.previous);
        let k = Chain { index: entry.index, link: Link { sequence: entry.sequence, hash } };
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.stream == *stream) {
            let error = decide(&doubt, previous.as_ref());
            self.decided = Some(error);
            return Err(error.into());
        }
        let j = self.chains.get_mut(stream).map(|chain| std::mem::replace(chain, k));
        if j.is_none() {
            if *stream != Stream::Platform {
                self.tenants += 1;
            }
            if self.tenants > self.most {
                return Err(ScanError::TooManyTenants);
            }
            self.chains.insert(stream.clone(), k);
        }
        let (sequence, hash_before) = j.as_ref().map_or((0, [0; 32]), |j| (j.link.sequence + 1, j.link.hash));
        let follows = entry.sequence == sequence && previous.is_none_or(|previous| previous == hash_before);
        if !follows && self.doubt.is_none() {
            self.doubt = Some(Doubt { stream: stream.clone(), j, k });
        }
        self.tree.push(hash);
        self.last = Some(hash);
        if self.doubt.is_none() && self.suspect.is_none() {
            (self.visit)(entry);
        }
        Ok(())
    }

    /// What is in doubt, as far as it can be told without reading on.
    fn misgiving(&mut self) -> Option<VerifyError> {
        let doubt = self.doubt.take().map(|doubt| decide(&doubt, None));
        self.decided.or(doubt).or(self.suspect.map(|index| VerifyError::new(index, Fault::Edited)))
    }
}

/// Which record is wrong when `k` does not follow `j`, given what the record after `k` in the chain says it follows.
fn decide(doubt: &Doubt, after: Option<&Hash>) -> VerifyError {
    let Doubt { j, k, .. } = doubt;
    let in_sequence = j.is_some_and(|j| k.link.sequence == j.link.sequence + 1);
    match (after, j) {
        // `k` is what it was: `j` is not, or what stood between them is gone.
        (Some(after), Some(j)) if *after == k.link.hash && in_sequence => VerifyError::new(j.index, Fault::Edited),
        (Some(after), _) if *after == k.link.hash => VerifyError::new(k.index, Fault::Deleted),
        // The chain goes on from `j` as if `k` were not there.
        (Some(after), Some(j)) if *after == j.link.hash => VerifyError::new(k.index, Fault::Inserted),
        (Some(_), _) => VerifyError::new(k.index, Fault::Edited),
        (None, Some(j)) if in_sequence => VerifyError::new(j.index, Fault::Edited),
        (None, _) => VerifyError::new(k.index, Fault::Inserted),
    }
}
