//! What is asked of a ledger, and a page of the answer.

use std::{num::NonZeroUsize, ops::RangeInclusive};

use sha2::{Digest as _, Sha256};

use crate::{
    audit::record::{Action, AttemptId, Kind, MAX_NAME, MAX_TEXT, Outcome, Record},
    clock::Timestamp,
    codec,
    id::{SessionId, SubjectId, TrailId, UserId},
};

/// The most records on one page of a ledger.
pub const MAX_PAGE: usize = 1_000;
/// The longest cursor that is looked at, in bytes.
const MAX_CURSOR: usize = 256;

/// Which records, and in which order.
///
/// What is set must all hold; of several actions or kinds, one. Nothing set means every record of the chain that the
/// door leads to: the chain itself is no filter, and cannot be asked for here.
///
/// The order is that in which the ledger wrote, newest first unless asked otherwise, and within a few milliseconds that
/// of time. There is no other: to sort by user or by entity would mean to hold all that match in memory, or to write them
/// down again. A caller sorts one page as it likes.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tower_ward::{audit::{Action, Kind, LedgerQuery, MAX_PAGE, Outcome}, clock::SystemClock, id::UserId};
///
/// # let somebody = UserId::generate(&SystemClock::new());
/// // What this user changed in May, the oldest first.
/// let query = LedgerQuery::new()
///     .with_user(somebody)
///     .add_action(Action::Create)
///     .add_action(Action::Update)
///     .add_kind(Kind::Outcome)
///     .with_outcome(Outcome::Committed)
///     .with_from("2026-05-01T00:00:00Z".parse()?)
///     .with_until("2026-06-01T00:00:00Z".parse()?)
///     .with_limit(NonZeroUsize::new(MAX_PAGE).ok_or("zero")?)
///     .oldest_first();
/// assert_eq!(query.check(), Ok(()));
/// // A time that ends before it begins matches nothing, so it is an error and no empty page.
/// assert_eq!(query.with_until("2026-04-01T00:00:00Z".parse()?).check(), Err("until"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct LedgerQuery {
    pub(super) subject: Option<SubjectId>,
    pub(super) user: Option<UserId>,
    pub(super) about: Option<UserId>,
    pub(super) session: Option<SessionId>,
    pub(super) trail: Option<TrailId>,
    pub(super) attempt: Option<AttemptId>,
    pub(super) actions: Vec<Action>,
    pub(super) kinds: Vec<Kind>,
    pub(super) entity: Option<String>,
    pub(super) outcome: Option<Outcome>,
    pub(super) route: Option<String>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) oldest_first: bool,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
}

impl Default for LedgerQuery {
    fn default() -> Self {
        Self {
            subject: None,
            user: None,
            about: None,
            session: None,
            trail: None,
            attempt: None,
            actions: Vec::new(),
            kinds: Vec::new(),
            entity: None,
            outcome: None,
            route: None,
            from: None,
            until: None,
            oldest_first: false,
            limit: 100,
            cursor: None,
        }
    }
}

impl LedgerQuery {
    /// Everything, the newest first, 100 records a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// That names this person.
    pub fn with_subject(mut self, subject: SubjectId) -> Self {
        self.subject = Some(subject);
        self
    }

    /// That this user did.
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// That was done to this user's account.
    pub fn with_about(mut self, user: UserId) -> Self {
        self.about = Some(user);
        self
    }

    /// In this session.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// In this request or job.
    pub fn with_trail(mut self, trail: TrailId) -> Self {
        self.trail = Some(trail);
        self
    }

    /// Of this change.
    pub fn with_attempt(mut self, attempt: AttemptId) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// In which this was done, or another action that was added.
    pub fn add_action(mut self, action: Action) -> Self {
        if !self.actions.contains(&action) {
            self.actions.push(action);
        }
        self
    }

    /// Of this kind, or another one that was added.
    pub fn add_kind(mut self, kind: Kind) -> Self {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self
    }

