//! An argument that comes from nowhere.
use tower_ward::{access::Grant, axum::Router};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>, _: u64) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get("/notes", read_notes)
}

fn main() {}
