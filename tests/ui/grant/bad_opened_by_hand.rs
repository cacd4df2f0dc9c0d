//! A door is opened by its grant alone.
use tower_ward::{access::SubjectGrant, id::SubjectId};

tower_ward::permissions! { pub ReadNotes = "notes.read"; }

pub fn forge(subject: SubjectId) -> SubjectGrant<ReadNotes> {
    SubjectGrant { subject }
}

fn main() {}
