//! What callers hand in: who, which door, which change, which refusal, which event.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{Action, Kind, MAX_NAME, MAX_TEXT};
use crate::id::{RowId, SessionId, SubjectId, TenantId, UserId};

/// Who acts in a request, once that is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actor {
    pub(crate) user: Option<UserId>,
    pub(crate) role: Option<Arc<str>>,
    pub(crate) session: Option<SessionId>,
    pub(crate) tenant: Option<TenantId>,
}

impl Actor {
    /// Whether it names anybody.
    pub(crate) fn is_somebody(&self) -> bool {
        self.user.is_some() || self.role.is_some()
    }

    /// Whether it is somebody who belongs to no clinic.
    pub(crate) fn is_operator(&self) -> bool {
        self.is_somebody() && self.tenant.is_none()
    }

    /// Whether both are the same user of the same clinic, in whatever session.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.user == other.user && (self.user.is_some() || self.role == other.role)
    }
}

/// A door about to be opened.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    pub(crate) action: Action,
    pub(crate) permission: &'static str,
    pub(crate) entity: &'static str,
    pub(crate) subjects: &'a [SubjectId],
    pub(crate) row: Option<RowId>,
    /// The relation or role that allowed it.
    pub(crate) why: String,
}

/// A change about to be made.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) action: Action,
    /// The account it is done to, if it is done to one.
    pub(crate) about: Option<UserId>,
    pub(crate) permission: &'static str,
    pub(crate) entity: &'static str,
    pub(crate) subjects: &'a [SubjectId],
    pub(crate) row: Option<RowId>,
    /// The relation or role that allowed it.
    pub(crate) why: String,
}

/// A request that was refused.
#[derive(Debug, Default)]
pub(crate) struct Refusal<'a> {
    /// Which rule refused, as a fixed word: `not_assigned`, `bad_password`.
    pub(crate) reason: &'static str,
    pub(crate) status: Option<u16>,
    /// The account it was aimed at: never the one who acts.
    pub(crate) about: Option<UserId>,
    /// That account's clinic. Default: the request's own.
    pub(crate) tenant: Option<&'a TenantId>,
    pub(crate) permission: Option<&'static str>,
    pub(crate) entity: Option<&'static str>,
    pub(crate) subjects: &'a [SubjectId],
    pub(crate) row: Option<RowId>,
}

/// A purpose that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a purpose: expected 1 to {MAX_NAME} of a-z, 0-9, `-`, `_` and `.`, a letter first")]
pub struct PurposeError;

/// Why somebody says they look: `treatment`, `billing`, `audit`. A word, never a sentence about a person.
///
/// ```
/// use tower_ward::audit::{Action, Event, Purpose};
///
/// let event = Event::new(Action::Read).with_purpose(Purpose::new("treatment")?);
/// assert!(Purpose::new("because of Ada's knee").is_err());
/// # Ok::<(), tower_ward::audit::PurposeError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Purpose(Arc<str>);

impl Purpose {
    /// Parses a purpose.
    ///
    /// # Errors
    ///
    /// If `text` is not 1 to 64 of `a-z 0-9 - _ .` with a letter first.
    pub fn new(text: &str) -> Result<Self, PurposeError> {
        let bytes = text.as_bytes();
        let good = matches!(bytes, [b'a'..=b'z', ..])
            && bytes.len() <= MAX_NAME
            && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
        if good { Ok(Self(text.into())) } else { Err(PurposeError) }
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Purpose({})", self.0)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Purpose {
    type Err = PurposeError;

    fn from_str(text: &str) -> Result<Self, PurposeError> {
        Self::new(text)
    }
}

/// Something worth recording that is no door of this crate: what an application records when it uses only the ledger.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_ward::audit::{Action, Event, Ledger, LedgerOptions, MAX_NAME, MAX_SUBJECTS, MAX_TEXT, RequestFacts, TrailError};
/// use tower_ward::{clock::SystemClock, id::SubjectId};
///
/// # let folder = tempfile::tempdir()?;
/// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
/// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
/// let (trail, _closer) = ledger.begin(RequestFacts::new());
/// let event = || Event::new(Action::Export);
/// trail.record(event().with_entity("report").with_reason("asked for by the insurer"))?;
///
/// // What is beyond its bound is refused whole, and never cut.
/// assert!(trail.record(event().with_entity("x".repeat(MAX_NAME + 1))).is_err());
/// assert_eq!(trail.record(event().with_reason("x".repeat(MAX_TEXT + 1))), Err(TrailError::TooLong { field: "reason" }));
/// let everybody = (0..=MAX_SUBJECTS).map(|_| SubjectId::generate(&SystemClock::new()));
/// assert_eq!(trail.record(everybody.fold(event(), Event::add_subject)), Err(TrailError::TooManySubjects));
/// # drop(_closer);
/// # ledger.shutdown().await;
/// # Ok(()) }
/// ```
///
/// # Security
///
/// The texts stand in the ledger in clear and cannot be erased: put no name, no diagnosis and no other datum of a
/// person in them. People are named by [`SubjectId`] alone.
#[derive(Debug, Clone)]
#[must_use = "an event is recorded by `Trail::record`"]
pub struct Event {
    pub(crate) kind: Kind,
    pub(crate) action: Action,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) user: Option<UserId>,
    pub(crate) about: Option<UserId>,
    pub(crate) role: Option<Arc<str>>,
    pub(crate) session: Option<SessionId>,
    pub(crate) permission: Option<&'static str>,
    pub(crate) entity: Option<Cow<'static, str>>,
    pub(crate) subjects: Vec<SubjectId>,
    pub(crate) row: Option<RowId>,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) reason: Option<Cow<'static, str>>,
}

