//! A receptionist's permission and a doctor's note.
use tower_ward::{access::SubjectGrant, field::Encrypted, id::RowId};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadSchedule = "schedule.read" opens Schedule; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

pub fn read(chart: &SubjectGrant<ReadSchedule>, note: &Encrypted<NoteText>, row: RowId) {
    let _ = note.open(chart, row);
}

fn main() {}
