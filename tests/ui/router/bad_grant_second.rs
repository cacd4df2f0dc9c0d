//! The grant comes first: the guard decides before any extractor runs.
use tower_ward::{
    access::Grant,
    axum::{Path, Router},
    id::SubjectId,
};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(Path(_): Path<SubjectId>, _: Grant<ReadNotes>) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get("/patients/{id}/notes", read_notes)
}

fn main() {}
