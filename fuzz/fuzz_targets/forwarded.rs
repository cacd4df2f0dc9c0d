//! Whatever a client writes into `X-Forwarded-For`, what a trusted proxy adds at the end decides.
#![no_main]

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
};

use libfuzzer_sys::fuzz_target;
use tower_ward::rate_limit::{Network, TrustedProxies, fuzz_forwarded};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const ADDED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fuzz_target!(|data: &[u8]| {
    let [hops, text @ ..] = data else { return };
    let hops = NonZeroU8::MIN.saturating_add(*hops);
    let network = "10.0.0.0/8".parse().expect("a network");
    let proxies = TrustedProxies::new().add_network(network).with_hops(hops);
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();

    assert_eq!(fuzz_forwarded(&proxies, STRANGER, &lines), STRANGER);
    let peer = fuzz_forwarded(&proxies, PROXY, &lines);
    assert_eq!(peer, peer.to_canonical());

    // The proxy writes into the client's last line, or a line of its own.
    let joined = [text, b", 192.0.2.1"].concat();
    let joined: Vec<&[u8]> = joined.split(|byte| *byte == b'\n').collect();
    assert_eq!(fuzz_forwarded(&proxies, PROXY, &joined), ADDED);
    lines.push(b"192.0.2.1");
    assert_eq!(fuzz_forwarded(&proxies, PROXY, &lines), ADDED);

    if let Ok(text) = str::from_utf8(text)
        && let Ok(network) = text.parse::<Network>()
    {
        let first = text.split('/').next().and_then(|first| first.parse().ok());
        assert!(network.contains(first.expect("a network begins with an address")));
    }
});
