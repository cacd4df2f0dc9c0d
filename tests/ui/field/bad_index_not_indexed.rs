//! Searching a column that was not declared `indexed`.
use tower_ward::{access::ClinicGrant, field::BlindIndex};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

pub fn find(clinic: &ClinicGrant<ReadNotes>, text: &String) {
    let _ = BlindIndex::<NoteText>::of(text, clinic);
}

fn main() {}
