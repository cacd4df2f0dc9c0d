//! What was done to one person's data.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    ops::ControlFlow,
    sync::Mutex,
};

use tokio::sync::Semaphore;

use super::{
    Ledger, LedgerError,
    archive::{Archive, Index, unwanted},
    lock,
    open::io as io_error,
    page::Pager,
    skim::Summaries,
};
use crate::{
    audit::{
        Trail, TrailError,
        record::{Dropped, Record, Stream},
        verify::{Fault, VerifyError},
    },
    id::{SubjectId, TenantId, UserId},
};

/// How far back one reading goes: with segments of 16 MiB, about 150,000 records. The next one goes on from there.
const SEGMENTS: usize = 4;
/// Readings at a time, in the whole process: more wait, and leave the blocking pool to others.
static READINGS: Semaphore = Semaphore::const_new(2);

/// Who reads now, and what is remembered for those who read later.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// One user waits with one reading, so nobody fills the queue of the others.
    busy: Mutex<BTreeSet<UserId>>,
    index: Index,
    summaries: Summaries,
}

/// A user's one reading.
struct Reading {
    ledger: Ledger,
    user: Option<UserId>,
}

impl Reading {
    fn begin(ledger: &Ledger, user: Option<UserId>) -> Option<Self> {
        let readers = &ledger.inner.shared.readers.busy;
        let alone = user.is_none_or(|user| lock(readers).insert(user));
        alone.then(|| Self { ledger: ledger.clone(), user })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            lock(&self.ledger.inner.shared.readers.busy).remove(user);
        }
    }
}

/// A part of what was done to one person's data, the oldest first.
#[derive(Debug)]
#[non_exhaustive]
pub struct Timeline {
    /// The records.
    pub records: Vec<Record>,
    /// Where an older part begins, as the `before` of the next reading; `None` where there is none. It is a
    /// [`Record::index`], so it tells how many records of every clinic the ledger holds.
    pub older: Option<u64>,
}

/// A timeline could not be read.
///
/// ```
/// use tower_ward::{access::{DoorError, Permission, SubjectGrant}, audit::{Timeline, TimelineError}};
///
/// /// `None` while the same user's last reading still runs: ask again in a moment.
/// async fn page<P: Permission>(chart: &SubjectGrant<P>, before: Option<u64>) -> Result<Option<Timeline>, DoorError> {
///     match chart.timeline(before, 100).await {
///         Ok(timeline) => Ok(Some(timeline)),
///         Err(DoorError::Timeline(TimelineError::Busy)) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The user's last reading still runs.
    #[error("this user reads a timeline already: wait for it to end")]
    Busy,
    /// The record of the reading cannot be written.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// A file of the ledger cannot be read, or is not intact.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A cursor is not one that this clinic was given for this query.
    #[error("the cursor is not one of this chain and this query: begin with the first page")]
    Cursor,
    /// A field of the query is such that no record matches.
    #[error("no record can match `{field}` of the query: see `LedgerQuery::check`")]
    Query {
        /// The field.
        field: &'static str,
    },
}

impl Trail {
    /// [`Ledger::danger_timeline`] for a door of this trail.
    pub(crate) async fn timeline(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Timeline, TimelineError> {
        let tenant = tenant.clone();
        self.reading(move |ledger, wanted| Ok(ledger.scan(&tenant, subject, before, limit, wanted)?)).await
    }

    /// Reads the ledger for a door of this trail: what opened the door is to be found, too.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Ledger, &dyn Fn() -> bool) -> Result<T, TimelineError> + Send + 'static,
    ) -> Result<T, TimelineError> {
        let reading = Reading::begin(self.ledger(), self.actor_user()).ok_or(TimelineError::Busy)?;
        self.settled().await?;
        let permit = READINGS.acquire().await;
        let trail = self.clone();
        // The permits go along: whoever hangs up makes no room for another reading while his own still runs.
        let reading = tokio::task::spawn_blocking(move || {
            let _permits = (permit, reading);
            read(trail.ledger(), &|| !trail.is_closed())
        });
        reading.await.unwrap_or_else(|error| Err(io_error("read")(io::Error::other(error)).into()))
    }
}

