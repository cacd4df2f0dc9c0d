//! The grant of a route changes nothing yet.
use tower_ward::{
    access::Grant,
    db::{Change, Db},
};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub async fn change(db: &Db, grant: Grant<ReadNotes>) {
    let _ = db.change(&grant, Change::import("notes")).await;
}

fn main() {}
