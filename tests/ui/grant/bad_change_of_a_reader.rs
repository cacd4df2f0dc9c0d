//! Who may read may not write: the permission says which of the two it is for.
use tower_ward::{
    access::SubjectGrant,
    db::{Change, Db},
};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }

pub async fn change(db: &Db, chart: SubjectGrant<ReadNotes>) {
    let _ = db.change(&chart, Change::import("notes")).await;
}

fn main() {}
