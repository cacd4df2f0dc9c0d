//! A clinic brings its own key, switches it off, tells us or does not, and switches it on again.
//!
//! `cargo run --example byok --features access`
//!
//! No server is needed: the clinic's key is in a box with a lock. At the end of the file stand the lines that take a key on
//! a PKCS#11 token, in Vault or OpenBao, or in AWS KMS in its place.

use std::{
    error::Error,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_ward::{
    access::danger_grant,
    audit::{End, Ledger, LedgerOptions, RequestFacts},
    clock::{ManualClock, SystemClock},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId, UserId},
    keys::{
        Kek, KekId, KeyBytes, KeyContext, KeyDescription, KeyProvider, Keyring, KeyringOptions, ProviderError,
        ProviderErrorKind, RootKey,
    },
    store::{BoxFuture, MemoryStore},
};

tower_ward::classes! { Clinical = "clinical"; }
tower_ward::permissions! { WriteNotes = "notes.write" changes Clinical; }
tower_ward::columns! { NoteText: String = "notes"."text" as Clinical; }

/// Stands for the clinic's HSM or KMS, of which we have the use and the clinic the lock.
#[derive(Debug, Clone)]
struct Locker {
    key: Arc<RootKey>,
    locked: Arc<AtomicBool>,
}

impl Locker {
    fn new() -> Self {
        Self { key: Arc::new(RootKey::generate()), locked: Arc::default() }
    }

    fn lock(&self, locked: bool) {
        self.locked.store(locked, Ordering::SeqCst);
    }

    /// A clear no. What is only no answer, such as a time-out, would be `Unavailable`, and be endured for ten minutes.
    fn key(&self) -> Result<&RootKey, ProviderError> {
        if self.locked.load(Ordering::SeqCst) {
            return Err(ProviderError::new(ProviderErrorKind::Denied, "locker:7", "it is locked: ask its owner"));
        }
        Ok(&self.key)
    }
}

impl KeyProvider for Locker {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(async move { self.key()?.wrap(key, context).await })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], context: &'a KeyContext) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        Box::pin(async move { self.key()?.unwrap(blob, context).await })
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        Box::pin(async { self.key().map(|_| KeyDescription::new("locker", "locker:7")) })
    }
}

/// The application: what it holds of a patient is one sealed note.
struct App {
    keyring: Keyring,
    ledger: Ledger,
}

struct Note {
    clinic: TenantId,
    patient: SubjectId,
    row: RowId,
    sealed: Encrypted<NoteText>,
}

