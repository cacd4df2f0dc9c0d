//! One entry of the ledger, and its canonical bytes.
//!
//! A record is one line of JSON with a fixed order of fields, no white space, no floats, and bounded texts; absent
//! fields are left out. [`Record::from_bytes`] takes exactly what [`Record::to_bytes`] writes and nothing else, so one
//! record has one spelling and one hash. `docs/ledger.md` gives the bytes.

mod changes;
mod encode;
mod event;
mod names;
mod parse;
mod pruned;

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

pub use changes::{ClassDiff, FieldDiff, MAX_CLASSES, MAX_FIELDS, MAX_SEALED_VALUES, Stated};
pub(crate) use event::{Actor, Change, Door, Refusal};
pub use event::{Event, Purpose, PurposeError};
pub use names::{Action, End, Kind, Method, Outcome};
pub use parse::RecordError;
pub use pruned::{Dropped, Prune};
pub(crate) use pruned::{MAX_KEPT, Spans};

use crate::{
    clock::Timestamp,
    id::{IdError, RowId, SessionId, SubjectId, TenantId, TrailId, UserId},
};

/// The longest record, in bytes.
pub const MAX_RECORD: usize = 48 * 1024;
/// The most people one record may list.
pub const MAX_SUBJECTS: usize = 1_000;
/// The longest name: a role, a permission, an entity, a purpose, a request id.
pub const MAX_NAME: usize = 64;
/// The longest `why`: what opened a door, as the relations that held.
///
/// ```
/// use tower_ward::{access::Relations, audit::MAX_WHY};
///
/// // All relations that there are have room.
/// let all = ["own", "assigned", "circle", "clinic"].into_iter().filter_map(Relations::named);
/// let every: Vec<_> = all.fold(Relations::NONE, Relations::union).names().collect();
/// assert!(every.len() == 4 && every.join(" ").len() <= MAX_WHY);
/// ```
pub const MAX_WHY: usize = 128;
/// The longest reason, route template or user agent.
pub const MAX_TEXT: usize = 256;

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// Whose chain a record stands in: a tenant's, or the platform's for what belongs to no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What belongs to no tenant: refusals before identity, the operator's own acts.
    Platform,
    /// One tenant's.
    Tenant(TenantId),
}

impl Stream {
    /// The name in the record: the tenant's, or `platform`, which no tenant can be called.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Platform => "platform",
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

impl Stream {
    /// The stream of this name; `None` if it is no tenant's that there can be.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "platform" => Some(Self::Platform),
            name => TenantId::new(name).ok().map(Self::Tenant),
        }
    }
}

impl From<Option<TenantId>> for Stream {
    fn from(tenant: Option<TenantId>) -> Self {
        tenant.map_or(Self::Platform, Self::Tenant)
    }
}

/// One attempt at a change, from its write-ahead record to its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(TrailId);

impl AttemptId {
    pub(crate) fn generate(clock: &dyn crate::clock::Clock) -> Self {
        Self(TrailId::generate(clock))
    }

    /// The identifier with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(TrailId::from_bytes(bytes))
    }

    /// The sixteen bytes: a UUID version 7.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttemptId({})", self.0)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = IdError;

    /// Takes the hyphenated lower-case form alone.
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub(crate) index: u64,
    pub(crate) stream: Stream,
    pub(crate) sequence: u64,
    pub(crate) previous: Hash,
    pub(crate) at: Timestamp,
    pub(crate) monotonic_ns: u64,
    pub(crate) trail: Option<TrailId>,
    pub(crate) kind: Kind,
    pub(crate) action: Option<Action>,
    pub(crate) user: Option<UserId>,
    pub(crate) about: Option<UserId>,
    pub(crate) role: Option<Arc<str>>,
    pub(crate) session: Option<SessionId>,
    pub(crate) permission: Option<Cow<'static, str>>,
    pub(crate) entity: Option<Cow<'static, str>>,
    pub(crate) subjects: Vec<SubjectId>,
    pub(crate) row: Option<RowId>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) changes: Vec<ClassDiff>,
    pub(crate) prune: Option<Box<Prune>>,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) reason: Option<Cow<'static, str>>,
    pub(crate) why: Option<Arc<str>>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) end: Option<End>,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) agent: Option<Arc<str>>,
    pub(crate) request: Option<Arc<str>>,
    pub(crate) method: Option<Method>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) signature: Option<Box<str>>,
}

