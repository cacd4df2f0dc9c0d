//! One cell, two types.
tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::columns! {
    pub NoteText: String = "notes"."text" as Clinical;
    pub Again: String = "notes"."text" as Schedule;
}

fn main() {}
