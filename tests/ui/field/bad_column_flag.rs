//! A misspelt flag must not read as "no flag".
tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical, index; }

fn main() {}
