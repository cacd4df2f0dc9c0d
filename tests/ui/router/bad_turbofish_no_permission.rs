//! A permission that is none, written at the route.
use tower_ward::{access::Grant, axum::Router};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get::<String, _, _>("/notes", read_notes)
}

fn main() {}
