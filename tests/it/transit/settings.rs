//! What is refused before anybody is asked.

use std::time::Duration;

use tower_ward::keys::{KeySource, ProviderErrorKind::Unavailable, TransitError, TransitOptions, TransitProvider};

use super::{TOKEN, assert_silent, restrict, said};
use crate::support::bao::Authority;

// Nobody is asked: at these addresses nobody is.
#[tokio::test]
async fn transit_settings_that_cannot_be_right_are_refused_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        restrict(&path(name), 0o600);
        path(name)
    };
    let token = KeySource::File(file("token", TOKEN));
    let ca = file("ca.pem", &Authority::new().ca);
    let https = "https://127.0.0.1:1";
    let options = |address: &str, key: &str| TransitOptions::new(address, key, token.clone()).with_ca_file(&ca);

    let mut rows = vec![
        ("plain HTTP", options("http://127.0.0.1:1", "kek"), "`address` is plain `http`, which"),
        (
            "plain HTTP to another machine",
            options("http://192.0.2.1:1", "kek").danger_plain_http(),
            "to another machine",
        ),
        ("plain HTTP to a name", options("http://localhost:1", "kek").danger_plain_http(), "to another machine"),
        ("no authority", TransitOptions::new(https, "kek", token.clone()), "`ca_file` is missing"),
        ("authority's file missing", options(https, "kek").with_ca_file(path("none")), "cannot be opened"),
        ("authority's file empty", options(https, "kek").with_ca_file(file("empty", "")), "holds no certificate"),
        (
            "a key for an authority",
            options(https, "kek").with_ca_file(file("key", &Authority::new().key)),
            "holds no certificate",
        ),
        (
            "cut PEM",
            options(https, "kek").with_ca_file(file("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n")),
            "is not PEM",
        ),
        ("no time", options(https, "kek").with_timeout(Duration::ZERO), "`timeout` is out of its range"),
        ("too much time", options(https, "kek").with_timeout(Duration::from_secs(61)), "`timeout` is out of its range"),
        ("mount with a slash before", options(https, "kek").with_mount("/transit"), "`mount` is no mount's path"),
        ("mount out of its place", options(https, "kek").with_mount("a/../sys"), "`mount` is no mount's path"),
        ("mount empty", options(https, "kek").with_mount(""), "`mount` is no mount's path"),
        ("namespace with a line", options(https, "kek").with_namespace("a\r\nx-b: c"), "`namespace` is no namespace"),
    ];
    for address in [
        "",
        "vault.example",
        "vault.example:8200",
        "ftp://vault.example",
        "https://",
        "https://vault.example/v1",
        "https://vault.example?x",
        "https://vault.example#x",
        "https://root:hvs.canary-of-a-token-51c6@vault.example",
        "https://vault.example:",
        "https://vault.example:0",
        "https://vault.example:65536",
        "https:// ",
        "https://va_ult..",
    ] {
        rows.push((address, options(address, "kek"), "`address` is no address"));
    }
    let long = "k".repeat(129);
    for key in ["", ".", "..", "../sys", "a/b", "a?b", "a#b", "a%2fb", "a b", "-a", "a-", "a.", "ä", "a\0", &long] {
        rows.push((key, options(https, key), "`key` is no key's name"));
    }
    for (row, options, expected) in rows {
        assert_silent(row, &format!("{options:?}"), TOKEN);
        let refused = TransitProvider::open(options).await.unwrap_err();
        assert!(matches!(refused, TransitError::Setting { .. } | TransitError::CaFile { .. }), "{row}: {refused:?}");
        assert!(refused.to_string().contains(expected), "{row}: {refused}");
        assert_silent(row, &said(&refused), TOKEN);
    }

    // The token's source.
    let exposed = file("exposed", TOKEN);
    restrict(&exposed, 0o644);
    std::os::unix::fs::symlink(path("token"), path("link")).unwrap();
    for (row, source, expected) in [
        ("file missing", KeySource::File(path("none")), "there is no such file"),
        ("file that others may read", KeySource::File(exposed), "(mode 0644): `chmod 600` it"),
        ("file empty", KeySource::File(file("no-token", "\n")), "it is empty: put the secret there"),
        ("a link", KeySource::File(path("link")), "the file is a symbolic link"),
        ("two lines", KeySource::File(file("two", &format!("{TOKEN}\n\n"))), "white space around the secret"),
        ("two tokens", KeySource::File(file("both", &format!("{TOKEN} {TOKEN}"))), "it is not text"),
        ("not ASCII", KeySource::File(file("umlaut", &format!("{TOKEN}ä"))), "it is not text"),
        ("too long", KeySource::File(file("long", &TOKEN.repeat(200))), "it is longer than 4096 bytes"),
        ("variable not set", KeySource::Env("TOWER_WARD_NO_TOKEN".to_owned()), "the variable is not set: set it"),
    ] {
        let name = source.to_string();
        let options = TransitOptions::new(https, "kek", source).with_ca_file(&ca);
        let refused = TransitProvider::open(options).await.unwrap_err();
        assert!(matches!(refused, TransitError::Token(_)), "{row}: {refused:?}");
        let text = refused.to_string();
        assert!(text.starts_with(&format!("token: {name}: ")) && text.contains(expected), "{row}: {text}");
        assert_silent(row, &said(&refused), TOKEN);
    }

    // And what is right in all of this is asked, in vain.
    for address in [https, "https://127.0.0.1:1/", "https://[::1]:1", "https://localhost:1"] {
        let refused = TransitProvider::open(options(address, "a.b-c_1")).await.unwrap_err();
        assert!(matches!(refused, TransitError::Provider(error) if error.kind() == Unavailable), "{address}");
    }
}
