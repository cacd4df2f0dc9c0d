//! The grant of a route is not yet the grant of a person.
use tower_ward::{access::Grant, field::Encrypted, id::RowId};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

pub fn read(grant: &Grant<ReadNotes>, note: &Encrypted<NoteText>, row: RowId) {
    let _ = note.open(grant, row);
}

fn main() {}
