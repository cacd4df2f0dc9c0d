//! Records as events of `tracing`.

use super::{Sink, SinkError};
use crate::audit::ledger::{Head, home::Batch};

/// Passes each record on as an event at level INFO with the target `tower_ward::ledger` and the one field `record`, its
/// canonical JSON.
///
/// ```
/// use tower_ward::audit::{Sinks, TracingSink};
///
/// // Whoever collects the traces of this process has a copy; nobody waits for it.
/// let sinks = Sinks::new().add_best_effort("traces", TracingSink::new());
/// assert_eq!(format!("{sinks:?}"), r#"{"traces": "best effort"}"#);
/// ```
///
/// # Security
///
/// Whatever subscribes sees who opened whose record, under ids, and the reasons given.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TracingSink;

impl TracingSink {
    /// One.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Sink for TracingSink {
    fn held(&mut self) -> Result<Option<Head>, SinkError> {
        Ok(None)
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for record in batch.records() {
            let record = std::str::from_utf8(record)?;
            tracing::info!(target: "tower_ward::ledger", record);
        }
        Ok(())
    }
}