    /// About this kind of thing, to the letter.
    pub fn with_entity(mut self, entity: &str) -> Self {
        self.entity = Some(entity.to_owned());
        self
    }

    /// That ended so.
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// By this route's template, to the letter.
    pub fn with_route(mut self, template: &str) -> Self {
        self.route = Some(template.to_owned());
        self
    }

    /// From this moment on.
    pub fn with_from(mut self, from: Timestamp) -> Self {
        self.from = Some(from);
        self
    }

    /// Before this moment.
    pub fn with_until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// The oldest first. Default: the newest.
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }

    /// At most so many records a page, and at most [`MAX_PAGE`]. Default: 100.
    pub fn with_limit(mut self, limit: NonZeroUsize) -> Self {
        self.limit = limit.get();
        self
    }

    /// On from where a page of the same query ended: its [`next`](LedgerPage::next).
    pub fn with_cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// The same of this person; `None` if it is of another one.
    pub(crate) fn only(mut self, subject: SubjectId) -> Option<Self> {
        let own = *self.subject.get_or_insert(subject) == subject;
        own.then_some(self)
    }

    /// Who was asked for.
    pub(crate) fn subject(&self) -> Option<SubjectId> {
        self.subject
    }

    /// Where to go on.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Whether it can match anything.
    ///
    /// # Errors
    ///
    /// The name of the first field that no record can have: a limit beyond [`MAX_PAGE`], an entity or a route that is
    /// empty or longer than a record holds, a time that ends before it begins.
    pub fn check(&self) -> Result<(), &'static str> {
        let misfit = |text: Option<&String>, most| text.is_some_and(|text| text.is_empty() || text.len() > most);
        if !(1..=MAX_PAGE).contains(&self.limit) {
            Err("limit")
        } else if misfit(self.entity.as_ref(), MAX_NAME) {
            Err("entity")
        } else if misfit(self.route.as_ref(), MAX_TEXT) {
            Err("route")
        } else if self.from.zip(self.until).is_some_and(|(from, until)| from >= until) {
            Err("until")
        } else {
            Ok(())
        }
    }

    /// Whether this record is asked for, its chain aside.
    pub(super) fn matches(&self, record: &Record) -> bool {
        fn is<T: PartialEq>(asked: Option<&T>, has: Option<&T>) -> bool {
            asked.is_none() || asked == has
        }
        let text = |asked: &Option<String>, has: Option<&str>| asked.is_none() || asked.as_deref() == has;
        self.subject.is_none_or(|subject| record.subjects.contains(&subject))
            && is(self.user.as_ref(), record.user.as_ref())
            && is(self.about.as_ref(), record.about.as_ref())
            && is(self.session.as_ref(), record.session.as_ref())
            && is(self.trail.as_ref(), record.trail.as_ref())
            && is(self.attempt.as_ref(), record.attempt.as_ref())
            && is(self.outcome.as_ref(), record.outcome.as_ref())
            && (self.actions.is_empty() || record.action.is_some_and(|action| self.actions.contains(&action)))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
            && text(&self.entity, record.entity())
            && text(&self.route, record.route())
            && self.from.is_none_or(|from| record.at >= from)
            && self.until.is_none_or(|until| record.at < until)
    }

    /// What stands somewhere in the bytes of every record that is asked for.
    pub(super) fn needles(&self) -> Vec<String> {
        let ids = [
            self.subject.map(|id| id.to_string()),
            self.user.map(|id| id.to_string()),
            self.about.map(|id| id.to_string()),
            self.session.map(|id| id.to_string()),
            self.trail.map(|id| id.to_string()),
            self.attempt.map(|id| id.to_string()),
        ];
        ids.into_iter().flatten().collect()
    }

    /// What a cursor is bound to: whose chain and which records, in which order. Pages may differ in their size.
    pub(super) fn binding(&self, chains: &str) -> [u8; 16] {
        let mut words: Vec<_> = self.actions.iter().map(|action| action.as_str()).collect();
        words.sort_unstable();
        let mut kinds: Vec<_> = self.kinds.iter().map(|kind| kind.as_str()).collect();
        kinds.sort_unstable();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let parts = [
            Some(chains.to_owned()),
            self.subject.map(|id| id.to_string()),
            self.user.map(|id| id.to_string()),
            self.about.map(|id| id.to_string()),
            self.session.map(|id| id.to_string()),
            self.trail.map(|id| id.to_string()),
            self.attempt.map(|id| id.to_string()),
            Some(words.join(",")),
            Some(kinds.join(",")),
            self.entity.clone(),
            self.outcome.map(|outcome| outcome.as_str().to_owned()),
            self.route.clone(),
            time(self.from),
            time(self.until),
            Some(self.oldest_first.to_string()),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            // A part that is absent and an empty one are two things.
            let part = part.map_or_else(String::new, |part| format!("={part}"));
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut binding = [0; 16];
        binding.copy_from_slice(&hash.finalize()[..16]);
        binding
    }
}

