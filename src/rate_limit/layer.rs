use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use http::{Extensions, HeaderMap};
use tower_layer::Layer;

use super::{KeyedLimit, LimitError, Peer, PeerLimit, TrustedProxies};
use crate::{
    clock::SharedClock,
    quota::{Decision, Quota},
};

/// The address at the other end of the connection. Whoever accepts connections puts it into each request's extensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connection(pub SocketAddr);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection(_)")
    }
}

/// Limits by peer: the settings, and the one rule, [`decide`](Self::decide). Cheap to clone; clones share their counts.
///
/// ```
/// use std::{net::IpAddr, num::NonZeroU32, time::Duration};
/// use http::HeaderMap;
/// use tower_ward::{clock::SystemClock, quota::Quota, rate_limit::{Peer, PeerDecision, PeerLimitLayer}};
///
/// // Without the service: the rule alone, for a stack of your own.
/// let layer = PeerLimitLayer::new(Quota::per_minute(NonZeroU32::MIN), SystemClock::shared())?;
/// let (address, now): (IpAddr, _) = ("2001:db8::1".parse()?, Duration::ZERO);
/// let PeerDecision { peer, decision } = layer.decide(address, &HeaderMap::new(), now);
/// assert_eq!((peer, decision.is_allowed()), (Peer::new(address), true));
/// // The next address of the same /64 is the same peer.
/// assert!(!layer.decide("2001:db8::2".parse()?, &HeaderMap::new(), now).decision.is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerLimitLayer {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
struct Settings {
    proxies: TrustedProxies,
    connection: fn(&Extensions) -> Option<SocketAddr>,
    clock: SharedClock,
}

#[derive(Debug)]
struct Shared {
    limit: Arc<KeyedLimit>,
    settings: Settings,
}

/// What [`PeerLimitLayer::decide`] found.
#[derive(Debug, Clone, Copy)]
#[must_use = "a limit that nobody asks limits nothing"]
pub struct PeerDecision {
    /// Who asked.
    pub peer: Peer,
    /// Whether they may.
    pub decision: Decision,
}

impl PeerLimitLayer {
    /// Room for peers, unless said otherwise: 2 MiB.
    pub const PEERS: NonZeroU32 = NonZeroU32::new(131_072).expect("not zero");

    /// A limit of `quota` for each peer, with room for [`PEERS`](Self::PEERS), and nobody's `X-Forwarded-For` believed.
    ///
    /// # Errors
    ///
    /// See [`with_room`](Self::with_room).
    pub fn new(quota: Quota, clock: SharedClock) -> Result<Self, LimitError> {
        Self::with_room(quota, Self::PEERS, clock)
    }

    /// A limit of `quota` for each peer, with room for `peers`. Take many more than there are honest ones at a time.
    ///
    /// # Errors
    ///
    /// If there are too many `peers` for one table.
    pub fn with_room(quota: Quota, peers: NonZeroU32, clock: SharedClock) -> Result<Self, LimitError> {
        let limit = Arc::new(KeyedLimit::new("peer", quota, peers)?);
        let connection = |extensions: &Extensions| extensions.get::<Connection>().map(|connection| connection.0);
        let settings = Settings { proxies: TrustedProxies::new(), connection, clock };
        Ok(Self { shared: Arc::new(Shared { limit, settings }) })
    }

    /// Sets whose `X-Forwarded-For` is believed.
    #[must_use]
    pub fn with_proxies(self, proxies: TrustedProxies) -> Self {
        self.set(|settings| settings.proxies = proxies)
    }

    /// Sets where the connection's address is found. Default: the extension [`Connection`]. For axum's own:
    /// `|e| e.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)`.
    #[must_use]
    pub fn with_connection(self, connection: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.set(|settings| settings.connection = connection)
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        change(&mut settings);
        Self { shared: Arc::new(Shared { limit: Arc::clone(&self.shared.limit), settings }) }
    }

    /// Rules 2 to 5 of the [module](super): who asks over this connection, and whether they may, at the monotonic time
    /// `now`.
    pub fn decide(&self, connection: IpAddr, headers: &HeaderMap, now: Duration) -> PeerDecision {
        let peer = self.shared.settings.proxies.peer(connection, headers);
        PeerDecision { peer, decision: self.shared.limit.decide(&peer.key(), now) }
    }

    /// The address of the connection that a request came over, if the server said it.
    #[must_use]
    pub fn connection(&self, extensions: &Extensions) -> Option<IpAddr> {
        (self.shared.settings.connection)(extensions).map(|address| address.ip())
    }

    /// The limit itself: for [`tell`](KeyedLimit::tell) and [`refusal`](KeyedLimit::refusal).
    #[must_use]
    pub fn limit(&self) -> &KeyedLimit {
        &self.shared.limit
    }

    pub(super) fn now(&self) -> Duration {
        self.shared.settings.clock.monotonic()
    }
}

impl<S> Layer<S> for PeerLimitLayer {
    type Service = PeerLimit<S>;

    fn layer(&self, inner: S) -> PeerLimit<S> {
        PeerLimit::new(inner, self.clone())
    }
}
