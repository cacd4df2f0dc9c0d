//! A user of the crate logs in, on a store that outlives the process.

use std::{path::Path, sync::Arc};

use tower_ward::{
    access::danger_grant,
    audit::{Ledger, LedgerOptions, RequestFacts},
    clock::{ManualClock, SharedClock},
    id::{TenantId, UserId},
    identity::{Identity, IdentityOptions, LoginError, NewAccount, RefreshError, TokenError},
    keys::{Keyring, RootKey},
    secret::ExposeSecret,
    store::SqliteStore,
};

const PASSWORD: &str = "correct horse battery staple";

tower_ward::permissions! { Hire = "accounts.write"; }

async fn keyring(dir: &Path, root: &str, clock: &SharedClock) -> Keyring {
    let store =
        Arc::new(SqliteStore::open_with_clock(dir.join("identity.sqlite"), Arc::clone(clock)).await.expect("a store"));
    Keyring::open(RootKey::decode(root, "the test").expect("a root key"), store).await.expect("a keyring")
}

async fn open(dir: &Path, root: &str, clock: &SharedClock) -> Identity {
    let store =
        Arc::new(SqliteStore::open_with_clock(dir.join("identity.sqlite"), Arc::clone(clock)).await.expect("a store"));
    let root = RootKey::decode(root, "the test").expect("a root key");
    let keyring = Keyring::open(root, store.clone()).await.expect("a keyring");
    let options = IdentityOptions::new("https://clinic.example");
    Identity::open(store, &keyring, Arc::clone(clock), options).await.expect("opens")
}

// proves CCA-22, GLM-08
#[tokio::test]
async fn accounts_sessions_keys_and_revocations_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time")).shared();
    let options = LedgerOptions::new().with_segment_size(1 << 20);
    let ledger = Ledger::open(&dir.path().join("ledger"), options, Arc::clone(&clock)).expect("a ledger");
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    let root = RootKey::generate().encode();
    let clinic = TenantId::new("northgate").expect("a tenant's id");

    let before = open(dir.path(), root.expose_secret(), &clock).await;
    let (hired, _closed) = ledger.begin(RequestFacts::new());
    let admin = UserId::generate(&*clock);
    let keyring = keyring(dir.path(), root.expose_secret(), &clock).await;
    let grant = danger_grant::<Hire>(&hired, &keyring, &clock, admin, clinic.clone(), "the test's own rules");
    let grant = grant.expect("granted");
    before
        .danger_create_account(grant.trail(), &clinic, NewAccount::new("dr.adeyemi", PASSWORD.into(), "doctor"))
        .await
        .expect("an account");
    let login = |identity: Identity| {
        let (trail, clinic) = (trail.clone(), clinic.clone());
        async move { identity.login(&trail, &clinic, "dr.adeyemi", PASSWORD.into()).await.expect("in") }
    };
    let (stays, gone) = (login(before.clone()).await, login(before.clone()).await);
    before.logout(&trail, gone.principal()).await.expect("out");
    drop(before);

    let after = open(dir.path(), root.expose_secret(), &clock).await;
    let principal = after.verify(stays.access_token().expose_secret()).expect("signed by the same key");
    assert_eq!((principal.role(), principal.tenant()), ("doctor", &clinic));
    assert_eq!(after.verify(gone.access_token().expose_secret()).err(), Some(TokenError::Revoked));
    let next = after.refresh(&trail, &clinic, stays.refresh_token().expose_secret()).await.expect("current");
    let stolen = after.refresh(&trail, &clinic, stays.refresh_token().expose_secret()).await;
    assert!(matches!(stolen, Err(RefreshError::Invalid)), "it was used before the restart's refresh");
    assert_eq!(after.verify(next.access_token().expose_secret()).err(), Some(TokenError::Revoked));
    let wrong = after.login(&trail, &clinic, "dr.adeyemi", "not the password".into()).await;
    assert!(matches!(wrong, Err(LoginError::Invalid)));
    ledger.shutdown().await;
}
