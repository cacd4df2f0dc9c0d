//! Copies of the key store: registered, kept up to date, and asked whether what was erased is gone.
//!
//! A copy is a store of its own that holds what this one holds. It follows by the versions of the writes: a page of entries
//! and the mark of how far it came are taken over in one transaction, and only from where the mark stands, so that of two
//! processes that bring one up to date the slower writes nothing. Then the copy scrubs, if keys may have been replaced, and says
//! so with a second mark. What a write replaced is gone from a copy once its second mark is not below the version of that write.
//!
//! A copy is written only if it is empty, or holds this very platform's secret: an empty store that was begun by mistake, on a
//! disk that was not mounted, must not overwrite the one good copy. And it is written only while it is nobody's store: whoever
//! opens a copy as a store takes its marks away and gives it a name, and who follows the old one is refused from then on.

use std::sync::Arc;

use super::{
    super::record::{Owner, Record},
    CALL, FIRST_EPOCH, Inner, KIND, KeyError, notices_name, platform_name,
};
use crate::{
    entropy,
    store::{Durable, NameError, ObjectName, Prefix, StoreError},
    trace,
};

/// Registered copies.
const REGISTERED: &str = "key-copy";
/// What belongs to one store and is not taken over: its own name, and the marks of what it follows.
const OWN: &str = "key-store";
/// The mark of how far a copy has come.
const TAKEN: &str = "taken";
/// How many entries a copy takes over at a time.
const PAGE: usize = 500;
/// The most copies.
pub(super) const MAX: usize = 16;

/// A copy of the key store, under a name of the application's choosing.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) name: Arc<str>,
    store: Arc<dyn Durable>,
}

impl Copy {
    pub(super) fn new(name: &str, store: Arc<dyn Durable>) -> Result<Self, NameError> {
        registered_name(name)?;
        Ok(Self { name: name.into(), store })
    }

    /// Refuses to begin a store beside a copy that holds keys.
    pub(super) async fn must_be_empty(&self) -> Result<(), KeyError> {
        match self.store.get(&platform_name()).await? {
            None => Ok(()),
            Some(_) => Err(KeyError::CopyOfAnother(self.name.to_string())),
        }
    }
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Which store it follows.
    of: [u8; 16],
    version: u64,
    /// It holds all that the store held at that version. Between the pages of a long way it does not.
    whole: bool,
}

impl Mark {
    fn to_bytes(self) -> [u8; 25] {
        let mut out = [0; 25];
        out[..16].copy_from_slice(&self.of);
        out[16..24].copy_from_slice(&self.version.to_be_bytes());
        out[24] = u8::from(self.whole);
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (of, rest) = bytes.split_first_chunk::<16>()?;
        let (version, whole) = rest.split_first_chunk::<8>()?;
        let whole = match whole {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self { of: *of, version: u64::from_be_bytes(*version), whole })
    }
}

/// How a copy stands, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Its name.
    pub name: String,
    /// How many writes it has not taken over, or scrubbed; `None` if it cannot be reached, or is not one of this store.
    pub behind: Option<u64>,
}

impl Inner {
    /// Registers the copies that are new, and refuses to go on without one that was registered.
    pub(super) async fn register_copies(&self, forgotten: &[String]) -> Result<(), KeyError> {
        for name in forgotten.iter().filter(|name| !self.copies.iter().any(|copy| *copy.name == ***name)) {
            if let Ok(name) = registered_name(name) {
                self.store.remove(&name).await?;
            }
        }
        for copy in &self.copies {
            if self.is_this_store(copy).await {
                return Err(KeyError::CopyOfItself(copy.name.to_string()));
            }
        }
        let prefix = Prefix::platform(REGISTERED).expect("the kind is a constant");
        for (name, _) in self.store.list(&prefix, None, MAX + 1).await? {
            if !self.copies.iter().any(|copy| *copy.name == *name) {
                return Err(KeyError::MissingCopy(name));
            }
        }
        // Last: an open that is refused asks the next one for no more than it was given.
        for copy in &self.copies {
            let name = registered_name(&copy.name).map_err(|_| KeyError::Corrupt)?;
            self.store.insert_new(&name, &[], None).await?;
        }
        Ok(())
    }

