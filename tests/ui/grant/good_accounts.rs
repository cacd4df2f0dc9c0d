use tower_ward::{
    access::{Grant, ManagesAccounts},
    id::UserId,
    identity::{Identity, NewAccount},
    problem::Problem,
};

tower_ward::permissions! { pub ManageAccounts = "accounts.manage"; }
impl ManagesAccounts for ManageAccounts {}

pub async fn hire(grant: Grant<ManageAccounts>, identity: Identity, new: NewAccount) -> Result<UserId, Problem> {
    let clinic = grant.clinic().await?;
    Ok(clinic.accounts(&identity).create(new).await?)
}

fn main() {}
