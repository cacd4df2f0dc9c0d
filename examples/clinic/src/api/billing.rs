//! What a patient is offered and billed: quotes, invoices, and their lines.
//!
//! Money is whole pence, and the total of the lines is the server's own sum: no client names it.

pub(crate) mod invoices;
pub(crate) mod quotes;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::problem::Problem;

use super::line;

/// The most lines: with the length of each they fit in their column.
const MOST_LINES: usize = 50;
/// The most of one thing.
const MOST: i64 = 1_000;
/// The most that one of it costs, in pence.
const DEAREST: i64 = 100_000_000;

/// A line of a quote or an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// For people. 1 to 200 bytes.
    pub text: String,
    /// 1 to 1,000.
    pub quantity: i64,
    /// What one of it costs, in pence: 0 to 100,000,000.
    pub unit_price_pence: i64,
}

/// What the lines come to, in pence.
pub(crate) fn total(lines: &[Line]) -> Result<i64, Problem> {
    let wrong = || Problem::bad_request("lines");
    if lines.is_empty() || lines.len() > MOST_LINES {
        return Err(wrong());
    }
    let mut total = 0_i64;
    for item in lines {
        line("lines", &item.text, 200)?;
        if !(1..=MOST).contains(&item.quantity) || !(0..=DEAREST).contains(&item.unit_price_pence) {
            return Err(wrong());
        }
        let price = item.quantity.checked_mul(item.unit_price_pence);
        total = price.and_then(|price| total.checked_add(price)).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// One of these words.
fn word(field: &'static str, value: &str, words: &[&str]) -> Result<(), Problem> {
    if words.contains(&value) { Ok(()) } else { Err(Problem::bad_request(field)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(quantity: i64, unit_price_pence: i64) -> Line {
        Line { text: "Consultation".to_owned(), quantity, unit_price_pence }
    }

    #[test]
    fn a_total_is_the_sum_of_whole_pence() {
        assert_eq!(total(&[item(3, 1_999), item(1, 1)]).ok(), Some(5_998));
        assert_eq!(total(&[item(1, 0)]).ok(), Some(0));
        assert_eq!(total(&vec![item(MOST, DEAREST); MOST_LINES]).ok(), Some(5_000_000_000_000));
    }

    #[test]
    fn lines_that_nobody_would_write_are_refused() {
        let unnamed = Line { text: " ".to_owned(), ..item(1, 1) };
        let wrong = [vec![], vec![item(0, 1)], vec![item(-1, 1)], vec![item(MOST + 1, 1)], vec![item(1, -1)]];
        for lines in
            wrong.into_iter().chain([vec![item(1, DEAREST + 1)], vec![item(1, 1); MOST_LINES + 1], vec![unnamed]])
        {
            assert!(total(&lines).is_err(), "{lines:?}");
        }
    }
}
