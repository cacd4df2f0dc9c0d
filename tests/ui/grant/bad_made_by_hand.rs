//! A grant is made by the guard alone.
use tower_ward::access::Grant;

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub fn forge() -> Grant<ReadNotes> {
    Grant::new()
}

fn main() {}
