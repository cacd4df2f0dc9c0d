//! A permission opens or changes, and nothing else.
tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub WriteNotes = "notes.write" alters Clinical; }

fn main() {}
