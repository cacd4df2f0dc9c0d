//! A principal, a clinic and a visit are proofs: nobody else makes them.
use tower_ward::{identity::Principal, stack::Visit, tenant::Tenant};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub fn forge() -> (Principal, Tenant, Visit) {
    (Principal::new(), Tenant(), Visit::new())
}

fn main() {}
