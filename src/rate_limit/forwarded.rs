use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::HeaderMap;

/// Where a request comes from, as far as that is known: rules 1 to 3 of the [module](super).
///
/// An IPv4 address mapped into IPv6 is the IPv4 address. `Debug` prints no address, which is a person's; whoever may
/// see it asks for [`ip`](Self::ip).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    /// The peer with this address.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// The address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0
    }

    /// What shares a limit: the address, or the /64 of it. IPv4 has a tag where IPv6 has its top bits.
    pub(super) fn key(&self) -> (u8, u64) {
        match self.0 {
            IpAddr::V4(ip) => (4, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => (6, u64::try_from(ip.to_bits() >> 64).unwrap_or(0)),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_ipv4() { "Peer(v4)" } else { "Peer(v6)" })
    }
}

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
///
/// ```
/// use tower_ward::rate_limit::{Network, NetworkError};
///
/// let inner: Network = "10.0.0.0/8".parse()?;
/// assert!(inner.contains("10.9.8.7".parse()?) && !inner.contains("11.0.0.1".parse()?));
/// assert_eq!("10.0.0.1/8".parse::<Network>(), Err(NetworkError::HostBits));
/// assert_eq!("0.0.0.0/0".parse::<Network>(), Err(NetworkError::Everybody));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// A text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Not an address, or not a prefix after it.
    #[error("not a network: write an address, or an address and a prefix length, as in `10.0.0.0/8`")]
    Text,
    /// Bits are set after the prefix.
    #[error("the address of a network has bits set after its prefix: write the first address, as in `10.0.0.0/8`")]
    HostBits,
    /// Everybody.
    #[error("a network of prefix 0 is everybody, who is not to be trusted: name the proxies")]
    Everybody,
}

impl Network {
    /// Whether `ip` is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => first.to_bits() == ip.to_bits() & mask4(self.prefix),
            (IpAddr::V6(first), IpAddr::V6(ip)) => first.to_bits() == ip.to_bits() & mask6(self.prefix),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (ip, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
        let ip: IpAddr = ip.parse().map_err(|_| NetworkError::Text)?;
        // A mapped network would never match: addresses are folded before they are compared.
        if ip != ip.to_canonical() {
            return Err(NetworkError::Text);
        }
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            // One spelling: no sign, no leading zero.
            Some(text) => text
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= width && prefix.to_string() == text)
                .ok_or(NetworkError::Text)?,
        };
        if prefix == 0 {
            return Err(NetworkError::Everybody);
        }
        let first = match ip {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask4(prefix))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask6(prefix))),
        };
        if first != ip {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { first, prefix })
    }
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// Whose `X-Forwarded-For` is believed, and how far. Nobody's, unless said.
///
/// ```
/// use std::net::IpAddr;
/// use http::HeaderMap;
/// use tower_ward::rate_limit::TrustedProxies;
///
/// let proxies = TrustedProxies::new().add_network("10.0.0.0/8".parse()?);
/// let (proxy, stranger): (IpAddr, IpAddr) = ("10.0.0.7".parse()?, "203.0.113.9".parse()?);
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "198.51.100.1, 192.0.2.1".parse()?);
///
/// // What the proxy added is last; what stands before it is the client's own claim.
/// assert_eq!(proxies.peer(proxy, &headers).ip(), "192.0.2.1".parse::<IpAddr>()?);
/// assert_eq!(proxies.peer(stranger, &headers).ip(), stranger);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    hops: u8,
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest address: `0000:0000:0000:0000:0000:ffff:255.255.255.255`.
const LONGEST: usize = 45;

impl TrustedProxies {
    /// Nobody; and one hop, once somebody is added.
    #[must_use]
    pub const fn new() -> Self {
        Self { networks: Vec::new(), hops: 1 }
    }

    /// Trusts the proxies of a network.
    #[must_use]
    pub fn add_network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// How many proxies a request passes at most, the one that connects included. Default: 1.
    #[must_use]
    pub fn with_hops(mut self, hops: std::num::NonZeroU8) -> Self {
        self.hops = hops.get();
        self
    }

    /// Rules 1 to 4 of the [module](super): who sent the request that came over this connection.
    ///
    /// Reads no more than as many entries as there are hops, from the right, and allocates nothing.
    #[must_use]
    pub fn peer(&self, connection: IpAddr, headers: &HeaderMap) -> Peer {
        if !self.trusts(connection) {
            return Peer::new(connection);
        }
        let lines = headers.get_all("x-forwarded-for").iter().rev().map(http::HeaderValue::as_bytes);
        self.walk(connection, lines)
    }

    /// `lines` from the last to the first.
    fn walk<'a>(&self, connection: IpAddr, lines: impl Iterator<Item = &'a [u8]>) -> Peer {
        let mut peer = connection;
        let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries.take(usize::from(self.hops)) {
            if !self.trusts(peer) {
                break;
            }
            match address(entry) {
                Some(further) => peer = further,
                None => break,
            }
        }
        Peer::new(peer)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }
}

fn address(entry: &[u8]) -> Option<IpAddr> {
    let start = entry.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
    let end = entry.iter().rposition(|b| !matches!(b, b' ' | b'\t'))? + 1;
    let entry = &entry[start..end];
    if entry.len() > LONGEST {
        return None;
    }
    std::str::from_utf8(entry).ok()?.parse().ok()
}

/// For the fuzzer: who sent a request with these `X-Forwarded-For` lines, in their order.
#[doc(hidden)]
#[must_use]
pub fn fuzz_forwarded(proxies: &TrustedProxies, connection: IpAddr, lines: &[&[u8]]) -> IpAddr {
    proxies.walk(connection, lines.iter().rev().copied()).ip()
}
