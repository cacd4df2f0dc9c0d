//! What was done to one person's data.

use std::{collections::VecDeque, io};

use tokio::sync::Semaphore;

use super::{
    Ledger, LedgerError,
    open::io as io_error,
    reader::{self, Found, Reader},
    segment,
};
use crate::{
    audit::{
        Trail,
        record::{Record, Stream},
        verify::{Fault, VerifyError},
    },
    id::{SubjectId, TenantId},
};

/// How far back one reading goes: with segments of 16 MiB, about half a million records.
const SEGMENTS: usize = 16;
/// Readings at a time, in the whole process: more wait, and leave the blocking pool to others.
static READINGS: Semaphore = Semaphore::const_new(2);

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

impl Trail {
    /// [`Ledger::danger_timeline`] for a door of this trail.
    pub(crate) async fn timeline(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Timeline, LedgerError> {
        let permit = READINGS.acquire().await;
        let (trail, tenant) = (self.clone(), tenant.clone());
        // The permit goes along: whoever hangs up makes no room for another reading while his own still runs.
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            trail.ledger().scan(&tenant, subject, before, limit, &|| !trail.is_closed())
        });
        reading.await.unwrap_or_else(|error| Err(io_error("read")(io::Error::other(error))))
    }
}

impl Ledger {
    /// The last `limit` records that name this person in this clinic, of those with an index below `before`.
    ///
    /// Reads files from there back, until it has enough or has read sixteen: call it from a blocking task. Memory
    /// is bounded by `limit` records and one batch. Only what is durable is seen.
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
        let mut end = before.unwrap_or(u64::MAX).min(self.head().size());
        let numbers = reader::segments(&self.inner.shared.dir).map_err(io_error("list"))?;
        let mut found: VecDeque<Record> = VecDeque::new();
        let mut segments = 0;
        for &number in numbers.iter().rev() {
            if found.len() >= limit || segments == SEGMENTS || end == 0 {
                break;
            }
            let mut reader = Reader::open(&self.inner.shared.dir, number)
                .map_err(io_error("read"))?
                .map_err(|fault| VerifyError::new(end, fault))?;
            let first = reader.header.first;
            if first >= end {
                continue;
            }
            segments += 1;
            let mut here = VecDeque::new();
            read(&mut reader, first, end, wanted, &mut |bytes| {
                // Most records are of somebody else: do not parse them.
                if !std::str::from_utf8(bytes).is_ok_and(|text| text.contains(&id)) {
                    return Ok(());
                }
                let record = Record::from_bytes(bytes).map_err(|_| Fault::Edited)?;
                if record.stream == stream && record.subjects.contains(&subject) {
                    if here.len() >= limit - found.len() {
                        here.pop_front();
                    }
                    here.push_back(record);
                }
                Ok(())
            })
            .map_err(io_error("read"))??;
            here.append(&mut found);
            found = here;
            end = first;
        }
        // Where the limit stopped it, there may be more in the same file.
        let older = if found.len() >= limit { found.front().map_or(end, Record::index) } else { end };
        Ok(Timeline { records: found.into(), older: (older > 0).then_some(older) })
    }
}

/// Hands out the bytes of the records from `first` up to `end`, as long as they are wanted.
fn read(
    reader: &mut Reader,
    first: u64,
    end: u64,
    wanted: &dyn Fn() -> bool,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> io::Result<Result<(), VerifyError>> {
    let mut index = first;
    while index < end {
        if !wanted() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        match reader.next(index, true)? {
            Found::Batch(_) => {}
            Found::Broken(fault) => return Ok(Err(VerifyError::new(index, fault))),
            Found::End | Found::Torn(_) | Found::OtherIndex(_) => {
                return Ok(Err(VerifyError::new(index, Fault::Deleted)));
            }
        }
        let mut frames = reader.frames();
        while let Some((record, rest)) = segment::unframe(frames) {
            if index < end
                && let Err(fault) = visit(record)
            {
                return Ok(Err(VerifyError::new(index, fault)));
            }
            frames = rest;
            index += 1;
        }
    }
    Ok(Ok(()))
}
