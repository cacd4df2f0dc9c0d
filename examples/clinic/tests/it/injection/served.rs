//! What a server answered, counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::StatusCode;

/// What a server answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Served(Arc<Mutex<Answered>>);

#[derive(Debug, Clone, Default)]
pub(super) struct Answered {
    pub(super) by_status: BTreeMap<u16, usize>,
    /// The first of those that failed.
    pub(super) failed: Vec<String>,
}

impl Served {
    pub(super) fn count(&self, asked: &str, status: StatusCode) {
        let mut answered = self.0.lock().unwrap();
        *answered.by_status.entry(status.as_u16()).or_default() += 1;
        if status.is_server_error() && answered.failed.len() < 10 {
            answered.failed.push(format!("{status}: {asked}"));
        }
    }

    /// What was answered since this was asked last.
    pub(super) fn take(&self) -> Answered {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
