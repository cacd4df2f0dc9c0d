//! How a principal may stand to a person: the second half of every permission that touches one.

use std::fmt;

use crate::{
    id::{SubjectId, TenantId, UserId},
    store::BoxFuture,
};

/// A set of relations.
///
/// | name | holds when |
/// |---|---|
/// | `own` | the data is the principal's own |
/// | `assigned` | the person was assigned to the principal: care team, caregiver |
/// | `circle` | the person's circle invited the principal: family |
/// | `clinic` | the person is known to the principal's clinic |
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Relations(u8);

impl Relations {
    /// No relation: nothing is allowed.
    pub const NONE: Self = Self(0);
    /// The data is the principal's own.
    pub const OWN: Self = Self(1);
    /// The person was assigned to the principal.
    pub const ASSIGNED: Self = Self(2);
    /// The person's circle invited the principal.
    pub const CIRCLE: Self = Self(4);
    /// The person is known to the principal's clinic.
    pub const CLINIC: Self = Self(8);

    const NAMES: [(Self, &'static str); 4] =
        [(Self::OWN, "own"), (Self::ASSIGNED, "assigned"), (Self::CIRCLE, "circle"), (Self::CLINIC, "clinic")];

    /// The relation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(r, _)| *r)
    }

    /// The names in this set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(r, _)| self.contains(*r)).map(|(_, n)| *n)
    }

    /// Whether every relation of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, for the record's "why": `own,assigned`.
    pub(crate) fn why(self) -> String {
        let mut names = self.names();
        let mut why = names.next().unwrap_or("none").to_owned();
        for name in names {
            why.push(',');
            why.push_str(name);
        }
        why
    }
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The source of relations could not answer. The request is refused.
#[derive(Debug, thiserror::Error)]
#[error("the source of relations could not answer; is the clinic's database reachable?")]
pub struct RelationError {
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl RelationError {
    /// An error with its cause, which is for operators and never sent to a client.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()) }
    }
}

/// Where the relations `assigned` and `circle` are kept: the clinic's own database.
///
/// It is asked on every request, so that an assignment that ended is effective on the next one; nothing about it
/// stands in a token.
///
/// ```
/// use tower_ward::{
///     access::{BoxFuture, RelationError, RelationSource, Relations},
///     id::{SubjectId, TenantId, UserId},
/// };
///
/// /// The care teams, as another service knows them.
/// #[derive(Debug)]
/// struct Teams;
///
/// impl RelationSource for Teams {
///     fn relations<'a>(&'a self, clinic: &'a TenantId, user: UserId, subjects: &'a [SubjectId], among: Relations)
///         -> BoxFuture<'a, Result<Vec<Relations>, RelationError>>
///     {
///         Box::pin(async move {
///             let team = ask(clinic, user).await.map_err(RelationError::new)?; // a service that is down is a refusal
///             let holds = |subject: &SubjectId| if team.contains(subject) { Relations::ASSIGNED } else { Relations::NONE };
///             Ok(subjects.iter().map(|subject| holds(subject).intersection(among)).collect())
///         })
///     }
/// }
/// # async fn ask(_: &TenantId, _: UserId) -> Result<Vec<SubjectId>, std::io::Error> { Ok(Vec::new()) }
/// ```
///
/// # Security
///
/// An error is a refusal. An implementation MUST look only among the rows of `tenant`.
pub trait RelationSource: fmt::Debug + Send + Sync + 'static {
    /// Which of `among` hold between `user` and each of `subjects`, in the order asked.
    fn relations<'a>(
        &'a self,
        tenant: &'a TenantId,
        user: UserId,
        subjects: &'a [SubjectId],
        among: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>>;
}

/// For an application whose roles use `own` and `clinic` alone: no other relation ever holds.
#[derive(Debug, Clone, Copy)]
pub struct NoRelations;

impl RelationSource for NoRelations {
    fn relations<'a>(
        &'a self,
        _: &'a TenantId,
        _: UserId,
        subjects: &'a [SubjectId],
        _: Relations,
    ) -> BoxFuture<'a, Result<Vec<Relations>, RelationError>> {
        Box::pin(async move { Ok(vec![Relations::NONE; subjects.len()]) })
    }
}
