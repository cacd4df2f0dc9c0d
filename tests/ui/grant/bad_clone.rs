//! A grant is for one request, and so is the scope of a query.
use tower_ward::access::{ClinicGrant, Grant, Scope, SubjectGrant};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub fn keep() {
    is_clone::<Grant<ReadNotes>>();
    is_clone::<SubjectGrant<ReadNotes>>();
    is_clone::<ClinicGrant<ReadNotes>>();
    is_clone::<Scope<ReadNotes>>();
}

fn is_clone<T: Clone>() {}

fn main() {}