    /// One that cannot be reached now is found out when it is followed.
    async fn is_this_store(&self, copy: &Copy) -> bool {
        matches!(copy.store.get(&id_name()).await, Ok(Some(entry)) if entry.value == self.store_id)
    }

    /// Refuses a copy that is somebody's store, or holds another platform's keys.
    async fn check_copy(&self, copy: &Copy) -> Result<(), KeyError> {
        if copy.store.get(&id_name()).await?.is_some() {
            return Err(KeyError::CopyInUse(copy.name.to_string()));
        }
        let Some(entry) = copy.store.get(&platform_name()).await? else { return Ok(()) };
        let ours = Record::parse(&entry.value)
            .is_ok_and(|record| self.platform.authority.check(Owner::PLATFORM, &record).is_ok());
        if ours { Ok(()) } else { Err(KeyError::CopyOfAnother(copy.name.to_string())) }
    }

    /// Brings every copy up to date; the names of those that are not, and which write they have come to.
    pub(super) async fn follow(&self) -> Vec<(Arc<str>, Result<u64, KeyError>)> {
        // One after another: two that scrub at once are in each other's way.
        let _alone = self.copying.lock().await;
        let mut reached = Vec::with_capacity(self.copies.len());
        for copy in &self.copies {
            // One on a disk that hangs holds up nobody for longer.
            let done = tokio::time::timeout(CALL, self.catch_up(copy)).await;
            let done = done.unwrap_or_else(|_| Err(StoreError::Busy.into()));
            if let Err(error) = &done {
                trace::event!(warn, copy = %copy.name, error = %error, "a copy of the key store cannot be brought up to date");
            }
            reached.push((Arc::clone(&copy.name), done));
        }
        reached
    }

    /// Takes over what is new, and scrubs. Up to which write everything is there, and nothing older any more.
    async fn catch_up(&self, copy: &Copy) -> Result<u64, KeyError> {
        let (taken, scrubbed) = (mark_name(TAKEN), mark_name("scrubbed"));
        loop {
            let entry = copy.store.get(&taken).await?;
            // After the mark was read: whoever opens the copy as a store gives it a name before it takes the mark away.
            self.check_copy(copy).await?;
            let mark = entry.as_ref().and_then(|entry| Mark::parse(&entry.value));
            // One that followed another store, or none, begins at the beginning; and so does one that is ahead of this store,
            // which was set back to what it held before.
            // After the mark was read, or a write in between would make it look ahead.
            let newest = self.newest().await?;
            let mark = mark.filter(|mark| mark.of == self.store_id && mark.version <= newest);
            let from = mark.map_or(0, |mark| mark.version);
            let page = self.store.written_since(from, PAGE).await?;
            let whole = page.len() < PAGE;
            let version = page.last().map_or(from, |(_, last)| last.version);
            if version == from && mark.is_some_and(|mark| mark.whole) {
                break;
            }
            let to = Mark { of: self.store_id, version, whole };
            let mut entries: Vec<_> = page
                .into_iter()
                .filter(|(name, _)| name.kind() != OWN)
                .map(|(name, entry)| (name, entry.value))
                .collect();
            // A scrub writes the whole file: not for every newcomer.
            if !entries.iter().any(|(name, value)| may_replace_keys(name, value))
                && mark.is_some()
                && self.mark(copy, &scrubbed).await? == from
            {
                entries.push((scrubbed.clone(), to.to_bytes().to_vec()));
            }
            // Another process may have been faster; then the next round begins where it ended.
            copy.store.take_over((&taken, entry.map(|entry| entry.version), &to.to_bytes()), &entries).await?;
        }
        let taken = self.mark(copy, &taken).await?;
        // Also if it is ahead: it belongs to what was set back.
        if self.mark(copy, &scrubbed).await? != taken {
            copy.store.scrub().await?;
            let version = copy.store.get(&scrubbed).await?.map(|entry| entry.version);
            let mark = Mark { of: self.store_id, version: taken, whole: true };
            copy.store.take_over((&scrubbed, version, &mark.to_bytes()), &[]).await?;
        }
        Ok(self.mark(copy, &scrubbed).await?)
    }

