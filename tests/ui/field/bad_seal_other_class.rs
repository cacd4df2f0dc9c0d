//! Writing is no wider than reading.
use tower_ward::{access::SubjectGrant, field::Encrypted, id::RowId};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadSchedule = "schedule.read" opens Schedule; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

pub fn write(chart: &SubjectGrant<ReadSchedule>, text: &String, row: RowId) {
    let _ = Encrypted::<NoteText>::seal(text, chart, row);
}

fn main() {}
