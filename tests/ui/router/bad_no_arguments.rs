//! A handler that takes nothing is not therefore public.
use tower_ward::axum::Router;

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes() -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get("/notes", read_notes)
}

fn main() {}
