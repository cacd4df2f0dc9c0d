//! A route that may answer without a record opens no data of a person.
use tower_ward::{access::{DataClass, Grant}, axum::Router, stack::Ward};

struct Clinical;
impl DataClass for Clinical {
    const ID: &'static str = "clinical";
}
tower_ward::permissions! { ReadNotes = "notes.read" opens Clinical; }

fn routes(ward: &Ward) -> Router {
    Router::new(ward).get_best_effort("/notes", async |_grant: Grant<ReadNotes>| "the notes")
}

fn main() {
    let _mounted: fn(&Ward) -> Router = routes;
}
