//! Built before the last step.
use tower_ward::{
    access::{NoRelations, Policy},
    audit::Ledger,
    identity::Identity,
    keys::Keyring,
    stack::Ward,
    tenant::Hosts,
};

#[allow(unused, reason = "a step is missing")]
pub fn ward(keyring: Keyring, ledger: Ledger, identity: Identity, hosts: Hosts, policy: Policy) {
    let _ = Ward::builder().keys(keyring).audit(ledger).authenticate(identity).tenants(hosts).policy(policy).build();
}

fn main() {
    let _ = NoRelations;
}
