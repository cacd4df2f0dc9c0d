//! Pages for who may read everything: a tool beside the server.

use std::path::{Path, PathBuf};

use super::{
    Ledger, LedgerError,
    archive::{Folder, Index, measure},
    open::io as io_error,
    page::Pager,
    query::{LedgerPage, LedgerQuery, Place},
    sheet::{Chains, Found},
    skim::Summaries,
    timeline::TimelineError,
};
use crate::{
    audit::{Trail, record::Stream},
    id::TenantId,
};

/// The cursor of a query, in clear.
pub(super) fn place(query: &LedgerQuery) -> Result<Option<Place>, TimelineError> {
    let place = query.cursor.as_deref().map(|text| Place::from_text(text).ok_or(TimelineError::Cursor));
    place.transpose()
}

fn chains(chain: Option<&Stream>) -> Chains<'_> {
    chain.map_or(Chains::All, Chains::One)
}

impl Trail {
    /// A page of a clinic's chain, for a door of this trail.
    pub(crate) async fn page(
        &self,
        tenant: &TenantId,
        query: &LedgerQuery,
        place: Option<Place>,
    ) -> Result<Found, TimelineError> {
        let (chain, query) = (Stream::Tenant(tenant.clone()), query.clone());
        self.reading(move |ledger, wanted| ledger.pager(wanted, |pager| pager.page(Chains::One(&chain), &query, place)))
            .await
    }
}

impl Ledger {
    /// A page of one chain, or of all of them together.
    ///
    /// Reads files, at most some 64 MiB of records: call it from a blocking task. Memory is bounded by one batch and the
    /// page, which holds at most 4 MiB. Only what is durable is seen.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_ward::{
    ///     audit::{Action, Event, Ledger, LedgerOptions, LedgerPage, LedgerQuery, RequestFacts, Stream, TimelineError},
    ///     clock::SystemClock,
    ///     id::TenantId,
    /// };
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
    /// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    /// let (trail, _closer) = ledger.begin(RequestFacts::new());
    /// for entity in ["report", "diary", "report"] {
    ///     let event = Event::new(Action::Export).with_tenant(TenantId::new("harbour")?).with_entity(entity);
    ///     trail.record(event)?;
    /// }
    /// trail.settled().await?;
    ///
    /// let harbour = Stream::Tenant(TenantId::new("harbour")?);
    /// let reports = LedgerQuery::new().with_entity("report").with_limit(1.try_into()?);
    /// let LedgerPage { records, next, sequences, .. } = ledger.danger_page(Some(&harbour), &reports)?;
    /// assert_eq!((records[0].sequence(), sequences), (2, Some(2..=2)));
    /// let more = reports.clone().with_cursor(next.ok_or("there is one more")?);
    /// let page = ledger.danger_page(Some(&harbour), &more)?;
    /// assert_eq!((page.records[0].sequence(), page.sequences), (0, Some(0..=1)));
    /// // A cursor is of one chain and one query.
    /// let other = ledger.danger_page(None, &more);
    /// assert!(matches!(other, Err(TimelineError::Cursor)));
    /// # drop(_closer);
    /// # ledger.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If no record can match the query, its cursor is not one of this chain and query, a file cannot be read or is not
    /// intact, or a record of the chain is missing.
    ///
    /// # Security
    ///
    /// No grant stands behind it, and the reading is not recorded: for tools that run beside the server. Its cursors tell
    /// how many records the ledger holds. A handler reads by `ClinicGrant::ledger`.
    pub fn danger_page(&self, chain: Option<&Stream>, query: &LedgerQuery) -> Result<LedgerPage, TimelineError> {
        let place = place(query)?;
        let found = self.pager(&|| true, |pager| pager.page(chains(chain), query, place));
        Ok(found?.in_clear())
    }
}

/// A ledger's folder, looked into from beside whoever writes it.
///
/// It holds what was durable when it was opened. Nothing is written, and no lock is kept.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::{
///     audit::{Action, Event, Ledger, LedgerFolder, LedgerOptions, LedgerQuery, RequestFacts}, clock::SystemClock,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path();
/// assert!(LedgerFolder::open(dir).is_err(), "a wrong path does not look like an empty ledger");
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// # let ledger = Ledger::open(dir, options, SystemClock::shared())?;
/// # let (trail, _closer) = ledger.begin(RequestFacts::new());
/// trail.record(Event::new(Action::Configuration))?;
/// trail.settled().await?;
/// let beside = LedgerFolder::open(dir)?;
/// assert_eq!(beside.danger_page(None, &LedgerQuery::new())?.records.len(), 1);
/// # drop(_closer);
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LedgerFolder {
    dir: PathBuf,
    end: u64,
    index: Index,
    summaries: Summaries,
}

impl LedgerFolder {
    /// Looks into a folder. Reads its last segment, to learn how many records there are.
    ///
    /// # Errors
    ///
    /// If it cannot be read, holds no ledger, or its last segment is not intact.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let nothing = || io_error("find a segment")(std::io::ErrorKind::NotFound.into());
        let end = measure(dir)?.ok_or_else(nothing)?;
        Ok(Self { dir: dir.to_owned(), end, index: Index::default(), summaries: Summaries::default() })
    }

    /// A page of one chain, or of all of them together: as [`Ledger::danger_page`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Security
    ///
    /// Whoever may read the files may read every clinic's records, and no record says that he did.
    pub fn danger_page(&self, chain: Option<&Stream>, query: &LedgerQuery) -> Result<LedgerPage, TimelineError> {
        let archive = Folder::new(&self.dir, self.end, &self.index);
        let pager = Pager { archive: &archive, summaries: &self.summaries, wanted: &|| true };
        Ok(pager.page(chains(chain), query, place(query)?)?.in_clear())
    }
}
