//! The limits, against `governor`'s keyed limiter.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota as Governors};
use tower_ward::quota::{Limiter, Quota};

use crate::ratio::{Effort, Row, Target, row};

const KEYS: u64 = 10_000;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let many = NonZeroU32::MAX;
    let theirs = DefaultKeyedRateLimiter::<u64>::keyed(Governors::per_minute(many));
    let capacity = NonZeroU32::new(1 << 16).expect("not zero");
    let ours = Limiter::new(Quota::per_minute(many), capacity).expect("a limiter");
    let start = std::time::Instant::now();
    let (mut a, mut b) = (0_u64, 0_u64);
    let next = |n: &mut u64| {
        *n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*n >> 33) % KEYS
    };
    vec![row(
        effort,
        "decide, 10,000 keys / governor's keyed limiter",
        Target::AtMost(1.0),
        || theirs.check_key(&next(&mut a)).is_ok(),
        // The stack reads the clock once for all that a request asks; here it is read for each, as governor does.
        || ours.check(&next(&mut b), start.elapsed() + Duration::from_secs(1)).is_allowed(),
    )]
}
