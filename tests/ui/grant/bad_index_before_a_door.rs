//! The grant of a route computes no blind index.
use tower_ward::{access::Grant, field::BlindIndex};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

tower_ward::columns! { pub Number: String = "patients"."number" as Clinical, indexed; }

pub fn find(grant: &Grant<ReadNotes>, number: &String) {
    let _ = BlindIndex::<Number>::of(number, grant);
}

fn main() {}
