//! Calls that block, made so that one that hangs keeps nobody.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, oneshot};

use super::{
    super::{ProviderError, ProviderErrorKind::Unavailable},
    fault::{Fault, Then},
    module::Deadline,
};

/// How many calls may hang before no more are made.
const HANGING: usize = 16;

const BUSY: &str = "no session was free in time: raise `with_sessions`, or find out what keeps the token busy";
const LATE: &str = "the token did not answer in time: look at it and at the way to it";
const HUNG: &str = "too many calls hang in the token's module: restart its service, then this process";
const BROKE: &str = "the call broke off: look at the log of the token's module";

/// Makes the calls to one key.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) name: Arc<str>,
    limit: Duration,
    /// A permit for each call that is waited for.
    sessions: Arc<Semaphore>,
    /// A permit for each call that has not returned, waited for or not.
    threads: Arc<Semaphore>,
}

impl Calls {
    pub(super) fn new(name: Arc<str>, limit: Duration, sessions: usize) -> Self {
        let sessions = sessions.min(Semaphore::MAX_PERMITS - HANGING);
        Self {
            name,
            limit,
            sessions: Arc::new(Semaphore::new(sessions)),
            threads: Arc::new(Semaphore::new(sessions + HANGING)),
        }
    }

    /// What `work` gives, if it does in time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Deadline) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let calls = self.clone();
        // A task of its own: a caller that gives up does not make room while the call goes on, and leaves no place
        // taken if the call hangs.
        let answer = tokio::spawn(async move { calls.supervise(work).await }).await;
        answer.unwrap_or_else(|error| Err(no_answer(BROKE).with_source(error))).map_err(|fault| fault.of(&self.name))
    }

    async fn supervise<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Deadline) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let deadline = Deadline::new(self.limit);
        let session = tokio::time::timeout(self.limit, self.sessions.acquire()).await;
        let session = session.map_err(|_| no_answer(BUSY))?.map_err(|_| no_answer(BROKE))?;
        let thread = Arc::clone(&self.threads).try_acquire_owned().map_err(|_| no_answer(HUNG))?;
        let left = deadline.left();
        let (answer, answered) = oneshot::channel();
        // Not of tokio's blocking threads: a runtime that ends waits for those, however long they hang.
        std::thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || {
                let _thread = thread;
                // Nobody may be left to hear it.
                let _ = answer.send(work(&deadline));
            })
            .map_err(|error| no_answer(BROKE).with_source(error))?;
        let answer = tokio::time::timeout(left, answered).await;
        // Given back even if the call has not returned: it counts among those that hang.
        drop(session);
        answer.map_err(|_| no_answer(LATE))?.map_err(|_| no_answer(BROKE))?
    }
}

fn no_answer(what: &'static str) -> Fault {
    Fault::new(Unavailable, Then::Close, what)
}
