//! The grant of background work is not the grant of a request.
use tower_ward::{
    access::{JobGrant, Task},
    axum::Router,
};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

pub enum Remind {}
impl Task for Remind {
    type Permission = ReadNotes;
    const ID: &'static str = "remind";
}

async fn read_notes(_: JobGrant<Remind>) -> &'static str {
    "notes"
}

pub fn routes(ward: &tower_ward::stack::Ward) -> Router {
    Router::new(ward).get("/notes", read_notes)
}

fn main() {}
