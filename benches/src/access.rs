//! A decision of the policy.

use std::fmt::Write as _;

use tower_ward::access::Policy;

use crate::ratio::{Effort, Row, Target, compare, time};

/// The policy decides in so many nanoseconds at the most, whatever its size.
const MOST: f64 = 30.0;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    [7, 2_000].map(|permissions| decision(effort, permissions)).into()
}

fn decision(effort: Effort, permissions: usize) -> Row {
    let mut toml = String::from("[roles.doctor]\n");
    for n in 0..permissions {
        let _ = writeln!(toml, "grants.\"p{n}.read\" = \"assigned\"");
    }
    let policy = Policy::from_toml(&toml).expect("a policy");
    let name = format!("p{}.read", permissions / 2);
    let (empty, ours, _) = compare(effort, || 0_u8, || policy.relations("doctor", &name));
    let decision = ours - empty;
    Row {
        what: format!("policy decision among {permissions} permissions / {MOST} ns"),
        floor: format!("{MOST:.0} ns"),
        ours: time(decision),
        ratio: decision / MOST,
        target: Target::AtMost(1.0),
    }
}
