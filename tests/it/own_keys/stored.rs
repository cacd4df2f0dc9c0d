//! What stands in the key store.

use std::sync::Arc;

use tower_ward::{
    id::TenantId,
    keys::{Kek, KeyContext},
    secret::ExposeSecret as _,
    store::{ObjectName, SqliteStore},
};

use super::{NORTH, Owners, PLATFORM, Place, SOUTH, TEXT, backup_of_north};
use crate::support::softhsm;

/// A tenant's wrapping key as `docs/keys.md` says that it is stored.
#[derive(Debug)]
pub(super) struct Wrapped {
    pub(super) name: String,
    pub(super) blob: Vec<u8>,
    /// The whole record, and where the blob begins in it.
    pub(super) record: Vec<u8>,
    pub(super) at: usize,
}

impl Wrapped {
    pub(super) async fn of(place: &Place, tenant: &TenantId) -> Self {
        Self::read(place.store.get(&record_name(tenant)).await.unwrap().unwrap().value)
    }

    fn read(record: Vec<u8>) -> Self {
        assert_eq!(record[..4], [2, 1, 1, 1], "version, a tenant's, in use, one key");
        // Epoch and time.
        let name = 4 + 4 + 8;
        let length = usize::from(record[name]);
        let at = name + 1 + length + 2;
        let size = usize::from(u16::from_be_bytes([record[at - 2], record[at - 1]]));
        let blob = record[at..at + size].to_vec();
        Self { name: String::from_utf8(record[name + 1..at - 2].to_vec()).unwrap(), blob, record, at }
    }
}

pub(super) fn record_name(tenant: &TenantId) -> ObjectName {
    ObjectName::tenant(tenant, "key", "tenant").unwrap()
}

// proves CLA-07: records carry the name of their key-encryption key, and no key.
#[tokio::test]
async fn a_wrapped_record_names_its_kek_and_no_file_of_the_store_holds_a_key() {
    const TEST: &str = "own_keys::stored::a_wrapped_record_names_its_kek_and_no_file_of_the_store_holds_a_key";
    let Some(owners) = Owners::of(TEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let keks = [owners.on_token(NORTH).await, owners.in_server(SOUTH).await];
    let store = Arc::new(SqliteStore::open(folder.path().join("keys.db")).await.unwrap());
    let place = Place::open(owners.on_token(PLATFORM).await, &keks, store).await.unwrap();
    let notes = [place.found(NORTH, NORTH).await, place.found(SOUTH, SOUTH).await];

    let softhsm::Kek { bytes: Some(imported), .. } = backup_of_north() else { panic!("a key that was imported") };
    let mut secrets = vec![("the clinic's key on the token", imported), ("a patient's note", TEXT.into())];
    let mut blobs = Vec::new();
    for (note, kek) in notes.iter().zip(&keks) {
        let wrapped = Wrapped::of(&place, &note.clinic).await;
        assert_eq!(wrapped.name, kek.id().as_str());
        secrets.push(("a clinic's wrapping key", unwrapped(kek, &wrapped, &note.clinic).await));
        blobs.push(wrapped.blob);
    }
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let holds = |bytes: &[u8]| files.iter().any(|file| file.windows(bytes.len()).any(|window| window == bytes));
    for blob in &blobs {
        assert!(holds(blob), "the search finds what is there");
    }
    for (what, secret) in &secrets {
        let (hex, base64) = (hex::encode(secret), data_encoding::BASE64.encode(secret));
        // Half of it would be found, too.
        for spelling in [&secret[..16], &hex.as_bytes()[..32], &base64.as_bytes()[..20]] {
            assert!(!holds(spelling), "{what} stands in the key store");
        }
    }
}

/// The key inside, as whoever holds the key-encryption key gets it.
async fn unwrapped(kek: &Kek, wrapped: &Wrapped, tenant: &TenantId) -> Vec<u8> {
    let key = kek.provider().unwrap(&wrapped.blob, &KeyContext::tenant(tenant.clone())).await.unwrap();
    key.expose_secret().to_vec()
}
