//! A clinic's door does not lead to the operator's view, and the operator's view opens no clinic's door.
use tower_ward::{access::ClinicGrant, audit::OperatorLedger, id::TenantId};

tower_ward::permissions! { pub ReadLedger = "ledger.read"; }
impl tower_ward::access::ReadsLedger for ReadLedger {}

pub fn rise(clinic: ClinicGrant<ReadLedger>) -> OperatorLedger {
    clinic.into()
}

pub fn made(trail: tower_ward::audit::Trail) -> OperatorLedger {
    OperatorLedger { trail, reason: String::new() }
}

pub fn named(clinic: &ClinicGrant<ReadLedger>, other: TenantId) {
    let _ = clinic.ledger_of(other);
}

fn main() {}
