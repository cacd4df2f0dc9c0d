//! A handler that may read cannot raise its own role.
use tower_ward::{access::ClinicGrant, id::UserId, identity::Identity};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }

pub async fn rise(clinic: &ClinicGrant<ReadNotes>, identity: &Identity, me: UserId) {
    let _ = clinic.accounts(identity).set_role(me, "owner").await;
}

fn main() {}