impl Event {
    /// An event in which this was done.
    pub fn new(action: Action) -> Self {
        Self {
            kind: Kind::Event,
            action,
            tenant: None,
            user: None,
            about: None,
            role: None,
            session: None,
            permission: None,
            entity: None,
            subjects: Vec::new(),
            row: None,
            purpose: None,
            reason: None,
        }
    }

    /// Somebody logged in.
    pub(crate) fn login(actor: Actor) -> Self {
        Self { kind: Kind::Login, ..Self::new(Action::Login).with_actor(actor) }
    }

    /// A session was prolonged.
    pub(crate) fn refresh(actor: Actor) -> Self {
        Self { kind: Kind::Refresh, ..Self::new(Action::Refresh).with_actor(actor) }
    }

    /// Somebody logged out, or was.
    pub(crate) fn logout(actor: Actor) -> Self {
        Self { kind: Kind::Logout, ..Self::new(Action::Logout).with_actor(actor) }
    }

    /// From now on the ledger keeps what names this person, or all of the clinic's chain; or no longer.
    pub(crate) fn hold(held: bool, tenant: TenantId, person: Option<SubjectId>) -> Self {
        let kind = if held { Kind::Held } else { Kind::Released };
        let event = Self::new(Action::Configuration).with_tenant(tenant).with_entity("ledger");
        Self { kind, subjects: person.into_iter().collect(), ..event }
    }

    /// By this permission.
    pub(crate) fn with_permission(self, permission: &'static str) -> Self {
        Self { permission: Some(permission), ..self }
    }

    pub(crate) fn with_actor(self, actor: Actor) -> Self {
        Self { tenant: actor.tenant, user: actor.user, role: actor.role, session: actor.session, ..self }
    }

    /// In this tenant's chain. Default: the request's own, or the platform's.
    pub fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// By this user.
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// To this user's account.
    pub fn with_about(mut self, user: UserId) -> Self {
        self.about = Some(user);
        self
    }

    /// In this role: at most 64 bytes.
    pub fn with_role(mut self, role: &str) -> Self {
        self.role = Some(role.into());
        self
    }

    /// To this kind of thing: at most 64 bytes.
    pub fn with_entity(mut self, entity: impl Into<Cow<'static, str>>) -> Self {
        self.entity = Some(entity.into());
        self
    }

    /// Adds a person whose data it was: at most 1,000.
    pub fn add_subject(mut self, subject: SubjectId) -> Self {
        self.subjects.push(subject);
        self
    }

    /// To this row.
    pub fn with_row(mut self, row: RowId) -> Self {
        self.row = Some(row);
        self
    }

    /// For this purpose.
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// For this reason: at most 256 bytes, and nothing about a person.
    pub fn with_reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The field that is beyond its bound, if one is.
    pub(crate) fn too_long(&self) -> Option<&'static str> {
        let long = |text: Option<&str>, max| text.is_some_and(|text| text.len() > max);
        if long(self.role.as_deref(), MAX_NAME) {
            Some("role")
        } else if long(self.entity.as_deref(), MAX_NAME) {
            Some("entity")
        } else if long(self.reason.as_deref(), MAX_TEXT) {
            Some("reason")
        } else {
            None
        }
    }
}
