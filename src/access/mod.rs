//! Who may do what: permissions and data classes as types, roles and policy as data, and the doors.

mod grant;
mod permission;

pub use grant::{ClinicGrant, Closed, Grant, Opener, SubjectGrant};
pub(crate) use grant::{SealKey, Sealing};
pub use permission::{DataClass, Opens, Permission, contains};
