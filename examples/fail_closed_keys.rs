//! Keys that are missing, shared, made up or wrong stop the start; keys that were erased stay erased.
//!
//! `cargo run --example fail_closed_keys --features keys`

use std::{error::Error, fs, num::NonZeroUsize, os::unix::fs::PermissionsExt as _, sync::Arc};

use tower_ward::{
    clock::SystemClock,
    id::{SubjectId, TenantId},
    keys::{KeyError, KeySource, Keyring, RootKey},
    store::{Durable, MemoryStore},
};

/// Says why this source gives no key.
fn refused(source: &str) -> Result<(), Box<dyn Error>> {
    let refusal = match source.parse::<KeySource>() {
        Ok(source) => RootKey::load(&source).err(),
        Err(error) => Some(error),
    };
    println!("refused: {}", refusal.ok_or("a key from nowhere")?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("root.key");
    let source = format!("file:{}", file.display());

    refused("env:NO_SUCH_ROOT_KEY")?;
    refused(&source)?;
    refused("hunter2")?;
    fs::write(&file, format!("tower-ward-key-v1:{}\n", "A".repeat(43)))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    refused(&source)?;
    fs::remove_file(&file)?;

    RootKey::generate().write_new_file(&file)?;
    assert!(RootKey::generate().write_new_file(&file).is_err(), "a key is never overwritten");
    let root = RootKey::load(&source.parse()?)?;
    println!("loaded:  {source}, fingerprint {}", root.fingerprint());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    refused(&source)?;

    // A server takes `SqliteStore::open(path).await?`.
    let store: Arc<dyn Durable> =
        Arc::new(MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?).danger_forgetful());
    let keyring = Keyring::open(root, Arc::clone(&store)).await?;
    let wrong = Keyring::open(RootKey::generate(), store).await;
    println!("refused: {}", wrong.err().ok_or("another root key opened the store")?);

    let (harbour, meadow) = (TenantId::new("harbour")?, TenantId::new("meadow")?);
    keyring.create_tenant(&harbour).await?;
    keyring.create_tenant(&meadow).await?;
    let patient = SubjectId::generate(&SystemClock::new());
    keyring.create_subject(&harbour, patient).await?;
    assert!(keyring.subject(&harbour, patient).await.is_ok());
    assert!(matches!(keyring.subject(&meadow, patient).await, Err(KeyError::Unknown)), "another clinic has no key");
    assert!(keyring.erase_subject(&harbour, patient).await?.is_complete());
    let erased = keyring.subject(&harbour, patient).await.err().ok_or("an erased key came back")?;
    assert!(matches!(erased, KeyError::Erased));
    println!("refused: {erased}");
    Ok(())
}
