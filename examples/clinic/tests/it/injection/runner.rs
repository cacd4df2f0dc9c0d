//! Puts the corpus into places, and says what came of it.
//!
//! Of each payload it is a finding
//!
//! 1. that the answer's status is 500 or above;
//! 2. that the answer holds the words of a database's error;
//! 3. that the answer holds what is somebody else's;
//! 4. that the two halves of a pair are answered differently, three times out of three;
//! 5. that the answer to one which sleeps is later by a second than to the same that does not, three times out of three;
//! 6. that after one which changes the connection somebody sees what is not theirs.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    corpus::{self, PAIRS, SCOPES, SLEEPS, TEXTS},
    document::{Operation, Place, Sample},
};

/// Who is attacked.
pub(super) trait Target {
    /// A request that the operation takes, as things stand now. The place is the one that a text is about to be put in, if one
    /// is: what it takes is in the request, and what a request alone uses up is not made for it.
    async fn valid(&self, operation: &Operation, place: Option<&Place>) -> Sample;

    /// Asks. Nothing if the request cannot be written down.
    async fn send(&self, operation: &Operation, request: &Sample) -> Option<Answer>;

    /// What stands in an answer and is somebody else's.
    fn foreign(&self, body: &[u8]) -> Option<String>;

    /// What somebody sees now who asks, and should not.
    async fn watch(&self) -> Option<String>;
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

/// By what an injection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    Status,
    Error,
    Foreign,
    Boolean,
    Time,
    Scope,
}

/// Something that should not be.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) sign: Sign,
    /// Where, by which payload, and what was seen.
    #[expect(dead_code, reason = "it is printed")]
    pub(super) what: String,
}

/// What became of an attack.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Payloads that were sent, each half of a pair counted once.
    pub(super) cases: usize,
    /// Those that were answered as a request without a payload is.
    pub(super) taken: usize,
    /// Those that cannot be written into their place: a line feed in a header.
    pub(super) unwritten: usize,
    pub(super) findings: Vec<Finding>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.taken += other.taken;
        self.unwritten += other.unwritten;
        self.findings.extend(other.findings);
    }

    /// By what the findings show.
    pub(super) fn signs(&self) -> BTreeSet<Sign> {
        self.findings.iter().map(|finding| finding.sign).collect()
    }
}

/// What databases and their drivers say. No payload holds any of it, so none is an echo.
const ERRORS: [&str; 15] = [
    "syntax error",
    "unterminated quoted",
    "invalid input syntax",
    "invalid byte sequence",
    "operator does not exist",
    "function does not exist",
    "relation \"",
    "column reference",
    "permission denied for",
    "violates",
    "is aborted",
    "each UNION query",
    "sqlstate",
    "sqlx",
    "error returned from database",
];

/// Which payloads go into a place: every `of`th, from another one on in each place, so that each goes into as many places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) of: usize,
    /// How many places came before those of this operation.
    pub(super) before: usize,
}

impl Share {
    pub(super) const ALL: Self = Self { of: 1, before: 0 };
}

/// Puts payloads into every place of an operation.
pub(super) async fn attack(target: &impl Target, operation: &Operation, share: Share) -> Outcome {
    let mut outcome = Outcome::default();
    for (n, place) in operation.places.iter().enumerate() {
        let from = (share.before + n) % share.of;
        outcome.add(Attack { target, operation, place }.run(from, share.of).await);
    }
    outcome
}

struct Attack<'a, T> {
    target: &'a T,
    operation: &'a Operation,
    place: &'a Place,
}

