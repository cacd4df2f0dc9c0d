//! A public route has no grant to give.
use tower_ward::{access::Grant, axum::Router};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).public_get("/notes", "nobody should see this", read_notes)
}

fn main() {}
