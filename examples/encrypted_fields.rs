//! Sealed columns alone, for an application that has its own authorisation: what the database holds, what a grant opens,
//! and what opens nothing because it was moved.
//!
//! `cargo run --example encrypted_fields --features access`

use std::{error::Error, num::NonZeroUsize, sync::Arc};

use tower_ward::{
    access::danger_grant,
    audit::{End, Ledger, LedgerOptions, RequestFacts},
    clock::SystemClock,
    field::{BlindIndex, Encrypted},
    id::{RowId, TenantId, UserId},
    keys::{Keyring, RootKey},
    store::MemoryStore,
};

tower_ward::classes! { Contact = "contact"; }
tower_ward::permissions! { WriteContacts = "contacts.write" changes Contact; }
tower_ward::columns! {
    Phone: String = "patients"."phone" as Contact, indexed;
    Email: String = "patients"."email" as Contact;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock = SystemClock::shared();
    let ledger = Ledger::open(folder.path(), LedgerOptions::new().with_segment_size(1 << 20), clock.clone())?;
    // A server takes `SqliteStore::open(path).await?` and a key that `RootKey::load` read.
    let store = MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?).danger_forgetful();
    let keyring = Keyring::open(RootKey::generate(), Arc::new(store)).await?;
    let (harbour, nurse) = (TenantId::new("harbour")?, UserId::generate(&*clock));
    keyring.create_tenant(&harbour).await?;

    // One request: its trail, and the grant that the application's own rules gave.
    let (trail, mut closer) = ledger.begin(RequestFacts::new());
    let grant = danger_grant::<WriteContacts>(&trail, &keyring, &clock, nurse, harbour, "our own rules")?;
    let (ada, bob) = (grant.admit().await?, grant.admit().await?);
    let (row, other) = (RowId::generate(&*clock), RowId::generate(&*clock));

    let number = "+44 20 7946 0000".to_owned();
    let sealed = Encrypted::<Phone>::seal(&number, &ada, row)?;
    println!("the database holds {} bytes, and prints {sealed:?}", sealed.as_bytes().len());
    assert!(!sealed.as_bytes().windows(4).any(|bytes| bytes == b"7946"));
    assert_ne!(sealed.as_bytes(), Encrypted::<Phone>::seal(&number, &ada, row)?.as_bytes(), "no two seals are alike");
    println!("opened: {}", sealed.open(&ada, row)?.disclose());

    // In another row, in another column, as another person's, with one bit changed: one error that does not say which.
    let moved = Encrypted::<Email>::from_bytes(sealed.as_bytes());
    let mut bent = sealed.as_bytes().to_vec();
    bent[20] ^= 1;
    for (attack, outcome) in [
        ("another row", sealed.open(&ada, other).err()),
        ("another person", sealed.open(&bob, row).err()),
        ("another column", moved.open(&ada, row).err()),
        ("one bit", Encrypted::<Phone>::from_bytes(bent).open(&ada, row).err()),
    ] {
        println!("refused: {attack}: {}", outcome.ok_or(attack)?);
    }

    // What is declared `, indexed` can be looked up without being opened; that two rows are equal is then no secret.
    assert_eq!(BlindIndex::<Phone>::of(&number, &ada)?, BlindIndex::<Phone>::of(&number, &bob)?);

    closer.finish(End::Completed);
    println!("refused: after the request: {}", sealed.open(&ada, row).err().ok_or("a grant outlived its request")?);
    ledger.shutdown().await;
    Ok(())
}
