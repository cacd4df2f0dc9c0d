//! The ciphertext of one column in the place of another's.
use tower_ward::field::Encrypted;

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::columns! {
    pub NoteText: String = "notes"."text" as Clinical;
    pub NoteTitle: String = "notes"."title" as Clinical;
}

pub struct Note {
    pub title: Encrypted<NoteTitle>,
}

pub fn swap(text: Encrypted<NoteText>) -> Note {
    Note { title: text }
}

fn main() {}
