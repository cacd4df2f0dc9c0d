//! Who may do what: a permission is the type of a handler's first argument, a policy is data, and what it does not grant
//! is refused.
//!
//! `cargo run --example rbac_guard --features axum`

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc};

use axum::body::Body;
use http::{Request, header};
use tower::ServiceExt as _;
use tower_ward::{
    access::{Grant, ManagesAccounts, NoRelations, Policy, danger_grant},
    audit::{End, Ledger, LedgerOptions, RequestFacts},
    axum::Router,
    clock::SystemClock,
    id::{TenantId, UserId},
    identity::{Identity, IdentityOptions, NewAccount, generate_password},
    keys::{Keyring, RootKey},
    secret::ExposeSecret as _,
    stack::{ConnInfo, Ward},
    store::{Durable, MemoryStore},
    tenant::Hosts,
};

tower_ward::classes! { Clinical = "clinical"; Schedule = "schedule"; }
tower_ward::permissions! {
    ReadNotes = "notes.read" opens Clinical;
    ReadDiary = "diary.read" opens Schedule;
    Hire = "accounts.write";
}
impl ManagesAccounts for Hire {}

const POLICY: &str = r#"
    [roles.doctor]
    ceiling = ["clinical", "schedule"]
    grants."notes.read" = "clinic"
    grants."diary.read" = "clinic"

    [roles.receptionist]
    ceiling = ["schedule"]
    grants."diary.read" = "clinic"
"#;

async fn notes(_grant: Grant<ReadNotes>) -> &'static str {
    "notes"
}

async fn diary(_grant: Grant<ReadDiary>) -> &'static str {
    "diary"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (folder, clock) = (tempfile::tempdir()?, SystemClock::shared());
    let ledger = Ledger::open(folder.path(), LedgerOptions::new().with_segment_size(1 << 20), clock.clone())?;
    let store: Arc<dyn Durable> =
        Arc::new(MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?).danger_forgetful());
    let keyring = Keyring::open(RootKey::generate(), store.clone()).await?;
    let options = IdentityOptions::new("https://clinic.example");
    let identity = Identity::open(store, &keyring, clock.clone(), options).await?;
    let (hosts, harbour) = (Hosts::new("{tenant}.clinic.example", "clinic.example")?, TenantId::new("harbour")?);
    keyring.create_tenant(&harbour).await?;
    hosts.register(harbour.clone())?;

    let ward = |policy: &str| -> Result<Ward, Box<dyn std::error::Error>> {
        let builder = Ward::builder().keys(keyring.clone()).audit(ledger.clone()).authenticate(identity.clone());
        Ok(builder.tenants(hosts.clone()).policy(Policy::from_toml(policy)?).relations(NoRelations).build()?)
    };
    let routes = |ward: &Ward| Router::<()>::new(ward).get("/notes", notes).get("/diary", diary);
    let router = routes(&ward(POLICY)?);
    println!("{}", router.matrix());
    let service = router.into_service()?;

    for (role, path, expected) in [
        ("doctor", "/notes", 200),
        ("receptionist", "/diary", 200),
        ("receptionist", "/notes", 403),
        ("janitor", "/diary", 403),
        ("nobody", "/diary", 401),
        ("doctor", "/elsewhere", 404),
    ] {
        let mut request = Request::get(path).header(header::HOST, "harbour.clinic.example");
        if role != "nobody" {
            let (trail, mut closer) = ledger.begin(RequestFacts::new());
            let operator = UserId::generate(&*clock);
            let grant = danger_grant::<Hire>(&trail, &keyring, &clock, operator, harbour.clone(), "the example hires")?;
            let (name, password) = (format!("{role}.of{}", path.replace('/', ".")), generate_password());
            let account = NewAccount::new(&name, password.clone(), role);
            grant.clinic().await?.accounts(&identity).create(account).await?;
            closer.finish(End::Completed);
            let (trail, _closer) = ledger.begin(RequestFacts::new());
            let tokens = identity.login(&trail, &harbour, &name, password).await?;
            let token = tokens.access_token().expose_secret();
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let peer = ConnInfo::new(SocketAddr::from(([192, 0, 2, 1], 4711)), None);
        let response = service.clone().oneshot(request.extension(peer).body(Body::empty())?).await?;
        println!("{role:12} {path:10} {}", response.status());
        assert_eq!(response.status(), expected, "{role} {path}");
    }

    // A policy that does not fit the routes stops the start.
    for wrong in [POLICY.replace("notes.read", "note.read"), POLICY.replace("\"clinical\", ", "")] {
        let refused = routes(&ward(&wrong)?).into_service();
        println!("refused: {}", refused.err().ok_or("a policy that fits nothing")?);
    }
    ledger.shutdown().await;
    Ok(())
}
