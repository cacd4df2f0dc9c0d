//! A grant is no extractor: a plain router cannot hand one out.
use tower_ward::access::Grant;

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>) -> &'static str {
    "notes"
}

pub fn routes() -> axum::Router {
    axum::Router::new().route("/notes", axum::routing::get(read_notes))
}

fn main() {}
