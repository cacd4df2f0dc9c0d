//! A name that SQL would fold, or quote.
tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::columns! { pub NoteText: String = "Notes"."text" as Clinical; }

fn main() {}
