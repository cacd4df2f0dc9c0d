//! The router has no way to mount a handler past its guard.
use tower_ward::axum::Router;

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes() -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).route("/notes", axum::routing::get(read_notes))
}

fn main() {}
