//! What is known of a request before anything is decided.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use crate::audit::record::{MAX_NAME, MAX_TEXT, Method};

/// What is known of a request before anything is decided.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RequestFacts {
    pub(super) peer: Option<IpAddr>,
    pub(super) request_id: Option<RequestId>,
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