    /// Whether a copy that has come so far does hold what this store holds under this name. One that does not has another
    /// history, and begins anew.
    pub(super) async fn holds(&self, copy: &str, name: &ObjectName, value: &[u8]) -> Result<bool, StoreError> {
        let Some(copy) = self.copies.iter().find(|there| &*there.name == copy) else { return Ok(false) };
        let same = copy.store.get(name).await?.is_some_and(|entry| entry.value == value);
        if !same {
            copy.store.remove(&mark_name(TAKEN)).await?;
        }
        Ok(same)
    }

    /// The version of the newest write that stands. Every write of a keyring stands, or a newer one in its place.
    async fn newest(&self) -> Result<u64, StoreError> {
        self.store.newest_version().await
    }

    /// The write that a mark stands at, of this store.
    async fn mark(&self, copy: &Copy, name: &ObjectName) -> Result<u64, StoreError> {
        let mark = copy.store.get(name).await?.and_then(|entry| Mark::parse(&entry.value));
        Ok(mark.filter(|mark| mark.of == self.store_id).map_or(0, |mark| mark.version))
    }

    /// How every copy stands, as it says now.
    pub(super) async fn report_copies(&self) -> Result<Vec<CopyReport>, KeyError> {
        let mut reports = Vec::with_capacity(self.copies.len());
        for copy in &self.copies {
            let behind = match (self.check_copy(copy).await, self.mark(copy, &mark_name("scrubbed")).await) {
                (Ok(()), Ok(at)) => Some(self.count_since(at).await?),
                _ => None,
            };
            reports.push(CopyReport { name: copy.name.to_string(), behind });
        }
        Ok(reports)
    }

    async fn count_since(&self, mut at: u64) -> Result<u64, KeyError> {
        let mut count = 0;
        loop {
            let page = self.store.written_since(at, PAGE).await?;
            count += u64::try_from(page.iter().filter(|(name, _)| name.kind() != OWN).count()).unwrap_or(u64::MAX);
            match page.last() {
                Some((_, last)) if page.len() == PAGE => at = last.version,
                _ => return Ok(count),
            }
        }
    }
}

/// Whether what is written here may have taken the place of keys that must not be found any more.
fn may_replace_keys(name: &ObjectName, value: &[u8]) -> bool {
    if name.kind() != KIND || *name == notices_name() {
        return false;
    }
    match Record::parse(value) {
        // An older key was taken out.
        Ok(Record::Set(set)) => set.keys.first().is_some_and(|oldest| oldest.epoch > FIRST_EPOCH),
        _ => true,
    }
}

/// The name of this store, made by the first to open it. A copy that is opened as a store follows no other from here on.
pub(super) async fn store_id(store: &dyn Durable) -> Result<[u8; 16], KeyError> {
    if let Some(entry) = store.get(&mark_name(TAKEN)).await?
        && Mark::parse(&entry.value).is_some_and(|mark| !mark.whole)
    {
        return Err(KeyError::PartialCopy);
    }
    let mut id = [0; 16];
    entropy::fill(&mut id);
    // The name first: from then on nobody writes here who followed another.
    store.insert_new(&id_name(), &id, None).await?;
    for mark in [TAKEN, "scrubbed"] {
        store.remove(&mark_name(mark)).await?;
    }
    let there = store.get(&id_name()).await?.ok_or(KeyError::Corrupt)?;
    there.value.try_into().map_err(|_| KeyError::Corrupt)
}

fn id_name() -> ObjectName {
    ObjectName::platform(OWN, "id").expect("the kind and the key are constants")
}

fn mark_name(which: &'static str) -> ObjectName {
    ObjectName::platform(OWN, which).expect("the kind and the key are constants")
}

fn registered_name(name: &str) -> Result<ObjectName, NameError> {
    ObjectName::platform(REGISTERED, name)
}
