//! The grant of a route reads nothing yet.
use tower_ward::{access::Grant, db::Db};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub async fn read(db: &Db, grant: Grant<ReadNotes>) {
    let _ = db.read(&grant).await;
}

fn main() {}
