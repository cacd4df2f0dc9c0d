//! Host names that are written to be taken for another clinic's.

use tower_ward::{
    id::TenantId,
    tenant::{HostError, Hosts, Site},
};

const GOOD: &str = "harbour.clinic.example";

fn hosts() -> Hosts {
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").unwrap();
    for tenant in ["harbour", "meadow"] {
        hosts.register(TenantId::new(tenant).unwrap()).unwrap();
    }
    hosts
}

// proves CLM-17
#[test]
fn a_host_in_any_other_spelling_leads_nowhere() {
    use HostError::{Malformed, Unknown};
    let long_label = format!("{}.clinic.example", "a".repeat(64));
    let longest_label = format!("{}.clinic.example", "a".repeat(63));
    let long_name = format!("{}clinic.example", "a.".repeat(120));
    let huge = format!("{}.clinic.example", "a.".repeat(32 << 10));
    let rows = [
        // Addresses.
        ("IPv4", "127.0.0.1", Malformed),
        ("IPv4 with a port", "127.0.0.1:8443", Malformed),
        ("IPv4 with a trailing dot", "127.0.0.1.", Malformed),
        ("IPv4 in two parts", "127.1", Malformed),
        ("IPv4 in octal", "0177.0.0.1", Malformed),
        ("IPv4 in hexadecimal", "0x7f000001", Unknown),
        ("IPv4 as one number", "2130706433", Malformed),
        ("five numbers", "1.2.3.4.5", Malformed),
        ("IPv6", "[::1]", Malformed),
        ("IPv6 without brackets", "::1", Malformed),
        ("IPv6 with a zone", "[fe80::1%25eth0]", Malformed),
        ("IPv6 with an IPv4 inside", "[::ffff:127.0.0.1]", Malformed),
        ("a future address", "[v1.harbour]", Malformed),
        // User information, and other parts of a URL.
        ("user information", "a@harbour.clinic.example", Malformed),
        ("user and password", "a:b@harbour.clinic.example", Malformed),
        ("ours as user information", "harbour.clinic.example@evil.example", Malformed),
        ("a scheme", "https://harbour.clinic.example", Malformed),
        ("a scheme-relative start", "//harbour.clinic.example", Malformed),
        ("a path", "harbour.clinic.example/meadow", Malformed),
        ("a path that ends like ours", "evil.example/.clinic.example", Malformed),
        ("a query", "harbour.clinic.example?a", Malformed),
        ("a fragment", "harbour.clinic.example#a", Malformed),
        ("a backslash", "harbour.clinic.example\\@evil.example", Malformed),
        // Dots.
        ("a trailing dot", "harbour.clinic.example.", Malformed),
        ("a trailing dot and a port", "harbour.clinic.example.:443", Malformed),
        ("a leading dot", ".harbour.clinic.example", Malformed),
        ("an empty label", "harbour..clinic.example", Malformed),
        ("an empty clinic", ".clinic.example", Malformed),
        ("dots alone", "..", Malformed),
        // Case and alphabets.
        ("mixed case", "Harbour.clinic.example", Malformed),
        ("upper case in the domain", "harbour.CLINIC.example", Malformed),
        ("punycode", "xn--hrbour-bua.clinic.example", Unknown),
        ("punycode in capitals", "XN--HRBOUR-BUA.clinic.example", Malformed),
        ("the same in Unicode", "hàrbour.clinic.example", Malformed),
        ("a Cyrillic a", "h\u{430}rbour.clinic.example", Malformed),
        ("full-width letters", "\u{ff48}arbour.clinic.example", Malformed),
        ("an ideographic full stop", "harbour\u{3002}clinic.example", Malformed),
        ("a full-width full stop", "harbour\u{ff0e}clinic.example", Malformed),
        ("a soft hyphen", "har\u{ad}bour.clinic.example", Malformed),
        ("a zero-width joiner", "har\u{200d}bour.clinic.example", Malformed),
        ("a right-to-left override", "\u{202e}harbour.clinic.example", Malformed),
        ("a byte order mark", "\u{feff}harbour.clinic.example", Malformed),
        // Percent-encoding.
        ("a letter percent-encoded", "%68arbour.clinic.example", Malformed),
        ("a dot percent-encoded", "harbour%2eclinic.example", Malformed),
        ("NUL percent-encoded", "harbour%00.clinic.example", Malformed),
        ("an at sign percent-encoded", "evil.example%40harbour.clinic.example", Malformed),
        // Control characters and white space.
        ("empty", "", Malformed),
        ("NUL before", "\0harbour.clinic.example", Malformed),
        ("NUL within", "harbour\0.clinic.example", Malformed),
        ("NUL after", "harbour.clinic.example\0.evil.example", Malformed),
        ("a space before", " harbour.clinic.example", Malformed),
        ("a space after", "harbour.clinic.example ", Malformed),
        ("a space before the port", "harbour.clinic.example :443", Malformed),
        ("a tab before", "\tharbour.clinic.example", Malformed),
        ("a tab after", "harbour.clinic.example\t", Malformed),
        ("a line end", "harbour.clinic.example\r\nx-a: b", Malformed),
        ("delete", "harbour.clinic.example\u{7f}", Malformed),
        ("a no-break space", "harbour.clinic.example\u{a0}", Malformed),
        // Ports.
        ("no port after the colon", "harbour.clinic.example:", Malformed),
        ("a port alone", ":443", Malformed),
        ("two ports", "harbour.clinic.example:443:443", Malformed),
        ("a port too large", "harbour.clinic.example:65536", Malformed),
        ("a port of six digits", "harbour.clinic.example:000443", Malformed),
        ("a signed port", "harbour.clinic.example:+443", Malformed),
        ("a negative port", "harbour.clinic.example:-1", Malformed),
        ("a port in hexadecimal", "harbour.clinic.example:0x1bb", Malformed),
        ("a port of other digits", "harbour.clinic.example:\u{664}\u{664}\u{663}", Malformed),
        ("a port and a path", "harbour.clinic.example:443/", Malformed),
        ("a port and a user", "harbour.clinic.example:443@evil.example", Malformed),
        ("a service's name", "harbour.clinic.example:https", Malformed),
        // Lists and patterns.
        ("a list", "harbour.clinic.example,meadow.clinic.example", Malformed),
        ("a list with spaces", "harbour.clinic.example, meadow.clinic.example", Malformed),
        ("a pattern", "*.clinic.example", Malformed),
        ("the pattern of the settings", "{tenant}.clinic.example", Malformed),
        ("a quote", "\"harbour.clinic.example\"", Malformed),
        // Names that are near.
        ("a hyphen first", "-harbour.clinic.example", Malformed),
        ("a hyphen last", "harbour-.clinic.example", Malformed),
        ("an underscore", "harbour_1.clinic.example", Malformed),
        ("another domain", "harbour.evil.example", Unknown),
        ("ours as another domain's start", "harbour.clinic.example.evil.example", Unknown),
        ("the end of ours", "inic.example", Unknown),
        ("ours glued on", "harbourclinic.example", Unknown),
        ("a deeper name", "x.harbour.clinic.example", Unknown),
        ("ours twice", "harbour.clinic.example.clinic.example", Unknown),
        ("a clinic of no registration", "northgate.clinic.example", Unknown),
        ("the clinic alone", "harbour", Unknown),
        ("a clinic called like the platform", "platform.clinic.example", Unknown),
        ("a label of 64 bytes", &long_label, Malformed),
        ("a label of 63 bytes", &longest_label, Unknown),
        ("a name of 254 bytes", &long_name, Malformed),
        ("a name of 64 KiB", &huge, Malformed),
    ];
    let hosts = hosts();
    for (name, host, want) in rows {
        assert_eq!(hosts.decide(Some(host), None, None), Err(want), "{name}: as the host");
        assert_eq!(hosts.decide(None, Some(host), None), Err(want), "{name}: as the authority");
        // Beside a good name: whichever of the two is looked at first, and whether they are compared at all.
        assert!(hosts.decide(Some(host), Some(GOOD), None).is_err(), "{name}: as the host beside a good authority");
        assert!(hosts.decide(Some(GOOD), Some(host), None).is_err(), "{name}: as the authority beside a good host");
        assert!(hosts.decide(Some(GOOD), None, Some(host)).is_err(), "{name}: as the handshake's name");
        assert!(hosts.decide(Some(host), None, Some(host)).is_err(), "{name}: on both sides of the handshake");
    }
    println!("host: {} spellings, six ways each", rows.len());
}

