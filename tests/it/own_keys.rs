//! Clinics under keys of their own, on a SoftHSM token and in an OpenBao server: what the owner of a key does to it, and
//! what becomes of the clinic's values and of everybody else's.
//!
//! The same promises are shown with a scripted provider in the library's own tests, where every answer can be had.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod crowd;
mod lies;
mod line;
mod moved;
mod outage;
mod revoked;
mod stored;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tempfile::TempDir;
use tower_ward::{
    access::{DoorError, Grant, SubjectGrant, danger_grant},
    audit::{Closer, End, Ledger, LedgerOptions, RequestFacts},
    clock::{ManualClock, SystemClock},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId, UserId},
    keys::{
        Kek, KekId, KeyError, Keyring, KeyringOptions, Pkcs11Provider, ProviderErrorKind, TransitOptions,
        TransitProvider,
    },
    store::{Durable, MemoryStore},
};

use crate::support::{
    bao::Bao,
    model::{NoteText, WriteNotes},
    softhsm::{self, SoftToken},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The longest that a key is believed without asking, and that its holder may say nothing: what the options have unless set.
const HEALTH: Duration = Duration::from_secs(60);
const OUTAGE: Duration = Duration::from_secs(600);

const TEXT: &str = "Takes the tablets with milk. canary-of-a-note-19c2";

/// Labels on the token, names in the server, and names in records.
const PLATFORM: &str = "platform";
const NORTH: &str = "north";
const SOUTH: &str = "south";

fn id(name: &str) -> KekId {
    KekId::new(name).unwrap()
}

fn clinic(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// Those who hold the keys: a token with the platform's key and a clinic's, and a server with another clinic's.
struct Owners {
    token: SoftToken,
    bao: Bao,
}

impl Owners {
    /// In the process of the test of this full name; see [`SoftToken::of`].
    fn of(test: &'static str) -> Option<Self> {
        let token = SoftToken::of(test)?;
        token.make(&softhsm::Kek::new(PLATFORM));
        token.make(&backup_of_north());
        let bao = Bao::start();
        bao.create_key(SOUTH);
        Some(Self { token, bao })
    }

    async fn on_token(&self, label: &str) -> Kek {
        on_token(&self.token, label).await
    }

    async fn in_server(&self, name: &str) -> Kek {
        in_server(name, self.bao.options(name)).await
    }

    /// The platform under the token, a clinic under a key of its own there, and one under a key in the server.
    async fn place(&self) -> (Place, Note, Note) {
        let own = [self.on_token(NORTH).await, self.in_server(SOUTH).await];
        let place = Place::open(self.on_token(PLATFORM).await, &own, memory()).await.unwrap();
        let (north, south) = (place.found(NORTH, NORTH).await, place.found(SOUTH, SOUTH).await);
        (place, north, south)
    }
}

/// The clinic made this key itself, put it on its token, and keeps a copy in its safe.
fn backup_of_north() -> softhsm::Kek {
    softhsm::Kek::imported(NORTH, *b"canary-of-a-kek-that-is-imported")
}

async fn on_token(token: &SoftToken, label: &str) -> Kek {
    Kek::new(id(label), Pkcs11Provider::open(token.options(label)).await.unwrap())
}

async fn in_server(name: &str, options: TransitOptions) -> Kek {
    Kek::new(id(name), TransitProvider::open(options).await.unwrap())
}

fn memory() -> Arc<dyn Durable> {
    Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful())
}

/// What the application's database holds of one person.
#[derive(Debug, Clone)]
struct Note {
    clinic: TenantId,
    person: SubjectId,
    row: RowId,
    sealed: Encrypted<NoteText>,
}

/// The application. Clones are the same one.
#[derive(Clone)]
struct Place {
    keyring: Keyring,
    clock: ManualClock,
    store: Arc<dyn Durable>,
    ledger: Ledger,
    _folder: Arc<TempDir>,
}

impl Place {
    async fn open(platform: Kek, own: &[Kek], store: Arc<dyn Durable>) -> Result<Self, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions::new().with_segment_size(1 << 20);
        let ledger = Ledger::open(folder.path(), options, SystemClock::shared()).unwrap();
        let clock = ManualClock::at("2026-11-29T09:00:00Z".parse().unwrap());
        let keyring = keyring(platform, own, &store, &clock).await?;
        Ok(Self { keyring, clock, store, ledger, _folder: Arc::new(folder) })
    }

    /// After a restart: nothing is in memory.
    async fn restarted(&self, platform: Kek, own: &[Kek]) -> Result<Self, KeyError> {
        let keyring = keyring(platform, own, &self.store, &self.clock).await?;
        Ok(Self { keyring, ..self.clone() })
    }

    /// A new clinic under this key, and a note of its first patient.
    async fn found(&self, name: &str, kek: &str) -> Note {
        self.keyring.create_tenant_under(&clinic(name), &id(kek)).await.unwrap();
        self.admit(&clinic(name)).await.unwrap()
    }

    fn request(&self, clinic: &TenantId) -> (Grant<WriteNotes>, Closer) {
        let (trail, closer) = self.ledger.begin(RequestFacts::new());
        let (clock, user) = (SystemClock::shared(), UserId::generate(&SystemClock::new()));
        let grant = danger_grant(&trail, &self.keyring, &clock, user, clinic.clone(), "the test");
        (grant.unwrap(), closer)
    }

    /// A request that admits a patient and writes a note.
    async fn admit(&self, clinic: &TenantId) -> Result<Note, KeyError> {
        let (grant, mut closer) = self.request(clinic);
        let door = grant.admit().await.map_err(key_error)?;
        let row = RowId::generate(&SystemClock::new());
        let sealed = Encrypted::seal(&TEXT.to_owned(), &door, row).unwrap();
        closer.trail().settled().await.unwrap();
        closer.finish(End::Completed);
        Ok(Note { clinic: clinic.clone(), person: door.subject(), row, sealed })
    }

    /// A request that opens a note.
    async fn open_note(&self, note: &Note) -> Result<(), KeyError> {
        let held = self.hold(note).await?;
        assert!(held.opens(note), "{}: the door opened and the note did not", note.clinic);
        // The answer waits for its records, so that a load of requests cannot fill the ledger's queue.
        held.closer.trail().settled().await.unwrap();
        Ok(())
    }

    /// The same, as tests compare it.
    async fn reads(&self, note: &Note) -> Result<(), ProviderErrorKind> {
        match self.open_note(note).await {
            Err(KeyError::Provider(error)) => Err(error.kind()),
            opened => {
                opened.unwrap_or_else(|error| panic!("{}: {error:?}", note.clinic));
                Ok(())
            }
        }
    }

    /// A request that has opened the note's person, and has not ended.
    async fn hold(&self, note: &Note) -> Result<Held, KeyError> {
        let (grant, closer) = self.request(&note.clinic);
        Ok(Held { door: grant.subject(note.person).await.map_err(key_error)?, closer })
    }

    /// Time goes by, and whoever looks after keys in the background has had his turn before.
    async fn later(&self, by: Duration) {
        tokio::task::yield_now().await;
        self.clock.advance(by);
    }
}

async fn keyring(
    platform: Kek,
    own: &[Kek],
    store: &Arc<dyn Durable>,
    clock: &ManualClock,
) -> Result<Keyring, KeyError> {
    let options = KeyringOptions::default().with_clock(clock.shared());
    let options = own.iter().fold(options, |options, kek| options.add_kek(kek.clone()));
    Keyring::open_with(platform, Arc::clone(store), &options).await
}

fn key_error(error: DoorError) -> KeyError {
    match error {
        DoorError::Key(error) => error,
        other => panic!("{other:?}"),
    }
}

/// An open door, and the request that it belongs to.
struct Held {
    door: SubjectGrant<WriteNotes>,
    closer: Closer,
}

impl Held {
    fn opens(&self, note: &Note) -> bool {
        note.sealed.open(&self.door, note.row).is_ok_and(|note| note.disclose() == TEXT)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.closer.finish(End::Completed);
    }
}
