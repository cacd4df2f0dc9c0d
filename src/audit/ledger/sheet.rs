//! Whose records stand on a page, and what has room there.

use std::{collections::HashSet, ops::RangeInclusive};

use super::query::{LedgerPage, Place};
use crate::{
    audit::record::{MAX_SUBJECTS, Record, Stream},
    id::{SubjectId, TenantId},
};

/// Bytes of the records on one page.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Whose records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Chains<'a> {
    All,
    One(&'a Stream),
    Several(&'a [TenantId]),
}

impl Chains<'_> {
    pub(super) fn hold(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one.as_str() == stream,
            Self::Several(tenants) => tenants.iter().any(|tenant| tenant.as_str() == stream),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            // No chain is called so.
            Self::All => "*".to_owned(),
            Self::One(one) => one.as_str().to_owned(),
            Self::Several(tenants) => {
                let mut names: Vec<_> = tenants.iter().map(TenantId::as_str).collect();
                names.sort_unstable();
                format!("several: {}", names.join(","))
            }
        }
    }
}

/// A page, and where the next one begins.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    pub(crate) sequences: Option<RangeInclusive<u64>>,
    pub(crate) next: Option<Place>,
}

impl Found {
    /// With the cursor in clear: for whoever may read the whole ledger.
    pub(super) fn in_clear(self) -> LedgerPage {
        let next = self.next.map(Place::to_text);
        self.into_page(next)
    }

    pub(crate) fn into_page(self, next: Option<String>) -> LedgerPage {
        LedgerPage { records: self.records, next, sequences: self.sequences }
    }
}

/// What is on the page so far.
#[derive(Default)]
pub(super) struct Sheet {
    pub(super) records: Vec<Record>,
    bytes: usize,
    subjects: HashSet<SubjectId>,
}

impl Sheet {
    /// Puts a record on the page, unless that makes it too long. The first one always fits.
    pub(super) fn take(&mut self, record: Record, length: usize) -> bool {
        let new = record.subjects.iter().filter(|subject| !self.subjects.contains(*subject)).count();
        let over = self.bytes + length > PAGE_BYTES || self.subjects.len() + new > MAX_SUBJECTS;
        if over && !self.records.is_empty() {
            return false;
        }
        self.subjects.extend(&record.subjects);
        self.bytes += length;
        self.records.push(record);
        true
    }
}
