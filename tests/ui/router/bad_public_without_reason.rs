//! A public route says why it needs no permission.
use tower_ward::axum::Router;

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn healthz() -> &'static str {
    "ok"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).public_get("/healthz", healthz)
}

fn main() {}
