//! The application's scope, taken away.

use crate::{
    access::{BoxFuture, Policy, RelationError, RelationSource, Relations},
    id::{SubjectId, TenantId, UserId},
};

/// The policy by which every role may do, in the whole clinic, whatever any role of `policy` may do anywhere, and may open
/// what any of them may open.
///
/// # Security
///
/// It grants everything to everybody: build the ward of a test with it, beside the one that serves, to see what else refuses.
#[must_use]
pub fn danger_without_scope(policy: &Policy) -> Policy {
    policy.everything_to_everybody()
}

/// Every relation holds between everybody.
///
/// # Security
///
/// As [`danger_without_scope`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DangerRelated;

impl RelationSource for DangerRelated {
    fn relations<'a>(
        &'a self,
        _: &'a TenantId,
        _: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        Box::pin(async move { Ok(vec![among; subjects.len()]) })
    }
}
