use tower_ward::{
    access::{Grant, ReadsLedger},
    audit::{LedgerPage, LedgerQuery},
    problem::Problem,
};

tower_ward::permissions! { pub ReadLedger = "ledger.read"; }
impl ReadsLedger for ReadLedger {}

pub async fn read(grant: Grant<ReadLedger>, query: LedgerQuery) -> Result<LedgerPage, Problem> {
    let clinic = grant.clinic().await?;
    Ok(clinic.ledger(&query).await?)
}

fn main() {}
