//! The grant of one permission is not that of another.
use tower_ward::access::SubjectGrant;

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub fn read(_: &SubjectGrant<ReadNotes>) {}

pub fn schedule(chart: &SubjectGrant<ReadSchedule>) {
    read(chart);
}

fn main() {}
