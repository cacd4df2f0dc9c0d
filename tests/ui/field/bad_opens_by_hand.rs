//! `Opens` written by hand, past `permissions!`.
use tower_ward::{access::SubjectGrant, field::Encrypted, id::RowId};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadSchedule = "schedule.read" opens Schedule; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

impl tower_ward::access::Opens<Clinical> for ReadSchedule {}

pub fn read(chart: &SubjectGrant<ReadSchedule>, note: &Encrypted<NoteText>, row: RowId) {
    let _ = note.open(chart, row);
}

fn main() {
    // The assertion stands in what is compiled for this permission, so somebody has to name the function.
    let _: fn(&SubjectGrant<ReadSchedule>, &Encrypted<NoteText>, RowId) = read;
}
