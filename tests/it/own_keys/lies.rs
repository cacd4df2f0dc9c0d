//! A provider that gives back another key than it was given.

use tower_ward::{
    id::TenantId,
    keys::{Kek, KeyBytes, KeyContext, KeyDescription, KeyError, KeyProvider, Pkcs11Provider, ProviderError, RootKey},
    secret::ExposeSecret as _,
    store::BoxFuture,
};

use super::{
    Place, clinic, id, memory, on_token,
    stored::{Wrapped, record_name},
};
use crate::support::{
    gcm::opens_under_both,
    softhsm::{self, SoftToken},
};

/// Wraps everything as one and the same blob, and answers with what a key of a real token makes of it.
#[derive(Debug)]
struct Liar {
    blob: Vec<u8>,
    key: Pkcs11Provider,
}

impl KeyProvider for Liar {
    fn wrap<'a>(&'a self, _: &'a KeyBytes, _: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(async { Ok(self.blob.clone()) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        self.key.unwrap(wrapped, context)
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        self.key.describe()
    }
}

/// Whoever holds two keys can make one blob that a token opens under both, each time as another key.
#[tokio::test]
async fn a_blob_that_a_token_opens_under_two_keys_opens_nothing_here() {
    const TEST: &str = "own_keys::lies::a_blob_that_a_token_opens_under_two_keys_opens_nothing_here";
    let Some(token) = SoftToken::of(TEST) else { return };
    let (one, two) = ([0x11; 32], [0x22; 32]);
    token.make(&softhsm::Kek::imported("one", one));
    token.make(&softhsm::Kek::imported("two", two));
    let north = clinic("northgate");
    let context = KeyContext::tenant(north.clone());
    let iv = [5; 12];
    let (ciphertext, tag) = opens_under_both([&one, &two], &iv, &context.to_bytes());
    let blob = [&[1][..], &iv, &ciphertext, &tag].concat();
    let keks = [on_token(&token, "one").await, on_token(&token, "two").await];
    let mut opened = Vec::new();
    for kek in &keks {
        let key = kek.provider().unwrap(&blob, &context).await.expect("the token takes it for its own");
        opened.push(*key.expose_secret());
    }
    assert_ne!(opened[0], opened[1], "and gives another key");

    // The clinic's own provider lies, with the help of either.
    let place = Place::open(RootKey::generate().into(), &keks, memory()).await.unwrap();
    for label in ["one", "two"] {
        let key = Pkcs11Provider::open(token.options(label)).await.unwrap();
        place.keyring.add_kek(Kek::new(id("liar"), Liar { blob: blob.clone(), key }));
        let made = place.keyring.create_tenant_under(&north, &id("liar")).await;
        assert!(matches!(made, Err(KeyError::Corrupt)), "{label}: {made:?}");
        assert!(matches!(place.keyring.tenant(&north).await, Err(KeyError::Unknown)), "{label}: nothing was written");
    }
    // Nor does it get hold of a clinic that is there.
    let note = place.found("northgate", "one").await;
    let moved = place.keyring.rewrap_tenant(&north, &id("liar")).await;
    assert!(matches!(moved, Err(KeyError::Corrupt)), "{moved:?}");
    assert_eq!(place.reads(&note).await, Ok(()), "and it stays where it was");

    // Whoever writes to the store puts it there, under the one name and the other.
    let Wrapped { record, at, blob: honest, .. } = Wrapped::of(&place, &north).await;
    assert_eq!(honest.len(), blob.len());
    let mut forged = record.clone();
    forged[at..at + blob.len()].copy_from_slice(&blob);
    let name = at - 2 - "one".len();
    let mut renamed = forged.clone();
    renamed[name..name + 3].copy_from_slice(b"two");
    let mut other = record.clone();
    other[name..name + 3].copy_from_slice(b"two");
    for (row, bytes) in [("under its name", &forged), ("under the other", &renamed), ("the honest one", &other)] {
        put(&place, &north, bytes).await;
        let found = place.keyring.kek_of(&north).await;
        assert!(matches!(found, Err(KeyError::Corrupt)), "{row}: {found:?}");
        place.later(super::HEALTH).await;
        assert!(matches!(place.open_note(&note).await, Err(KeyError::Corrupt)), "{row}");
    }
    put(&place, &north, &record).await;
    assert_eq!(place.reads(&note).await, Ok(()), "with the record as it was");
}

async fn put(place: &Place, tenant: &TenantId, record: &[u8]) {
    let name = record_name(tenant);
    let version = place.store.get(&name).await.unwrap().unwrap().version;
    assert!(place.store.compare_and_swap(&name, version, record, None).await.unwrap());
}
