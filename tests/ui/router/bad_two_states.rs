//! A router that was not given its state is not served.
use tower_ward::{access::Grant, axum::Router};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(_: Grant<ReadNotes>, _: axum::extract::State<u8>) -> &'static str {
    "notes"
}

pub fn serve(ward: &tower_ward::stack::Ward) {
    let _ = Router::<u8>::new(ward).get("/notes", read_notes).into_service();
}

fn main() {}
