//! Headers by which a client says that it is somebody else. `src/rate_limit/tests.rs` has the rule's own table.

use std::{net::IpAddr, num::NonZeroU8};

use http::{HeaderMap, HeaderName, HeaderValue};
use tower_ward::rate_limit::TrustedProxies;

const PROXY: &str = "10.0.0.7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(hops: u8) -> TrustedProxies {
    TrustedProxies::new()
        .add_network("10.0.0.0/8".parse().unwrap())
        .add_network("2001:db8:1::/48".parse().unwrap())
        .with_hops(NonZeroU8::new(hops).unwrap())
}

fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
    let line =
        |(name, value): &(&str, &[u8])| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
    lines.iter().map(line).collect()
}

/// Headers that other servers believe. Nobody here does, from a proxy as little as from a stranger.
#[test]
fn no_other_header_says_where_a_request_comes_from() {
    let rows: [(&str, &[u8]); 16] = [
        ("forwarded", b"for=192.0.2.1"),
        ("forwarded", b"For=\"192.0.2.1:4711\";proto=https;by=10.0.0.7"),
        ("forwarded", b"for=\"[2001:db8:2::1]:4711\""),
        ("forwarded", b"for=_hidden, for=192.0.2.1"),
        ("forwarded", b"for=unknown"),
        ("forwarded", b"for=\"192.0.2.1"),
        ("forwarded", b"for"),
        ("forwarded", b";;,,==\""),
        ("x-real-ip", b"192.0.2.1"),
        ("x-client-ip", b"192.0.2.1"),
        ("x-forwarded", b"192.0.2.1"),
        ("x-cluster-client-ip", b"192.0.2.1"),
        ("x-original-forwarded-for", b"192.0.2.1"),
        ("true-client-ip", b"192.0.2.1"),
        ("cf-connecting-ip", b"192.0.2.1"),
        ("via", b"1.1 192.0.2.1"),
    ];
    for (name, value) in rows {
        let (alone, both) =
            (headers(&[(name, value)]), headers(&[(name, value), ("x-forwarded-for", b"198.51.100.9")]));
        let shown = String::from_utf8_lossy(value);
        for connection in [PROXY, "203.0.113.9", "127.0.0.1", "::1"] {
            let peer = proxies(3).peer(ip(connection), &alone).ip();
            assert_eq!(peer, ip(connection), "{name}: {shown} from {connection}");
        }
        assert_eq!(proxies(3).peer(ip(PROXY), &both).ip(), ip("198.51.100.9"), "{name}: {shown} beside the one");
    }
    println!("forwarded: {} other headers", rows.len());
}

