//! A ledger, a keyring and the facts of a request, for the unit tests of this crate.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock},
};

use super::{Doors, Facts, NoRelations, Who};
use crate::{
    audit::{Actor, Closer, Ledger, LedgerOptions, RequestFacts, Trail},
    clock::SystemClock,
    id::{TenantId, TrailId, UserId},
    keys::{Keyring, RootKey},
    store::MemoryStore,
};

struct Bench {
    ledger: Ledger,
    doors: Arc<Doors>,
    open: Mutex<HashMap<TrailId, Closer>>,
    _folder: tempfile::TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::shared();
        let ledger = Ledger::open(folder.path(), LedgerOptions::new(), Arc::clone(&clock)).expect("a ledger");
        // On a thread of its own, since the caller may be inside a runtime already.
        let keyring = std::thread::spawn(|| {
            let store = MemoryStore::new(NonZeroUsize::MAX).danger_forgetful();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(Keyring::open(RootKey::generate(), Arc::new(store))).expect("a keyring")
        });
        let keyring = keyring.join().expect("the thread ends");
        let doors = Arc::new(Doors { keyring, relations: Arc::new(NoRelations), clock });
        Bench { ledger, doors, open: Mutex::default(), _folder: folder }
    })
}

/// The facts of a request that stays open until [`end`], or for the life of the process.
pub(crate) fn facts(tenant: TenantId) -> Facts {
    let bench = bench();
    let user = UserId::from_bytes([9; 16]);
    let (trail, closer) = bench.ledger.begin(RequestFacts::new());
    trail.set_actor(Actor {
        user: Some(user),
        role: Some("tester".into()),
        session: None,
        tenant: Some(tenant.clone()),
    });
    bench.open.lock().expect("no test panics while it holds this").insert(trail.id(), closer);
    Facts { trail, tenant, who: Who::Application { user }, doors: Arc::clone(&bench.doors) }
}

/// Ends a request made by [`facts`].
pub(crate) fn end(trail: &Trail) {
    bench().open.lock().expect("no test panics while it holds this").remove(&trail.id());
}
