//! What the clinic keeps of those who work here, beside payroll. What is theirs they see and hand in themselves.

pub(crate) mod absences;
pub(crate) mod credentials;
pub(crate) mod timesheets;
pub(crate) mod training;

use jiff::{civil::Date, tz::TimeZone};
use tower_ward::problem::Problem;

use super::time;

/// The beginning of a day, as a column keeps it. No day of anybody's working life is refused.
fn day(field: &'static str, day: Date) -> Result<i64, Problem> {
    let wrong = || Problem::bad_request(field);
    if !(1950..2150).contains(&day.year()) {
        return Err(wrong());
    }
    day.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_millisecond()).map_err(|_| wrong())
}

/// The day that a column keeps.
fn date(millis: i64) -> Date {
    time(millis).to_zoned(TimeZone::UTC).date()
}