impl App {
    async fn write(&self, clinic: &TenantId, text: &str) -> Result<Note, Box<dyn Error>> {
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new());
        let (clock, nurse) = (SystemClock::shared(), UserId::generate(&SystemClock::new()));
        let grant = danger_grant::<WriteNotes>(&trail, &self.keyring, &clock, nurse, clinic.clone(), "our own rules")?;
        let (door, row) = (grant.admit().await?, RowId::generate(&*clock));
        let sealed = Encrypted::seal(&text.to_owned(), &door, row)?;
        closer.finish(End::Completed);
        Ok(Note { clinic: clinic.clone(), patient: door.subject(), row, sealed })
    }

    async fn read(&self, note: &Note) -> Result<String, Box<dyn Error>> {
        let (trail, mut closer) = self.ledger.begin(RequestFacts::new());
        let (clock, nurse) = (SystemClock::shared(), UserId::generate(&SystemClock::new()));
        let clinic = note.clinic.clone();
        let grant = danger_grant::<WriteNotes>(&trail, &self.keyring, &clock, nurse, clinic, "our own rules")?;
        let door = grant.subject(note.patient).await?;
        let text = note.sealed.open(&door, note.row)?.disclose();
        closer.finish(End::Completed);
        Ok(text)
    }

    /// Says why this note is not read.
    async fn refused(&self, why: &str, note: &Note) -> Result<(), Box<dyn Error>> {
        let error = self.read(note).await.err().ok_or("a note was read without its key")?;
        let cause = error.source().and_then(|cause| cause.source().or(Some(cause))).ok_or("a refusal has a cause")?;
        println!("refused: {why}: {cause}");
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(folder.path(), LedgerOptions::new().with_segment_size(1 << 20), SystemClock::shared())?;
    // A server takes `SqliteStore::open(path).await?`, and leaves the clock alone.
    let store = MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?).danger_forgetful();
    let clock = ManualClock::at("2026-11-29T09:00:00Z".parse()?);
    let options = KeyringOptions::default().with_clock(clock.shared());
    let keyring = Keyring::open_with(RootKey::generate(), Arc::new(store), &options).await?;
    let app = App { keyring, ledger };
    let (harbour, meadow) = (TenantId::new("harbour")?, TenantId::new("meadow")?);

    // Two clinics under the platform's key. One of them brings its own, while it works.
    app.keyring.create_tenant(&harbour).await?;
    app.keyring.create_tenant(&meadow).await?;
    let (ada, bob) = (app.write(&harbour, "sleeps well").await?, app.write(&meadow, "coughs").await?);
    let (locker, own) = (Locker::new(), KekId::new("harbour-2026")?);
    app.keyring.add_kek(Kek::new(own.clone(), locker.clone()));
    app.keyring.rewrap_tenant(&harbour, &own).await?;
    assert_eq!(app.keyring.kek_of(&harbour).await?, own);
    assert_eq!(app.read(&ada).await?, "sleeps well", "what was sealed before opens, and no value was touched");
    println!("moved:   harbour is under `{own}`");
    // A clinic that has one from the start: `create_tenant_under` instead of `create_tenant`.
    let shore = TenantId::new("shore")?;
    app.keyring.create_tenant_under(&shore, &own).await?;

    // Harbour's owner calls us. It holds at once, and within 5 s in every process that shares the store.
    app.keyring.revoke_tenant(&harbour).await?;
    app.refused("we were told", &ada).await?;
    app.keyring.restore_tenant(&harbour).await?;
    assert_eq!(app.read(&ada).await?, "sleeps well", "as it was: there is nothing to migrate");

    // Harbour's owner locks it and tells nobody. It holds once the health interval is over: 60 s, unless set otherwise.
    locker.lock(true);
    clock.advance(Duration::from_secs(59));
    assert!(app.read(&ada).await.is_ok(), "from memory");
    clock.advance(Duration::from_secs(1));
    app.refused("we were not told", &ada).await?;
    assert_eq!(app.read(&bob).await?, "coughs", "the neighbour notices nothing");
    for finding in app.keyring.report().await?.findings().filter(|finding| finding.contains(own.as_str())) {
        println!("report:  {finding}");
    }

    locker.lock(false);
    clock.advance(Duration::from_secs(1));
    assert_eq!(app.read(&ada).await?, "sleeps well");
    println!("opened:  harbour's key is back, and so are its notes");

    // Back under the platform's key; harbour's own is not needed from then on, and may be destroyed.
    app.keyring.rewrap_tenant(&harbour, &KekId::new("root")?).await?;
    locker.lock(true);
    clock.advance(Duration::from_secs(60));
    assert_eq!(app.read(&ada).await?, "sleeps well");
    assert!(app.keyring.tenant(&shore).await.is_err(), "who stayed under it is refused");
    app.ledger.shutdown().await;
    Ok(())
}

/// Harbour's key on its token. The PIN is read once, from `file:/run/harbour/pin`, `credential:NAME` or `env:NAME`.
#[cfg(feature = "pkcs11")]
#[expect(dead_code, reason = "it needs a token")]
async fn on_a_token(keyring: &Keyring) -> Result<(), Box<dyn Error>> {
    use tower_ward::keys::{Pkcs11Options, Pkcs11Provider};

    let pin = "file:/run/harbour/pin".parse()?;
    let options = Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so", "harbour", "kek-2026", pin);
    keyring.add_kek(Kek::new(KekId::new("harbour-2026")?, Pkcs11Provider::open(options).await?));
    Ok(())
}

/// Harbour's key in its Vault or OpenBao server. The token's file is read again when it was renewed.
#[cfg(feature = "transit")]
#[expect(dead_code, reason = "it needs a server")]
async fn in_a_server(keyring: &Keyring) -> Result<(), Box<dyn Error>> {
    use tower_ward::keys::{TransitOptions, TransitProvider};

    let token = "file:/run/harbour/vault-token".parse()?;
    let options =
        TransitOptions::new("https://vault.harbour.example:8200", "kek", token).with_ca_file("/etc/harbour/ca.pem");
    keyring.add_kek(Kek::new(KekId::new("harbour-2026")?, TransitProvider::open(options).await?));
    Ok(())
}

/// Harbour's key in its AWS account. The client is the application's, with credentials that harbour's key policy lets in.
#[cfg(feature = "aws-kms")]
#[expect(dead_code, reason = "it needs an account")]
fn in_aws_kms(keyring: &Keyring, client: tower_ward::keys::aws_sdk_kms::Client) -> Result<(), Box<dyn Error>> {
    use tower_ward::keys::AwsKmsProvider;

    let key = "arn:aws:kms:eu-west-2:111122223333:key/0b6c5e6a-94f1-4c3b-9a53-0d3f6b1f7c11";
    keyring.add_kek(Kek::new(KekId::new("harbour-2026")?, AwsKmsProvider::new(client, key)?));
    Ok(())
}