impl Ledger {
    /// Hands out what pages are read from. All that is durable now is in it.
    pub(super) fn pager<R>(&self, wanted: &dyn Fn() -> bool, read: impl FnOnce(&Pager<'_>) -> R) -> R {
        let readers = &self.inner.shared.readers;
        let archive = self.archive();
        read(&Pager { archive: &*archive, summaries: &readers.summaries, wanted })
    }

    /// Where the records are.
    fn archive(&self) -> Box<dyn Archive + '_> {
        let shared = &self.inner.shared;
        shared.records.archive(self.head().size(), &shared.readers.index)
    }
}

impl Ledger {
    /// The last `limit` records that name this person in this clinic, of those with an index below `before`.
    ///
    /// Reads files from there back, until it has enough or has read four: call it from a blocking task. Memory
    /// is bounded by `limit` records and one batch. Only what is durable is seen.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_ward::{
    ///     audit::{Action, End, Event, Kind, Ledger, LedgerOptions, Method, Record, RequestFacts, Stream, Timeline},
    ///     clock::SystemClock,
    ///     id::{SubjectId, TenantId},
    /// };
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
    /// let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    /// let (clinic, patient) = (TenantId::new("harbour")?, SubjectId::generate(&SystemClock::new()));
    /// let (trail, mut closer) = ledger.begin(RequestFacts::new().with_method(&http::Method::GET));
    /// trail.record(Event::new(Action::Export).with_tenant(clinic.clone()).add_subject(patient))?;
    /// trail.settled().await?;
    /// closer.finish(End::Completed);
    ///
    /// let Timeline { records, older, .. } = ledger.danger_timeline(&clinic, patient, None, 100)?;
    /// assert_eq!((records.len(), older), (1, None));
    /// assert_eq!((records[0].kind(), records[0].method()), (Kind::Event, Some(Method::Get)));
    /// assert_eq!(records[0].stream(), &Stream::Tenant(clinic.clone()));
    /// // One record has one spelling, so that a copy can be compared byte by byte.
    /// assert_eq!(Record::from_bytes(&records[0].to_bytes())?.index(), records[0].index());
    /// // In another clinic, nobody knows this person.
    /// assert!(ledger.danger_timeline(&TenantId::new("meadow")?, patient, None, 100)?.records.is_empty());
    /// # ledger.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not intact.
    ///
    /// # Security
    ///
    /// No grant stands behind it, and the reading is not recorded: for tools that run beside the server. A handler
    /// reads by `SubjectGrant::timeline`.
    pub fn danger_timeline(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Timeline, LedgerError> {
        self.scan(tenant, subject, before, limit, &|| true)
    }

    fn scan(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        before: Option<u64>,
        limit: usize,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Timeline, LedgerError> {
        let stream = Stream::Tenant(tenant.clone());
        let id = subject.to_string();
        let archive = self.archive();
        let mut end = before.unwrap_or(u64::MAX).min(archive.end());
        let mut found: VecDeque<Record> = VecDeque::new();
        let mut segments = 0;
        for chunk in archive.chunks()?.iter().rev() {
            if found.len() >= limit || segments == SEGMENTS || end == 0 {
                break;
            }
            if chunk.first >= end {
                continue;
            }
            segments += 1;
            let mut here = VecDeque::new();
            archive.read(chunk, chunk.first, end, &mut |index, bytes| {
                if index.is_multiple_of(256) && !wanted() {
                    return Err(unwanted());
                }
                // Most records are of somebody else: do not parse them.
                if Dropped::is(bytes) || !std::str::from_utf8(bytes).is_ok_and(|text| text.contains(&id)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let record = Record::from_bytes(bytes).map_err(|_| VerifyError::new(index, Fault::Edited))?;
                if record.stream == stream && record.subjects.contains(&subject) {
                    if here.len() >= limit - found.len() {
                        here.pop_front();
                    }
                    here.push_back(record);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            here.append(&mut found);
            found = here;
            end = chunk.first;
        }
        // Where the limit stopped it, there may be more in the same file.
        let older = if found.len() >= limit { found.front().map_or(end, Record::index) } else { end };
        Ok(Timeline { records: found.into(), older: (older > 0).then_some(older) })
    }
}