impl Record {
    /// A record of this kind with nothing else in it. Its place in the ledger is given by the writer.
    pub(crate) fn empty(kind: Kind, stream: Stream, at: Timestamp, monotonic: std::time::Duration) -> Self {
        Self {
            index: 0,
            stream,
            sequence: 0,
            previous: [0; 32],
            at,
            monotonic_ns: u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX),
            trail: None,
            kind,
            action: None,
            user: None,
            about: None,
            role: None,
            session: None,
            permission: None,
            entity: None,
            subjects: Vec::new(),
            row: None,
            attempt: None,
            changes: Vec::new(),
            prune: None,
            purpose: None,
            reason: None,
            why: None,
            outcome: None,
            end: None,
            status: None,
            bytes: None,
            count: None,
            peer: None,
            agent: None,
            request: None,
            method: None,
            route: None,
            signature: None,
        }
    }

    /// Reads the canonical bytes of a record.
    ///
    /// ```
    /// use tower_ward::audit::{MAX_RECORD, Record, RecordError};
    ///
    /// let error: RecordError = Record::from_bytes(b"{\"v\": 1}").unwrap_err();
    /// assert_eq!(error.field(), "v"); // white space before it: not one of ours
    /// assert!(Record::from_bytes(&[b' '; MAX_RECORD + 1]).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// If the bytes are not exactly what [`to_bytes`](Self::to_bytes) writes: another order of fields, another spelling
    /// of a number, a text or an identifier, white space, an unknown field, or a text beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        parse::parse(bytes)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::with_capacity(512);
        encode::encode(self, &mut out);
        out.into_bytes()
    }

    pub(crate) fn write_to(&self, out: &mut String) {
        encode::encode(self, out);
    }

    /// The place in the whole ledger, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whose chain it stands in.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The tenant, or `None` for the platform.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match &self.stream {
            Stream::Platform => None,
            Stream::Tenant(tenant) => Some(tenant),
        }
    }

    /// The place in its own chain, from 0.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash of the record before it in its chain; zeros for the first.
    #[must_use]
    pub fn previous(&self) -> &[u8; 32] {
        &self.previous
    }

    /// Wall time at which it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Monotonic nanoseconds since the server started.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns
    }

    /// The request (or job) it belongs to.
    #[must_use]
    pub fn trail(&self) -> Option<TrailId> {
        self.trail
    }

    /// What kind of record it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was done.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action
    }

    /// Who did it.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// The account it was done to: whose role was changed, whose password was guessed.
    #[must_use]
    pub fn about(&self) -> Option<UserId> {
        self.about
    }

    /// In which role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// In which session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// By which permission.
    #[must_use]
    pub fn permission(&self) -> Option<&str> {
        self.permission.as_deref()
    }

    /// To what kind of thing.
    #[must_use]
    pub fn entity(&self) -> Option<&str> {
        self.entity.as_deref()
    }

    /// Whose data it was.
    #[must_use]
    pub fn subjects(&self) -> &[SubjectId] {
        &self.subjects
    }

    /// Which row.
    #[must_use]
    pub fn row(&self) -> Option<RowId> {
        self.row
    }

    /// The change that this record announces or settles.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        self.attempt
    }

    /// What a change makes of its row, by classes of data: in records of [`Kind::Changed`] alone.
    ///
    /// The values open through `SubjectGrant::open_diff` or `ClinicGrant::open_diff`.
    #[must_use]
    pub fn changes(&self) -> &[ClassDiff] {
        &self.changes
    }

    /// What retention may drop of the chain: in records of [`Kind::Pruned`] alone.
    #[must_use]
    pub fn prune(&self) -> Option<&Prune> {
        self.prune.as_deref()
    }

    /// The signature line of a record of [`Kind::Pruned`], which alone has one: a line of a signed note whose text is the
    /// record without it, and a newline.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// What [`signature`](Self::signature) signs.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let mut out = String::with_capacity(512);
        encode::unsigned(self, &mut out);
        out.push('\n');
        out
    }

    /// The declared purpose.
    #[must_use]
    pub fn purpose(&self) -> Option<&str> {
        self.purpose.as_ref().map(Purpose::as_str)
    }

    /// The reason given, or the reason of a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The relation or role that allowed it.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// How a change ended.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// How a request ended.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Bytes of the body handed to the connection.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// How many refusals an aggregated record stands for.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// What the client calls itself: its own words, in visible ASCII. Nobody has checked them.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.method
    }

    /// The route's template; never the path itself.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }
}

#[cfg(test)]
mod tests;
