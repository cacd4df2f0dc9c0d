//! Why a door stays shut.

use crate::audit::record::MAX_SUBJECTS;

/// A record that could not be made, so what it was for must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrailError {
    /// The request has ended.
    #[error("the request of this trail has ended: start background work from a job of its own")]
    Closed,
    /// The door belongs to another request than the one that uses it.
    #[error("this grant is another request's: open the door with the grant that this handler was given")]
    OtherRequest,
    /// The trail is older than its deadline.
    #[error("the trail is older than `trail_deadline`: start a new request")]
    Expired,
    /// The queue has no room.
    #[error("the ledger's queue is full: try again later, or raise `queue`")]
    Full,
    /// One more open request of this user than the setting allows.
    #[error("this user has too many requests open: end or read some first, or raise `trails_per_user`")]
    TooManyTrails,
    /// The ledger cannot write.
    #[error("the ledger cannot write: check the disk's space and health")]
    Unavailable,
    /// Nobody has been identified.
    #[error("this needs an actor: identify the caller first")]
    Anonymous,
    /// Another user, or another clinic's, acts in this request.
    #[error("somebody else acts in this request: one request is one user's, in one clinic")]
    OtherActor,
    /// A text is longer than its field.
    #[error("`{field}` is longer than a record holds")]
    TooLong {
        /// The field.
        field: &'static str,
    },
    /// Too many people in one record.
    #[error("a record lists at most {MAX_SUBJECTS} subjects: ask for fewer at a time")]
    TooManySubjects,
    /// One more tenant than the setting allows.
    #[error("the ledger keeps no more tenants: raise `tenants`")]
    TooManyTenants,
    /// There is no such unsettled change.
    #[error("no change without an outcome has this id")]
    UnknownAttempt,
}