/// A part of what a [`LedgerQuery`] asks for.
///
/// A page may be shorter than its limit, or empty, and not be the last: a reading ends after a fixed amount of work, and
/// before it names more than 1,000 people. The last one has no [`next`](Self::next).
#[derive(Debug)]
#[non_exhaustive]
pub struct LedgerPage {
    /// The records, in the order that was asked for.
    ///
    /// # Security
    ///
    /// [`Record::index`] tells how many records of every clinic the ledger holds, and
    /// [`Record::subjects`] names everybody whom a list named: neither is for whoever may read one clinic, or one
    /// person, alone. [`Record::sequence`] counts the clinic's own.
    pub records: Vec<Record>,
    /// What [`LedgerQuery::with_cursor`] takes for the next page.
    pub next: Option<String>,
    /// The records of the chain that were looked at, by [`Record::sequence`], whether or not they were asked for; `None`
    /// if there was none, or if several chains were read. The next page begins right beside them: what one page ends with
    /// and what the next begins with are neighbours, or a record between them is missing. The last page of all reaches
    /// number 0 if the newest come first.
    pub sequences: Option<RangeInclusive<u64>>,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the query.
    pub(super) binding: [u8; 16],
    /// The newest first: everything below this index is to come. The oldest first: everything from it on.
    pub(super) position: u64,
    /// How many records there were when the first page was read: paging does not follow what is written meanwhile.
    pub(super) end: u64,
    /// The place in its chain of the last record that was looked at.
    pub(super) sequence: Option<u64>,
}

impl Place {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        out.extend(self.binding);
        out.extend(self.position.to_be_bytes());
        out.extend(self.end.to_be_bytes());
        out.extend(self.sequence.map(u64::to_be_bytes).into_iter().flatten());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (binding, rest) = bytes.split_first_chunk()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let sequence = if rest.is_empty() { None } else { Some(u64::from_be_bytes(rest.try_into().ok()?)) };
        let (position, end) = (u64::from_be_bytes(*position), u64::from_be_bytes(*end));
        Some(Self { binding: *binding, position, end, sequence })
    }

    /// For whoever may read the whole ledger, so that its size is no secret to them.
    pub(super) fn to_text(self) -> String {
        codec::base64url(&self.to_bytes())
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        Self::from_bytes(&cursor_bytes(text)?)
    }
}

/// The bytes of a cursor's text.
pub(crate) fn cursor_bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_CURSOR {
        return None;
    }
    codec::unbase64url(text)
}

#[cfg(test)]
impl LedgerQuery {
    pub(crate) fn limit_for_test(&self) -> usize {
        self.limit
    }

    pub(crate) fn is_oldest_first(&self) -> bool {
        self.oldest_first
    }
}
