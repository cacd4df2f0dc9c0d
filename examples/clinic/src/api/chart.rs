//! What stands in a patient's chart: notes, prescriptions, results, visits.

pub(crate) mod encounters;
pub(crate) mod notes;
pub(crate) mod prescriptions;
pub(crate) mod results;

use jiff::{Timestamp, tz::TimeZone};
use tower_ward::problem::Problem;

use super::{App, now};

/// A time at which something took place, as a column keeps it: now unless said otherwise, not to come, and not before
/// anybody could have been a patient.
fn past(at: Option<Timestamp>, app: &App) -> Result<i64, Problem> {
    let now = now(app);
    let at = at.unwrap_or(now);
    let wrong = at > now || at.to_zoned(TimeZone::UTC).year() < 1850;
    if wrong { Err(Problem::bad_request("at")) } else { Ok(at.as_millisecond()) }
}