// proves CLM-17
#[test]
fn hosts_that_differ_lead_nowhere_and_ports_do_not_matter() {
    use HostError::{Disagree, Missing};
    let hosts = hosts();
    let harbour = Ok(Site::Clinic(TenantId::new("harbour").unwrap()));
    let meadow = "meadow.clinic.example";
    let rows = [
        ("the least port", Some("harbour.clinic.example:0"), None, None, harbour.clone()),
        ("the greatest port", Some("harbour.clinic.example:65535"), None, None, harbour.clone()),
        ("a port with zeros", Some("harbour.clinic.example:00443"), None, None, harbour.clone()),
        ("ports that differ", Some("harbour.clinic.example:1"), Some("harbour.clinic.example:2"), None, harbour),
        ("an absolute target of another clinic", Some(GOOD), Some(meadow), None, Err(Disagree)),
        ("a host of another clinic", Some(meadow), Some(GOOD), None, Err(Disagree)),
        ("the platform's target, a clinic's host", Some(GOOD), Some("clinic.example"), None, Err(Disagree)),
        ("a clinic's target, the platform's host", Some("clinic.example"), Some(GOOD), None, Err(Disagree)),
        ("fronting", Some(GOOD), None, Some(meadow), Err(Disagree)),
        ("fronting, over an absolute target", None, Some(GOOD), Some(meadow), Err(Disagree)),
        ("fronting from the platform", Some(GOOD), None, Some("clinic.example"), Err(Disagree)),
        ("fronting of the platform", Some("clinic.example"), None, Some(GOOD), Err(Disagree)),
        ("a handshake's name with a port", Some(GOOD), None, Some("harbour.clinic.example:443"), Err(Disagree)),
        ("a handshake's name in capitals", Some(GOOD), None, Some("HARBOUR.clinic.example"), Err(Disagree)),
        ("a handshake's name with a dot", Some(GOOD), None, Some("harbour.clinic.example."), Err(Disagree)),
        ("an empty handshake's name", Some(GOOD), None, Some(""), Err(Disagree)),
        ("a handshake's name alone", None, None, Some(GOOD), Err(Missing)),
    ];
    for (name, host, authority, sni, want) in &rows {
        assert_eq!(&hosts.decide(*host, *authority, *sni), want, "{name}");
    }
    println!("host: {} combinations", rows.len());
}
