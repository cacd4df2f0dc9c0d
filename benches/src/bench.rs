//! A clinic with one patient, for the rows that need a grant.

use std::{num::NonZeroUsize, sync::Arc};

use tower_ward::{
    access::{Grant, Permission, SubjectGrant, danger_grant},
    audit::{Closer, Ledger, LedgerOptions, RequestFacts, Trail},
    clock::{SharedClock, SystemClock},
    id::{TenantId, UserId},
    keys::{Keyring, RootKey},
    store::{Durable, MemoryStore},
};

tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::permissions! {
    pub ReadNotes = "notes.read" opens Clinical;
    pub WriteNotes = "notes.write" changes Clinical;
}
tower_ward::columns! {
    pub NoteText: String = "notes"."text" as Clinical;
    pub Attachment: Vec<u8> = "notes"."attachment" as Clinical;
    pub Family: String = "patients"."family" as Clinical, indexed;
}

pub(crate) struct Bench {
    pub(crate) clock: SharedClock,
    pub(crate) store: Arc<dyn Durable>,
    pub(crate) keyring: Keyring,
    pub(crate) ledger: Ledger,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::shared();
        let ledger =
            Ledger::open(&folder.path().join("ledger"), LedgerOptions::new(), clock.clone()).expect("a ledger");
        let store: Arc<dyn Durable> = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
        let keyring = Keyring::open(RootKey::generate(), Arc::clone(&store)).await.expect("a keyring");
        let tenant = TenantId::new("harbour").expect("a name");
        keyring.create_tenant(&tenant).await.expect("a key");
        let user = UserId::generate(&*clock);
        Self { clock, store, keyring, ledger, tenant, user, folder }
    }

    pub(crate) fn trail(&self) -> (Trail, Closer) {
        self.ledger.begin(RequestFacts::new())
    }

    pub(crate) fn grant<P: Permission>(&self, trail: &Trail) -> Grant<P> {
        danger_grant(trail, &self.keyring, &self.clock, self.user, self.tenant.clone(), "a benchmark")
            .expect("recorded")
    }

    /// A chart that stays open as long as the closer lives.
    pub(crate) async fn chart<P: Permission>(&self) -> (SubjectGrant<P>, Closer) {
        let (trail, closer) = self.trail();
        (self.grant::<P>(&trail).admit().await.expect("admitted"), closer)
    }
}
