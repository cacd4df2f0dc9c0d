//! What a sweep found.

use std::fmt;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Answers for foreign and absent ones can be told apart.
    Told,
    /// Somebody else's, or nobody's, was answered with anything but the refusal that was due.
    LetBy,
    /// An answer holds a canary.
    Leaked,
    /// A role was refused what the policy grants, or not refused what it does not.
    Policy,
    /// A route that some role may ask served none of them.
    Unserved,
    /// The body that was sent was not taken, so what the route does with it was not seen.
    Body,
    /// A request without a token of this clinic was answered otherwise than one may be.
    Token,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// Which request: role, method, path, and what was named.
    pub case: String,
    /// What was answered, and what was due. Never an answer's body.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.kind, self.case, self.what)
    }
}

/// What a sweep asked and found. Its `Display` is one line of figures, and one for each finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "findings are in it, and nothing fails by itself"]
pub struct Report {
    pub(super) own: usize,
    pub(super) foreign: usize,
    pub(super) absent: usize,
    pub(super) unassigned: usize,
    pub(super) served: usize,
    pub(super) there: usize,
    pub(super) reached: usize,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// How many requests were compared.
    #[must_use]
    pub const fn cases(&self) -> usize {
        self.own + self.foreign + self.absent + self.unassigned
    }

    /// How many requests for another clinic's were served there, to its own people: with none, they may be nobody's.
    #[must_use]
    pub const fn there(&self) -> usize {
        self.there
    }

    /// How many of one's own were served.
    #[must_use]
    pub const fn served(&self) -> usize {
        self.served
    }

    /// How many unassigned people's were served: to roles that the policy lets reach everybody, or it is a finding. Without the
    /// scope, many; or it was not gone.
    #[must_use]
    pub const fn reached(&self) -> usize {
        self.reached
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn find(&mut self, kind: FindingKind, case: &str, what: String) {
        self.findings.push(Finding { kind, case: case.to_owned(), what });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, foreign, absent, unassigned, served, there, reached, findings } = self;
        write!(
            f,
            "{} cases: own {own} (served {served}), foreign {foreign} (served at home {there}), absent {absent}, unassigned {unassigned} (served \
             {reached}); {} finding(s)",
            self.cases(),
            findings.len()
        )?;
        findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}