impl<T: Target> Attack<'_, T> {
    async fn run(&self, from: usize, of: usize) -> Outcome {
        let mut outcome = Outcome::default();
        let long = corpus::long();
        let texts = TEXTS.iter().copied().chain([("a very long one", long.as_str())]);
        for (name, text) in texts.skip(from).step_by(of) {
            self.one(name, text, &mut outcome).await;
        }
        for (name, text) in SCOPES.iter().skip(from).step_by(of) {
            self.one(name, text, &mut outcome).await;
            if let Some(seen) = self.target.watch().await {
                outcome.findings.push(self.found(Sign::Scope, name, seen));
            }
        }
        for (name, yes, no) in PAIRS.iter().skip(from).step_by(of) {
            self.pair(name, yes, no, &mut outcome).await;
        }
        for (name, text) in SLEEPS.iter().skip(from).step_by(of) {
            self.sleep(name, text, &mut outcome).await;
        }
        outcome
    }

    /// Sends one payload, and looks at the answer by itself.
    async fn one(&self, name: &str, text: &str, outcome: &mut Outcome) -> Option<(Answer, String)> {
        let valid = self.target.valid(self.operation, Some(self.place)).await;
        let sent = text.replace('§', &valid.value(self.place));
        let Some(answer) = self.target.send(self.operation, &valid.with(self.place, &sent)).await else {
            outcome.unwritten += 1;
            return None;
        };
        outcome.cases += 1;
        outcome.taken += usize::from(answer.status < 300);
        let body = String::from_utf8_lossy(&answer.body);
        if answer.status >= 500 {
            outcome.findings.push(self.found(Sign::Status, name, format!("{}: {body}", answer.status)));
        }
        let lower = body.to_lowercase();
        if let Some(words) = ERRORS.iter().find(|words| lower.contains(&words.to_lowercase())) {
            outcome.findings.push(self.found(Sign::Error, name, format!("`{words}`: {body}")));
        }
        if let Some(seen) = self.target.foreign(&answer.body) {
            outcome.findings.push(self.found(Sign::Foreign, name, seen));
        }
        Some((answer, sent))
    }

    async fn pair(&self, name: &str, yes: &str, no: &str, outcome: &mut Outcome) {
        let (mut yeses, mut noes) = (BTreeSet::new(), BTreeSet::new());
        for turn in 0..3 {
            // Payloads count once. What happens meanwhile by itself does not come in the same order each time.
            let mut again = Outcome::default();
            let counted = if turn == 0 { &mut *outcome } else { &mut again };
            let order = if turn == 1 { [no, yes] } else { [yes, no] };
            for text in order {
                let Some((answer, sent)) = self.one(name, text, counted).await else { return };
                (if text == yes { &mut yeses } else { &mut noes }).insert(face(&answer, &sent));
            }
            if turn == 0 && yeses == noes {
                return;
            }
        }
        if yeses.len() == 1 && noes.len() == 1 && yeses != noes {
            let seen = format!("{yeses:?} and {noes:?}");
            outcome.findings.push(self.found(Sign::Boolean, name, seen));
        }
    }

    async fn sleep(&self, name: &str, text: &str, outcome: &mut Outcome) {
        let late = Duration::from_secs(corpus::SLEEP) / 2;
        let long = text.replace('~', &corpus::SLEEP.to_string());
        let Some((first, _)) = self.one(name, &long, outcome).await else { return };
        let mut took = vec![first.took];
        while took.last().is_some_and(|last| *last > late) {
            // The same that does not sleep: there are questions that are slow by themselves.
            let short = self.one(name, &text.replace('~', "0"), &mut Outcome::default()).await;
            let normal = short.map_or(Duration::ZERO, |(answer, _)| answer.took);
            if took.last().is_some_and(|last| *last <= normal + late) {
                return;
            }
            if took.len() == 3 {
                outcome.findings.push(self.found(Sign::Time, name, format!("{took:?}, and else {normal:?}")));
                return;
            }
            let again = self.one(name, &long, &mut Outcome::default()).await;
            took.push(again.map_or(Duration::ZERO, |(answer, _)| answer.took));
        }
    }

    fn found(&self, sign: Sign, payload: &str, seen: impl std::fmt::Display) -> Finding {
        let Self { operation, place, .. } = self;
        let mut what = format!("{operation}, {place}, {payload}: {seen}");
        what.truncate((0..=400).rev().find(|at| what.is_char_boundary(*at)).unwrap_or(0));
        Finding { sign, what }
    }
}

/// What can be told of an answer, but for what differs each time: what was sent, identifiers, times, versions.
fn face(answer: &Answer, sent: &str) -> String {
    let body = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut json) => {
            mask(&mut json, &sent.to_lowercase());
            json.to_string()
        }
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    format!("{} {body}", answer.status)
}

fn mask(value: &mut Value, sent: &str) {
    match value {
        Value::String(text) => {
            let is_id = text.parse::<uuid::Uuid>().is_ok();
            let is_time = text.parse::<jiff::Timestamp>().is_ok();
            if is_id || is_time || text.to_lowercase() == sent {
                *text = "-".to_owned();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| mask(value, sent)),
        Value::Object(map) => {
            map.remove("version");
            // One-time words: tokens, invitations, where the next page begins.
            for (name, value) in map.iter_mut() {
                if name.contains("token") || name == "next" {
                    *value = Value::Null;
                }
                mask(value, sent);
            }
        }
        _ => {}
    }
}

/// Whether the payloads are what the signs take them for.
pub(super) fn check() {
    let pairs = PAIRS.iter().flat_map(|(_, yes, no)| [*yes, *no]);
    let others = [TEXTS, SLEEPS, SCOPES].into_iter().flatten().map(|(_, text)| *text);
    for text in pairs.chain(others) {
        let lower = text.to_lowercase();
        assert!(!ERRORS.iter().any(|words| lower.contains(&words.to_lowercase())), "{text}");
    }
    for (name, yes, no) in PAIRS {
        assert_eq!(yes.len(), no.len(), "{name}");
        assert_eq!(yes.chars().zip(no.chars()).filter(|(a, b)| a != b).count(), 1, "{name}");
    }
    let names: BTreeSet<_> = [TEXTS, SLEEPS, SCOPES].into_iter().flatten().map(|(name, _)| *name).collect();
    assert_eq!(names.len() + 2 * PAIRS.len(), corpus::size(), "two payloads have one name");
}
