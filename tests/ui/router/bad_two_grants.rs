//! Two permissions on one route would be two decisions, of which one could be forgotten.
use tower_ward::{access::Grant, axum::Router};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>, _: Grant<ReadSchedule>) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get("/notes", read_notes)
}

fn main() {}
