use std::{
    net::{IpAddr, SocketAddr},
    num::{NonZeroU8, NonZeroU32},
    time::Duration,
};

use http::{Extensions, HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::{
    clock::{ManualClock, SharedClock},
    quota::Quota,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(networks: &[&str], hops: u8) -> TrustedProxies {
    networks
        .iter()
        .fold(TrustedProxies::new(), |proxies, network| proxies.add_network(network.parse().unwrap()))
        .with_hops(NonZeroU8::new(hops).unwrap())
}

fn clock() -> SharedClock {
    ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()).shared()
}

fn forwarded(lines: &[&'static str]) -> HeaderMap {
    lines
        .iter()
        .map(|line| (http::HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line)))
        .collect()
}

#[test]
fn a_forwarded_address_is_believed_only_as_far_as_trusted_proxies_wrote_it() {
    let (proxy, proxy2, far) = ("10.0.0.7", "10.0.0.8", "203.0.113.9");
    // name, hops, who connects, lines, who it is
    let table: &[(&str, u8, &str, &[&'static str], &str)] = &[
        ("no-header-no-proxy", 1, far, &[], far),
        ("spoof-from-an-untrusted-peer", 1, far, &["192.0.2.1"], far),
        ("spoof-of-a-proxy-from-an-untrusted-peer", 2, far, &["192.0.2.1, 10.0.0.8"], far),
        ("the-proxys-word", 1, proxy, &["192.0.2.1"], "192.0.2.1"),
        ("leftmost-spoof", 1, proxy, &["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        ("leftmost-spoof-of-a-proxy", 1, proxy, &["10.0.0.9, 192.0.2.1"], "192.0.2.1"),
        ("spoofed-line-before-the-proxys", 1, proxy, &["198.51.100.1", "192.0.2.1"], "192.0.2.1"),
        ("two-lines-are-one-list", 2, proxy, &["198.51.100.1, 192.0.2.1", "10.0.0.8"], "192.0.2.1"),
        ("two-hops", 2, proxy, &["198.51.100.1, 192.0.2.1, 10.0.0.8"], "192.0.2.1"),
        ("more-hops-than-allowed", 1, proxy, &["192.0.2.1, 10.0.0.8"], proxy2),
        ("more-hops-allowed-than-there-are", 5, proxy, &["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        ("no-header-from-a-proxy", 1, proxy, &[], proxy),
        ("an-empty-header", 1, proxy, &[""], proxy),
        ("an-empty-last-entry", 1, proxy, &["192.0.2.1,"], proxy),
        ("an-empty-last-line", 1, proxy, &["192.0.2.1", ""], proxy),
        ("a-name", 1, proxy, &["192.0.2.1, unknown"], proxy),
        ("a-port", 1, proxy, &["192.0.2.1:443"], proxy),
        ("brackets", 1, proxy, &["[2001:db8::1]"], proxy),
        ("a-zone", 1, proxy, &["fe80::1%eth0"], proxy),
        ("leading-zeros", 1, proxy, &["192.0.2.001"], proxy),
        ("a-short-form", 1, proxy, &["192.0.513"], proxy),
        ("a-hexadecimal-form", 1, proxy, &["0xc0000201"], proxy),
        ("garbage-before-a-good-hop", 2, proxy, &["\"x\", 10.0.0.8"], proxy2),
        ("a-claim-behind-garbage", 3, proxy, &["192.0.2.1, unknown, 10.0.0.8"], proxy2),
        ("46-bytes", 1, proxy, &["0000:0000:0000:0000:0000:0ffff:192.168.100.200"], proxy),
        ("padding", 1, proxy, &["198.51.100.1 , \t192.0.2.1 \t"], "192.0.2.1"),
        ("45-bytes", 1, proxy, &["0000:0000:0000:0000:0000:ffff:192.168.100.200"], "192.168.100.200"),
        ("a-mapped-entry", 1, proxy, &["::ffff:192.0.2.1"], "192.0.2.1"),
        ("a-mapped-connection", 1, "::ffff:10.0.0.7", &["192.0.2.1"], "192.0.2.1"),
        ("a-mapped-stranger", 1, "::ffff:203.0.113.9", &["192.0.2.1"], far),
        ("ipv6", 1, "2001:db8:1::7", &["2001:db8:2::1"], "2001:db8:2::1"),
    ];
    for (name, hops, connection, lines, expected) in table {
        let proxies = proxies(&["10.0.0.0/8", "2001:db8:1::/48"], *hops);
        assert_eq!(proxies.peer(ip(connection), &forwarded(lines)).ip(), ip(expected), "{name}");
    }
    let nobody = TrustedProxies::new();
    assert_eq!(nobody.peer(ip(proxy), &forwarded(&["192.0.2.1"])).ip(), ip(proxy));
}

proptest! {
    /// Whatever a client writes to the left changes nothing.
    #[test]
    fn nothing_left_of_the_proxys_entry_counts(claims in proptest::collection::vec("[ -~]{0,40}", 0..6)) {
        let proxies = proxies(&["10.0.0.0/8"], 1);
        let mut lines: Vec<&[u8]> = claims.iter().map(String::as_bytes).collect();
        lines.push(b"192.0.2.1");
        prop_assert_eq!(fuzz_forwarded(&proxies, ip("10.0.0.7"), &lines), ip("192.0.2.1"));
        let joined = [claims.join(","), "192.0.2.1".to_owned()].join(",");
        prop_assert_eq!(fuzz_forwarded(&proxies, ip("10.0.0.7"), &[joined.as_bytes()]), ip("192.0.2.1"));
        prop_assert_eq!(fuzz_forwarded(&proxies, ip("203.0.113.9"), &lines), ip("203.0.113.9"));
    }

    #[test]
    fn any_bytes_give_an_address(lines in proptest::collection::vec(any::<Vec<u8>>(), 0..4), hops in 1..9_u8) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let peer = fuzz_forwarded(&proxies(&["10.0.0.0/8"], hops), ip("10.0.0.7"), &lines);
        prop_assert_eq!(peer, peer.to_canonical());
    }
}

#[test]
fn a_network_has_one_spelling() {
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::1", "::1", "::2"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
    ] {
        let network: Network = text.parse().unwrap();
        assert!(network.contains(ip(inside)), "{text} {inside}");
        assert!(!network.contains(ip(outside)), "{text} {outside}");
    }
    for (text, error) in [
        ("", NetworkError::Text),
        ("10.0.0.0/", NetworkError::Text),
        ("10.0.0.0/33", NetworkError::Text),
        ("10.0.0.0/08", NetworkError::Text),
        ("10.0.0.0/+8", NetworkError::Text),
        ("10.0.0.0/256", NetworkError::Text),
        ("10/8", NetworkError::Text),
        ("::/129", NetworkError::Text),
        ("proxy.example", NetworkError::Text),
        ("::ffff:10.0.0.0/104", NetworkError::Text),
        ("10.0.0.1/8", NetworkError::HostBits),
        ("2001:db8::1/64", NetworkError::HostBits),
        ("0.0.0.0/0", NetworkError::Everybody),
        ("::/0", NetworkError::Everybody),
    ] {
        assert_eq!(text.parse::<Network>(), Err(error), "{text}");
    }
}

#[test]
fn peers_share_a_limit_by_what_one_customer_is_given() {
    let one = |peer: &str| Peer::new(ip(peer)).key();
    for (a, b, shared) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        // The /64 whose bits are those of an IPv4 address is not that address.
        ("192.0.2.1", "::c000:201:0:0:0:0", false),
        ("0.0.0.0", "::", false),
    ] {
        assert_eq!(one(a) == one(b), shared, "{a} {b}");
    }
}

#[test]
fn settings_that_cannot_be_used() {
    let quota = Quota::per_minute(NonZeroU32::MIN);
    for bad in ["", "a b", "\"", "Peer", "a;r=9", "é", "a123456789a123456789a123456789abc"] {
        assert_eq!(KeyedLimit::new(bad, quota, NonZeroU32::MIN).err(), Some(LimitError::Name), "{bad}");
    }
    assert!(KeyedLimit::new("a123456789a123456789a123456789-a", quota, NonZeroU32::MIN).is_ok());
    assert!(matches!(PeerLimitLayer::with_room(quota, NonZeroU32::MAX, clock()), Err(LimitError::Quota(_))));
}

#[test]
fn the_longest_item_fits() {
    let name = "a123456789a123456789a123456789-a";
    let quota = Quota::new(NonZeroU32::MAX, Duration::from_secs(366 * 24 * 60 * 60)).unwrap();
    let limit = KeyedLimit::new(name, quota, NonZeroU32::MIN).unwrap();
    let mut headers = HeaderMap::new();
    limit.tell(&limit.decide("k", Duration::ZERO), &mut headers);
    assert_eq!(headers["ratelimit"], format!("\"{name}\";r=4294967294;t=1"));
    assert_eq!(headers["ratelimit-policy"], format!("\"{name}\";q=4294967295;w=31622400"));
}

#[test]
fn no_address_is_printed() {
    let layer = PeerLimitLayer::new(Quota::per_minute(NonZeroU32::MIN), clock()).unwrap();
    let asked = layer.decide(ip("192.0.2.77"), &HeaderMap::new(), Duration::ZERO);
    let connection = Connection(SocketAddr::new(ip("192.0.2.77"), 4711));
    for printed in [format!("{asked:?}"), format!("{layer:?}"), format!("{connection:?}")] {
        assert!(!printed.contains("192.0.2"), "{printed}");
    }
}

#[test]
fn clones_and_settings_share_the_counts() {
    let layer = PeerLimitLayer::new(Quota::per_minute(NonZeroU32::MIN), clock()).unwrap();
    let other = layer.clone().with_proxies(proxies(&["10.0.0.0/8"], 1)).with_connection(|_: &Extensions| None);
    assert!(layer.decide(ip("192.0.2.1"), &HeaderMap::new(), Duration::ZERO).decision.is_allowed());
    assert!(!other.decide(ip("192.0.2.1"), &HeaderMap::new(), Duration::ZERO).decision.is_allowed());
    assert_eq!(other.connection(&Extensions::new()), None);
}
