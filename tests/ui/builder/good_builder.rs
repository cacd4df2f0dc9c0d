use tower_ward::{
    access::{NoRelations, Policy},
    audit::Ledger,
    identity::Identity,
    keys::Keyring,
    rate_limit::LimitError,
    stack::Ward,
    tenant::Hosts,
};

pub fn ward(
    keyring: Keyring,
    ledger: Ledger,
    identity: Identity,
    hosts: Hosts,
    policy: Policy,
) -> Result<Ward, LimitError> {
    Ward::builder()
        .keys(keyring)
        .audit(ledger)
        .authenticate(identity)
        .tenants(hosts)
        .policy(policy)
        .relations(NoRelations)
        .build()
}

fn main() {}
