//! What is known of a request before anything is decided.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use super::agent::Agent;
use crate::audit::record::{MAX_NAME, MAX_TEXT, Method};

/// What is known of a request before anything is decided.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RequestFacts {
    pub(super) peer: Option<IpAddr>,
    pub(super) request_id: Option<RequestId>,
    pub(super) agent: Option<Agent>,
    pub(super) method: Option<Method>,
    pub(super) route: Option<Arc<str>>,
}

/// A request's id.
#[derive(Debug, Clone)]
pub(super) enum RequestId {
    Given(Arc<str>),
    /// Most requests open no door, and nobody reads their id's text here.
    #[cfg_attr(not(feature = "stack"), expect(dead_code, reason = "only the whole path makes ids"))]
    Own([u8; 16], OnceLock<Arc<str>>),
}

impl RequestId {
    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(match self {
            Self::Given(text) => text,
            Self::Own(bytes, text) => text.get_or_init(|| crate::codec::hex(bytes).into()),
        })
    }
}

impl RequestFacts {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer, behind the hops that are trusted.
    pub fn with_peer(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The request's id: 1 to 64 of `a-z A-Z 0-9 - _ . : /`. Anything else is left out, since it is a stranger's text.
    pub fn with_request_id(mut self, id: &str) -> Self {
        let good = (1..=MAX_NAME).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'));
        self.request_id = good.then(|| RequestId::Given(id.into()));
        self
    }

    /// A request's id that this crate made: these bytes in hex.
    #[cfg(feature = "stack")]
    pub(crate) fn with_own_request_id(mut self, id: [u8; 16]) -> Self {
        self.request_id = Some(RequestId::Own(id, OnceLock::new()));
        self
    }

    /// What the client calls itself, from the request's `user-agent`. At most 256 bytes of visible ASCII and spaces are
    /// kept: every other byte becomes a `?`, and what is longer is cut and ends with `...`.
    ///
    /// ```
    /// use tower_ward::audit::{Action, End, Event, Ledger, LedgerOptions, RequestFacts};
    /// # use tower_ward::{clock::SystemClock, id::{SubjectId, TenantId}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let options = LedgerOptions::new().with_segment_size(128 * 1024);
    /// # let ledger = Ledger::open(folder.path(), options, SystemClock::shared())?;
    /// # let (clinic, ada) = (TenantId::new("harbour")?, SubjectId::generate(&SystemClock::new()));
    /// let sent = "curl/8.5 \u{202e}txt.exe".parse()?; // turns the letters after it around
    /// let (trail, mut closer) = ledger.begin(RequestFacts::new().with_agent(&sent));
    /// trail.record(Event::new(Action::Disclose).with_tenant(clinic.clone()).add_subject(ada))?;
    /// trail.settled().await?;
    /// # closer.finish(End::Completed);
    /// # ledger.shutdown().await;
    /// assert_eq!(ledger.danger_timeline(&clinic, ada, None, 1)?.records[0].agent(), Some("curl/8.5 ???txt.exe"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Security
    ///
    /// A client can call itself anything. It is there to be compared, not to be believed.
    pub fn with_agent(mut self, agent: &http::HeaderValue) -> Self {
        self.agent = Agent::new(agent);
        self
    }

    /// The method.
    pub fn with_method(mut self, method: &http::Method) -> Self {
        self.method = Some(method.into());
        self
    }

    /// The route's template (`/patients/{id}`), never the path. At most 256 bytes; a longer one is left out.
    pub fn with_route(mut self, template: &str) -> Self {
        self.route = (template.len() <= MAX_TEXT).then(|| template.into());
        self
    }
}
