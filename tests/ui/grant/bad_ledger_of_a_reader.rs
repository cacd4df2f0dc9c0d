//! A handler that may read notes cannot read who read them.
use tower_ward::{access::ClinicGrant, audit::LedgerQuery};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }

pub async fn pry(clinic: &ClinicGrant<ReadNotes>, query: &LedgerQuery) {
    let _ = clinic.ledger(query).await;
}

fn main() {}