#[test]
fn what_is_not_one_plain_address_is_not_believed() {
    let long_entry = "1".repeat(10_000);
    let long_list = format!("{}192.0.2.1", "198.51.100.1, ".repeat(714));
    let proxies_all_the_way = format!("192.0.2.1{}", ", 10.0.0.8".repeat(1_000));
    let (commas, spaces) = (",".repeat(10_000), format!("{}192.0.2.1", " ".repeat(9_991)));
    let tail = format!("192.0.2.1{}", ",".repeat(9_991));
    let rows: &[(&str, u8, &[u8], &str)] = &[
        // Obfuscated identifiers and words (RFC 7239 §6), which have no place in this header.
        ("unknown", 1, b"unknown", PROXY),
        ("an obfuscated identifier", 1, b"_hidden", PROXY),
        ("an obfuscated identifier with a port", 1, b"_SEVKISEK:_gazonk", PROXY),
        ("an element of the other header", 1, b"for=192.0.2.1", PROXY),
        ("a parameter after it", 1, b"192.0.2.1;proto=https", PROXY),
        ("a quoted address", 1, b"\"192.0.2.1\"", PROXY),
        ("a name", 1, b"client.example", PROXY),
        ("localhost", 1, b"localhost", PROXY),
        ("null", 1, b"null", PROXY),
        ("a dash", 1, b"-", PROXY),
        // IPv6 and ports.
        ("IPv6 in brackets", 1, b"[2001:db8:2::1]", PROXY),
        ("IPv6 in brackets, with a port", 1, b"[2001:db8:2::1]:4711", PROXY),
        ("IPv6 quoted, with a port", 1, b"\"[2001:db8:2::1]:4711\"", PROXY),
        ("IPv6 with a zone", 1, b"2001:db8:2::1%eth0", PROXY),
        ("IPv6 with an encoded zone", 1, b"2001:db8:2::1%25eth0", PROXY),
        ("IPv6 with a prefix", 1, b"2001:db8:2::/64", PROXY),
        ("IPv6 with two gaps", 1, b"2001::db8::1", PROXY),
        ("IPv6 of nine groups", 1, b"1:2:3:4:5:6:7:8:9", PROXY),
        ("IPv6 with five digits", 1, b"2001:0db80::1", PROXY),
        ("IPv6 in capitals", 1, b"2001:DB8:2::1", "2001:db8:2::1"),
        ("IPv6 in full", 1, b"2001:0db8:0002:0000:0000:0000:0000:0001", "2001:db8:2::1"),
        ("IPv6 that is IPv4", 1, b"::FFFF:192.0.2.1", "192.0.2.1"),
        ("IPv4 with a port", 1, b"192.0.2.1:443", PROXY),
        ("IPv4 with an empty port", 1, b"192.0.2.1:", PROXY),
        ("IPv4 with a prefix", 1, b"192.0.2.1/32", PROXY),
        ("IPv4 with a trailing dot", 1, b"192.0.2.1.", PROXY),
        ("IPv4 in octal", 1, b"0300.0.2.1", PROXY),
        ("IPv4 of one number", 1, b"3221225985", PROXY),
        ("IPv4 too large", 1, b"192.0.2.256", PROXY),
        ("IPv4 in brackets", 1, b"[192.0.2.1]", PROXY),
        // Bytes.
        ("two addresses without a comma", 1, b"198.51.100.1 192.0.2.1", PROXY),
        ("a semicolon for a comma", 1, b"198.51.100.1;192.0.2.1", PROXY),
        ("a byte beyond ASCII", 1, b"192.0.2.1\xa0", PROXY),
        ("not UTF-8", 1, b"\xff\xfe192.0.2.1", PROXY),
        ("full-width digits", 1, "\u{ff11}92.0.2.1".as_bytes(), PROXY),
        ("other digits", 1, "\u{661}92.0.2.1".as_bytes(), PROXY),
        // Lists: no more is read than there are hops.
        ("an entry of 10 kB", 1, long_entry.as_bytes(), PROXY),
        ("a list of 10 kB", 1, long_list.as_bytes(), "192.0.2.1"),
        ("a list of 10 kB, nine hops", 9, long_list.as_bytes(), "192.0.2.1"),
        ("commas alone", 9, commas.as_bytes(), PROXY),
        ("commas after it", 9, tail.as_bytes(), PROXY),
        ("10 kB of spaces before it", 1, spaces.as_bytes(), "192.0.2.1"),
        ("more proxies than hops", 3, proxies_all_the_way.as_bytes(), "10.0.0.8"),
        ("more proxies than any hops", 255, proxies_all_the_way.as_bytes(), "10.0.0.8"),
    ];
    for (name, hops, value, want) in rows {
        let headers = headers(&[("x-forwarded-for", value)]);
        assert_eq!(proxies(*hops).peer(ip(PROXY), &headers).ip(), ip(want), "{name}");
        assert_eq!(proxies(*hops).peer(ip("203.0.113.9"), &headers).ip(), ip("203.0.113.9"), "{name}: a stranger's");
        // A claim to the left of it is believed as little.
        let spoofed = [b"198.51.100.77, ", *value].concat();
        let behind = self::headers(&[("x-forwarded-for", &spoofed)]);
        assert_ne!(proxies(1).peer(ip(PROXY), &behind).ip(), ip("198.51.100.77"), "{name}: behind a claim");
    }
    println!("forwarded: {} entries", rows.len());
}

#[test]
fn a_thousand_lines_are_one_list_of_which_the_end_counts() {
    let mut headers = HeaderMap::new();
    for _ in 0..1_000 {
        headers.append("x-forwarded-for", HeaderValue::from_static("198.51.100.1"));
    }
    headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    assert_eq!(proxies(1).peer(ip(PROXY), &headers).ip(), ip("192.0.2.1"));
    headers.append("x-forwarded-for", HeaderValue::from_static(""));
    assert_eq!(proxies(1).peer(ip(PROXY), &headers).ip(), ip(PROXY));
}
