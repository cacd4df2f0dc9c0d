//! Who may do what: permissions and data classes as types, roles and policy as data, and the doors.

mod cohort;
mod danger;
mod error;
mod grant;
mod job;
mod permission;
mod policy;
mod relation;
#[cfg(test)]
pub(crate) mod test_support;

pub use crate::store::BoxFuture;
pub use cohort::{Cohort, CohortQuery, Scope};
pub use danger::danger_grant;
pub use error::{DoorError, MAX_COHORT};
pub use grant::{Authority, ClinicGrant, Closed, Grant, Indexer, Opener, SubjectGrant};
pub(crate) use grant::{Doors, Facts, SealKey, Sealing, Who};
#[doc(hidden)]
pub use job::fuzz_envelope;
pub use job::{JobError, JobGrant, Jobs, MAX_ENVELOPE_BYTES, MAX_JOB_LIFE, Task};
pub use permission::{DataClass, Opens, Permission};
#[doc(hidden)]
pub use permission::{contains, equal};
pub(crate) use policy::PermissionIndex;
pub use policy::{MAX_POLICY_BYTES, PermissionInfo, Policy, PolicyError};
pub use relation::{NoRelations, RelationError, RelationSource, Relations};
