//! Nobody makes the operator's view of the ledger by hand, past the record of who opened it.
use tower_ward::audit::{OperatorLedger, Trail};

pub fn rise(trail: Trail) -> OperatorLedger {
    OperatorLedger { trail, reason: String::new() }
}

fn main() {}
