//! The JSON interface, a module per thing; each handler begins with the grant that it needs.

pub(crate) mod appointments;
mod assignments;
pub(crate) mod attachments;
pub(crate) mod billing;
mod changes;
pub(crate) mod chart;
pub(crate) mod circle;
pub(crate) mod hr;
pub(crate) mod incidents;
mod ledger;
pub(crate) mod messages;
mod patch;
mod patients;
mod people;
mod routes;
mod session;
mod summary;
mod timeline;
mod window;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tower_ward::{access::Jobs, clock::SharedClock, problem::Problem};

pub use billing::Line;
pub use chart::results::ResultBody;
pub use circle::{Enrol, Join};
pub use routes::routes;
pub use summary::Condition;

use crate::data::{Data, Erasing};

/// Inserts a demo patient whom `chart` admitted.
pub(crate) async fn insert_patient<G>(
    tx: &mut impl crate::data::Tx,
    chart: &G,
    subject: tower_ward::id::SubjectId,
    patient: &crate::demo_data::Patient,
    now: Timestamp,
) -> Result<(), Problem>
where
    G: tower_ward::access::Opener<crate::model::Identity> + tower_ward::access::Indexer<crate::model::Identity> + Sync,
{
    patients::insert(tx, chart, subject, &patients::NewPatient::demo(patient), now, true).await
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// The accounts, sessions and tokens.
    pub identity: tower_ward::identity::Identity,
    /// The clinics' data.
    pub data: Data,
    /// What runs invitations; without a job store there are none.
    pub jobs: Option<Jobs>,
    /// What erases people.
    pub erasures: Erasing,
    /// The time.
    pub clock: SharedClock,
}

macro_rules! app_parts {
    ($($part:ident: $type:ty),+) => { $(
        impl axum::extract::FromRef<App> for $type {
            fn from_ref(app: &App) -> Self {
                app.$part.clone()
            }
        }
    )+ };
}
app_parts!(identity: tower_ward::identity::Identity, data: Data);

/// A page of a list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// Send it back as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How many entries a page holds unless asked otherwise, and at the most.
const PAGE: (usize, usize) = (25, 100);

/// The size of a page.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE.0);
    if (1..=PAGE.1).contains(&limit) { Ok(limit) } else { Err(Problem::bad_request("limit")) }
}

/// Ends a page whose query asked for one row more than fits: says where the next page begins, and lets go of that row.
/// In a cohort this comes before any door opens, so that the record names those who are shown and nobody else.
fn end_page<R>(rows: &mut Vec<R>, limit: usize, place: impl Fn(&R) -> String) -> Option<String> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map(place)
}

/// The time as a column keeps it, so that what is answered now is what is read later.
fn now(app: &App) -> Timestamp {
    time(app.clock.now().as_millisecond())
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// A text that people typed: not empty, not longer than `most` bytes, and without control characters, nor those by which
/// Unicode shows what follows in another order than it stands (UAX #9): of a dose as little as of a name. The marks of
/// direction, which belong to the writing of some languages, are let through.
fn text(field: &'static str, value: &str, most: usize) -> Result<(), Problem> {
    let reorders = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let control = value.chars().any(|c| reorders(c) || c.is_control() && !matches!(c, '\n' | '\t'));
    if value.trim().is_empty() || value.len() > most || control {
        return Err(Problem::bad_request(field));
    }
    Ok(())
}

/// A one-line text.
fn line(field: &'static str, value: &str, most: usize) -> Result<(), Problem> {
    if value.contains(['\n', '\t', '\u{2028}', '\u{2029}']) {
        Err(Problem::bad_request(field))
    } else {
        text(field, value, most)
    }
}
