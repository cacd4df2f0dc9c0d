//! From the domain's errors to the problems that a client sees.

use std::time::Duration;

use crate::{
    access::{Closed, DoorError},
    audit::{TimelineError, TrailError},
    field::{OpenError, SealError},
    identity::{AccountError, Fault, LoginError, RefreshError},
    problem::Problem,
};

impl From<DoorError> for Problem {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::NotFound => Self::not_found().with_reason("no such person for this principal"),
            DoorError::NotClinicWide(_) => Self::forbidden().with_reason("not granted for the whole clinic"),
            DoorError::Trail(error) => error.into(),
            DoorError::Closed(error) => error.into(),
            DoorError::Key(_) => Self::unavailable().with_reason("the key cannot be had"),
            DoorError::Timeline(TimelineError::Busy) => {
                Self::too_many(Duration::from_secs(1)).with_reason("a timeline of theirs is being read")
            }
            DoorError::Timeline(TimelineError::Cursor) => {
                Self::bad_request("cursor").with_reason("a cursor of another clinic or query")
            }
            DoorError::Timeline(TimelineError::Query { field }) => {
                Self::bad_request(field).with_reason("a query that can match nothing")
            }
            DoorError::Timeline(_) => Self::unavailable().with_reason("the ledger cannot be read"),
            DoorError::Relations(_) => Self::unavailable().with_reason("relations cannot be had"),
            DoorError::Query(_) => Self::internal().with_reason("a cohort's query failed"),
            // An assignment that ended between the query and its check looks the same, and the next try is right.
            DoorError::OutOfScope(_) => Self::unavailable().with_reason("a cohort's query left its scope"),
            DoorError::TooMany(_) => Self::internal().with_reason("a cohort's query was not paged"),
        }
    }
}

impl From<TrailError> for Problem {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::TooManyTrails => {
                Self::too_many(Duration::from_secs(1)).with_reason("the user has too many requests open")
            }
            _ => Self::unavailable().with_reason("no record can be made"),
        }
    }
}

impl From<Closed> for Problem {
    fn from(_: Closed) -> Self {
        Self::internal().with_reason("a grant was used after its request had ended, or its key was withdrawn")
    }
}

impl From<OpenError> for Problem {
    fn from(_: OpenError) -> Self {
        Self::internal().with_reason("a sealed value did not open")
    }
}

impl From<SealError> for Problem {
    fn from(_: SealError) -> Self {
        Self::internal().with_reason("a value could not be sealed")
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Invalid => Self::unauthenticated().with_reason("login refused"),
            LoginError::Busy => Self::unavailable().with_reason("the password pool is full"),
            LoginError::TooMany { retry_after } => Self::too_many(retry_after).with_reason("too many failed logins"),
            LoginError::Unavailable(_) => Self::unavailable().with_reason("the account store cannot be reached"),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => Self::unauthenticated().with_reason("refresh refused"),
            RefreshError::Unavailable(fault) => fault.into(),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Field { field, .. } => Self::unprocessable(field).with_reason("an account's field"),
            AccountError::Taken => Self::conflict().with_reason("the user name is taken"),
            AccountError::Unknown => Self::not_found().with_reason("no such account"),
            AccountError::Busy => Self::unavailable().with_reason("the password pool is full"),
            AccountError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ledger(error) => error.into(),
            _ => Self::unavailable().with_reason("the account store cannot be reached"),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl From<crate::db::TxError> for Problem {
    fn from(error: crate::db::TxError) -> Self {
        use crate::db::TxError;
        match error {
            TxError::Trail(error) => error.into(),
            TxError::Db(_) => Self::unavailable().with_reason("the clinic's file"),
            TxError::Erased => Self::not_found().with_reason("the person was erased"),
            TxError::KeyNotYetKnown => Self::unavailable().with_reason("a value's key is newer than the door"),
            TxError::Withdrawn => Self::not_found().with_reason("the key was withdrawn"),
            TxError::TooManyRows => Self::internal().with_reason("too many rows in one change"),
            TxError::RolledBack => Self::unavailable().with_reason("the commit was rolled back"),
            TxError::NoSubject | TxError::NoRelation => Self::internal().with_reason("a relation outside its change"),
            TxError::OtherRow { .. } => Self::internal().with_reason("a row that its door is not for"),
            TxError::Unknown => Self::internal().with_reason("the commit's outcome is unknown"),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl From<crate::privacy::ErasureError> for Problem {
    fn from(error: crate::privacy::ErasureError) -> Self {
        use crate::privacy::ErasureError;
        match error {
            ErasureError::Door(error) => error.into(),
            ErasureError::Tx(error) => error.into(),
            ErasureError::Trail(error) => error.into(),
            ErasureError::Keys(_) => Self::unavailable().with_reason("an erasure was decided and is not finished"),
            ErasureError::Application(_) => Self::internal().with_reason("what goes with a person was not deleted"),
            ErasureError::Db(_) | ErasureError::Disagree { .. } => {
                Self::unavailable().with_reason("the ledger and the key store were not compared")
            }
        }
    }
}
