//! Why a door did not open.

use super::{Closed, RelationError};
use crate::{
    audit::{TimelineError, TrailError},
    keys::KeyError,
};

/// A door did not open. Everything about it stands in the ledger; a client learns the status alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// No such person, or none to whom this principal stands in a relation that the policy asks for. One answer for
    /// both, so that nobody learns from it who is a patient where.
    #[error("no such person for this principal")]
    NotFound,
    /// The policy does not grant the permission for the whole clinic, and this door leads to what belongs to no person.
    #[error("the policy does not grant `{0}` for the whole clinic")]
    NotClinicWide(&'static str),
    /// A query returned a person outside the relations of its scope: the application's filter is wrong.
    #[error("a cohort query for `{0}` returned a person outside its scope: filter by `Scope` in the query itself")]
    OutOfScope(&'static str),
    /// A query returned more rows than one record may list.
    #[error("a cohort query for `{0}` returned more than {MAX_COHORT} rows: page it")]
    TooMany(&'static str),
    /// The application's query failed.
    #[error("the cohort's query failed")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The ledger cannot take the record now.
    #[error("no record of the access can be written now, so there is no access")]
    Trail(#[from] TrailError),
    /// The key cannot be had.
    #[error("the key cannot be had")]
    Key(#[source] KeyError),
    /// The timeline cannot be read now.
    #[error("the timeline cannot be read now")]
    Timeline(#[source] TimelineError),
    /// The source of relations could not answer.
    #[error(transparent)]
    Relations(#[from] RelationError),
}

impl DoorError {
    /// What the record says of it, and the status; `None` where the door itself says more, or the request has ended.
    pub(super) const fn refusal(&self) -> Option<(&'static str, u16)> {
        Some(match self {
            Self::NotFound | Self::NotClinicWide(_) | Self::Closed(_) => return None,
            Self::Trail(TrailError::Closed | TrailError::Expired) => return None,
            Self::OutOfScope(_) => ("query_left_its_scope", 503),
            Self::TooMany(_) => ("query_not_paged", 500),
            Self::Query(_) => ("query_failed", 500),
            Self::Trail(TrailError::TooManyTrails) => ("too_many_trails", 429),
            Self::Trail(_) => ("ledger_unavailable", 503),
            Self::Key(_) => ("key_unavailable", 503),
            Self::Timeline(TimelineError::Cursor) => ("cursor_refused", 400),
            Self::Timeline(TimelineError::Query { .. }) => ("query_refused", 400),
            Self::Timeline(TimelineError::Busy) => ("timeline_busy", 429),
            Self::Timeline(_) => ("ledger_unreadable", 503),
            Self::Relations(_) => ("relations_unavailable", 503),
        })
    }
}

/// The most rows that one [`cohort`](super::Grant::cohort) returns.
pub const MAX_COHORT: usize = 500;
