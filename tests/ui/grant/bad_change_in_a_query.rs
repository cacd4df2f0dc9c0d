//! The scope of a list reads, and changes nothing.
use tower_ward::{
    access::Scope,
    db::{Change, Db},
};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub async fn change(db: &Db, scope: &Scope<ReadNotes>) {
    let _ = db.change(scope, Change::import("notes")).await;
}

fn main() {}
