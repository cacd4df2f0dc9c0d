//! Scrubbing writes everything anew: those who ask for it at once share one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;

/// Whoever asks while one runs needs another, which begins after that; but all who ask meanwhile need only that one.
#[derive(Debug, Default)]
pub(super) struct Scrubs {
    asked: AtomicU64,
    /// Everybody up to this one was served.
    served: tokio::sync::Mutex<u64>,
}

impl Scrubs {
    /// Does this, unless one that began after this was asked for has ended well.
    pub(super) async fn share(&self, scrub: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut served = self.served.lock().await;
        if *served >= ticket {
            return Ok(());
        }
        let all = self.asked.load(Ordering::Acquire);
        scrub.await?;
        *served = all;
        Ok(())
    }
}
