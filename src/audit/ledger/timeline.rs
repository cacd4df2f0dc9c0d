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

impl Trail {
    /// [`Ledger::danger_timeline`] for a door of this trail.
    pub(crate) async fn timeline(
        &self,
        tenant: &TenantId,
        subject: SubjectId,
        limit: usize,
    ) -> Result<Vec<Record>, LedgerError> {
        let permit = READINGS.acquire().await;
        let (ledger, tenant) = (self.ledger().clone(), tenant.clone());
        let reading = tokio::task::spawn_blocking(move || ledger.danger_timeline(&tenant, subject, limit));
        let records = reading.await.unwrap_or_else(|error| Err(io_error("read")(io::Error::other(error))));
        drop(permit);
        records
    }
}

impl Ledger {
    /// The last `limit` records that name this person in this clinic, the oldest first.
    ///
    /// Reads files from the newest back, until it has enough or has read sixteen: call it from a blocking task. Memory
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
        limit: usize,
    ) -> Result<Vec<Record>, LedgerError> {
        let stream = Stream::Tenant(tenant.clone());
        let id = subject.to_string();
        let mut end = self.head().size();
        let numbers = reader::segments(&self.inner.shared.dir).map_err(io_error("list"))?;
        let mut found: VecDeque<Record> = VecDeque::new();
        for &number in numbers.iter().rev().take(SEGMENTS) {
            if found.len() >= limit {
                break;
            }
            let mut reader = Reader::open(&self.inner.shared.dir, number)
                .map_err(io_error("read"))?
                .map_err(|fault| VerifyError::new(end, fault))?;
            let first = reader.header.first;
            let mut here = VecDeque::new();
            read(&mut reader, first, end, &mut |bytes| {
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
            end = end.min(first);
        }
        Ok(found.into())
    }
}

/// Hands out the bytes of the records from `first` up to `end`.
fn read(
    reader: &mut Reader,
    first: u64,
    end: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> io::Result<Result<(), VerifyError>> {
    let mut index = first;
    while index < end {
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
