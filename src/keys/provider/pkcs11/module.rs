//! A PKCS#11 module: loaded once, started and stopped for all who use it.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};

use super::{
    super::ProviderErrorKind::Unavailable,
    fault::{Fault, Then},
};
use crate::clock::{Clock as _, SystemClock};

/// Every module that this process has loaded. None is unloaded: a call that hangs in it would return into nothing.
static MODULES: Mutex<Vec<(PathBuf, &'static Module)>> = Mutex::new(Vec::new());

const HANGS: &str = "another call hangs in the token's module: restart its service, then this process";

/// When a call must be over.
#[derive(Debug)]
pub(super) struct Deadline {
    clock: SystemClock,
    limit: Duration,
}

impl Deadline {
    pub(super) fn new(limit: Duration) -> Self {
        Self { clock: SystemClock::new(), limit }
    }

    /// How long it still has.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.clock.monotonic())
    }
}

/// A module, and who is in it.
///
/// `C_Initialize` is for the whole process, so every provider of one module shares it. A module that has lost its token
/// may find it again only after `C_Finalize` (SoftHSM and most network HSMs), which must not run while a call does.
pub(super) struct Module {
    pub(super) context: Pkcs11,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    /// How many are inside.
    calls: usize,
    /// Somebody starts or stops it: nobody gets in.
    exclusive: bool,
    started: bool,
    /// We started it, so we may stop it.
    ours: bool,
    /// How often it was started. A session of another count is gone, and its number may be another session's.
    generation: u64,
}

/// The permission to call into a module, which stays started until this is dropped.
pub(super) struct Entered {
    pub(super) module: &'static Module,
    pub(super) generation: u64,
    /// It was started for this call.
    pub(super) fresh: bool,
}

impl Module {
    /// The module at `path`, loaded if it is not.
    pub(super) fn load(path: &Path) -> Result<&'static Self, Fault> {
        let real = path.canonicalize().map_err(|error| {
            Fault::new(Unavailable, Then::Close, "`module` is not there: name the library of the token's maker")
                .with_source(error)
        })?;
        let known =
            |modules: &[(PathBuf, &'static Self)]| modules.iter().find(|(known, _)| *known == real).map(|m| m.1);
        if let Some(module) = known(&lock(&MODULES)) {
            return Ok(module);
        }
        // Not under the lock: it runs the library's own code.
        let context = Pkcs11::new(path)?;
        let mut modules = lock(&MODULES);
        if let Some(module) = known(&modules) {
            return Ok(module);
        }
        let module: &'static Self =
            Box::leak(Box::new(Self { context, gate: Mutex::default(), changed: Condvar::new() }));
        modules.push((real, module));
        Ok(module)
    }

    /// Waits until calls are let in, and starts the module if it is not.
    pub(super) fn enter(&'static self, deadline: &Deadline) -> Result<Entered, Fault> {
        let mut gate = self.wait(deadline, lock(&self.gate), |gate| gate.exclusive)?;
        let fresh = !gate.started;
        if fresh {
            gate.exclusive = true;
            drop(gate);
            let answer = self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
            gate = lock(&self.gate);
            gate.exclusive = false;
            self.changed.notify_all();
            match answer {
                Ok(()) => gate.ours = true,
                // By somebody else, who will want to stop it too.
                Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                Err(error) => return Err(Fault::from(error).with_then(Then::Close)),
            }
            gate.started = true;
            gate.generation += 1;
        }
        gate.calls += 1;
        Ok(Entered { module: self, generation: gate.generation, fresh })
    }

    /// Stops the module, once nobody is in it, so that whoever enters next starts it; not if that was done since
    /// `generation`. Whether the next to enter finds another generation.
    pub(super) fn stop(&self, generation: u64, deadline: &Deadline) -> Result<bool, Fault> {
        let mut gate = self.wait(deadline, lock(&self.gate), |gate| gate.exclusive)?;
        if gate.generation != generation || !gate.started {
            return Ok(true);
        }
        if !gate.ours {
            return Ok(false);
        }
        gate.exclusive = true;
        let (mut gate, waited) = self
            .changed
            .wait_timeout_while(gate, deadline.left(), |gate| gate.calls > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            drop(gate);
            // Whatever it says, the next start will tell.
            let _ = self.context.clone().finalize();
            gate = lock(&self.gate);
            gate.started = false;
        }
        gate.exclusive = false;
        self.changed.notify_all();
        if waited.timed_out() { Err(Fault::new(Unavailable, Then::Close, HANGS)) } else { Ok(true) }
    }

    fn wait<'a>(
        &self,
        deadline: &Deadline,
        gate: MutexGuard<'a, Gate>,
        busy: fn(&mut Gate) -> bool,
    ) -> Result<MutexGuard<'a, Gate>, Fault> {
        let (gate, waited) =
            self.changed.wait_timeout_while(gate, deadline.left(), busy).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(Fault::new(Unavailable, Then::Close, HANGS)) } else { Ok(gate) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.module.gate).calls -= 1;
        self.module.changed.notify_all();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
