//! An opened value is one value.
use tower_ward::field::Phi;

pub fn twice(note: &Phi<String>) -> Phi<String> {
    note.clone()
}

fn main() {}
