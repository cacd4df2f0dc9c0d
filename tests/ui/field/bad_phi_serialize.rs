//! An opened value does not serialise, so it cannot stand in a response unnoticed.
use tower_ward::field::Phi;

#[derive(serde::Serialize)]
pub struct NoteView {
    pub text: Phi<String>,
}

fn main() {}
