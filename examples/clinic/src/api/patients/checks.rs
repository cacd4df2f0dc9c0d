//! What a patient's master data may be.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tower_ward::problem::Problem;

use crate::api::line;

/// A given or family name.
pub(super) fn name(field: &'static str, value: &str) -> Result<(), Problem> {
    line(field, value, 100)
}

/// Somebody who is born, and may be alive.
pub(super) fn birth_date(value: Date, now: Timestamp) -> Result<(), Problem> {
    let today = now.to_zoned(TimeZone::UTC).date();
    if value > today || value.year() < 1850 { Err(Problem::bad_request("birth_date")) } else { Ok(()) }
}

/// FHIR R4 `AdministrativeGender`.
pub(super) fn sex(value: &str) -> Result<(), Problem> {
    let known = ["female", "male", "other", "unknown"].contains(&value);
    if known { Ok(()) } else { Err(Problem::bad_request("sex")) }
}

/// A telephone number, address, or the like.
pub(super) fn contact(field: &'static str, value: Option<&str>) -> Result<(), Problem> {
    value.map_or(Ok(()), |value| line(field, value, 300))
}

/// Ten digits, the last of which proves the others by modulus 11 (NHS Data Dictionary, NHS NUMBER).
pub(super) fn nhs_number(value: Option<&str>) -> Result<(), Problem> {
    let sound = |value: &str| {
        let digits: Option<Vec<u32>> = value.chars().map(|c| c.to_digit(10)).collect();
        let Some(digits) = digits.filter(|digits| digits.len() == 10) else { return false };
        // The check digit has the weight 1, so a sound number weighs a multiple of 11.
        let weight: u32 = digits.iter().zip((1..=10).rev()).map(|(digit, weight)| digit * weight).sum();
        weight.is_multiple_of(11)
    };
    if value.is_none_or(sound) { Ok(()) } else { Err(Problem::bad_request("nhs_number")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nhs_number_has_ten_digits_that_prove_each_other() {
        for sound in ["9434765919", "9990000018", "4505577104"] {
            assert!(nhs_number(Some(sound)).is_ok(), "{sound}");
        }
        assert!(nhs_number(None).is_ok());
        let wrong = ["", "9434765918", "9434756919", "943476591", "94347659190", "943 476 5919", "943476591x"];
        for wrong in wrong.into_iter().chain(["٩٤٣٤٧٦٥٩١٩", "-434765919", "+943476591"]) {
            assert!(nhs_number(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
